"""From the items of an answer to items whose values have places: which of the quotes is which value's, and where.

A quote is given for a field, for an element of a list, or for a whole list: then it belongs to the values it holds.
Words that stand in one place are placed first. Words that stand in several are placed beside the others of their
element: on the same line, else next to them; where an element has no others, after the element before it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from docreduce.kinds.extract.answers import ReadItem
from docreduce.kinds.extract.found import Found
from docreduce.kinds.extract.grounding import value_in_quote
from docreduce.kinds.extract.paths import Path, fields_of, leaves, shown
from docreduce.text.alignment import Aligner, Quote
from docreduce.values import Span

__all__ = ["place"]

MAX_ELSEWHERE = 8
"""Other places of ambiguous words that are named."""
MAX_WEIGHED = 20_000
"""Pairs of a mention and a place whose distance is weighed; words that stand oftener are taken as they come."""
LINE = 500
"""Characters that a line break counts for: what stands in the same line belongs together."""

Owner: TypeAlias = tuple[int, Path]
"""An element of a list, or an item: the item's place in the answer, and the element's path in it."""


@dataclass(slots=True, eq=False)
class _Mention:
    """One quote as given. `owner`: the element (or item) whose words it is among."""

    owner: Owner
    path: Path
    words: str
    quote: Quote | None = None


@dataclass(slots=True)
class _Owner:
    """Where what is known of an element's words stands."""

    start: int | None = None
    end: int | None = None

    def hold(self, span: Span) -> None:
        self.start = span.start if self.start is None else min(self.start, span.start)
        self.end = span.end if self.end is None else max(self.end, span.end)


def place(
    items: Sequence[ReadItem], text: str, *, chunk: int, span: Span, answer: int = 0, voice: str = ""
) -> list[Found]:
    """The items of one answer to text[span.start:span.end], each value with the places of its words.

    `answer` tells apart several answers about one chunk: what both have is one, though each has it. `voice`: whose
    answer it is in a vote."""
    aligner = Aligner(text[span.start : span.end], span.start)
    mentions = [mention for at, item in enumerate(items) for mention in _mentions(at, item, aligner)]
    _locate(mentions, aligner, text, span)
    found = []
    by_item: dict[int, dict[str, list[Quote]]] = defaultdict(lambda: defaultdict(list))
    for mention in mentions:
        if mention.quote is not None:
            by_item[mention.owner[0]][shown(mention.path)].append(mention.quote)
    for at, item in enumerate(items):
        if item.values:
            quotes = {path: tuple(given) for path, given in by_item[at].items()}
            one = Found(
                chunk=chunk,
                span=span,
                ordinal=at,
                values=item.values,
                quotes=quotes,
                coerced=item.coerced,
                answer=answer,
                voice=voice,
            )
            found.append(one)
    return found


# --- whose words they are ---------------------------------------------------------------------------------------


def _mentions(at: int, item: ReadItem, aligner: Aligner) -> Iterable[_Mention]:
    """The item's quotes, one mention for each value they are for; values without one by their own words."""
    scalars = [leaf for leaf in leaves(item.values) if leaf[0]]
    given: dict[Path, list[str]] = defaultdict(list)
    for path, words in item.quotes:
        given[path].append(words)
    named = {path for path, _ in scalars}
    quoted: dict[Path, list[str]] = {path: words for path, words in given.items() if path in named}
    for path, listed in given.items():
        if path not in quoted:
            _share_out(path, listed, item.values, quoted)
    for path, value in scalars:
        owner = (at, _element(path))
        for words in quoted.get(path, ()):
            yield _Mention(owner, path, words)
        if path not in quoted and isinstance(value, str) and (own := aligner.only(value)):
            yield _Mention(owner, path, value, quote=own)


def _element(path: Path) -> Path:
    """The innermost element of a list that `path` lies in."""
    return next((path[: at + 1] for at in range(len(path) - 1, -1, -1) if isinstance(path[at], int)), ())


def _share_out(path: Path, quotes: Sequence[str], values: Any, quoted: dict[Path, list[str]]) -> None:
    """Give `quotes`, given for all that lies under `path`, to the values they hold, one element after the other."""
    node = _at(values, path)
    if node is None:
        return
    _give(path, node, quotes, quoted)


def _give(path: Path, node: Any, quotes: Sequence[str], quoted: dict[Path, list[str]]) -> None:
    units = list(_units(path, node))
    in_order = len(units) == len(quotes) > 1
    cursor = 0
    for at, (unit, part) in enumerate(units):
        scalars = [leaf for leaf in leaves(part, unit) if leaf[0] not in quoted]
        own = in_order and any(value_in_quote(value, quotes[at]) is not False for _, value in scalars)
        best = at if own else _best(scalars, quotes, cursor, len(units))
        if best is None:
            continue
        cursor = best + 1 if len(units) > 1 else best
        for leaf, value in scalars:
            if len(quotes) == 1 or len(scalars) == 1 or value_in_quote(value, quotes[best]) is not False:
                quoted[leaf] = [quotes[best]]
            elif other := next((words for words in quotes if value_in_quote(value, words)), None):
                quoted[leaf] = [other]
            else:
                quoted[leaf] = [quotes[best]]


def _units(path: Path, node: Any) -> Iterable[tuple[Path, Any]]:
    """What one quote is for, under `path`: each element of a list, each scalar of an object."""
    if isinstance(node, list):
        yield from (((*path, at), part) for at, part in enumerate(node))
    elif isinstance(node, dict):
        for name, part in node.items():
            yield from _units((*path, name), part)
    else:
        yield path, node


