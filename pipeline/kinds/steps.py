"""What kinds share: asking over the chunks of a document, and for answers of a form.

All are generators of steps: they yield requests and receive their outcomes in the same order.

Only an input that overflows the model's window has its chunk cut smaller without bound. An answer that breaks off is
asked for in other words by the kind, or over smaller texts: from where it broke off, where that can be told, else in
halves. A chunk has as many calls and as much text for that as `cut_splits` halvings of all of it would take, whatever
is answered: what a document can cost stays bounded, and an estimate drives the worst of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Generic, TypeAlias, TypeVar, cast

from docreduce.kinds.pieces import Allowance, Kept, part, pieces_after
from docreduce.kinds.plan import Plan
from docreduce.text.chunking import chunk as cut_text
from docreduce.text.chunking import split
from docreduce.values import (
    UNSENT,
    Cause,
    Chunk,
    ChunkResult,
    Completion,
    Document,
    Failure,
    Outcome,
    Request,
    Result,
    Status,
)
from docreduce.values.errors import DocreduceError

__all__ = [
    "Cutter",
    "Invalid",
    "InvalidAnswerError",
    "Kept",
    "Read",
    "abreast",
    "chunk_result",
    "cut_failure",
    "document_result",
    "failures_of",
    "is_cut",
    "likeness",
    "over_chunks",
    "overflows",
    "structured",
]

T = TypeVar("T")
Asking: TypeAlias = Generator[list[Request], list[Outcome], T]


def likeness(plan: Plan, request: Request, tokens: int) -> str:
    """A text of about so many tokens in the language and script of what `request` is about: its own words.

    What is predicted is read by the next step, and a token is four letters in English and one in Chinese."""
    part = request.messages[-1].content.strip()[: 4 * tokens]
    counted = plan.tokenizer.count(part)
    wanted = round(len(part) * tokens / max(1, counted))
    return (part * (tokens // max(1, counted) + 1))[:wanted]


MAX_SPLITS = 6
"""Halvings of a chunk that overflows: 64 pieces. A window that small holds no prompt."""
CUT_SPLITS = 2
"""Halvings of a chunk whose structured answer breaks off: seven calls a chunk at most."""
MAX_ERROR_CHARS = 800
KEPT_PLANS = 64
"""Chunk plans that are kept: an estimate drives a document several times and cuts it once."""


class InvalidAnswerError(DocreduceError):
    """The answer cannot be used; the message says where and why."""

    kind = "invalid_output"


class Cutter:
    """Cuts documents by a plan, with `overlap_tokens` of the one before in each chunk."""

    def __init__(self, plan: Plan, overlap_tokens: int = 0) -> None:
        self._plan = plan
        self._overlap = overlap_tokens
        self._kept: dict[tuple[str, int], Sequence[Chunk]] = {}

    def chunks(self, document: Document, budget: int) -> Sequence[Chunk]:
        """The document's chunks of at most `budget` tokens. Raises ChunkError."""
        key = document.digest, budget
        found = self._kept.get(key) if document.digest else None
        if found is None:
            overlap = min(self._overlap, budget - 1)
            found = cut_text(document.text, self._plan.tokenizer, budget, overlap_tokens=overlap, marks=document.marks)
            if document.digest:
                self._kept[key] = found
                if len(self._kept) > KEPT_PLANS:
                    self._kept.pop(next(iter(self._kept)), None)
        return found


def is_cut(outcome: Outcome) -> bool:
    """Whether it is an answer that broke off at its limit."""
    return isinstance(outcome, Completion) and outcome.finish_reason == "length"


def over_chunks(
    document: Document,
    chunks: Sequence[Chunk],
    plan: Plan,
    ask: Callable[[Chunk], Request],
    numbers: Iterator[int],
) -> Asking[list[tuple[Chunk, Outcome]]]:
    """One outcome a chunk, in the order of the text.

    A chunk that overflows the window is halved; the pieces take their indexes from `numbers`. What cannot be halved
    comes back as it is."""
    done: list[tuple[Chunk, Outcome]] = []
    todo = [(chunk, 0) for chunk in chunks]
    while todo:
        outcomes = yield [ask(chunk) for chunk, _ in todo]
        again = []
        for (chunk, depth), outcome in zip(todo, outcomes, strict=True):
            splits = MAX_SPLITS if overflows(outcome) else 0
            pieces = split(chunk, document.text, plan.tokenizer, marks=document.marks) if depth < splits else []
            again += [(replace(piece, index=next(numbers)), depth + 1) for piece in pieces]
            if not pieces:
                done.append((chunk, outcome))
        todo = again
    return sorted(done, key=lambda pair: (pair[0].span.start, pair[0].span.end))


