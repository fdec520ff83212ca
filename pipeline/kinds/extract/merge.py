"""What the chunks of a document found, as one record or as a list of distinct ones, with their evidence.

Everything is sorted by its place in the document first, so the answers' order of arrival changes nothing.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias

from docreduce.kinds.extract.names import Groups, near_equal_names, normalize
from docreduce.text.alignment import Quote, page_at
from docreduce.values import Evidence, Mark, Span

__all__ = ["Conflict", "Found", "merge"]

Conflict: TypeAlias = Literal["majority", "first", "longest"]
Record: TypeAlias = dict[str, Any]

OPEN_SPANS = 16
"""How many overlapping mentions of one value an item is compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One item of one chunk's answer. `values` are its fields that are not null; `quotes` the words given for
    them; `span` is the chunk's; `ordinal` the item's place in the answer."""

    chunk: int
    span: Span
    ordinal: int
    values: Mapping[str, Any]
    quotes: Mapping[str, tuple[Quote, ...]]

    def spans(self, field: str) -> list[Span]:
        """Where `field`'s evidence stands."""
        return [quote.span for quote in self.quotes.get(field, ()) if quote.span]

    def position(self) -> int:
        """Where it begins in the document: its first evidence, else its chunk."""
        return min((span.start for field in self.values for span in self.spans(field)), default=self.span.start)


def merge(
    found: Sequence[Found],
    fields: Sequence[str],
    *,
    one: bool,
    key: Sequence[str] = (),
    conflict: Conflict = "majority",
    marks: Sequence[Mark] = (),
) -> tuple[list[Record], list[Evidence]]:
    """The records of what was `found`, in the order of the document, and their evidence, united.

    With `one`, exactly one record of everything. Otherwise the distinct items: with `key`, items are the same when
    all key fields agree after normalization or are near-equal names. Without one, or where an item has no key field
    at all, they are the same when they agree in all fields and stand at the same place (overlapping evidence, or
    none at all); an item that another chunk saw more of, at the same place, is part of that one: chunks that
    overlap see the same words twice.

    A field is None where nobody found it; otherwise its value is chosen by `conflict`: the one most chunks agree on,
    the first in the document, or the longest; ties go to values whose evidence was found, then to the first.
    `support` counts the chunks that agree, `conflict` says whether another one did not; holders of a key field agree:
    that is what made them one item."""
    ordered = sorted(
        (item for item in found if item.values),
        key=lambda item: (item.position(), item.span.start, item.chunk, item.ordinal),
    )
    pages = [mark for mark in marks if mark.kind == "page"]
    records: list[Record] = []
    evidence: list[Evidence] = []
    for items in [ordered] if one else _same(ordered, key):
        record: Record = dict.fromkeys(fields)
        for field in fields:
            camps = _camps(items, field, conflict)
            if camps:
                is_key = field in key and not one
                agreeing = [item for camp in camps for item in camp] if is_key else camps[0]
                values = [item.values[field] for item in camps[0]]
                record[field] = max(values, key=_length) if conflict == "longest" else values[0]
                evidence += _evidence(len(records), field, agreeing, pages, conflict=len(camps) > 1 and not is_key)
        records.append(record)
    return records, evidence


def _same(items: Sequence[Found], key: Sequence[str]) -> list[list[Found]]:
    groups = Groups(len(items))
    keyed = [at for at, item in enumerate(items) if any(field in item.values for field in key)]
    _unite_by_key(groups, items, keyed, key)
    _unite_by_place(groups, items, sorted({*range(len(items))}.difference(keyed)))
    return [[items[at] for at in members] for members in groups.members()]


def _unite_by_key(groups: Groups, items: Sequence[Found], members: Sequence[int], key: Sequence[str]) -> None:
    first: dict[tuple[Hashable, ...], int] = {}
    for at in members:
        same = tuple(normalize(items[at].values.get(field)) for field in key)
        groups.unite(at, first.setdefault(same, at))
    # Near-equal in one key field, equal in all the others.
    for place in range(len(key)):
        others: dict[tuple[Hashable, ...], dict[str, int]] = defaultdict(dict)
        for same, at in first.items():
            if isinstance(name := same[place], str):
                others[(*same[:place], *same[place + 1 :])][name] = at
        for names in others.values():
            for left, right in near_equal_names(names):
                groups.unite(names[left], names[right])


