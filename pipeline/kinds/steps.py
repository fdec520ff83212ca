"""Asking for every chunk of a document, splitting what does not fit, and what the outcomes mean for it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from threading import Lock

from docreduce.kinds.plan import ModelPlan
from docreduce.text.chunking import chunk as cut_text
from docreduce.text.chunking import split
from docreduce.text.tokens import Tokenizer
from docreduce.values import (
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

__all__ = ["ask_chunks", "chunk_result", "cut", "document_result", "too_long"]

MAX_SPLITS = 6
"""Halvings of one chunk before it is failed: 64 pieces."""


KEPT_CUTS = 256
"""Chunk plans that are kept: a run and its estimate cut every document, and should do it once."""
_cuts: dict[tuple[object, ...], Sequence[Chunk]] = {}
_cuts_lock = Lock()


def cut(document: Document, plan: ModelPlan, budget: int) -> Sequence[Chunk]:
    """The document's chunks of at most `budget` tokens. Raises ChunkError."""
    overlap = min(plan.overlap_tokens, budget - 1)
    key = (document.id, hash(document.text), len(document.text), plan.tokenizer.name, budget, overlap)
    chunks = _cuts.get(key)
    if chunks is None:
        chunks = cut_text(document.text, plan.tokenizer, budget, overlap_tokens=overlap, marks=document.marks)
        with _cuts_lock:
            _cuts[key] = chunks
            if len(_cuts) > KEPT_CUTS:
                del _cuts[next(iter(_cuts))]
    return chunks


def too_long(outcome: Outcome) -> bool:
    """Whether the answer broke off or the request overflowed: the chunk must get smaller."""
    if isinstance(outcome, Completion):
        return outcome.finish_reason == "length"
    return outcome.cause is Cause.CONTEXT_OVERFLOW


def ask_chunks(
    document: Document,
    chunks: Sequence[Chunk],
    tokenizer: Tokenizer,
    ask: Callable[[Chunk], Request],
    numbers: Iterator[int],
) -> Generator[list[Request], list[Outcome], list[tuple[Chunk, Outcome]]]:
    """One outcome a chunk, in the order of the text.

    A cut answer or a context overflow splits its chunk; the pieces take their indexes from `numbers`. A
    chunk that cannot be split any more comes back as a Failure, never as a cut answer."""
    done: list[tuple[Chunk, Outcome]] = []
    todo = [(chunk, 0) for chunk in chunks]
    while todo:
        outcomes = yield [ask(chunk) for chunk, _ in todo]
        again = []
        for (chunk, depth), outcome in zip(todo, outcomes, strict=True):
            if not too_long(outcome):
                done.append((chunk, outcome))
                continue
            pieces = split(chunk, document.text, tokenizer, marks=document.marks) if depth < MAX_SPLITS else []
            if not pieces:
                done.append((chunk, _unsplittable(outcome)))
            again += [(replace(piece, index=next(numbers)), depth + 1) for piece in pieces]
        todo = again
    return sorted(done, key=lambda pair: (pair[0].span.start, pair[0].span.end))


def _unsplittable(outcome: Outcome) -> Failure:
    if isinstance(outcome, Failure):
        return outcome
    return Failure(key=outcome.key, cause=Cause.CUT, message="the answer was cut, and the chunk cannot get smaller")


NOT_SENT = frozenset(
    {
        Cause.BUDGET,
        Cause.STOPPED,
        Cause.AUTHENTICATION,
        Cause.CREDIT,
        Cause.PERMISSION,
        Cause.UNKNOWN_MODEL,
    }
)
"""Causes that say nothing about the document: its run ended before it was done, and the next one goes on."""


def chunk_result(chunk: Chunk, outcome: Outcome) -> ChunkResult:
    """The chunk's row: ok with the answer's text, else failed or skipped with the reason."""
    if isinstance(outcome, Completion):
        return ChunkResult(chunk=chunk, status="ok", output=outcome.text)
    status: Status = "skipped" if outcome.cause in NOT_SENT else "failed"
    return ChunkResult(chunk=chunk, status=status, error=f"{outcome.cause}: {outcome.message}")


def document_result(
    chunks: Sequence[ChunkResult], failures: Sequence[Failure], *, summary: str | None = None, answered: bool
) -> Result:
    """The document's Result from its chunks and from every failure met on the way, in order.

    skipped where the run ended before it was done, failed where nothing was answered, partial where something
    is missing, else ok."""
    unsent = [failure for failure in failures if failure.cause in NOT_SENT]
    status: Status = "skipped" if unsent else "ok" if not failures else "partial" if answered else "failed"
    told = next(iter(unsent or failures), None)
    return Result(
        status=status,
        error_kind=told.cause.value if told else None,
        error=told.message if told else None,
        summary=summary if status in {"ok", "partial"} else None,
        chunks=chunks,
        rejected=[failure.key for failure in failures if failure.key and failure.cause not in NOT_SENT],
    )