def overflows(outcome: Outcome) -> bool:
    """Whether the service refused it as too long."""
    return isinstance(outcome, Failure) and outcome.cause is Cause.CONTEXT_OVERFLOW


@dataclass(frozen=True, slots=True)
class Invalid:
    """An answer that cannot be used, and what is wrong with it."""

    answer: Completion
    wrong: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Read(Generic[T]):
    """What was read of a chunk's answer; `value` is None where `outcome` is a failure. `rejected`: answers before.

    `repeats`: the answer broke off saying the same again and again; what stood before that was kept."""

    chunk: Chunk
    outcome: Outcome
    value: T | None = None
    rejected: Sequence[str] = ()
    repeats: bool = False


def structured(  # noqa: PLR0913 - what a kind may say of its answers
    document: Document,
    chunks: Sequence[Chunk],
    plan: Plan,
    ask: Callable[[Chunk, Sequence[Invalid]], Request],
    read: Callable[[str], T],
    *,
    max_repairs: int,
    keep: Callable[[Chunk, str], Kept[T] | None] | None = None,
    cut_splits: int = CUT_SPLITS,
    numbers: Iterator[int] | None = None,
) -> Asking[list[Read[T]]]:
    """Every chunk's answer as `read` makes it, in the order of the text.

    An answer that `read` refuses (InvalidAnswerError) is asked again as a whole, with what was wrong, up to
    `max_repairs` times: `ask` is given the invalid answers so far. Of one that breaks off `keep` says what is whole in
    it, and the rest of its text is asked for in pieces of the size that had room, else all of it in halves. What stays
    invalid or cut is a Failure. Pieces take their indexes from `numbers`."""
    numbers = numbers or count(len(chunks))
    allowances = {chunk.index: Allowance.of(chunk, cut_splits) for chunk in chunks}
    invalid: dict[int, list[Invalid]] = defaultdict(list)
    done: list[Read[T]] = []
    todo = list(chunks)
    while todo:
        answered = yield from over_chunks(document, todo, plan, lambda chunk: ask(chunk, invalid[chunk.index]), numbers)
        asked, todo = todo, []
        for chunk, outcome in answered:
            allowance = allowances.get(chunk.index) or allowances[_parent(chunk, asked).index]
            if isinstance(outcome, Completion) and is_cut(outcome):
                kept = keep(chunk, outcome.text) if keep else None
                pieces = pieces_after(document, chunk, plan, kept, allowance.calls)
                granted = allowance.grants(pieces)
                pieces = [replace(piece, index=next(numbers)) for piece in pieces if granted or kept]
                if kept:
                    read_part = replace(outcome, finish_reason="stop")
                    whole = part(document, chunk, chunk.span.start, kept.resume, plan)
                    done.append(Read(chunk=whole, outcome=read_part, value=kept.value, repeats=kept.repeats))
                if granted:
                    allowances |= {piece.index: allowance for piece in pieces}
                    todo += pieces
                    continue
                if kept:
                    done += [Read(chunk=piece, outcome=cut_failure(outcome, plan)) for piece in pieces]
                    continue
            before = invalid[chunk.index]
            each = _read(chunk, outcome, plan, read)
            if isinstance(each, str):
                before.append(Invalid(cast(Completion, outcome), each))
                if len(before) <= max_repairs:
                    allowances[chunk.index] = allowance
                    todo.append(chunk)
                    continue
                failed = Failure(key=outcome.key, cause=Cause.INVALID_OUTPUT, message=f"chunk {chunk.index}: {each}")
                each = Read(chunk=chunk, outcome=failed)
            if isinstance(each.outcome, Failure):
                each = replace(each, rejected=[one.answer.key for one in before])
            done.append(each)
    return sorted(done, key=lambda each: (each.chunk.span.start, each.chunk.span.end))


