"""Values in the type that the schema wants, where they only stand in another spelling; what was changed is said.

"1,250.00" is a number where a number is wanted, "2024-01-02 15:00" a date-time, "Red" the "red" of an enumeration, ""
in a field with a format is null.
What could mean two things ("1,25,0"), or more than a number ("5 kg"), stays as it is, and the schema refuses it.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from datetime import date
from typing import Any

from docreduce.kinds.extract.paths import Path, empty, shown
from docreduce.kinds.extract.walking import BRANCHES, named, placed

__all__ = ["Coerced", "coerce_item", "number_of"]

Coerced = dict[str, str]
"""By path, what a value was made of."""

_PARTS = frozenset({"properties", "patternProperties", "additionalProperties", "items", "prefixItems"})
"""Keywords with schemas of a value's parts."""
_SIGNS = str.maketrans("−–٫٬", "--.,")
_GROUPED = re.compile(r"[1-9]\d{0,2}(?:(?P<sep>[,.'’ ])\d{3})(?:(?P=sep)\d{3})*(?P<rest>[.,]\d+)?")
_INDIAN = re.compile(r"[1-9]\d?(,\d\d)+,\d{3}(\.\d+)?")
_PLAIN = re.compile(r"(?P<whole>\d*)(?:[.,](?P<part>\d+))?")
_SCIENTIFIC = re.compile(r"(?P<whole>\d+)(?:[.,](?P<part>\d+))?[eE](?P<power>[+-]?\d{1,3})")
_EITHER = re.compile(r"(?<![\d.,])[1-9]\d{0,2}[.,]\d{3}(?![\d.,]|[eE][+-]?\d)")
_CODES = (
    "AED|ARS|AUD|BRL|CAD|CHF|CLP|CNY|COP|CZK|DKK|EGP|EUR|GBP|HKD|HUF|IDR|ILS|INR|ISK|JPY|KRW|MXN|MYR|NGN|NOK|NZD|PHP|PKR"
    "|PLN|RON|RUB|SAR|SEK|SGD|THB|TRY|TWD|UAH|USD|VND|ZAR"
)
"""ISO 4217, of what is traded most (BIS triennial survey) and where most people live."""
_MONEY = rf"(?:[A-Z]{{0,3}}¤|(?<![A-Za-z])(?:{_CODES})(?![A-Za-z]))"
_CURRENCY = re.compile(rf"^{_MONEY}\s*|\s*{_MONEY}$")
_MINUTES = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d)(:\d\d(?:\.\d+)?)?\s*([Zz]|[+-]\d\d:?\d\d)?")


def coerce_item(value: Any, schema: Any, path: Path = ()) -> tuple[Any, Coerced]:
    """`value` in the types of `schema`, and what was changed, by path."""
    changed: Coerced = {}
    return _coerced(value, schema, path, changed), changed


def number_of(text: str) -> int | float | None:
    """The number that `text` is, with its separators, a currency or percent sign around it; None where it is none.

    A lone comma before three digits divides thousands, a lone point decimals; behind a lone 0 both divide decimals."""
    plain = unicodedata.normalize("NFKC", text).strip()
    plain = "".join(str(unicodedata.decimal(sign)) if sign.isdecimal() else sign for sign in plain)
    plain = plain.translate(_SIGNS)
    negative = plain.startswith("(") and plain.endswith(")")
    plain = plain[1:-1] if negative else plain
    plain = plain.strip().removesuffix("%").strip()
    before, plain = _sign(plain)
    plain = "".join("¤" if unicodedata.category(letter) == "Sc" else letter for letter in plain)
    plain = re.sub(r"\s", " ", _CURRENCY.sub("", plain, count=1))
    after, plain = ("", plain) if before else _sign(plain)  # $-5, and 5- as accountants write it
    sign = before or after
    if (grouped := _GROUPED.fullmatch(plain)) and (grouped["rest"] or grouped["sep"] != "." or plain.count(".") > 1):
        if grouped["rest"] and grouped["rest"][0] == grouped["sep"]:
            return None
        whole = plain[: grouped.start("rest")] if grouped["rest"] else plain
        digits = re.sub(r"\D", "", whole) + (f".{grouped['rest'][1:]}" if grouped["rest"] else "")
    elif _INDIAN.fullmatch(plain):
        digits = plain.replace(",", "")
    elif (single := _PLAIN.fullmatch(plain)) and any(single.groups()):
        digits = single["whole"] + (f".{single['part']}" if single["part"] else "")
    elif power := _SCIENTIFIC.fullmatch(plain):
        digits = f"{power['whole']}.{power['part'] or 0}e{power['power']}"
    else:
        return None
    number = float(digits) if "." in digits else int(digits)
    return -number if (sign == "-") != negative else number


