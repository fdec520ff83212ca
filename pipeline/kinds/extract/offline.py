"""Extraction without a model: each field of a JSON Schema from what its type, format, pattern and name say.

A line `Field name: value` wins. Otherwise the values of the field's kind that stand in the text are weighed
by the words around them: the field's name, title and description and a few synonyms. What is not found is
null; a value is only taken when the schema admits it, and its evidence is the words it was read from.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import jsonschema_rs
import regex
from docreduce.kinds.extract import offline_values as values
from docreduce.kinds.extract.offline_cues import CODE_FIELD, Field, label, weight
from docreduce.kinds.extract.offline_values import Found
from docreduce.kinds.extract.prompts import EVIDENCE, item_schema, unpack

__all__ = ["extract_items"]

Json: TypeAlias = Any
Schema: TypeAlias = Mapping[str, Any]

MAX_ARRAY = 200

_LAW_FIELD = regex.compile(
    r"(?:govern|applicable|choice|anwendbar).{0,20}(?:law|recht)|jurisdiction|適用|适用", regex.I
)
_PARTY_FIELD = regex.compile(
    r"^(?:contracting )?part(?:y|ies)$|vertragspartei|^(?:signatories|companies|company)$", regex.I
)
_YES = frozenset(("yes", "true", "ja", "y", "wahr", "是"))
_NO = frozenset(("no", "false", "nein", "n", "falsch", "否"))
_LINE = regex.compile(  # also **Label:** value and a table's | label | value |
    r"(?m)^(?P<mark>[ \t>*_|#•\-]{0,9}):?(?P<label>[\p{L}][^:：|\n]{0,59}?)[ \t*_]{0,9}(?:[:：]\**|\|)[ \t]{0,9}"
    r"(?P<value>\S[^\n]{0,999}(?:(?<=,)[ \t]{0,9}\n[ \t]{2,40}[^\n]{1,300}){0,20})(?=\n|\Z)"
)


@dataclass(slots=True)
class _Text:
    """A text and what was found in it so far, a kind at a time."""

    text: str
    cache: dict[str, list[Found]] = field(default_factory=dict)
    lines: dict[str, list[Found]] = field(default_factory=dict)  # by label

    def __post_init__(self) -> None:
        for match in _LINE.finditer(self.text):
            words = match["value"].split("|")[0] if "|" in match["mark"] else match["value"]
            words = words.rstrip()
            start = match.start("value")
            if words:
                self.lines.setdefault(label(match["label"]), []).append(Found(start, start + len(words), words))

    def all(self, kind: str, find: Callable[[str], list[Found]]) -> list[Found]:
        if kind not in self.cache:
            self.cache[kind] = find(self.text)
        return self.cache[kind]


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
    if packed:
        rows = [{"row": row, "items": _items(body, item)} for row, body in unpack(text)]
        return json.dumps({"rows": rows}, ensure_ascii=False)
    return json.dumps({"items": _items(text, item)}, ensure_ascii=False)


def _items(text: str, item: Schema) -> list[dict[str, Json]]:
    source = _Text(text)
    record: dict[str, Json] = {}
    evidence: dict[str, Json] = {}
    for one in _fields(item, item):
        record[one.name], words = _value(one, source, item)
        if words:
            evidence[one.name] = words
    return [{**record, EVIDENCE: evidence}] if evidence else []


def _fields(owner: Schema, root: Schema) -> Iterator[Field]:
    for name, raw in owner["properties"].items():
        if name != EVIDENCE and isinstance(raw, dict):
            yield _field(name, raw, root)


def _field(name: str, raw: Schema, root: Schema) -> Field:
    schema = raw
    for _ in range(8):  # a reference may lead to another; a circle ends
        reference = schema.get("$ref")
        options = [one for one in schema.get("anyOf") or schema.get("oneOf") or () if _no_null(one)]
        if isinstance(reference, str) and reference.startswith("#/"):
            found: Json = root
            for part in reference[2:].split("/"):
                found = found.get(part, {}) if isinstance(found, dict) else {}
            schema = {**schema, "$ref": None, **(found if isinstance(found, dict) else {})}
        elif options:
            schema = {**{k: v for k, v in schema.items() if k not in ("anyOf", "oneOf")}, **options[0]}
    definitions = {key: root[key] for key in ("$defs", "definitions") if key in root}
    validator = jsonschema_rs.validator_for({**raw, **definitions}, validate_formats=True)
    title = str(schema.get("title") or "")
    return Field(name, schema, title, str(schema.get("description") or ""), validator.is_valid)


def _no_null(schema: Json) -> bool:
    return isinstance(schema, dict) and schema.get("type") != "null"


def _value(one: Field, source: _Text, root: Schema) -> tuple[Json, Json]:
    """The field's value and its evidence: words, or a list of them for a list; (None, None) where none is."""
    if one.kind == "array":
        return _list(one, source, root)
    for found, value in _candidates(one, source):
        if one.admits(value):
            return value, source.text[found.start : found.end]
    return None, None


