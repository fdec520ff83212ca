"""Which elements of several models' lists are one: those of a vote, that all read the same text.

Each voice's own list is united first (elements.py), so that only whole lists of one document are laid side by side.
Two voices' elements are one by their key, where the job names one; else by what they share. Values that few elements
have count more than those that many have (inverse document frequency, Spärck Jones 1972). The most alike are paired
first, of equals those that stand nearest in the order of the lists; then what is left over between two neighbours that
are paired. What differs in a field is a conflict of one element, which is what a vote is for. Elements whose words
stand in different places are two, however alike.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from docreduce.kinds.extract.elements import Group, key_of
from docreduce.kinds.extract.found import Fields
from docreduce.kinds.extract.names import normalize
from docreduce.kinds.extract.paths import fields_of, leaves
from docreduce.values import Span

__all__ = ["aligned"]

ALIKE = 0.5
"""Of what the larger of two elements says, by weight, the part that both have to say."""
BETWEEN = 0.3
"""The same, where the elements before and behind are the same."""
SHARED_BY = 64
"""A value that more elements of one voice have proposes no pairs."""
BESIDE = 2
"""How many places from its own, in parts of the list, an element is compared with whatever it says."""

Leaf: TypeAlias = tuple[Fields, Hashable]


@dataclass(slots=True, eq=False)
class _Line:
    """What one group says: its leaves, the words they rest on, and its key."""

    group: Group
    leaves: frozenset[Leaf]
    spots: dict[Fields, list[Span]]
    key: Hashable | None

    def take(self, other: _Line) -> None:
        """Make `other` a part of this one."""
        for member in other.group.members:
            self.group.add(member)
        self.leaves |= other.leaves
        for fields, spans in other.spots.items():
            self.spots.setdefault(fields, []).extend(spans)


def aligned(voices: Sequence[Sequence[Group]], key: Sequence[Fields]) -> list[Group]:
    """The groups of all `voices`, those together that are one element, in the order of the document as far as their
    words stand in it, else of the first voice; what it lacks stands behind what stood before it."""
    lines = [[_line(group, key) for group in voice] for voice in voices]
    counts = Counter(leaf for voice in lines for line in voice for leaf in line.leaves)
    most = max(map(len, voices), default=1)
    weights = {leaf: math.log(1 + len(voices) * most / count) for leaf, count in counts.items()}
    united: list[_Line] = []
    for voice in lines:
        united = _laid(united, voice, weights) if united else voice
    return [line.group for line in _in_order(united)]


def _in_order(lines: Sequence[_Line]) -> list[_Line]:
    """By the first of the words that each rests on; one without any stays behind the one before it."""
    places, last = [], -1
    for line in lines:
        last = min((span.start for spans in line.spots.values() for span in spans), default=last)
        places.append(last)
    return [lines[at] for at in sorted(range(len(lines)), key=places.__getitem__)]


def _line(group: Group, key: Sequence[Fields]) -> _Line:
    said: set[Leaf] = set()
    spots: dict[Fields, list[Span]] = defaultdict(list)
    for member in group.members:
        depth = len(member.path)
        said.update((fields_of(path[depth:]), normalize(value)) for path, value in leaves(member.value, member.path))
        for fields, _, span in member.spots:
            spots[fields].append(span)
    return _Line(group, frozenset(said), spots, key_of(group.scalars, key))


def _laid(ones: list[_Line], others: list[_Line], weights: dict[Leaf, float]) -> list[_Line]:
    """`ones` with what is the same in `others` joined to it, and the rest put in where it stood."""
    partner: dict[int, int] = {}
    taken: set[int] = set()
    for *_, other, one in sorted(_pairs(ones, others, weights)):
        if other not in partner and one not in taken:
            partner[other] = one
            taken.add(one)
    partner |= _between(ones, others, partner, weights)
    last = min(partner.values(), default=len(ones)) - 1  # what stands before the first of both goes before it
    behind: dict[int, list[_Line]] = defaultdict(list)
    for at, line in enumerate(others):
        if at not in partner:
            behind[last].append(line)
            continue
        last = partner[at]
        ones[last].take(line)
    laid = [*behind[-1]]
    for at, line in enumerate(ones):
        laid += [line, *behind[at]]
    return laid


def _between(
    ones: Sequence[_Line], others: Sequence[_Line], partner: dict[int, int], weights: dict[Leaf, float]
) -> dict[int, int]:
    """Pairs of what is left over between two neighbours that are paired, where as many stand there in both."""
    taken = set(partner.values())
    found: dict[int, int] = {}
    run: list[int] = []
    before = -1
    for at in range(len(others) + 1):
        if at < len(others) and at not in partner:
            run.append(at)
            continue
        after = partner[at] if at < len(others) else len(ones)
        gap = range(before + 1, after)
        if len(gap) == len(run) and taken.isdisjoint(gap):
            found |= {
                other: one
                for other, one in zip(run, gap, strict=True)
                if _alike(ones[one], others[other], weights) >= BETWEEN and not _apart(ones[one], others[other])
            }
        run, before = [], after
    return found


def _pairs(
    ones: Sequence[_Line], others: Sequence[_Line], weights: dict[Leaf, float]
) -> Iterator[tuple[float, float, int, int]]:
    """(how unlike, how far apart, place in `others`, place in `ones`) of every two that may be one."""
    having: dict[Leaf, list[int]] = defaultdict(list)
    for at, line in enumerate(ones):
        for leaf in line.leaves:
            having[leaf].append(at)
    keys = {line.key: at for at, line in reversed(list(enumerate(ones))) if line.key is not None}
    for at, line in enumerate(others):
        if line.key is not None and line.key in keys:
            yield -2.0, 0.0, at, keys[line.key]
            continue
        expected = at * len(ones) / len(others)
        near = range(max(0, int(expected) - BESIDE), min(len(ones), int(expected) + BESIDE + 1))
        proposed = {
            one for leaf in line.leaves if len(having.get(leaf, ())) <= SHARED_BY for one in having.get(leaf, ())
        }
        for one in proposed.union(near):
            alike = _alike(ones[one], line, weights)
            if alike >= ALIKE and not _apart(ones[one], line):
                yield -alike, abs(expected - one), at, one


def _alike(one: _Line, other: _Line, weights: dict[Leaf, float]) -> float:
    whole = max(sum(weights[leaf] for leaf in one.leaves), sum(weights[leaf] for leaf in other.leaves))
    return sum(weights[leaf] for leaf in one.leaves & other.leaves) / whole if whole else 0.0


def _apart(one: _Line, other: _Line) -> bool:
    """Whether they have two keys, or rest on words of the same fields and on no word together."""
    if one.key is not None and other.key is not None and one.key != other.key:
        return True
    shared = one.spots.keys() & other.spots.keys()
    return bool(shared) and not any(
        mine.overlaps(theirs) for fields in shared for mine in one.spots[fields] for theirs in other.spots[fields]
    )
