"""Values of a kind that stand in a text: dates, numbers, what has a format, what matches a pattern.

Every finder gives `Found` with the exact words and what they mean, in the order of the text. All patterns
bound their repeats, so time is linear in the text; a pattern of the user's runs under a time limit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import regex

__all__ = ["FORMATS", "Found", "dates", "matches", "numbers", "spans"]

PATTERN_TIMEOUT_S = 0.5
"""A user's pattern may be exponential in `regex`; what it found until then counts."""
MAX_REPEAT = 10_000
"""Product of a pattern's counted repeats: beyond it compiling takes seconds."""
MAX_FOUND = 10_000
"""Values of one kind looked at in one text."""


@dataclass(frozen=True, slots=True)
class Found:
    """`text[start:end]` are the words, `value` is their meaning in JSON. `money`: a currency stands by it."""

    start: int
    end: int
    value: str | float
    money: bool = False


FORMATS = {
    "email": regex.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,5}\p{L}{2,24}(?!\w)"),
    "uri": regex.compile(r"\b(?:https?|ftp)://[^\s<>\"'）」]{1,2000}[^\s<>\"'）」.,;:!?)\]}]|\bwww\.[\w./-]{3,200}\w"),
    "date-time": regex.compile(r"(?<!\d)\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)(?!\d)"),
    "ipv4": regex.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])"),
    "uuid": regex.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"),
    "phone": regex.compile(r"(?<![\w.])(?:\+\d|\(0\d|0\d|\(\d{3}\) ?\d)[\d() .-]{5,18}\d(?!\w)"),
    "iban": regex.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b"),
    "doi": regex.compile(r"\b10\.\d{4,9}/[^\s<>\"]{1,200}[^\s<>\".,;)]"),
}
"""JSON Schema formats and well-known names, to the words that have them."""

_MONTH_FORMS = (
    "jan(?:uary|uar)?|jän(?:ner)? feb(?:ruary|ruar)? mar(?:ch)?|märz apr(?:il)? may|mai june?|juni july?|juli "
    "aug(?:ust)? sept?(?:ember)? oct(?:ober)?|okt(?:ober)? nov(?:ember)? dec(?:ember)?|dez(?:ember)?"
)
_MONTHS = _MONTH_FORMS.split()
_MONTH = rf"(?P<month>(?:{'|'.join(_MONTHS)})(?!\p{{L}})\.?)"
_DATES = tuple(
    regex.compile(pattern, regex.IGNORECASE)
    for pattern in (
        r"(?<!\d)(?P<y>\d{4})(?:(?P<sep>[-/])(?P<m>\d\d?)(?P=sep)(?P<d>\d\d?)|年(?P<m>\d\d?)月(?P<d>\d\d?)日)(?!\d)",
        rf"(?<!\p{{L}}){_MONTH}\s{{0,3}}(?P<d>\d{{1,2}})(?:st|nd|rd|th)?\s{{0,2}},?\s{{0,3}}(?P<y>\d{{4}})(?!\d)",
        rf"(?<!\d)(?P<d>\d{{1,2}})(?:st|nd|rd|th|\.)?[\s-]{{0,3}}(?:day\s{{1,3}}of\s{{1,3}})?{_MONTH},?[\s-]{{0,3}}(?P<y>\d{{4}})(?!\d)",
        r"(?<![\d.])(?P<d>\d{1,2})\.\s?(?P<m>\d{1,2})\.\s?(?P<y>\d{4})(?!\d)",
        r"(?<![\d/])(?P<a>\d{1,2})(?P<sep>[/-])(?P<b>\d{1,2})(?P=sep)(?P<y>\d{4}|\d{2})(?![\d/])",
    )
)
_CURRENCY = r"(?:US\$|USD|EUR|GBP|CHF|CNY|RMB|JPY|[$€£¥])"
_NUMBER = regex.compile(
    rf"(?<![\w.,/§-])(?P<before>{_CURRENCY}\s{{0,2}})?(?P<sign>[-−+](?=\d))?"
    r"(?P<digits>\d{1,3}(?:[,.'’\u00a0\u202f ]\d{3}){1,6}(?!\d)(?:[.,]\d{1,9})?|\d{1,18}(?:[.,]\d{1,9})?)(?![.,/:-]?\d)"
    r"(?:\s{0,2}(?P<scale>thousand|million|billion|trillion|Tsd|Mio|Mrd|Millionen|Milliarden)\b\.?)?"
    rf"(?P<after>\s{{0,2}}(?:{_CURRENCY}|dollars|euros?|%|percent|Prozent|万元|元))?",
    regex.IGNORECASE,
)
_SCALE = {"th": 1e3, "ts": 1e3, "mi": 1e6, "bi": 1e9, "mr": 1e9, "tr": 1e12}  # by the word's first two letters