def _list(one: Field, source: _Text, root: Schema) -> tuple[Json, Json]:
    entry = one.schema.get("items")
    about = {"title": one.title, "description": one.about}
    member = _field(one.name, {**about, **(entry if isinstance(entry, dict) else {"type": "string"})}, root)
    picked: dict[Json, str] = {}
    for found, value in _members(member, source) if member.kind not in ("object", "array") else ():
        if member.admits(value) and len(picked) < MAX_ARRAY:
            picked.setdefault(value, source.text[found.start : found.end])
    return (list(picked), list(picked.values())) if picked and one.admits(list(picked)) else (None, None)


def _members(one: Field, source: _Text) -> Iterator[tuple[Found, Json]]:
    """The values of a list: those of a line that names it, or all of its kind in the text."""
    find = _finder(one)
    for line in _named_lines(one, source):
        for part in regex.finditer(r"[^,;、\s](?:[^,;、]*[^,;、\s])?", str(line.value)):
            piece = Found(line.start + part.start(), line.start + part.end(), part[0])
            yield from _read(one, piece)
        if find is None:
            return
    for found in find(source) if find else ():
        yield found, _typed(one, found)


def _candidates(one: Field, source: _Text) -> Iterator[tuple[Found, Json]]:
    """What the field's value may be, the best first."""
    for line in _named_lines(one, source):
        yield from _read(one, line)
    find = _finder(one)
    if find is None:
        return
    weighed = [(weight(one, source.text, found), found) for found in find(source)]
    for worth, found in sorted(weighed, key=lambda pair: (-pair[0], pair[1].start)):
        if worth > 0:
            yield found, _typed(one, found)


def _named_lines(one: Field, source: _Text) -> Iterator[Found]:
    for called in dict.fromkeys((label(one.title), label(one.name))):
        yield from source.lines.get(called, ())


def _read(one: Field, words: Found) -> Iterator[tuple[Found, Json]]:
    """The value that `words`, said to be the field's, hold."""
    text = str(words.value)
    if "enum" in one.schema or one.kind == "boolean":
        lower = text.strip(" .").casefold()
        if one.kind == "boolean" and lower in _YES | _NO:
            yield words, lower in _YES
        for option in one.schema.get("enum", ()):
            if str(option).casefold() == lower:
                yield words, option
    find = _finder(one)
    if find is not None and _kind(one) not in ("law", "party"):  # these are found by what stands around
        for found in find(_Text(text)):
            place = Found(words.start + found.start, words.start + found.end, found.value)
            yield place, _typed(one, found)
    if one.kind == "string":
        yield words, " ".join(text.split())


def _typed(one: Field, found: Found) -> Json:
    value: Json = found.value
    if one.kind in ("integer", "number") and isinstance(value, float) and value.is_integer():
        return int(value)
    if "enum" in one.schema:
        folded = {str(option).casefold(): option for option in one.schema["enum"]}
        return folded.get(str(value).casefold(), value)
    return value


def _finder(one: Field) -> Callable[[_Text], list[Found]] | None:
    """How values of the field's kind are found in a text; None where only a line that names it can tell."""
    if "enum" in one.schema:
        options = sorted((option for option in one.schema["enum"] if isinstance(option, str) and option), key=len)
        any_of = regex.compile(rf"(?<!\w)(?:{'|'.join(map(regex.escape, reversed(options)))})(?!\w)", regex.IGNORECASE)
        return (lambda source: values.spans(any_of, source.text)) if options else None
    pattern = one.schema.get("pattern")
    if isinstance(pattern, str) and one.kind == "string":
        return lambda source: source.all(pattern, lambda text: values.matches(pattern, text))
    kind = _kind(one)
    return (lambda source: source.all(kind, _FINDERS[kind])) if kind else None


def _kind(one: Field) -> str | None:
    """The key in _FINDERS that the field's type, format and name call for."""
    if one.kind != "string":
        return "number" if one.kind in ("integer", "number") else None
    words = one.words
    if one.dated:
        return None if one.schema.get("format") == "date-time" else "date"
    for name in (str(one.schema.get("format")), *words.split(), words):
        known = next((name for name in (_ALIASES.get(name, name), name.rstrip("s")) if name in values.FORMATS), None)
        if known:
            return known
    for pattern, kind in ((_LAW_FIELD, "law"), (_PARTY_FIELD, "party"), (CODE_FIELD, "code")):
        if pattern.search(words):
            return kind
    return None


_FINDERS: dict[str, Callable[[str], list[Found]]] = {
    "number": values.numbers,
    "date": values.dates,
    "law": values.laws,
    "party": values.parties,
    "code": partial(values.spans, values.CODE),
    **{name: partial(values.spans, pattern) for name, pattern in values.FORMATS.items()},
}
_ALIASES = {"url": "uri", "link": "uri", "homepage": "uri", "website": "uri", "e mail": "email", "telephone": "phone"}
