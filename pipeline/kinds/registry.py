"""The kinds there are: ours, and those of installed packages (entry point group `docreduce.kinds`)."""

from __future__ import annotations

import importlib
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, cast

from docreduce.values.errors import JobError

if TYPE_CHECKING:
    from docreduce.kinds.kind import Kind

__all__ = ["GROUP", "OURS", "kind_named", "kind_names", "kind_version"]

GROUP = "docreduce.kinds"
OURS = ("summarize", "extract", "map")


def kind_names() -> list[str]:
    """The names of all kinds, ours first."""
    return [*OURS, *sorted(set(_others()) - set(OURS))]


@cache
def kind_named(name: str) -> Kind:
    """The kind of that name. Raises JobError for one that does not load."""
    if name in OURS:
        return cast("Kind", importlib.import_module(f"docreduce.kinds.{name}").KIND)
    try:
        return cast("Kind", _others()[name].load())
    except Exception as error:
        raise JobError(f"kind {name!r} of {_others()[name].value}: {error!r}", hint="Is its package whole?") from error


def kind_version(name: str) -> str:
    """The version of the package that a kind comes from; "" for ours, whose version is the program's."""
    entry = None if name in OURS else _others().get(name)
    return "" if entry is None or entry.dist is None else f"{entry.dist.name} {entry.dist.version}"


@cache
def _others() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}