def dates(text: str) -> list[Found]:
    """Calendar dates as YYYY-MM-DD; 3/4/2020 is none, since nobody can tell the month from the day."""
    found = []
    for pattern in _DATES:
        for match in _limited(pattern, text):
            parts = match.groupdict()
            year = int(parts["y"]) + (0 if len(parts["y"]) == 4 else 2000 if int(parts["y"]) < 70 else 1900)
            if name := parts.get("month"):
                month, day = _month(name), int(parts["d"])
            elif "a" in parts:
                month, day = sorted((int(parts["a"]), int(parts["b"])))
                if month < day <= 12:
                    continue
            else:
                month, day = int(parts["m"]), int(parts["d"])
            try:
                found.append(Found(match.start(), match.end(), date(year, month, day).isoformat()))
            except ValueError:
                continue  # 31 February: no date
    return _disjoint(found)


def numbers(text: str) -> list[Found]:
    """Numbers that are no part of a date or code; million and the like are multiplied out."""
    taken = [(item.start, item.end) for item in dates(text)]
    found = []
    for match in _limited(_NUMBER, text):
        parts = match.groupdict()
        while taken and taken[0][1] <= match.start():
            taken.pop(0)
        if taken and taken[0][0] < match.end():
            continue
        money = bool(parts["before"] or (parts["after"] and not regex.search("%|per|Proz", parts["after"])))
        number = _number(parts["digits"], money)
        if number is not None:
            value = number * _scale(parts["scale"]) * (-1 if parts["sign"] in ("-", "−") else 1)
            found.append(Found(match.start(), match.end(), round(value, 9), money))
    return found


def spans(pattern: regex.Pattern[str], text: str) -> list[Found]:
    """The words that match `pattern`, as they stand."""
    return [Found(match.start(), match.end(), match[0]) for match in _limited(pattern, text)]


def matches(pattern: str, text: str) -> list[Found]:
    """Whole words that match a JSON Schema `pattern`; nothing where it is no pattern or takes too long."""
    bare = regex.sub(r"^\^|(?<!\\)\$$", "", pattern)
    if math.prod(int(number) for number in regex.findall(r"[{,](\d{1,9})(?=[,}])", bare) if int(number)) > MAX_REPEAT:
        return []
    found: list[Found] = []
    try:
        for match in regex.finditer(rf"(?<!\w)(?:{bare})(?!\w)", text, timeout=PATTERN_TIMEOUT_S, concurrent=True):
            if match[0]:
                found.append(Found(match.start(), match.end(), match[0]))
            if len(found) == MAX_FOUND:
                break
    except (regex.error, TimeoutError, RecursionError, OverflowError):
        return found
    return found


def _limited(pattern: regex.Pattern[str], text: str) -> Iterator[regex.Match[str]]:
    for match, _ in zip(pattern.finditer(text), range(MAX_FOUND), strict=False):
        yield match


def _disjoint(found: list[Found]) -> list[Found]:
    kept: list[Found] = []
    for item in sorted(found, key=lambda item: (item.start, -item.end)):
        if not kept or item.start >= kept[-1].end:
            kept.append(item)
    return kept


def _month(name: str) -> int:
    word = name.rstrip(".").lower()
    return next(number for number, pattern in enumerate(_MONTHS, 1) if regex.fullmatch(pattern, word))


def _number(digits: str, money: bool) -> float | None:
    plain = regex.sub(r"[ '’\u00a0\u202f]", "", digits)
    marks = [mark for mark in plain if mark in ".,"]
    if not marks:
        return int(plain)
    last = marks[-1]
    grouped = len(plain) - plain.rindex(last) == 4 and (marks.count(last) > 1 or last == "," or money)
    if grouped and len(set(marks)) == 1:
        return int(plain.replace(last, ""))
    if marks.count(last) > 1:
        return None  # 604.684.2255 is no number
    other = "," if last == "." else "."
    return float(plain.replace(other, "").replace(last, "."))


def _scale(word: str | None) -> float:
    if not word:
        return 1
    return 1e9 if word.lower() == "milliarden" else _SCALE[word[:2].lower()]
