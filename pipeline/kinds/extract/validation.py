"""JSON Schema, checked: compiled once, nothing fetched, patterns in linear time, dates that are real ones."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date, datetime, time
from functools import lru_cache, partial
from itertools import islice
from typing import Any

from jsonschema_rs import RegexOptions, Validator, validator_for

__all__ = ["schema_errors", "validator"]

MAX_ERRORS = 5
"""Errors of one answer that are named."""
_REGEX_BYTES = 2**20


def schema_errors(value: Any, schema: str, most: int = MAX_ERRORS) -> list[str]:
    """What is wrong with `value` by `schema`, as "path: reason", at most `most`; empty where it is valid."""
    try:
        errors = islice(validator(schema).iter_errors(value), most)
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


def _is(moment: type[date] | type[time], form: str, text: str) -> bool:
    """Whether it is a moment that Python and Arrow know: the RFC's year 0000 is none."""
    try:
        return bool(re.fullmatch(form, text, re.ASCII)) and moment.fromisoformat(text.upper()) is not None
    except ValueError:
        return False


_TIME = r"\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d)?"
_FORMATS: dict[str, Callable[..., bool]] = {
    # RFC 3339, and what documents have: local times, without seconds.
    "date": partial(_is, date, r"\d{4}-\d\d-\d\d"),
    "date-time": partial(_is, datetime, r"\d{4}-\d\d-\d\d[Tt ]" + _TIME),
    "time": partial(_is, time, _TIME),
}
