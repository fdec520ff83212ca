"""What is asked after an answer that broke off, and what a chunk may take for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Generic, TypeVar

from docreduce.kinds.plan import Plan
from docreduce.text.chunking import split
from docreduce.text.sentences import sentences
from docreduce.values import Chunk, Document, Span

__all__ = ["Allowance", "Kept", "in_pieces", "part", "pieces_after"]

T = TypeVar("T")

REFILL = 0.8
"""Of the text that one answer had room for, how much the next one is asked about: lists are not evenly dense."""
SHORT_TOKENS = 1_000
"""In a longer chunk a sentence ends near its middle, and the chunker cuts there."""
UNEVEN_TOKENS = 4
"""Two halves of a text may have so many tokens more than the whole: words that the cut divides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept(Generic[T]):
    """What is whole in an answer that broke off: the `value` of the text before code point `resume`, from which on is
    to be asked again. `repeats`: it broke off saying the same again and again."""

    value: T
    resume: int
    repeats: bool = False


@dataclass(slots=True)
class Allowance:
    """Calls and tokens of text that a chunk may still take: as many as `splits` halvings of all of it."""

    calls: int
    tokens: int

    @classmethod
    def of(cls, chunk: Chunk, splits: int) -> Allowance:
        """That of a chunk that is about to be asked."""
        calls = 2 ** (splits + 1) - 2
        return cls(calls=calls, tokens=splits * chunk.tokens + UNEVEN_TOKENS * calls)

    def grants(self, pieces: Sequence[Chunk]) -> bool:
        """Whether there is room for `pieces`; if so, they have taken it."""
        tokens = sum(piece.tokens for piece in pieces)
        if not pieces or len(pieces) > self.calls or tokens > self.tokens:
            return False
        self.calls -= len(pieces)
        self.tokens -= tokens
        return True


def pieces_after(document: Document, chunk: Chunk, plan: Plan, kept: Kept[Any] | None, most: int) -> list[Chunk]:
    """What to ask after an answer that broke off: the rest of the text in at most `most` pieces of the size that an
    answer had room for, in the order of the text; all of it in halves where nothing is kept."""
    if kept is None:
        return _halves(document, chunk, plan)
    if kept.resume >= chunk.span.end:
        return []
    rest = part(document, chunk, kept.resume, chunk.span.end, plan)
    if kept.repeats:  # that it broke off says nothing of how much has room
        return [rest]
    room = max(1, int(REFILL * (chunk.tokens - rest.tokens)))
    return in_pieces(document, rest, plan, min(ceil(rest.tokens / room), max(most, 1)))


def in_pieces(document: Document, chunk: Chunk, plan: Plan, number: int) -> list[Chunk]:
    """`chunk` in about equal pieces, at most `number`, in the order of the text, cut at boundaries as any chunk is."""
    if number < 2:
        return [chunk]
    halves = _halves(document, chunk, plan)
    if not halves:
        return [chunk]
    total = halves[0].tokens + halves[1].tokens
    first = max(1, min(number - 1, round(number * halves[0].tokens / max(1, total))))
    one, two = halves
    return [*in_pieces(document, one, plan, first), *in_pieces(document, two, plan, number - first)]


def _halves(document: Document, chunk: Chunk, plan: Plan) -> list[Chunk]:
    """Two halves of `chunk`, of a short one between two sentences of a line, where there are two: what is cut inside is
    seen whole by nobody, since pieces do not overlap."""
    halves = split(chunk, document.text, plan.tokenizer, marks=document.marks)
    if not halves or chunk.tokens > SHORT_TOKENS:
        return halves
    start, cut, end = chunk.span.start, halves[1].span.start, chunk.span.end
    if document.text[cut - 1] == "\n":
        return halves
    begins = [start + at for at, _ in sentences(document.text[start:end])[1:]]
    near = min(begins, key=lambda at: abs(at - cut), default=cut)
    return [part(document, chunk, start, near, plan), part(document, chunk, near, end, plan)]


def part(document: Document, chunk: Chunk, start: int, end: int, plan: Plan) -> Chunk:
    """Code points `start` to `end` of the document, of `chunk`, with their tokens."""
    return replace(chunk, span=Span(start, end), tokens=plan.tokenizer.count(document.text[start:end]))
