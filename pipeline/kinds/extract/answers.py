"""From the words of an answer to items that are valid, or to the reason why not. Nothing is invented on the way.

Strict JSON first; then what is around it (prose, a code fence, a thought) goes and json-repair mends commas, quotes
and missing brackets in its strict mode, which refuses to fill a hole. The schema decides afterwards.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache, partial
from itertools import chain, islice
from typing import Any

import json_repair
from docreduce.values.errors import DocreduceError
from jsonschema_rs import RegexOptions, Validator, validator_for

__all__ = ["InvalidAnswerError", "items_of", "rows_of", "schema_errors", "validator"]

MAX_REPAIR_CHARS = 200_000
"""json-repair is not linear in what is broken; a longer answer has to be valid by itself."""
MAX_DEPTH = 200
"""An answer nested deeper is none. Python's own limit depends on its version, and json-repair's on the stack."""
MAX_ERRORS = 5
"""Errors of one answer that are named."""
_REGEX_BYTES = 2**20
_TOO_DEEP = f"/: nested more than {MAX_DEPTH} deep"

Item = Mapping[str, Any]


class InvalidAnswerError(DocreduceError):
    """The answer cannot be used; the message says where and why."""

    kind = "invalid_output"


def items_of(text: str, schema: str) -> list[Item]:
    """The items of an answer to one text. Raises InvalidAnswerError with the failing paths.

    Three other shapes of the same answer are taken for it: a bare list of items, a tool call's frame around the
    object, and, where the object has no "items", one item alone."""
    value = _parse(text, "items")
    if isinstance(value, list):
        value = {"items": value}
    elif isinstance(value, dict) and "items" not in value:
        value = {"items": [value]}
    if errors := schema_errors(value, schema):
        raise InvalidAnswerError("; ".join(errors))
    items: list[Item] = value["items"]
    return items


def rows_of(text: str, rows: Sequence[int], schema: str) -> dict[int, list[Item]]:
    """The items by row number, of those `rows` that are there once and valid; the others are missing.

    `schema` is that of the answer to one text. Raises InvalidAnswerError where the answer has no rows at all."""
    value = _parse(text, "rows")
    answered = value.get("rows") if isinstance(value, dict) else value
    if not isinstance(answered, list):
        raise InvalidAnswerError('/: no "rows"')
    by_row: dict[int, list[Any]] = {}
    for row in answered:
        if isinstance(row, dict) and isinstance(row.get("row"), int) and not isinstance(row["row"], bool):
            by_row.setdefault(row["row"], []).append({"items": row.get("items")})
    return {
        row: by_row[row][0]["items"]
        for row in rows
        if len(by_row.get(row, ())) == 1 and not schema_errors(by_row[row][0], schema)
    }


def schema_errors(value: Any, schema: str) -> list[str]:
    """What is wrong with `value` by `schema`, as "path: reason", at most MAX_ERRORS; empty where it is valid."""
    try:
        errors = islice(validator(schema).iter_errors(value), MAX_ERRORS)
        return [f"/{'/'.join(map(str, error.instance_path))}: {error.message[:300]}" for error in errors]
    except (ValueError, RecursionError) as error:  # nested too deeply, text that is no Unicode
        return [f"/: {error}"]


@lru_cache(maxsize=64)
def validator(schema: str) -> Validator:
    """The compiled validator. Nothing is fetched, formats are checked, and patterns run on a linear-time engine.

    Raises ValueError for what is no JSON Schema, a pattern that engine cannot do, a `$ref` that leads nowhere."""
    return validator_for(
        json.loads(schema),
        offline=True,
        validate_formats=True,
        formats=_FORMATS,
        pattern_options=RegexOptions(size_limit=_REGEX_BYTES),
    )


def _is(moment: type[date], form: str, text: str) -> bool:
    """Whether it is a moment that Python and Arrow know: the RFC's year 0000 is none."""
    try:
        return bool(re.fullmatch(form, text, re.ASCII)) and moment.fromisoformat(text.upper()) is not None
    except ValueError:
        return False


_FORMATS: dict[str, Callable[..., bool]] = {  # RFC 3339
    "date": partial(_is, date, r"\d{4}-\d\d-\d\d"),
    "date-time": partial(_is, datetime, r"\d{4}-\d\d-\d\d[Tt ][\d:]{8}(\.\d+)?([Zz]|[+-]\d\d:\d\d)"),
}


def _parse(text: str, key: str) -> Any:
    """The JSON value in `text`, out of a tool call's frame where `key` is not in it."""
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
    framed = isinstance(value, dict) and key not in value
    return next((value[k] for k in ("arguments", "parameters") if framed and isinstance(value.get(k), dict)), value)


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