def _parent(piece: Chunk, asked: Sequence[Chunk]) -> Chunk:
    """The chunk that `piece` was cut from, since it overflowed."""
    return next(one for one in asked if one.span.start <= piece.span.start and piece.span.end <= one.span.end)


def abreast(askings: Sequence[Asking[T]]) -> Asking[list[T]]:
    """What each of them comes to, all asked at once; requests about one chunk stand side by side, since the service
    has its text in its cache then."""
    results: dict[int, T] = {}
    waiting: dict[int, list[Request]] = {}

    def advance(at: int, outcomes: list[Outcome] | None) -> None:
        try:
            waiting[at] = next(askings[at]) if outcomes is None else askings[at].send(outcomes)
        except StopIteration as stop:
            results[at] = stop.value
            waiting.pop(at, None)

    for at in range(len(askings)):
        advance(at, None)
    while waiting:
        places = [(at, place) for at, requests in waiting.items() for place in range(len(requests))]
        places.sort(key=lambda each: (each[1], each[0]))
        outcomes = yield [waiting[at][place] for at, place in places]
        given: dict[int, list[Outcome]] = defaultdict(list)
        for (at, _), outcome in zip(places, outcomes, strict=True):
            given[at].append(outcome)
        for at in list(waiting):
            advance(at, given[at])
    return [results[at] for at in range(len(askings))]


def _read(chunk: Chunk, outcome: Outcome, plan: Plan, read: Callable[[str], T]) -> Read[T] | str:
    """What was read of the outcome, or what is wrong with its answer."""
    if isinstance(outcome, Failure):
        return Read(chunk=chunk, outcome=outcome)
    if is_cut(outcome):
        return Read(chunk=chunk, outcome=cut_failure(outcome, plan))
    try:
        return Read(chunk=chunk, outcome=outcome, value=read(outcome.text))
    except InvalidAnswerError as error:
        return error.message[:MAX_ERROR_CHARS]


def cut_failure(outcome: Outcome, plan: Plan) -> Failure:
    """What an answer that broke off at its limit comes to, where nothing smaller can be asked."""
    message = f"the answer was cut at {plan.max_output_tokens} tokens: raise model.max_output_tokens"
    return Failure(key=outcome.key, cause=Cause.CUT, message=message)


def failures_of(answered: Sequence[tuple[Chunk, Outcome]], plan: Plan) -> list[Failure]:
    """The failures among the outcomes, in order, with one for each answer that broke off."""
    outcomes = [cut_failure(outcome, plan) if is_cut(outcome) else outcome for _, outcome in answered]
    return [outcome for outcome in outcomes if isinstance(outcome, Failure)]


def chunk_result(chunk: Chunk, outcome: Outcome) -> ChunkResult:
    """The chunk's row: ok (partial where it was cut, or the service read a part of it) with the answer and who gave it,
    else the reason there is none."""
    if isinstance(outcome, Completion):
        wrong = f"{Cause.CUT}: the answer broke off" if is_cut(outcome) else None
        if outcome.truncated:
            wrong = f"{Cause.TRUNCATED_INPUT}: the service read a part of what it was sent"
        return ChunkResult(
            chunk=chunk,
            status="partial" if wrong else "ok",
            error=wrong,
            output=outcome.text,
            model=outcome.model,
            endpoint=outcome.endpoint,
        )
    status: Status = "skipped" if outcome.cause in UNSENT else "failed"
    return ChunkResult(chunk=chunk, status=status, error=f"{outcome.cause}: {outcome.message}")


def document_result(
    chunks: Sequence[ChunkResult], failures: Sequence[Failure], *, summary: str | None = None, answered: bool
) -> Result:
    """The document's Result from its chunks and from every failure met on the way, in order.

    skipped where the run ended before it was done, failed where nothing was answered, partial where something
    is missing, else ok."""
    unsent = [failure for failure in failures if failure.cause in UNSENT]
    status: Status = "skipped" if unsent else "ok" if not failures else "partial" if answered else "failed"
    named = next(iter(unsent or failures), None)
    more = f" (and {len(failures) - 1} more)" if named and len(failures) > 1 else ""
    return Result(
        status=status,
        error_kind=named.cause.value if named else None,
        error=named.message + more if named else None,
        summary=summary if status in {"ok", "partial"} else None,
        chunks=chunks,
        rejected=[failure.key for failure in failures if failure.key and failure.cause not in UNSENT],
    )
