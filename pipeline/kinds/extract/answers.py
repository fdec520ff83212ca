"""From the words of an answer to items that are valid, or to the reason why not. Nothing is invented on the way.

Strict JSON first; then what is around it (prose, a code fence, a thought) goes and json-repair mends commas, quotes
and missing brackets in its strict mode, which refuses to fill a hole. Then the value is read as it can be meant: as the
frame that was asked for, as a bare list or item, or as either inside a frame of the service's own (`arguments`, …),
and the first reading that is valid stands. So a field that is called like a frame stays a field.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

import json_repair
from docreduce.kinds.extract.coercion import coerce_item
from docreduce.kinds.extract.paths import EVIDENCE, Path, empty, parse_path, pruned, quotes_of, renumbered, shown
from docreduce.kinds.extract.validation import schema_errors
from docreduce.kinds.extract.walking import elements, members
from docreduce.kinds.steps import InvalidAnswerError

__all__ = ["ReadItem", "read_items", "read_rows"]

MAX_REPAIR_CHARS = 200_000
"""json-repair is not linear in what is broken; a longer answer has to be valid by itself."""
MAX_DEPTH = 200
"""An answer nested deeper is none. Python's own limit depends on its version, and json-repair's on the stack."""
_TOO_DEEP = f"/: nested more than {MAX_DEPTH} deep"
_FRAMES = ("arguments", "parameters", "input", "output", "result", "response", "answer", "data", "record", "item")
"""Keys that models and services put around an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadItem:
    """One item of an answer: its `values` without what is empty, the `quotes` given for them, (path, words) in the
    order of the answer, and what was `coerced`, by path as text."""

    values: Mapping[str, Any]
    quotes: Sequence[tuple[Path, str]]
    coerced: Mapping[str, str]


def read_items(text: str, schema: str) -> list[ReadItem]:
    """The items of an answer to one text. Raises InvalidAnswerError with the failing paths.

    Other shapes of the same answer are taken for it: a bare list of items, one item alone, and each of them inside a
    frame. Items in which nothing is filled are none."""
    value = _parse(text)
    item_schema = _item_schema(schema)
    said: list[str] = []
    best: tuple[int, list[ReadItem]] | None = None
    for items in _readings(value):
        read = [_read(item, item_schema) if isinstance(item, dict) else item for item in items]
        read = [item for item in read if not isinstance(item, tuple) or item[1].values]
        errors = schema_errors({"items": [item[0] if isinstance(item, tuple) else item for item in read]}, schema)
        if errors:
            # What was asked for says best what is wrong with it: a list of items in its frame.
            said = errors if not said or items is (value.get("items") if isinstance(value, dict) else None) else said
            continue
        unknown = sum(_undeclared(item, item_schema) for item, _ in read)
        if best is None or unknown < best[0]:
            best = unknown, [one for _, one in read]
        if best[0] == 0:
            break
    if best is None:
        raise InvalidAnswerError("; ".join(said or ["/: no items"]))
    return best[1]


def read_rows(text: str, rows: Sequence[int], schema: str) -> dict[int, list[ReadItem]]:
    """The items by row number, of those `rows` that are there once and valid; the others are missing.

    Raises InvalidAnswerError where the answer has no rows at all."""
    value = _parse(text)
    while isinstance(value, dict) and "rows" not in value and (inner := _framed(value)):
        value = inner[0]
    answered = value.get("rows") if isinstance(value, dict) else value
    if not isinstance(answered, list):
        raise InvalidAnswerError('/: no "rows"')
    by_row: dict[int, list[Any]] = {}
    for row in answered:
        if isinstance(row, dict) and isinstance(row.get("row"), int) and not isinstance(row["row"], bool):
            by_row.setdefault(row["row"], []).append({"items": row.get("items")})
    read: dict[int, list[ReadItem]] = {}
    for row in rows:
        if len(by_row.get(row, ())) == 1 and isinstance(by_row[row][0]["items"], list):
            try:
                read[row] = read_items(json.dumps(by_row[row][0], ensure_ascii=False), schema)
            except InvalidAnswerError:
                continue
    return read


def _read(item: Mapping[str, Any], schema: Any) -> tuple[Any, ReadItem]:
    """The item's fields in the schema's types, to be validated, and the item read. Its evidence is no reason to refuse
    it: what is no words is left out."""
    fields, changed = coerce_item({name: part for name, part in item.items() if name != EVIDENCE}, schema)
    values = pruned(fields, schema) or {}
    quotes = quotes_of(item)
    if _holes(fields):
        quotes = [(new, words) for path, words in quotes if (new := renumbered(fields, path, schema)) is not None]
        moved = ((renumbered(fields, parse_path(path), schema), said) for path, said in changed.items())
        changed = {shown(new): said for new, said in moved if new is not None}
    return fields, ReadItem(values=values, quotes=quotes, coerced=changed)


