"""Extraction without a model: each field of a JSON Schema from what its type, format, pattern and name say.

First comes a line that names the field: `Field name: value`, `**Field name:** value`, `| Field name | value |`, or
the name alone over a list. Then a value of the field's kind with the field's name right by it, between the same
commas or full stops. Last, where the form alone tells (a format, a pattern, an option, or a field that is called by
its type), the only value of that form in the text; a pattern and a type take the first one. Everything else is null: a
value is taken only where the schema admits it, and its evidence is the words it was read from. An object is filled
from lines that name it and its field (`Seller e-mail: …`); an array of objects is left to a model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, TypeAlias

import jsonschema_rs
import regex
from docreduce.kinds.extract import offline_values as values
from docreduce.kinds.extract.offline_values import Found
from docreduce.kinds.extract.paths import EVIDENCE
from docreduce.kinds.extract.prompts import item_schema, unpack

__all__ = ["extract_items"]

Json: TypeAlias = Any
Schema: TypeAlias = Mapping[str, Any]
Finder: TypeAlias = Callable[[str], list[Found]]

MAX_ARRAY = 200
"""Values of one list that are taken."""
NEAR_CHARS = 60
"""How far before or after a value the words count that name it; 60 to 200 find the same dates in the contracts."""
STEM_CHARS = 7
"""Characters of a name's word that have to stand there: "terminat" is in termination and terminate."""

