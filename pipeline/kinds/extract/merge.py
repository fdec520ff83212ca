"""What the chunks of a document found, as one record or as a list of distinct ones, with their evidence.

Level by level: lists unite (elements.py), objects merge field by field, scalars vote. Everything is sorted by its place
in the document first, so the answers' order of arrival changes nothing. What loses is not gone: its evidence stands
beside the winner's, with the reason. What the schema asks of a record is asked here, of the whole.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from docreduce.kinds.extract.elements import Group, breaks_off, united
from docreduce.kinds.extract.found import Element, Found, elements_of
from docreduce.kinds.extract.grounding import value_in_quote
from docreduce.kinds.extract.names import Groups, near_equal_names, normalize
from docreduce.kinds.extract.paths import Path, empty, fields_of, shown
from docreduce.kinds.extract.schema import Extraction
from docreduce.kinds.extract.voices import aligned
from docreduce.kinds.extract.walking import alternatives, is_tuple, members, named, placed
from docreduce.kinds.extract.whole import missing_in, whole_schema
from docreduce.text.alignment import Quote, page_at
from docreduce.values import Mark

__all__ = ["Conflict", "Merged", "merge"]

Conflict: TypeAlias = Literal["majority", "first", "longest"]
Record: TypeAlias = dict[str, Any]
Row: TypeAlias = dict[str, Any]
Part: TypeAlias = tuple[Found, Path, Any]
"""A value, with the item it was found in and its path there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """The `records` in the order of the document; `evidence` by the contract's columns, `reason` beside them: why a
    row's value was not chosen, or what else is to be known of it; `missing`: by record what the schema asks for and
    nobody found, as "path: reason"; `aliases`: pairs of records whose keys may be one thing under two names."""

    records: list[Record]
    evidence: list[Row]
    missing: dict[int, list[str]]
    aliases: list[tuple[int, int]]


def merge(found: Sequence[Found], extraction: Extraction, *, marks: Sequence[Mark] = ()) -> Merged:
    """The records of what was `found`, and their evidence.

    With cardinality one exactly one record of everything; otherwise the distinct items. A scalar is the one most
    chunks agree on, the first in the document, or the longest, as the job says; ties go to values whose evidence
    was found, then to the first. `support` counts the chunks that agree, `conflict` says whether another one did not.
    A list is never longer than its `maxItems`, and has nothing twice with `uniqueItems`."""
    ordered = sorted((item for item in found if item.values), key=lambda item: (*item.order(), item.ordinal))
    merging = _Merging(extraction, [mark for mark in marks if mark.kind == "page"])
    aliases: list[tuple[int, int]] = []
    if extraction.table.cardinality == "one":
        groups = [[(item, (), item.values) for item in ordered]]
    else:
        answers: dict[Hashable, list[Part]] = defaultdict(list)
        for item in ordered:
            answers[item.order()].append((item, (), item.values))
        key = extraction.keys.get((), ())
        distinct = _united([elements_of(items) for items in answers.values()], key)
        distinct, aliases = _misspelt(distinct, key)
        groups = [[(one.found, (), one.value) for one in group.members] for group in distinct]
    records = []
    for number, parts in enumerate(groups):
        merging.item = number
        merged = merging.object(parts, whole_schema(extraction), ())
        records.append({name: merged.get(name) for name in extraction.fields})
    _propose(merging.rows, aliases, {shown(path) for path in extraction.keys.get((), ())})
    missing = {at: said for at, record in enumerate(records) if (said := missing_in(record, extraction))}
    return Merged(records=records, evidence=merging.rows, missing=missing, aliases=aliases)


def _propose(rows: Sequence[Row], aliases: Sequence[tuple[int, int]], keys: set[str]) -> None:
    """Say at the key of each item which others may be the same under another name."""
    others: dict[int, list[int]] = defaultdict(list)
    for one, other in aliases:
        others[one].append(other)
        others[other].append(one)
    for row in rows:
        if row["item"] in others and row["field"] in keys:
            said = f"may be another name of item {', '.join(map(str, others[row['item']]))}"
            row["reason"] = f"{row['reason']}; {said}" if row["reason"] else said