def _holes(value: Any) -> bool:
    """Whether a list in `value` has elements in which nothing is filled: those behind them move up."""
    if isinstance(value, dict):
        return any(map(_holes, value.values()))
    return isinstance(value, list) and any(empty(pruned(part)) or _holes(part) for part in value)


@lru_cache(maxsize=64)
def _item_schema(schema: str) -> Any:
    return json.loads(schema)["properties"]["items"]["items"]


def _readings(value: Any) -> Iterator[list[Any]]:
    """The lists of items that `value` can be meant as, the likeliest first."""
    if isinstance(value, list):
        yield value
        return
    if not isinstance(value, dict):
        return
    inner = value.get("items")
    frame = [inner] if isinstance(inner, list) else [[inner]] if isinstance(inner, dict) else []
    if len(value) == 1:
        yield from frame
    yield [value]
    yield from frame
    for inner in _framed(value):
        yield from _readings(inner)


def _framed(value: Mapping[str, Any]) -> list[Any]:
    return [value[key] for key in _FRAMES if isinstance(value.get(key), dict | list)]


def _undeclared(value: Any, schema: Any) -> int:
    """How many fields in `value` the schema does not name, at any depth: the reading with fewer is what was meant."""
    if isinstance(value, list):
        element = elements(schema)
        return sum(_undeclared(part, element) for part in value) if element is not None else 0
    fields = members(schema) if isinstance(value, dict) else {}
    if not fields:
        return 0
    return sum(1 if name not in fields else _undeclared(part, fields[name]) for name, part in value.items())


def _parse(text: str) -> Any:
    """The JSON value in `text`."""
    body = text.strip().removeprefix("\ufeff")
    try:
        value = _DECODER.decode(body)
    except (ValueError, RecursionError):
        value = _mend(body)
    _check_depth(value)
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InvalidAnswerError(f"/: half a surrogate pair: {error}") from error
    return value


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inner = [node.values() if isinstance(node, dict) else node for node in level if isinstance(node, dict | list)]
        if not inner:
            return
        level = list(chain.from_iterable(inner))
    raise InvalidAnswerError(_TOO_DEEP)


def _mend(text: str) -> Any:
    """The one JSON value in `text`, mended. Raises InvalidAnswerError where there is none, or more than one."""
    body = text.rsplit("</think>", 1)[-1]
    begin = re.search(r"\{|\[\s*[{\]]", body)
    if begin is None:
        raise InvalidAnswerError("/: no JSON object in it")
    body = body[begin.start() :]
    try:
        value, end = _DECODER.raw_decode(body)
    except RecursionError as error:
        raise InvalidAnswerError(_TOO_DEEP) from error
    except ValueError:
        return _mend_syntax(body)
    if re.search(r"[{\[]\s*[\"{\]}]", body[end:]):
        raise InvalidAnswerError("/: more than one JSON object")
    return value


def _mend_syntax(body: str) -> Any:
    last = max(body.rfind("}"), body.rfind("]")) + 1
    # After the last bracket may stand a closing fence and prose, but nothing that looks like more of the answer;
    # an odd number of quotes means that the bracket stands in a string that broke off.
    broken_off = not last or re.match(r'\s*[,:"]', body[last:]) or re.sub(r"\\.", "", body[:last]).count('"') % 2
    if broken_off or len(body) > MAX_REPAIR_CHARS:
        raise InvalidAnswerError("/: not one whole JSON object")
    try:
        mended = json_repair.loads(body[:last], skip_json_loads=True, strict=True)
        return _DECODER.decode(json.dumps(mended))
    except (ValueError, RecursionError) as error:
        raise InvalidAnswerError(f"/: not JSON: {error}") from error


# What is JSON by its syntax and no value all the same is not for mending: it is refused as it is read.


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise InvalidAnswerError(f"/: a key stands twice in the object with {', '.join(value)[:200]}")
    return value


def _integer(digits: str) -> int:
    value = int(digits) if len(digits) <= 20 else 2**63
    if not -(2**63) <= value < 2**63:
        raise InvalidAnswerError(f"/: {digits[:30]} is no 64-bit number")
    return value


def _number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):  # NaN, Infinity, 1e999
        raise InvalidAnswerError(f"/: {digits[:30]} is no 64-bit number")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_number, parse_constant=_number)
