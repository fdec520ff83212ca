"""Whether a value stands in the words quoted for it: a number, a date, a name, however they are written.

Nothing is said (None) of what cannot stand in a text: a yes or no, a category.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any

import regex
from docreduce.kinds.extract.coercion import number_of
from docreduce.text.alignment import fold

__all__ = ["value_in_quote"]

_NUMBER = regex.compile(r"\p{Nd}+(?:[.,'’٫٬ \u00a0\u202f]\p{Nd}+)*")
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d))?.*")
_SCALES = {
    **dict.fromkeys(("k", "thousand", "tausend", "mille", "mil", "тыс", "千"), 1e3),
    **dict.fromkeys(("m", "mn", "mm", "mio", "million", "millionen", "millions", "millones", "milioni", "млн"), 1e6),
    **dict.fromkeys(("b", "bn", "mrd", "billion", "milliarden", "milliards", "миллиардов", "млрд"), 1e9),
    **dict.fromkeys(("万", "萬"), 1e4),
    **dict.fromkeys(("亿", "億"), 1e8),
}
_WORDS = regex.compile(r"[\p{L}\p{M}]+|\p{N}+")
_UNITS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SPELLED = dict(zip(_UNITS, range(20), strict=True)) | dict(zip(_TENS, range(20, 100, 10), strict=True))


def value_in_quote(value: Any, quote: str, schema: Any = None) -> bool | None:
    """Whether `value` stands in `quote`; None where it need not, by its type or by the schema's closed set."""
    closed = isinstance(schema, Mapping) and ("enum" in schema or "const" in schema)
    if value is None or isinstance(value, bool | dict | list):
        return None
    if isinstance(value, int | float):
        return None if closed else _has_number(float(value), quote)
    if _DATE.fullmatch(value):
        return _has_date(value, quote)
    stands = _has_words(value, quote)
    return None if closed and not stands else stands


def _has_number(value: float, quote: str) -> bool:
    return any(math.isclose(abs(value), abs(number), rel_tol=1e-9) for number in _numbers(quote))


@lru_cache(maxsize=2**12)
def _numbers(quote: str) -> tuple[float, ...]:
    """Every number that stands in `quote`, in each way it can be read."""
    found: list[float] = []
    for match in _NUMBER.finditer(quote):
        raw = match.group()
        parts = [raw, *re.split(r"\s", raw)]
        read = [number for part in parts if (number := number_of(part)) is not None]
        for decimal in ".,":  # 1,250 and 1.250 can be either
            plain = re.sub(rf"[^\d{decimal}]", "", unicodedata.normalize("NFKC", raw))
            if plain.count(decimal) <= 1 and plain.strip(decimal):
                read.append(float(plain.replace(",", ".")))
        after = quote[match.end() : match.end() + 14].lstrip(" -\u00a0.").casefold()
        word = _WORDS.match(after)
        scale = _SCALES.get(
            word.group() if word else after[:1], _SCALES.get(after[:1] if after[:1] >= "\u2e80" else "", 1.0)
        )
        found += [number * by for number in read for by in {1.0, scale}]
        if quote[match.end() : match.end() + 2].lstrip().startswith(("%", "٪", "％")):
            found += [number / 100 for number in read]
    spelled = [_SPELLED[word] for word in _WORDS.findall(quote.casefold()) if word in _SPELLED]
    return (
        *found,
        *map(float, spelled),
        *(float(a + b) for a, b in pairwise(spelled) if a >= 20 > b),
    )


def _has_date(value: str, quote: str) -> bool:
    """Day, month and year stand there as numbers, or the month as a word, of whatever language."""
    match = _DATE.fullmatch(value)
    year, month, day, hour, minute = match.groups() if match else ("",) * 5
    plain = fold(quote)
    there = [int(digits) for digits in re.findall(r"\d+", plain)]
    if f"{year}{month}{day}" in plain:
        return True
    years = {int(year), int(year) % 100}
    named = bool(regex.search(r"\p{L}{3,}", quote))
    if not (years & set(there) and int(day) in there and (named or int(month) in there)):
        return False
    midnight = (hour, minute) in {(None, None), ("00", "00")}
    return midnight or (int(minute) in there and bool({int(hour), int(hour) % 12, int(hour) - 12} & set(there)))


def _has_words(value: str, quote: str) -> bool:
    if value in quote:
        return True
    wanted, there = fold(value), fold(quote)
    if wanted in there:
        return True
    words = [fold(word) for word in _WORDS.findall(quote)]
    rest = iter(words)
    mine = [fold(word) for word in _WORDS.findall(value)]
    return bool(mine) and all(word in rest for word in mine)
