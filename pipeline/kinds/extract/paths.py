"""Places inside a record: `clauses[2].amount` as text, ("clauses", 2, "amount") in code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import regex

__all__ = [
    "EVIDENCE",
    "Path",
    "empty",
    "fields_of",
    "leaves",
    "parse_path",
    "pruned",
    "quotes_of",
    "renumbered",
    "shown",
]

EVIDENCE = "evidence"
"""The key beside an item's fields that holds the words they come from; no field may be called so."""

Path: TypeAlias = tuple[str | int, ...]

_STEP = regex.compile(r"\[(\d+)\]|/?\.?([^.\[\]/]+)")


def shown(path: Path) -> str:
    """The path as evidence and errors name it; "" for the whole."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def parse_path(text: str) -> Path:
    """The path that `text` names. A model may write `clauses[0].amount`, `clauses.0.amount` or `/clauses/0/amount`."""
    steps = (match.groups() for match in _STEP.finditer(text.removeprefix("$")))
    return tuple(int(at or name) if at or (name.isdecimal() and name.isascii()) else name for at, name in steps)


def fields_of(path: Path) -> tuple[str, ...]:
    """The path without the places in lists."""
    return tuple(step for step in path if isinstance(step, str))


def empty(value: Any) -> bool:
    """Whether `value` says no more than null: nothing, blank text, a list or an object of nothing."""
    if isinstance(value, dict | list):
        return not value
    return value is None or (isinstance(value, str) and not value.strip())


def pruned(value: Any) -> Any:
    """`value` without what is empty, at any depth; None where nothing is left."""
    if isinstance(value, dict):
        value = {name: part for name, old in value.items() if not empty(part := pruned(old))}
    elif isinstance(value, list):
        value = [part for old in value if not empty(part := pruned(old))]
    return None if empty(value) else value


def renumbered(value: Any, path: Path) -> Path | None:
    """Where the part of `value` at `path` stands in `pruned(value)`; None where it is not there any more."""
    new: list[str | int] = []
    for step in path:
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, dict) else None
            new.append(step)
        elif isinstance(value, list) and step < len(value) and not empty(pruned(value[step])):
            new.append(sum(not empty(pruned(part)) for part in value[:step]))
            value = value[step]
        else:
            return None
    return tuple(new)


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every scalar in `value` with its path, in order."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from leaves(part, (*path, name))
    elif isinstance(value, list):
        for at, part in enumerate(value):
            yield from leaves(part, (*path, at))
    else:
        yield path, value


def quotes_of(item: Mapping[str, Any]) -> list[tuple[Path, str]]:
    """The words an item gives as evidence, (path, words) in their order.

    {"clauses": ["…", "…"]}, {"clauses[1].amount": "…"} and {"clauses": [{"amount": "…"}]} are all taken."""
    evidence = item.get(EVIDENCE)
    given = evidence if isinstance(evidence, dict) else {}
    return [found for key, words in given.items() for found in _quotes(parse_path(key), words)]


def _quotes(path: Path, given: Any) -> Iterator[tuple[Path, str]]:
    if isinstance(given, str) and given.strip():
        yield path, given
    elif isinstance(given, dict):
        for key, part in given.items():
            yield from _quotes((*path, *parse_path(key)), part)
    elif isinstance(given, list):
        for at, part in enumerate(given):
            yield from _quotes((*path, at) if isinstance(part, dict) else path, part)
