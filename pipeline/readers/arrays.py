"""JSON that holds rows: an array of objects, or an object in which one list of objects has the column to work on
(`{"data": [{…}, …]}`, as services answer), at any depth of objects. Where it lies, and its elements one by one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator

from docreduce.values.errors import DocumentError

__all__ = ["elements", "rows_at"]

_SPACE = re.compile(r"[ \t\r\n]*")
_BREAK = re.compile(r"[\r\n]+")
_OBJECTS = re.compile(r"\[[ \t\r\n]*\{")
_DECODER = json.JSONDecoder()


def rows_at(text: str, column: str) -> int | None:
    """Where the list of objects with the key `column` begins in a JSON text, which may break off. None where there is
    none, more than one, or the key belongs to an object around it: such a text is one document."""
    start = _after_space(text, 0)
    lists: list[int] = []
    try:
        end = _walk(text, start, column, lists)
    except (ValueError, RecursionError):
        end = len(text)
    if len(lists) != 1 or lists[0] < 0:
        return None
    return lists[0] if lists[0] == start or not text[end:].strip() else None


def elements(text: str, start: int) -> Iterator[str]:
    """The elements of the list that begins at `start` of a JSON text, a line each. Raises DocumentError where it, or
    what is around it, is broken, after the elements before that."""
    at = yield from _elements(text, start)
    if not text[:start].strip():
        if text[at:].strip():
            raise DocumentError("there is more after the end of the array")
        return
    try:
        json.loads(f"{text[:start]}[]{text[at:]}")
    except (ValueError, RecursionError) as error:
        message = f"what is around the list of rows is no JSON: {error}"
        raise DocumentError(message, kind="truncated_input") from error


def _elements(text: str, start: int) -> Generator[str, None, int]:
    """The elements, a line each; returns where the list ends."""
    at, number = start + 1, 0
    while True:
        at = _after_space(text, at)
        if text.startswith("]", at):
            return at + 1
        try:
            end = _DECODER.raw_decode(text, at)[1]
        except (ValueError, RecursionError) as error:
            raise DocumentError(f"element {number + 1} of the array is not JSON: {error}") from error
        yield _BREAK.sub(" ", text[at:end]) + "\n"  # no string of JSON holds a line's end
        number += 1
        after = _after_space(text, end)
        if not text.startswith((",", "]"), after):
            raise DocumentError(f"the array breaks off after element {number}", kind="truncated_input")
        at = after + text.startswith(",", after)


def _walk(text: str, at: int, column: str, lists: list[int]) -> int:
    """Where the value that begins at `at` ends. Adds to `lists` where lists of objects with the key `column` begin, -1
    for an object with that key that is no element of one. Raises ValueError where the text is broken."""
    if _OBJECTS.match(text, at):
        return _list(text, at, column, lists)
    if not text.startswith("{", at):
        return _DECODER.raw_decode(text, at)[1]
    at = _after_space(text, at + 1)
    while not text.startswith("}", at):
        key, at = _DECODER.raw_decode(text, at)
        if key == column:
            lists.append(-1)
        at = _past(text, at, ":")
        at = _after_space(text, _walk(text, at, column, lists))
        if not text.startswith("}", at):
            at = _past(text, at, ",")
    return at + 1


def _list(text: str, start: int, column: str, lists: list[int]) -> int:
    at = _after_space(text, start + 1)
    has = False
    try:
        while not text.startswith("]", at):
            element, after = _DECODER.raw_decode(text, at)
            has = has or (isinstance(element, dict) and column in element)
            at = _after_space(text, after)
            if not text.startswith("]", at):
                at = _past(text, at, ",")
    except (ValueError, RecursionError):
        # of an element that is only begun the key may be there already
        names = "|".join(re.escape(json.dumps(column, ensure_ascii=escaped)) for escaped in (False, True))
        has = has or re.search(rf"(?:{names})\s*:", text[at:]) is not None
        raise
    finally:
        if has:
            lists.append(start)
    return at + 1


def _past(text: str, at: int, sign: str) -> int:
    """The place of what follows `sign`. Raises ValueError where it is not there."""
    at = _after_space(text, at)
    if not text.startswith(sign, at):
        raise ValueError(f"no {sign!r} at {at}")
    return _after_space(text, at + 1)


def _after_space(text: str, at: int) -> int:
    return _SPACE.match(text, at).end()  # type: ignore[union-attr]
