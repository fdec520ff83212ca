"""Places inside a record: `clauses[2].amount` as text, ("clauses", 2, "amount") in code."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import regex
from docreduce.kinds.extract.walking import is_tuple, named, placed

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

_STEP = regex.compile(r'\[(\d+)\]|\[("(?:[^"\\]|\\.)*+")\]|/?\.?([^.\[\]/]+)')
_PLAIN = regex.compile(r"(?!\d+$)(?!\$)[^.\[\]/]+")
"""A name that needs no quotes in a path."""


def shown(path: Path) -> str:
    """The path as evidence and errors name it, `rates["day/night"].sum`; "" for the whole. `parse_path` reads it."""
    return "".join(_shown(step) for step in path).removeprefix(".")


def _shown(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if _PLAIN.fullmatch(step) else f"[{json.dumps(step, ensure_ascii=False)}]"


def parse_path(text: str) -> Path:
    """The path that `text` names. A model may write `clauses[0].amount`, `clauses.0.amount` or `/clauses/0/amount`."""
    return tuple(_step(*match.groups()) for match in _STEP.finditer(text.removeprefix("$")))


def _step(at: str | None, quoted: str | None, name: str | None) -> str | int:
    if quoted:
        try:
            return str(json.loads(quoted, strict=False))
        except ValueError:  # an escape that JSON has not, by a model
            return quoted[1:-1]
    stated = at or name or ""
    return int(stated) if at or (stated.isdecimal() and stated.isascii()) else stated


def fields_of(path: Path) -> tuple[str, ...]:
    """The path without the places in lists."""
    return tuple(step for step in path if isinstance(step, str))


def empty(value: Any) -> bool:
    """Whether `value` says no more than null: nothing, blank text, a list or an object of nothing."""
    if isinstance(value, dict | list):
        return not value
    return value is None or (isinstance(value, str) and not value.strip())


def pruned(value: Any, schema: Any = None) -> Any:
    """`value` without what is empty, at any depth; None where nothing is left. Of a list whose places have meanings of
    their own by `schema` the places stay, null where they are empty."""
    if isinstance(value, dict):
        parts = {name: pruned(old, named(schema, name)) for name, old in value.items()}
        value = {name: part for name, part in parts.items() if not empty(part)}
    elif isinstance(value, list):
        places = [pruned(old, placed(schema, at)) for at, old in enumerate(value)]
        kept = [part for part in places if not empty(part)]
        value = places if kept and is_tuple(schema) else kept
    return None if empty(value) else value


def renumbered(value: Any, path: Path, schema: Any = None) -> Path | None:
    """Where the part of `value` at `path` stands in `pruned(value, schema)`; None where it is not there any more."""
    new: list[str | int] = []
    for step in path:
        if isinstance(step, str):
            value, schema = (value.get(step) if isinstance(value, dict) else None), named(schema, step)
            new.append(step)
        elif isinstance(value, list) and step < len(value) and not empty(pruned(value[step], placed(schema, step))):
            before = (pruned(part, placed(schema, at)) for at, part in enumerate(value[:step]))
            new.append(step if is_tuple(schema) else sum(not empty(part) for part in before))
            value, schema = value[step], placed(schema, step)
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
    return [found for key, words in given.items() for found in _quotes(_meant(key, item), words)]


def _meant(key: str, item: Mapping[str, Any]) -> Path:
    """The path that `key` names in `item`: an object's names win over places and steps that they look like."""
    if key in item:
        return (key,)
    path: list[str | int] = []
    value: Any = item
    for step in parse_path(key):
        path.append(str(step) if isinstance(value, Mapping) else step)
        if isinstance(value, Mapping):
            value = value.get(str(step))
        else:
            value = value[step] if isinstance(value, list) and isinstance(step, int) and step < len(value) else None
    return tuple(path)


def _quotes(path: Path, given: Any) -> Iterator[tuple[Path, str]]:
    if isinstance(given, str) and given.strip():
        yield path, given
    elif isinstance(given, dict):
        for key, part in given.items():
            yield from _quotes((*path, *parse_path(key)), part)
    elif isinstance(given, list):
        for at, part in enumerate(given):
            yield from _quotes((*path, at) if isinstance(part, dict) else path, part)
