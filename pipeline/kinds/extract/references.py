"""A schema without references: what a local `$ref` refers to takes its place; one to a file or a URL is refused.

Where a schema refers to itself (sections of sections, parts of parts) it is laid out a few levels deep, since a table
has no type without an end. What lies deeper may be anything, and stands in its column as JSON.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from docreduce.values.errors import JobError

__all__ = ["laid_out"]

MAX_SCHEMA_NODES = 20_000
"""Of the self-contained schema: `$ref`s that double each other grow without bound."""
MAX_SELF_REFERENCES = 4
"""How often a schema is laid out inside itself: sections of a contract seldom go deeper, and a strict service takes
objects in ten levels at most. Fewer where it would grow past MAX_NESTED_NODES."""
MAX_NESTED_NODES = 1_500
"""Of a schema that refers to itself, laid out: it goes along with every request."""

_VERBATIM = frozenset({"enum", "const", "default", "examples"})  # values, not schemas
_BY_NAME = frozenset({"properties", "patternProperties", "dependentSchemas"})
_PARTS = frozenset({"properties", "patternProperties", "additionalProperties", "items", "prefixItems"})
_REPLACED = frozenset({"$ref", "$defs", "definitions"})  # what is referred to stands in its place
_ANNOTATIONS = frozenset({"title", "description", "default", "examples", "deprecated", "$comment"})
_INSIDE = ""
"""Among the references on a way: here it went from a value to a part of it."""
_DEEPER = "the same again, nested deeper"


class _TooLargeError(Exception):
    """There is no room for the schema in so many levels."""


def laid_out(root: Any, where: str) -> Any:
    """`root`, a JSON Schema whose references lead somewhere, with each replaced by what it refers to.

    Raises JobError, with `where` before it, for a reference out of the schema, one that means nothing but itself, and
    a schema past MAX_SCHEMA_NODES."""
    for levels in range(MAX_SELF_REFERENCES, -1, -1):
        try:
            return _Layout(root, where, levels).inline(root, ("#",))
        except _TooLargeError:
            continue
    raise JobError(f"{where}: the schema is larger than {MAX_SCHEMA_NODES} parts")


class _Layout:
    """`root` laid out, with what refers to itself `levels` times inside itself and open below."""

    def __init__(self, root: Any, where: str, levels: int) -> None:
        self._root = root
        self._where = where
        self._levels = levels
        self._nodes = 0
        self._room = MAX_SCHEMA_NODES

    def inline(self, node: Any, within: tuple[str, ...]) -> Any:
        """`node` laid out; `within`: the references on the way to it, in order, and where it went inside."""
        self._nodes += 1
        if self._nodes > self._room:
            raise _TooLargeError
        if isinstance(node, list):
            return [self.inline(part, within) for part in node]
        if not isinstance(node, dict):
            return node
        plain = {key: self._keyword(key, part, within) for key, part in node.items() if key not in _REPLACED}
        if "$ref" not in node:
            return plain
        reference = node["$ref"]
        if reference in within and self._ends(reference, within):
            return {key: part for key, part in plain.items() if key in _ANNOTATIONS} | {"description": _DEEPER}
        target = self.inline(_at(reference, self._root, self._where), (*within, reference))
        if isinstance(target, dict) and plain.keys() <= _ANNOTATIONS:
            return {**target, **plain}
        return {**plain, "allOf": [target, *plain.get("allOf", [])]}

    def _keyword(self, keyword: str, part: Any, within: tuple[str, ...]) -> Any:
        if keyword in _VERBATIM:
            return part
        if keyword in _PARTS:
            within = (*within, _INSIDE)
        if keyword in _BY_NAME and isinstance(part, dict):
            return {name: self.inline(schema, within) for name, schema in part.items()}
        return self.inline(part, within)

    def _ends(self, reference: str, within: tuple[str, ...]) -> bool:
        """Whether a schema that is inside itself is not laid out once more. Raises JobError for one that is itself."""
        since = within[len(within) - within[::-1].index(reference) :]
        if _INSIDE not in since:
            raise JobError(f"{self._where}: {reference} refers to itself, and to no part of it")
        if self._levels:
            self._room = min(self._room, MAX_NESTED_NODES)
        return within.count(reference) > self._levels


def _at(reference: str, root: Any, where: str) -> Any:
    """What a JSON Pointer (RFC 6901, as a fragment) leads to."""
    place = root
    try:
        if reference != "#" and not reference.startswith("#/"):
            raise KeyError(reference)
        for part in unquote(reference).split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            place = place[int(name)] if isinstance(place, list) else place[name]
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise JobError(f'{where}: $ref {reference!r}: only places in the schema itself, as "#/$defs/…"') from error
    return place
