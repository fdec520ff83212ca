"""What a field of a schema is called, and how far the words around a value speak of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import regex
from docreduce.kinds.extract.offline_values import Found

__all__ = ["CODE_FIELD", "Field", "label", "weight"]

BEFORE, AFTER = 100, 45  # characters before and after a value in which words count
OPENING = 2_000  # a document says first what it is about

# A word of the field's name, to words that stand for it in a text.
_SYNONYMS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"agreement|contract|sign", ("dated", "made", "entered", "executed", "signed", "as of", "vom")),
    (r"effective|commence|start|begin", ("effective", "commenc", "beginning", "starting", "in force", "gilt ab")),
    (r"expir|end|terminat", ("expire", "expiring", "until", "through", "ending", "terminates on", "bis zum", "endet")),
    (r"due|deadline", ("due", "payable", "no later than", "fällig", "deadline")),
    (r"amount|total|price|cost|fee|sum|betrag|preis", ("total", "amount", "price", "fee", "sum", "betrag", "pay")),
    (r"law|recht|jurisdiction", ("governed by", "in accordance with", "construed", "unterliegt")),
    (r"birth|born", ("born", "geboren")),
    (r"create|publi|issue|decision", ("created", "published", "issued", "decided")),
)
# Words right before a date that say it begins or ends something: no date of the other sort.
_ENDS = regex.compile(
    r"(?:until|through|ending|ends?|expir\w*|terminat\w*|after|bis|endet)(?: (?:on|as of|zum|am))?:?\s*$"
)
_BEGINS = regex.compile(r"(?:from|beginning|commenc\w*|start\w*|effective|dated|ab|vom)(?: (?:on|as of|am))?:?\s*$")
_END_FIELD = regex.compile(r"expir|\bend|terminat|\bdue|deadline|until", regex.I)
_NOT_CUES = (
    "date datum time day number no nr id code value name the of a an in on to for and or is as at by text field which "
    "what this that with from was were are document stated given"
)
_EMPTY_WORDS = frozenset(_NOT_CUES.split())
_MONEY_FIELD = regex.compile(r"amount|price|cost|fee|salary|revenue|payment|value|usd|eur|betrag|preis|total", regex.I)
CODE_FIELD = regex.compile(
    r"(?:^|[ _-])(?:id|identifier|no|number|nr|ref|reference|code|key)$|nummer$|kennzeichen", regex.I
)
_LABEL = regex.compile(r"[\s>*_|#:\-–•`\"]+")
_UNIT = regex.compile(r"(?:second|minute|hour|day|week|month|year)(?=s\b)|percent|%")
"""A field that is called by its unit takes numbers of that unit alone."""
_DATE_WORD = regex.compile(r"\bdate\b|\bdatum\b")


@dataclass(frozen=True, slots=True)
class Field:
    """A field as its schema describes it, references and nulls resolved."""

    name: str
    schema: Mapping[str, Any]
    title: str
    about: str
    admits: Callable[[Any], bool]

    @property
    def kind(self) -> str:
        declared = self.schema.get("type")
        types = [declared] if isinstance(declared, str) else [t for t in declared or () if t != "null"]
        return str(types[0]) if types else ("object" if "properties" in self.schema else "string")

    @property
    def words(self) -> str:
        """What it is called, in words: the title, or the name taken apart."""
        return label(self.title) or label(self.name)

    @property
    def dated(self) -> bool:
        """Whether it asks for a date or a date-time."""
        return self.schema.get("format") in ("date", "date-time") or bool(_DATE_WORD.search(self.words))


def weight(one: Field, text: str, found: Found) -> float:
    """How far the words around `found` in `text` speak of the field; 0 where they do not.

    The field's own words count more than synonyms, near ones more than far ones, and a document's opening
    more than the rest. A value whose form alone says what it is has a little weight anywhere."""
    words = one.words
    before = text[max(0, found.start - BEFORE) : found.start].casefold()
    after = text[found.end : found.end + AFTER].casefold().split("\n\n")[0]
    unit = _UNIT.search(words) if one.kind in ("integer", "number") else None
    if unit is not None and not regex.match(rf"\W{{0,3}}{unit[0]}", after):
        return 0.0
    if one.dated and (_BEGINS if _END_FIELD.search(words) else _ENDS).search(before):
        return 0.0
    worth = _near(words, before, after, 2.0)
    worth += sum(_near(cue, before, after, 1.0) for cue in _cues(words))
    worth += sum(_near(cue, before, after, 0.7) for cue in _synonyms(words))
    worth += sum(_near(cue, before, after, 0.3) for cue in _cues(one.about))
    if worth >= 0.25:
        return worth + 0.5 * max(0.0, 1 - found.start / OPENING)
    return 0.1 if _tells_itself(one, found) else 0.0


def _near(cue: str, before: str, after: str, worth: float) -> float:
    left, right = before.rfind(cue), after.find(cue)
    return worth * max(
        0.0,
        1 - 0.9 * (len(before) - left - len(cue)) / BEFORE if left >= 0 else 0.0,
        0.6 - 0.5 * right / AFTER if right >= 0 else 0.0,
    )


def _tells_itself(one: Field, found: Found) -> bool:
    """Whether the value needs no word of the field by it: its form alone says what it is."""
    words = one.words
    if one.dated or one.kind in ("integer", "number"):
        return not _cues(words) or (found.money and bool(_MONEY_FIELD.search(words)))
    if "enum" in one.schema:
        return found.end - found.start >= 3  # "a" or "no" is in every text
    return "pattern" in one.schema or "format" in one.schema or not CODE_FIELD.search(words)


def label(text: str) -> str:
    """A field's name or a line's label as lower-case words."""
    spaced = regex.sub(r"(?<=\p{Ll})(?=\p{Lu})", " ", text)
    return _LABEL.sub(" ", spaced).strip().casefold()


def _cues(words: str) -> list[str]:
    return [word[:7] for word in regex.findall(r"\p{L}{2,}", words.casefold()) if word not in _EMPTY_WORDS]


def _synonyms(words: str) -> list[str]:
    return [cue for pattern, cues in _SYNONYMS if regex.search(rf"(?:\b|_)(?:{pattern})", words) for cue in cues]