_YES = frozenset(("yes", "true", "ja", "oui", "sí", "да", "是", "y", "☒", "☑", "[x]"))
_NO = frozenset(("no", "false", "nein", "non", "нет", "否", "n", "☐", "[ ]"))
_LINE = regex.compile(  # all repeats are bounded: a search is linear in the text
    r"(?m)^(?P<mark>[ \t>*_|#•\-]{0,9}):?(?P<label>[\p{L}][^:：|\n]{0,59}?)[ \t*_]{0,9}(?:[:：]\**|\|)[ \t]{0,9}"
    r"(?P<value>\S[^\n]{0,999}(?:(?<=,)[ \t]{0,9}\n[ \t]{2,40}[^\n]{1,300}){0,20})(?=\n|\Z)"
)
_LIST = regex.compile(
    r"(?m)^[ \t>*_#]{0,9}(?P<label>\p{L}[^:：|\n]{0,59}?)[ \t*_]{0,9}[:：]?[ \t*_]{0,9}\n\n?"
    r"(?P<items>(?:[ \t]{0,9}(?:[-*•–]|\d{1,3}[.)])[ \t]{1,9}[^\n]{1,300}(?:\n|\Z)){1,200})"
)
_ENTRY = regex.compile(r"(?m)^[ \t]{0,9}(?:[-*•–]|\d{1,3}[.)])[ \t]{1,9}(?P<value>\S[^\n]*)")
_PART = regex.compile(r"[^,;、\s](?:[^,;、]*[^,;、\s])?")
_WORD = regex.compile(r"\p{L}[\p{L}\p{N}]+")
_LABEL = regex.compile(r"[\s>*_|#:\-–•`\"]+")
_CLAUSE = regex.compile(r"\d|[,;]\s|[.!?]\s(?=\P{Ll})|[。！？；，।]|\n\s*\n|\b(?:and|und|et|y|or|oder)\b")
_UNIT = regex.compile(r"\b(?:second|minute|hour|day|week|month|year)(?=s\b)|\bpercent\b|%")
"""A field that is called by its unit takes numbers of that unit alone."""
_UNIT_FORMS = {"percent": "(?:%|percent|prozent)"}
_AFTER_DIGITS = regex.compile(r"(?<=\d)\D*+$")
_MONEY_WORDS = frozenset(("amount", "betrag", "montant", "value", "usd", "eur", "gbp"))
_OTHER_TYPE_WORDS = (
    "date datum day time number code id no nr email mail e uri url link website homepage address phone telephone "
    "of the a an in on to for and or"
)
_TYPE_WORDS = _MONEY_WORDS.union(_OTHER_TYPE_WORDS.split())
"""Words in a field's name that say what sort of value it is, not which."""
_FORMAT_NAMES = {**dict.fromkeys(("url", "link", "homepage", "website"), "uri"), "mail": "email", "telephone": "phone"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """A field as its schema describes it, without the choice of null. A request's schema has no references."""

    name: str
    schema: Schema
    labels: tuple[str, ...]  # its title, its name
    cues: tuple[regex.Pattern[str], ...]  # the words of its name that say which value it is
    unit: regex.Pattern[str] | None  # what has to follow its number
    admits: Callable[[Any], bool]

    @property
    def kind(self) -> str:
        declared = self.schema.get("type")
        types = [declared] if isinstance(declared, str) else [t for t in declared or () if t != "null"]
        return str(types[0]) if types else ("object" if "properties" in self.schema else "string")


@dataclass(slots=True)
class _Text:
    """A text, its lines by what they name, and what was found in it so far, a kind at a time."""

    text: str
    found: dict[Finder, list[Found]] = field(default_factory=dict)
    lines: dict[str, list[Found]] = field(default_factory=dict)
    lists: dict[str, list[Found]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for match in _LINE.finditer(self.text):
            words = match["value"].split("|")[0] if "|" in match["mark"] else match["value"]
            self._name(self.lines, match["label"], match.start("value"), words)
        for match in _LIST.finditer(self.text):
            for entry in _ENTRY.finditer(match["items"]):
                self._name(self.lists, match["label"], match.start("items") + entry.start("value"), entry["value"])

    def _name(self, named: dict[str, list[Found]], label: str, start: int, words: str) -> None:
        if words := words.rstrip("* \t\r\n"):
            named.setdefault(_label(label), []).append(Found(start, start + len(words), words))

    def all(self, find: Finder) -> list[Found]:
        if find not in self.found:
            self.found[find] = find(self.text)
        return self.found[find]


def extract_items(text: str, schema: str) -> str:
    """The answer to an extraction as JSON text: `{"items": […]}`, with at most one item, and none where
    nothing was found; `{"rows": […]}` for packed rows. `schema` is the request's, or that of one item.

    Raises ValueError for a schema that describes no object."""
    try:
        item, packed = item_schema(schema)
    except ValueError:
        item, packed = json.loads(schema), False
    if not isinstance(item, dict) or not isinstance(item.get("properties"), dict):
        raise ValueError("the schema describes no object with properties")
    fields = [
        _field(name, raw) for name, raw in item["properties"].items() if name != EVIDENCE and isinstance(raw, dict)
    ]
    if packed:
        rows = [{"row": row, "items": _items(body, fields)} for row, body in unpack(text)]
        return json.dumps({"rows": rows}, ensure_ascii=False)
    return json.dumps({"items": _items(text, fields)}, ensure_ascii=False)


def _items(text: str, fields: list[_Field]) -> list[dict[str, Json]]:
    source = _Text(text)
    record: dict[str, Json] = {}
    evidence: dict[str, Json] = {}
    for one in fields:
        record[one.name], words = _value(one, source)
        if words:
            evidence[one.name] = words
    return [{**record, EVIDENCE: evidence}] if evidence else []


def _field(name: str, raw: Schema, owner: str = "") -> _Field:
    options = [one for one in raw.get("anyOf") or raw.get("oneOf") or () if isinstance(one, dict)]
    schema = {**raw, **next((one for one in options if one.get("type") != "null"), {})}
    for part in raw.get("allOf") or ():
        schema |= part if isinstance(part, dict) else {}
    names = (schema.get("title"), name)
    labels = tuple(dict.fromkeys(_label(f"{owner} {text}") for text in names if isinstance(text, str))) or ("",)
    unit = _UNIT.search(labels[0])
    named = _WORD.findall(_UNIT.sub("", labels[0]))
    return _Field(
        name=name,
        schema=schema,
        labels=labels,
        admits=jsonschema_rs.validator_for(dict(raw), validate_formats=True).is_valid,
        cues=tuple(regex.compile(_cue(word), regex.I) for word in named if word not in _TYPE_WORDS),
        unit=regex.compile(rf"\W{{0,3}}{_UNIT_FORMS.get(unit[0], unit[0])}", regex.I) if unit else None,
    )


def _cue(word: str) -> str:
    """A word of a field's name as it may stand in a text: with another ending, or as its beginning."""
    return rf"(?<!\p{{L}}){word[:STEM_CHARS]}" + (r"\p{L}{0,3}(?!\p{L})" if len(word) < STEM_CHARS else "")


def _value(one: _Field, source: _Text) -> tuple[Json, Json]:
    """The field's value and its evidence: words, or a list of them for a list or an object; (None, None) for none."""
    if one.kind == "object":
        return _object(one, source)
    if one.kind == "array":
        return _array(one, source)
    for found, value in _candidates(one, source):
        if one.admits(value):
            return value, source.text[found.start : found.end]
    return None, None


def _object(one: _Field, source: _Text) -> tuple[Json, Json]:
    record: dict[str, Json] = {}
    evidence: list[str] = []
    for name, raw in (one.schema.get("properties") or {}).items():
        part = _field(name, raw if isinstance(raw, dict) else {}, one.name)
        read = (read for line in _named(part, source.lines) for read in _read(part, line) if part.admits(read[1]))
        if (first := next(read, None)) is not None:
            record[name] = first[1]
            evidence.append(source.text[first[0].start : first[0].end])
    return (record, evidence) if record and one.admits(record) else (None, None)


def _array(one: _Field, source: _Text) -> tuple[Json, Json]:
    entry = one.schema.get("items")
    member = _field(one.name, {"title": one.labels[0], **(entry if isinstance(entry, dict) else {"type": "string"})})
    picked: dict[Json, str] = {}
    for found, value in _members(member, source) if member.kind not in ("object", "array") else ():
        if member.admits(value) and len(picked) < MAX_ARRAY:
            picked.setdefault(value, source.text[found.start : found.end])
    return (list(picked), list(picked.values())) if picked and one.admits(list(picked)) else (None, None)


def _members(one: _Field, source: _Text) -> Iterator[tuple[Found, Json]]:
    """The values of a list: those that a line or list names as it; else those of its form in the text."""
    for entry in _named(one, source.lists):
        yield from list(_read(one, entry))[:1]
    for line in _named(one, source.lines):
        parts = [Found(line.start + p.start(), line.start + p.end(), p[0]) for p in _PART.finditer(str(line.value))]
        typed = list(_values_in(one, line))
        yield from typed or [value for part in parts for value in _read(one, part)]
    if any(called in source.lists or called in source.lines for called in one.labels):
        return
    for found in source.all(_finder(one)):
        if _tells_itself(one, found) or _near(one, source.text, found):
            yield found, _typed(one, found)


def _candidates(one: _Field, source: _Text) -> Iterator[tuple[Found, Json]]:
    """What the field's value may be, the best first."""
    for line in _named(one, source.lines):
        yield from _read(one, line)
    every = source.all(_finder(one))
    for found in every:  # a document says first what it is about
        if _near(one, source.text, found):
            yield found, _typed(one, found)
    first = not one.cues or "pattern" in one.schema
    if first or len({found.value for found in every}) == 1:
        for found in every:
            if _tells_itself(one, found):
                yield found, _typed(one, found)


def _named(one: _Field, named: Mapping[str, list[Found]]) -> Iterator[Found]:
    for called in one.labels:
        yield from named.get(called, ())


def _read(one: _Field, words: Found) -> Iterator[tuple[Found, Json]]:
    """The value that `words`, said to be the field's, hold."""
    text = str(words.value)
    lower = text.strip(" .").casefold()
    if one.kind == "boolean" and lower in _YES | _NO:
        yield words, lower in _YES
    yield from _values_in(one, words)
    if one.kind == "string":
        yield words, " ".join(text.split())


def _values_in(one: _Field, words: Found) -> Iterator[tuple[Found, Json]]:
    for found in _finder(one)(str(words.value)):
        yield Found(words.start + found.start, words.start + found.end, found.value), _typed(one, found)


def _typed(one: _Field, found: Found) -> Json:
    value: Json = found.value
    if "enum" in one.schema:
        folded = {str(option).casefold(): option for option in one.schema["enum"]}
        return folded.get(str(value).casefold(), value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _finder(one: _Field) -> Finder:
    """How values of the field's kind are found in a text; none are where only a line that names it can tell."""
    if "enum" in one.schema:
        options = sorted((str(option) for option in one.schema["enum"] if option is not None), key=len, reverse=True)
        any_of = rf"(?<!\w)(?:{'|'.join(map(regex.escape, filter(None, options)))})(?!\w)"
        return partial(values.spans, regex.compile(any_of, regex.I)) if any(options) else _nothing
    pattern = one.schema.get("pattern")
    if isinstance(pattern, str) and one.kind == "string":
        return partial(values.matches, pattern)
    return _FINDERS.get(_kind(one), _nothing)


def _nothing(text: str) -> list[Found]:
    return []


def _kind(one: _Field) -> str:
    """The key in _FINDERS that the field's type, format and name call for."""
    if one.kind in ("integer", "number"):
        return "number"
    if one.kind != "string":
        return ""
    words = one.labels[0].split()
    names = [str(one.schema.get("format")), *(_FORMAT_NAMES.get(word, word) for word in words)]
    return next((name for word in names for name in (word, word.rstrip("s")) if name in _FINDERS), "")


def _near(one: _Field, text: str, found: Found) -> bool:
    """Whether all words of the field's name stand in the value's clause, and its unit right behind the number."""
    if one.unit and one.kind in ("integer", "number"):
        digits = _AFTER_DIGITS.search(text, found.start, found.end)
        if digits is None or not one.unit.match(text, digits.start()):
            return False
    after = _CLAUSE.split(text[found.end : found.end + NEAR_CHARS], maxsplit=1)[0]
    before = _CLAUSE.split(text[max(0, found.start - NEAR_CHARS) : found.start])[-1]
    return bool(one.cues or one.unit) and all(cue.search(f"{before} {after}") for cue in one.cues)


def _tells_itself(one: _Field, found: Found) -> bool:
    """Whether the value needs no word of the field by it: its form alone says what it is."""
    if "enum" in one.schema or "pattern" in one.schema or _kind(one) in values.FORMATS:
        return found.end - found.start >= 3  # "a" or "no" is in every text
    if one.kind == "string":
        return not one.cues
    return found.money and not one.cues and not _MONEY_WORDS.isdisjoint(one.labels[0].split())


@lru_cache(maxsize=4096)
def _label(text: str) -> str:
    """A field's name or a line's label as lower-case words, without what stands in brackets."""
    spaced = regex.sub(r"(?<=\p{Ll})(?=\p{Lu})", " ", regex.sub(r"\([^)]*\)", "", text))
    return _LABEL.sub(" ", spaced).strip(" .").casefold().replace("e mail", "email")


_FINDERS: dict[str, Finder] = {
    "number": values.numbers,
    "date": values.dates,
    **{name: partial(values.spans, pattern) for name, pattern in values.FORMATS.items()},
}