def _misspelt(groups: list[Group], key: Sequence[tuple[str, ...]]) -> tuple[list[Group], list[tuple[int, int]]]:
    """The groups, united where one key field is another spelling of the other's and nothing else differs; and the
    pairs of them that may be one thing under two names: all words of one are among the other's."""
    if not key:
        return groups, []
    sets = Groups(len(groups))
    keyed = [tuple(group.scalars.get(path) for path in key) for group in groups]
    for place in range(len(key)):
        others: dict[Hashable, dict[str, int]] = defaultdict(dict)
        for at, values in enumerate(keyed):
            if isinstance(name := values[place], str):
                others[(*values[:place], *values[place + 1 :])].setdefault(name, at)
        for names in others.values():
            for left, right in near_equal_names(names):
                one, two = groups[names[left]].scalars, groups[names[right]].scalars
                if all(two.get(path, value) == value for path, value in one.items() if path != key[place]):
                    sets.unite(names[left], names[right])
    joined = []
    for first, *rest in sets.members():
        for other in rest:
            groups[first].members += groups[other].members
        groups[first].members.sort(key=lambda one: (*one.found.order(), one.found.ordinal))
        joined.append(groups[first])
    return joined, _aliases([group.scalars.get(key[0]) for group in joined])


def _aliases(names: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Pairs of names of which one is the other without some of its words: Acme, Acme Holdings."""
    by_words: dict[tuple[str, ...], int] = {}
    for at, name in enumerate(names):
        if isinstance(name, str):
            by_words.setdefault(tuple(name.split(" ")), at)
    pairs = set()
    for words, at in by_words.items():
        for end in range(1, min(len(words), 12)):
            if (other := by_words.get(words[:end])) is not None and not any(map(str.isdecimal, words)):
                pairs.add((min(at, other), max(at, other)))
    return sorted(pairs)


@dataclass(slots=True)
class _Camp:
    """The parts that agree in a value."""

    parts: list[Part] = field(default_factory=list)
    reason: str | None = None

    def chunks(self) -> int:
        return len({found.chunk for found, _, _ in self.parts})

    def spans(self) -> list[tuple[Found, Quote]]:
        return [(found, quote) for found, path, _ in self.parts for quote in found.quotes_at(path) if quote.span]


class _Merging:
    """One record after the other: values come back, rows of evidence are kept."""

    def __init__(self, extraction: Extraction, pages: Sequence[Mark]) -> None:
        self.rows: list[Row] = []
        self.item = 0
        self._conflict: Conflict = extraction.table.conflict
        self._keys = extraction.keys
        self._many = extraction.table.cardinality == "many"
        self._pages = pages

    def value(self, parts: Sequence[Part], schema: Any, path: Path) -> Any:
        kinds = {type(value) if isinstance(value, dict | list) else None for _, _, value in parts}
        if kinds == {dict}:
            return self.object(parts, schema, path)
        if kinds == {list} and is_tuple(schema):
            return self._tuple(parts, schema, path)
        return self._list(parts, schema, path) if kinds == {list} else self._vote(parts, schema, path)

    def object(self, parts: Sequence[Part], schema: Any, path: Path) -> Record:
        fields = members(schema)
        names = dict.fromkeys([*fields, *(name for _, _, value in parts for name in value)])
        voices = _voices(parts)
        record = {}
        for name in names:
            inner = [(found, (*at, name), value[name]) for found, at, value in parts if not empty(value.get(name))]
            if inner:
                before = len(self.rows)
                value = self.value(inner, named(schema, name), (*path, name))
                if self._outvoted(_voices(inner), voices, before):
                    continue
                record[name] = value
        return record

    def _outvoted(self, ours: set[str], voices: set[str], before: int) -> bool:
        """Whether most of the `voices` of a vote, which all read the same text, have nothing there, and no words of
        what the others have were found: the rows from `before` on are then losers."""
        rows = self.rows[before:]
        if 2 * len(ours) >= len(voices) or any(row["char_start"] is not None for row in rows):
            return False
        self._refuse(before, f"vote: {len(voices) - len(ours)} of {len(voices)} have none, and its words stand nowhere")
        return True

    def _refuse(self, before: int, reason: str) -> None:
        for row in self.rows[before:]:
            row["chosen"] = False
            row["reason"] = reason

    def _tuple(self, parts: Sequence[Part], schema: Any, path: Path) -> list[Any]:
        """What stands in each place of a list whose places have meanings of their own; null where nobody says it."""
        record = []
        for at in range(max(len(value) for _, _, value in parts)):
            stated = [(found, (*way, at), value[at]) for found, way, value in parts if at < len(value)]
            inner = [part for part in stated if not empty(part[2])]
            record.append(self.value(inner, placed(schema, at), (*path, at)) if inner else None)
        return record

    def _list(self, parts: Sequence[Part], schema: Any, path: Path) -> list[Any]:
        lists = [
            elements_of([(found, (*at, index), part) for index, part in enumerate(value)]) for found, at, value in parts
        ]
        groups = _united(lists, self._keys.get(fields_of(path), ()))
        voices = _voices(parts)
        unique = any(one.get("uniqueItems") is True for one in alternatives(schema))
        most = min((one["maxItems"] for one in alternatives(schema) if "maxItems" in one), default=len(groups))
        record: list[Any] = []
        seen: set[str] = set()
        for group in groups:
            before = len(self.rows)
            value = self.value(
                [(e.found, e.path, e.value) for e in group.members], placed(schema, len(record)), (*path, len(record))
            )
            same = json.dumps(value, sort_keys=True)
            if self._outvoted({element.found.voice for element in group.members}, voices, before):
                continue
            twice = unique and same in seen
            if twice or len(record) >= most:
                self._refuse(before, "uniqueItems: it is there already" if twice else f"maxItems: {most}")
                continue
            seen.add(same)
            record.append(value)
        return record

    # --- scalars ---------------------------------------------------------------------------------------------

    def _vote(self, parts: Sequence[Part], schema: Any, path: Path) -> Any:
        by_value: dict[Hashable, _Camp] = defaultdict(_Camp)
        for part in parts:
            by_value[normalize(part[2])].parts.append(part)
        camps = list(by_value.values())
        if len(camps) > 1:
            camps = self._ranked(camps)
        winner = camps[0]
        values = [value for _, _, value in winner.parts]
        chosen = max(values, key=_length) if self._conflict == "longest" else _usual(values)
        # Holders of a key field agree in what they name: that is what made them one item.
        key = self._many and fields_of(path) in self._keys.get((), ()) and len(fields_of(path)) == len(path)
        conflict = not key and any(camp.reason is None or not camp.reason.startswith("cut") for camp in camps[1:])
        for camp in camps:
            said = None
            if camp is not winner:
                said = "another spelling of the key" if key else camp.reason or self._why(winner, camp)
            self._rows(camp, path, schema, chosen=camp is winner, conflict=conflict, reason=said)
        return chosen

    def _ranked(self, camps: list[_Camp]) -> list[_Camp]:
        """The best first. What broke off at the border of its chunk, inside what another one saw whole, is none."""
        placed = [(camp, camp.spans()) for camp in camps]
        for camp, spans in placed:
            others = [quote for other, theirs in placed if other is not camp for _, quote in theirs]
            if spans and all(_cut_off(found, quote, others) for found, quote in spans):
                camp.reason = "cut at the border of its chunk; another chunk has the whole"

        def rank(camp: _Camp) -> tuple[bool, int, bool]:
            weight = camp.chunks()
            if self._conflict == "longest":
                weight = max(_length(value) for _, _, value in camp.parts)
            first = self._conflict == "first"
            return camp.reason is not None, 0 if first else -weight, not (first or camp.spans())

        return sorted(camps, key=rank)  # the first in the document where ranks are equal

    def _why(self, winner: _Camp, camp: _Camp) -> str:
        if self._conflict != "majority":
            return f"conflict = {self._conflict}: another value is the {self._conflict}"
        ours, theirs = camp.chunks(), winner.chunks()
        if ours < theirs:
            return f"majority: {theirs} chunks have another value, {ours} this one"
        if not camp.spans() and winner.spans():
            return "as many chunks have another value, whose words were found"
        return "as many chunks have another value, which stands earlier"

    def _rows(self, camp: _Camp, path: Path, schema: Any, *, chosen: bool, conflict: bool, reason: str | None) -> None:
        rows: dict[Any, Row] = {}
        support = camp.chunks()
        for found, at, value in camp.parts:
            for quote in found.quotes_at(at) or (Quote(None, None, "none"),):
                if quote.span in rows:
                    continue
                span = quote.span
                if quote.text is None and (isinstance(value, bool) or _closed(schema)):
                    said = "a category or yes or no: it need not stand in the text"
                else:
                    said = None
                elsewhere = f"also at {', '.join(map(str, quote.elsewhere))}" if quote.elsewhere else None
                rows[span] = {
                    "item": self.item,
                    "field": shown(path),
                    "value": json.dumps(value, ensure_ascii=False),
                    "quote": quote.text,
                    "char_start": span.start if span else None,
                    "char_end": span.end if span else None,
                    "page": page_at(self._pages, span.start) if span else None,
                    "alignment": quote.alignment,
                    "value_in_quote": value_in_quote(value, quote.text, schema) if quote.text else None,
                    "ambiguous": quote.ambiguous,
                    "chosen": chosen,
                    "chunk": found.chunk,
                    "support": support,
                    "conflict": conflict,
                    "coerced": found.coerced.get(shown(at)) if found.coerced else None,
                    "reason": "; ".join(filter(None, (reason, said, elsewhere))) or None,
                }
        if len(rows) > 1:
            rows.pop(None, None)  # words that are found nowhere say nothing beside words that are
        self.rows += sorted(rows.values(), key=lambda row: -1 if row["char_start"] is None else row["char_start"])


def _voices(parts: Iterable[Part]) -> set[str]:
    return {found.voice for found, _, _ in parts}


def _united(lists: Sequence[Sequence[Element]], key: Sequence[tuple[str, ...]]) -> list[Group]:
    """The elements of all `lists`, those together that are one: in each voice's own, then over the voices."""
    strings = all(isinstance(element.value, str) for one in lists for element in one)
    voices: dict[str, list[Sequence[Element]]] = defaultdict(list)
    for one in lists:
        if one:
            voices[one[0].found.voice].append(one)
    own = [united(theirs, key, strings=strings) for theirs in voices.values()]
    return aligned(own, key) if len(own) > 1 else [group for groups in own for group in groups]


def _closed(schema: Any) -> bool:
    return any("enum" in one or "const" in one for one in alternatives(schema))


def _cut_off(found: Found, quote: Quote, others: Sequence[Quote]) -> bool:
    """Whether the words reach an edge of their chunk and are a part of words that another one has."""
    span = quote.span
    if span is None or not breaks_off(span, found.span):
        return False
    return any(
        other.span and other.span != span and other.span.start <= span.start and span.end <= other.span.end
        for other in others
    )


def _usual(values: Sequence[Any]) -> Any:
    """The spelling that most of them have, of equals the first."""
    counts = Counter(json.dumps(value, sort_keys=True) for value in values)
    return max(values, key=lambda value: counts[json.dumps(value, sort_keys=True)])


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str | list) else len(json.dumps(value))
