"""Which elements of the chunks' lists are one.

The lists of the chunks are laid one after the other, in the order of the document, each against what is united so
far. An element of the next list is one that is there
  1. by its key, where the job names one, wherever it stands;
  2. by its place: both rest on the same words, as chunks that overlap see them twice;
  3. by its content, where its words stand nowhere or in many places (but in a list that has equal elements, as a
     table has equal rows), where it is a section that goes on behind a border, and for strings in a list of strings;
  4. as a fragment: its words break off at the border of its chunk, inside what another chunk saw whole;
  5. as its other half: a border divides the two, they share no field, and fields are missing in each that nearly all
     elements have. Halves are paired in the order of the answers.
Elements in which a field has two values are two, whatever else they share; one answer's elements are never one
but by their key.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product

from docreduce.kinds.extract.found import Answer, Element, Fields
from docreduce.values import Span

__all__ = ["Group", "breaks_off", "key_of", "united"]

OPEN_SPANS = 64
"""How many earlier mentions of one value an element is compared with, and how many elements at a border."""
BORDER_CHARS = 16
"""White space that a chunker may leave out between two chunks that touch."""
SHORT_ELEMENT_CHARS = 500
"""A paragraph: how far apart words of one element may stand, where no whole element of the list stretches further."""
JOIN_COST = 1.5
"""Nats that two halves have to explain: a field that four in five elements have, missing in one of them, does."""
MANY_KINDS = 0.35
"""The part of neighbours within answers that share no field from which on a list has elements of several kinds: two of
them at a border are then no halves."""
GAP_COST = 0.5
"""Nats at the longest gap there can be between halves: which of several pairs, hardly ever whether."""


@dataclass(slots=True, eq=False)
class Group:
    """Elements that are one."""

    members: list[Element]
    scalars: dict[Fields, Hashable]
    shape: frozenset[Fields]
    answers: set[Answer] = field(default_factory=set)

    @property
    def last(self) -> Element:
        return self.members[-1]

    def takes(self, element: Element, but: Fields | None = None) -> bool:
        """Whether no field `but` one would have two values, and no answer two elements in it."""
        if element.answer in self.answers:
            return False
        few, many = sorted((self.scalars, element.scalars), key=len)
        return all(many.get(path, value) == value or path == but for path, value in few.items())

    def add(self, element: Element) -> None:
        self.members.append(element)
        self.answers.add(element.answer)
        self.scalars = {**element.scalars, **self.scalars}
        self.shape |= element.shape


def united(lists: Sequence[Sequence[Element]], key: Sequence[Fields], *, strings: bool = False) -> list[Group]:
    """The elements of all `lists` (one a list of one answer, in any order), those together that are one, in the order
    of the document. `strings`: equal ones are one wherever they stand."""
    fold = _Fold(key, strings, lists)
    by_answer: dict[Answer, list[Element]] = defaultdict(list)
    for one in lists:
        for element in one:
            by_answer[element.answer].append(element)
    answers = [elements for _, elements in sorted(by_answer.items())]
    for elements in answers:
        fold.add(elements)
    return _in_order(fold.groups, answers)


def _in_order(groups: Sequence[Group], answers: Sequence[Sequence[Element]]) -> list[Group]:
    """By the first place that is sure of any member; a group without one after the group before it in its answer."""
    of = {id(member): group for group in groups for member in group.members}
    places: dict[int, int] = {}
    for group in groups:
        sure = [span.start for member in group.members for _, _, span in member.spots]
        if sure:
            places[id(group)] = min(sure)
    for elements in answers:
        cursor = elements[0].found.span.start
        for element in elements:
            cursor = places.setdefault(id(of[id(element)]), cursor)

    def position(group: Group) -> tuple[int, Answer, int, int]:
        first = group.members[0]
        return places[id(group)], first.answer, first.found.ordinal, first.index

    return sorted(groups, key=position)


class _Fold:
    """What is united so far, and how to find in it what the next list has again."""

    def __init__(self, key: Sequence[Fields], strings: bool, lists: Sequence[Sequence[Element]]) -> None:
        self.groups: list[Group] = []
        self._key = key
        self._strings = strings
        self._by_key: dict[Hashable, Group] = {}
        self._by_spot: dict[Hashable, list[tuple[Span, Group, bool]]] = defaultdict(list)  # whether it is in doubt
        self._by_content: dict[Hashable, list[Group]] = defaultdict(list)
        self._open: dict[int, Group] = {}  # by identity: those whose chunk the next one may touch
        elements = [element for one in lists for element in one]
        neighbours = [
            one.scalars.keys().isdisjoint(two.scalars)
            for each in lists
            for one, two in pairwise(each)
            if one.scalars and two.scalars
        ]
        self._of_many_kinds = sum(neighbours) > MANY_KINDS * (len(neighbours) + 1)
        self._shapes = {element.shape for element in elements}
        contents = [Counter(element.content() for element in each) for each in lists]
        self._has_equals = any(times > 1 for counted in contents for times in counted.values())
        counts = Counter(fields for element in elements for fields in element.shape)
        # A whole element has each field once, and so have its halves together: the commonest field counts elements.
        most = max(counts.values(), default=1)
        self._lack = {fields: -math.log(1 - min(count / most, 0.95)) for fields, count in counts.items()}
        extents = (element.end - element.start for element in elements if element.start is not None)
        self._extent = max(extents, default=0)
        self._reach = max(SHORT_ELEMENT_CHARS, self._extent)

    def add(self, elements: Sequence[Element]) -> None:
        """The elements of one answer, in its order."""
        span = elements[0].found.span
        self._open = {at: group for at, group in self._open.items() if self._touches(group, span)}
        rest = list(elements)
        for pairs in (self._by_its_key, self._by_place, self._by_content_alone, self._fragments, self._halves):
            paired = {id(element) for element, group in pairs(rest) if self._join(group, element)}
            rest = [element for element in rest if id(element) not in paired]
        for element in rest:
            key = key_of(element.scalars, self._key)
            group = self._by_key.get(key) if key is not None else None
            if group is None:
                group = Group(members=[], scalars={}, shape=frozenset())
                self.groups.append(group)
            self._join(group, element)

    def _join(self, group: Group, element: Element) -> bool:
        group.add(element)
        self._open[id(group)] = group
        if (key := key_of(element.scalars, self._key)) is not None:
            self._by_key.setdefault(key, group)
        for spots, doubt in ((element.spots, False), (element.doubts, True)):
            for fields, value, span in spots:
                self._by_spot[fields, value].append((span, group, doubt))
        contents = self._by_content[element.content()]
        if not contents or contents[-1] is not group:
            contents.append(group)
        return True

    # --- what is the same ------------------------------------------------------------------------------------

    def _by_its_key(self, elements: Sequence[Element]) -> Iterator[tuple[Element, Group]]:
        for element in elements if self._key else ():
            key = key_of(element.scalars, self._key)
            if key is not None and (group := self._by_key.get(key)) is not None:
                yield element, group

    def _by_place(self, elements: Sequence[Element]) -> Iterator[tuple[Element, Group]]:
        ranked: list[tuple[bool, bool, int, int, Element, Group]] = []
        for order, element in enumerate(elements):
            groups: dict[int, Group] = {}
            sure: Counter[int] = Counter()
            doubtful: Counter[int] = Counter()
            for spots, doubt in ((element.spots, False), (element.doubts, True)):
                for fields, value, span in spots:
                    for other, group, other_doubt in self._by_spot.get((fields, value), ())[-OPEN_SPANS:]:
                        if other.overlaps(span):
                            (doubtful if doubt or other_doubt else sure)[id(group)] += 1
                            groups[id(group)] = group
            for at, group in groups.items():
                if group.takes(element):
                    same = group.last.content() == element.content()
                    shared = sure[at] or doubtful[at]
                    ranked.append((not sure[at], not same, -shared, order, element, group))
        yield from _one_each(ranked)

    def _by_content_alone(self, elements: Sequence[Element]) -> Iterator[tuple[Element, Group]]:
        alike = Counter(element.content() for element in elements)
        taken: set[int] = set()
        parts = self._seen_twice(elements)
        for element in elements:
            for group in self._by_content.get(element.content(), ()) if element.scalars else ():
                if id(group) not in taken and group.takes(element) and self._is_again(group, element, alike):
                    taken.add(id(group))
                    yield element, group
                    break
            else:
                group_of = (group for group in parts.get(id(element), ()) if id(group) not in taken)
                if (part := next(group_of, None)) is not None:
                    taken.add(id(part))
                    yield element, part

    def _is_again(self, group: Group, element: Element, alike: Counter[Hashable]) -> bool:
        """Whether an element with the content of a group is it, by what their places leave open."""
        last = group.last
        near = last.found.span.end > element.found.span.start
        unplaced = (last.start is None or element.start is None) and (
            near or (self._whole(element) and not self._has_equals)
        )
        vague = near and bool(last.doubts) and bool(element.doubts) and alike[element.content()] == 1
        # The last one before a border and the first behind it, with lists in them: a section that goes on.
        goes_on = self._touches(group, element.found.span) and last.is_last and element.index == 0
        return unplaced or vague or self._strings or (goes_on and len(element.shape) > len(element.scalars))

    def _whole(self, element: Element) -> bool:
        """Whether it lacks no field that nearly all elements have: halves that look alike are no one thing."""
        return sum(lack for fields, lack in self._lack.items() if fields not in element.shape) < JOIN_COST

    def _seen_twice(self, elements: Sequence[Element]) -> dict[int, list[Group]]:
        """By element, the groups of a chunk that overlaps its own that say the same, or a part of it, where places do
        not tell them apart: what stood in the overlap was seen twice, once perhaps in part."""
        start = elements[0].found.span.start if elements else 0
        seen = [group for group in self._open.values() if group.last.found.span.end > start]
        by_value: dict[Hashable, list[Group]] = defaultdict(list)
        for group in seen:
            for scalar in group.scalars.items():
                by_value[scalar].append(group)
        found: dict[int, list[Group]] = {}
        for element in elements if seen else ():
            shared = [group for scalar in element.scalars.items() for group in by_value.get(scalar, ())]
            found[id(element)] = [
                group
                for group in dict.fromkeys(shared)
                if self._incomparable(group.last, element)
                and group.takes(element)
                and (
                    group.scalars.items() <= element.scalars.items() or element.scalars.items() < group.scalars.items()
                )
            ]
        return found

    def _incomparable(self, one: Element, other: Element) -> bool:
        """Whether their places say nothing about their being two: one has none, or they are places of other fields, as
        near each other as those of one element."""
        if one.start is None or other.start is None:
            return True
        fields = {fields for fields, _, _ in one.spots}
        apart = max(one.end, other.end) - min(one.start, other.start)
        return apart <= self._extent and fields.isdisjoint(fields for fields, _, _ in other.spots)

    def _fragments(self, elements: Sequence[Element]) -> Iterator[tuple[Element, Group]]:
        here = [(fields, span, element) for element in elements for fields, _, span in element.spots]
        there = [(fields, span, group) for group in self._open.values() for fields, _, span in group.last.spots]
        cut_here = [one for one in here if breaks_off(one[1], one[2].found.span)]
        cut_there = [one for one in there if breaks_off(one[1], one[2].last.found.span)]
        pairs = [*product(cut_here, there), *product(here, cut_there)]
        ranked = [
            (False, False, -min(len(mine), len(other)), at, element, group)
            for at, ((fields, mine, element), (others, other, group)) in enumerate(pairs)
            if fields == others and mine != other and (_holds(mine, other) or _holds(other, mine))
            if group.takes(element, but=fields)
        ]
        yield from _one_each(ranked)

    # --- halves ----------------------------------------------------------------------------------------------

    def _touches(self, group: Group, span: Span) -> bool:
        before = group.last.found.span
        return before.start < span.start and before.end + BORDER_CHARS >= span.start

    def _halves(self, elements: Sequence[Element]) -> Iterator[tuple[Element, Group]]:
        """Pairs of the last elements before the border and the first behind it, in order, that explain the most."""
        if not elements or not self._open:
            return
        border = elements[0].found.span.start
        firsts = self._at_border(elements, border)[:OPEN_SPANS]
        open_now = sorted(self._open.values(), key=lambda group: (group.last.answer, group.last.index))
        near = {id(last) for last in self._at_border([group.last for group in reversed(open_now)], border)}
        lasts = [group for group in open_now if id(group.last) in near][-OPEN_SPANS:]
        gains = [[self._gain(group, element) for element in firsts] for group in lasts]
        best = [[0.0] * (len(firsts) + 1) for _ in range(len(lasts) + 1)]
        for row in range(len(lasts) - 1, -1, -1):
            for column in range(len(firsts) - 1, -1, -1):
                pair = gains[row][column] + best[row + 1][column + 1] if gains[row][column] > 0 else 0.0
                best[row][column] = max(best[row + 1][column], best[row][column + 1], pair)
        row = column = 0
        while row < len(lasts) and column < len(firsts):
            if best[row][column] == best[row + 1][column]:
                row += 1
            elif best[row][column] == best[row][column + 1]:
                column += 1
            else:
                yield firsts[column], lasts[row]
                row, column = row + 1, column + 1

    def _at_border(self, elements: Sequence[Element], border: int) -> list[Element]:
        """Those of `elements`, from the border on, whose words stand near it; one without a place where the one before
        it does."""
        near: list[Element] = []
        beside = True
        for element in elements:
            if element.start is not None:
                edge = element.first if element.first >= border else element.latest
                beside = abs(edge - border) <= self._reach
            if beside:
                near.append(element)
        return near

    def _gain(self, group: Group, element: Element) -> float:
        """Nats by which one divided element explains what is there better than two."""
        scalars, others = group.scalars.keys(), element.scalars.keys()
        if not group.takes(element) or scalars & others or not (scalars or others):
            return 0.0
        if self._of_many_kinds and not self._is_seen_whole(group.shape | element.shape):
            return 0.0
        gap = 0.0
        if element.start is not None and group.last.start is not None:
            gap = max(element.first - group.last.latest, 0) / self._reach
        # Each field is missing in one half or in both: two elements have to explain that, one does not.
        return 0.0 if gap > 1 else sum(self._lack.values()) - JOIN_COST - GAP_COST * gap

    def _is_seen_whole(self, shape: frozenset[Fields]) -> bool:
        """Whether one answer has an element with all these fields: halves of such a one are no two kinds."""
        return any(shape <= each for each in self._shapes)


def key_of(scalars: Mapping[Fields, Hashable], key: Sequence[Fields]) -> Hashable | None:
    """What tells an element with these scalars apart, by the job's `key`; None where it has no part of it."""
    values = tuple(scalars.get(path) for path in key)
    return values if any(value is not None for value in values) else None


def breaks_off(span: Span, chunk: Span) -> bool:
    """Whether words reach the border of their chunk, but for a space or a line break."""
    return 0 <= span.start - chunk.start <= 2 or 0 <= chunk.end - span.end <= 2


def _holds(whole: Span, part: Span) -> bool:
    return whole.start <= part.start and part.end <= whole.end


def _one_each(ranked: Sequence[tuple[bool, bool, int, int, Element, Group]]) -> Iterator[tuple[Element, Group]]:
    done: set[int] = set()
    for *_, element, group in sorted(ranked, key=lambda pair: pair[:4]):
        if id(element) not in done and id(group) not in done:
            done |= {id(element), id(group)}
            yield element, group