def _unite_by_place(groups: Groups, items: Sequence[Found], members: Sequence[int]) -> None:
    plain = {at: {field: normalize(value) for field, value in items[at].values.items()} for at in members}
    placed: dict[Hashable, list[tuple[int, int, int]]] = defaultdict(list)  # by one value, and by all of them
    unplaced: dict[Hashable, int] = {}
    for at, values in plain.items():
        everything = frozenset(values.items())
        spans = [(field, span) for field in values for span in items[at].spans(field)]
        for field, span in spans:
            placed[field, values[field]].append((span.start, span.end, at))
            placed[field, everything].append((span.start, span.end, at))
        if not spans:
            groups.unite(at, unplaced.setdefault(everything, at))
    # What one chunk saw in part joins what another saw of it in full: one such whole each, the first.
    absorbed: set[int] = set()
    for left, right in sorted({pair for spans in placed.values() for pair in _overlapping(spans)}):
        if plain[left] == plain[right]:
            groups.unite(left, right)
        for part, whole in ((left, right), (right, left)):
            less = plain[part].items() < plain[whole].items()
            if less and part not in absorbed and items[part].chunk != items[whole].chunk:
                groups.unite(part, whole)
                absorbed.add(part)
    _unite_ambiguous(groups, items, plain)


def _unite_ambiguous(groups: Groups, items: Sequence[Found], plain: Mapping[int, Mapping[str, Hashable]]) -> None:
    """Chunks that overlap, and each names once what stands in many places: the thing is meant, not the place."""
    alike: dict[Hashable, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for at, values in plain.items():
        if any(quote.ambiguous for quotes in items[at].quotes.values() for quote in quotes):
            alike[frozenset(values.items())][items[at].chunk].append(at)
    for by_chunk in alike.values():
        once = sorted(
            (members[0] for members in by_chunk.values() if len(members) == 1), key=lambda at: items[at].span.start
        )
        for left, right in pairwise(once):
            if items[right].span.start < items[left].span.end:
                groups.unite(left, right)


def _overlapping(spans: list[tuple[int, int, int]]) -> list[tuple[int, int]]:
    """Pairs of members whose spans (start, end, member) overlap, each with the last OPEN_SPANS before it."""
    pairs: list[tuple[int, int]] = []
    before: list[tuple[int, int]] = []
    for start, end, at in sorted(spans):
        before = [(stop, other) for stop, other in before if stop > start][-OPEN_SPANS:]
        pairs += [(min(at, other), max(at, other)) for _, other in before if other != at]
        before.append((end, at))
    return pairs


def _camps(items: Sequence[Found], field: str, conflict: Conflict) -> list[list[Found]]:
    """The items that have `field`, those together that agree in it, the best first."""
    camps: dict[Hashable, list[Found]] = defaultdict(list)
    for item in items:
        if field in item.values:
            camps[normalize(item.values[field])].append(item)

    def rank(camp: list[Found]) -> tuple[int, bool]:
        if conflict == "first":
            return 0, False
        weight = len({item.chunk for item in camp})
        if conflict == "longest":
            weight = max(_length(item.values[field]) for item in camp)
        return -weight, not any(item.spans(field) for item in camp)

    return sorted(camps.values(), key=rank)  # the first in the document where ranks are equal


def _evidence(
    number: int, field: str, agreeing: Sequence[Found], pages: Sequence[Mark], *, conflict: bool
) -> list[Evidence]:
    rows: dict[Span | None, Evidence] = {}
    support = len({item.chunk for item in agreeing})
    for item in agreeing:
        for quote in item.quotes.get(field) or (Quote(None, None, "none"),):
            if quote.span not in rows:
                rows[quote.span] = Evidence(
                    item=number,
                    field=field,
                    value=json.dumps(item.values[field], ensure_ascii=False),
                    quote=quote.text,
                    span=quote.span,
                    alignment=quote.alignment,
                    chunk=item.chunk,
                    page=page_at(pages, quote.span.start) if quote.span else None,
                    support=support,
                    conflict=conflict,
                )
    if len(rows) > 1:
        rows.pop(None, None)  # words that are found nowhere say nothing beside words that are
    return sorted(rows.values(), key=lambda row: row.span.start if row.span else -1)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str | list) else len(json.dumps(value))