def _sign(text: str) -> tuple[str, str]:
    """The sign that stands before or, as a minus, behind `text`, and the rest."""
    if text[:1] in {"-", "+"}:
        return text[0], text[1:].lstrip()
    return ("-", text[:-1].rstrip()) if text[-1:] == "-" else ("", text)


def _coerced(value: Any, schema: Any, path: Path, changed: Coerced) -> Any:
    if not isinstance(schema, Mapping):
        return value
    branches = [branch for word in BRANCHES for branch in schema.get(word, ())]
    if branches and schema.keys().isdisjoint(_PARTS):
        return _in_branches(value, schema, branches, path, changed)
    if isinstance(value, dict):
        return {name: _coerced(part, named(schema, name), (*path, name), changed) for name, part in value.items()}
    if isinstance(value, list):
        return [_coerced(part, placed(schema, at), (*path, at), changed) for at, part in enumerate(value)]
    return _scalar(value, schema, path, changed)


def _in_branches(value: Any, schema: Mapping[str, Any], branches: list[Any], path: Path, changed: Coerced) -> Any:
    """By the one branch that is for such a value; a scalar only where no branch takes it as it is."""
    kind = "object" if isinstance(value, dict) else "array" if isinstance(value, list) else None
    fitting = [one for one in branches if isinstance(one, Mapping) and (kind is None or kind in _types(one))]
    if kind is None:
        own = "string" if isinstance(value, str) else None
        if own is None or any(own in _types(one) and not _formatted(one) for one in fitting):
            return value
    for one in fitting:
        inner: Coerced = {}
        new = _coerced(value, one, path, inner)
        if kind is not None or inner:
            changed.update(inner)
            return new
    return value


def _types(schema: Mapping[str, Any]) -> set[str]:
    kind = schema.get("type", "object" if "properties" in schema else [])
    return {kind} if isinstance(kind, str) else set(kind)


def _formatted(schema: Mapping[str, Any]) -> bool:
    return not schema.keys().isdisjoint({"format", "enum", "const", "pattern", "minLength"})


def _scalar(value: Any, schema: Mapping[str, Any], path: Path, changed: Coerced) -> Any:
    types = _types(schema)
    new = value
    if isinstance(value, str):
        if empty(value) and (_formatted(schema) or (types and "string" not in types)):
            new = None if value not in schema.get("enum", ()) else value
        elif types & {"number", "integer"} and "string" not in types:
            number = number_of(value)
            new = value if number is None else number
        elif "boolean" in types and "string" not in types and value.strip().lower() in {"true", "false"}:
            new = value.strip().lower() == "true"
        elif schema.get("format") in {"date", "date-time"}:
            new = _moment(value.strip(), schema["format"])
    if isinstance(new, str):
        new = _member(new, schema)
    if (
        isinstance(new, float)
        and "integer" in types
        and "number" not in types
        and new.is_integer()
        and abs(new) < 2**63
    ):
        new = int(new)
    if said := _said(value, new, schema):
        changed[shown(path)] = said
    return new


def _member(text: str, schema: Mapping[str, Any]) -> Any:
    """The one value of an `enum` or `const` that `text` spells, whatever its case; `text` where it is none or two."""
    members = [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else [])]
    if text in members:
        return text
    spelled = text.strip().casefold()
    meant = [one for one in members if (one if isinstance(one, str) else json.dumps(one)).strip().casefold() == spelled]
    return meant[0] if len(meant) == 1 and meant[0] is not None else text


def _said(value: Any, new: Any, schema: Mapping[str, Any]) -> str:
    said = []
    if (new != value or type(new) is not type(value)) and new is not None and not isinstance(value, float):
        said.append(f"from {value!r}")
        if isinstance(value, str) and isinstance(new, int | float) and _EITHER.search(value):
            said.append("its separator could divide thousands or decimals")
    if schema.get("format") == "date-time" and isinstance(new, str):
        local = _MINUTES.fullmatch(new)
        said += ["a local time: no offset is stated, it stands as UTC"] if local and not local[4] else []
    return "; ".join(said)


def _moment(text: str, kind: str) -> str:
    """The date or date-time in the spelling of RFC 3339, as far as it is stated; `text` where it is neither."""
    whole = _MINUTES.fullmatch(text)
    if kind == "date":
        return whole[1] if whole else text
    if whole:
        offset = (whole[4] or "").upper()
        offset = f"{offset[:3]}:{offset[3:]}" if len(offset) == 5 else offset
        return f"{whole[1]}T{whole[2]}{whole[3] or ':00'}{offset}"
    try:
        return f"{date.fromisoformat(text).isoformat()}T00:00:00" if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else text
    except ValueError:
        return text