def _best(scalars: Sequence[tuple[Path, Any]], quotes: Sequence[str], cursor: int, units: int) -> int | None:
    """Which of the quotes holds most of the values: the next ones first, each once as far as they go."""
    if not quotes or not scalars:
        return None
    order = [*range(min(cursor, len(quotes)), min(cursor + 8, len(quotes))), *range(min(cursor, len(quotes)))[-64:]]
    most, best = 0, None
    for at in order:
        holds = sum(1 for _, value in scalars if value_in_quote(value, quotes[at]))
        if holds > most:
            most, best = holds, at
        if most == len(scalars):
            break
    if best is None and len(quotes) == 1:
        return 0
    return min(cursor, len(quotes) - 1) if best is None and units <= len(quotes) else best


def _at(value: Any, path: Path) -> Any:
    for step in path:
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and step < len(value) else None
        else:
            value = value.get(step) if isinstance(value, Mapping) else None
    return value


# --- where they stand --------------------------------------------------------------------------------------------


def _locate(mentions: Sequence[_Mention], aligner: Aligner, text: str, chunk: Span) -> None:
    """Give every mention its quote: what stands once first, then the rest, the fewer places the sooner."""
    owners: dict[Owner, _Owner] = {}
    doubtful: dict[str, dict[Owner, list[_Mention]]] = defaultdict(lambda: defaultdict(list))
    for mention in mentions:
        owner = owners.setdefault(mention.owner, _Owner())
        if mention.quote is None:
            places = aligner.places(mention.words)
            if len(places.spans) > 1:
                doubtful[mention.words][mention.owner].append(mention)
                continue
            mention.quote = Quote(mention.words, places.spans[0] if places.spans else None, places.alignment)
        if mention.quote.span is not None:
            owner.hold(mention.quote.span)
    for words, wanting in sorted(doubtful.items(), key=lambda pair: len(aligner.places(pair[0]).spans)):
        places = aligner.places(words)
        before = _before(owners, chunk.start)
        holders = sorted(wanting, key=lambda key: before[key])  # sorted() is stable: else in the answer's order
        spans = _assigned([(owners[key], before[key]) for key in holders], places.spans, text)
        for key, span in zip(holders, spans, strict=True):
            ambiguous = len(places.spans) != len(wanting)
            others = tuple(other.start for other in places.spans if other != span)[:MAX_ELSEWHERE] if ambiguous else ()
            for mention in wanting[key]:
                mention.quote = Quote(words, span, places.alignment, ambiguous, others)
            owners[key].hold(span)


def _before(owners: Mapping[Owner, _Owner], start: int) -> dict[Owner, int]:
    """Where each element begins; for one that has no place yet, where the one before it in its list does."""
    cursors: dict[tuple[str, ...], int] = {}
    before: dict[Owner, int] = {}
    for key, owner in owners.items():
        fields = fields_of(key[1])
        before[key] = cursors.get(fields, start) if owner.start is None else owner.start
        cursors[fields] = before[key]
    return before


def _assigned(holders: Sequence[tuple[_Owner, int]], spans: Sequence[Span], text: str) -> list[Span]:
    """A place for each of the holders, in order, no place twice as far as they go, with the least distance in all."""
    if len(holders) >= len(spans) or len(holders) * (len(spans) - len(holders)) > MAX_WEIGHED:
        return _one_after_the_other(holders, spans)
    spare = len(spans) - len(holders)
    costs = [
        [_distance(*holders[row], spans[row + skip], text) for skip in range(spare + 1)] for row in range(len(holders))
    ]
    # least[row][skip]: of the holders from `row` on, where at least `skip` places are passed over before them.
    least = [[0.0] * (spare + 2) for _ in range(len(holders) + 1)]
    for row in range(len(holders) - 1, -1, -1):
        least[row][spare + 1] = math.inf
        for skip in range(spare, -1, -1):
            least[row][skip] = min(costs[row][skip] + least[row + 1][skip], least[row][skip + 1])
    chosen, skip = [], 0
    for row in range(len(holders)):
        while least[row][skip] == least[row][skip + 1]:
            skip += 1
        chosen.append(spans[row + skip])
    return chosen


def _one_after_the_other(holders: Sequence[tuple[_Owner, int]], spans: Sequence[Span]) -> list[Span]:
    """The next place for each holder, where it begins or behind that, as long as enough are left for the others."""
    chosen: list[Span] = []
    at = 0
    for left, (_, before) in zip(range(len(holders) - 1, -1, -1), holders, strict=True):
        own = bisect_left(spans, before, lo=min(at, len(spans)), key=lambda span: span.start)
        at = max(at, min(own, len(spans) - 1 - left))
        chosen.append(spans[min(at, len(spans) - 1)])
        at += 1
    return chosen


def _distance(owner: _Owner, before: int, span: Span, text: str) -> float:
    """How far a place is from its element: a line is more than any distance within it."""
    if owner.start is None or owner.end is None:
        return (span.start - before) * 1e-3 if span.start >= before else LINE + before - span.start
    gap = max(span.start - owner.end, owner.start - span.end, 0)
    between = text[owner.end : span.start] if span.start >= owner.end else text[span.end : owner.start]
    return LINE * between[: 4 * LINE].count("\n") + gap
