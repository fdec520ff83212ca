"""`kind = "summarize"`: every chunk to a summary, the summaries to one.

Strategy "tree" merges partial summaries level by level, as many at a time as fit a request; "refine" carries
one summary through the chunks in order.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TypeAlias

from docreduce.config import SummarizeSettings
from docreduce.kinds.plan import ModelPlan
from docreduce.kinds.steps import ask_chunks, chunk_result, cut, document_result, too_long
from docreduce.kinds.summarize.prompts import SEPARATOR, map_prefix, reduce_prefix, refine_prefix
from docreduce.kinds.summarize.tree import groups
from docreduce.values import (
    Cause,
    Chunk,
    ChunkResult,
    Completion,
    Document,
    Failure,
    Message,
    Outcome,
    Request,
    Stage,
    Steps,
)

__all__ = ["summarize"]

_SEPARATOR_TOKENS = 2
_Asking: TypeAlias = Generator[list[Request], list[Outcome], str]


def summarize(documents: Sequence[Document], plan: ModelPlan, settings: SummarizeSettings) -> Steps:
    """Steps for one document. Its Result is ok where every chunk and every merge was answered, partial where
    some words are missing from the summary, failed where no chunk was answered."""
    (document,) = documents
    work = _Summarizer(document, plan, settings)
    summary = yield from work.refine() if settings.strategy == "refine" else work.tree()
    return [document_result(work.results, work.failures, summary=summary, answered=bool(summary))]


@dataclass(slots=True)
class _Summarizer:
    """One document's way: `results` and `failures` grow in the order of the text."""

    document: Document
    plan: ModelPlan
    settings: SummarizeSettings
    results: list[ChunkResult] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def tree(self) -> _Asking:
        prefix = map_prefix(self.plan.system, self.settings)
        chunks = cut(self.document, self.plan, self.plan.chunk_tokens(self.plan.overhead_tokens(prefix)))
        parts = yield from self._map(prefix, chunks, "map", count(len(chunks)))
        return (yield from self._reduce(parts)) if parts else ""

    def refine(self) -> _Asking:
        """One call a chunk, each with the summary of all before it; a failed chunk is left out and named."""
        first = map_prefix(self.plan.system, self.settings)
        next_ones = refine_prefix(self.plan.system, self.settings, "")
        overhead = max(self.plan.overhead_tokens(prefix) for prefix in (first, next_ones))
        chunks = cut(self.document, self.plan, self.plan.chunk_tokens(overhead + self.plan.max_output_tokens))
        numbers = count(len(chunks))
        summary = ""
        for chunk in chunks:
            prefix = refine_prefix(self.plan.system, self.settings, summary) if summary else first
            parts = yield from self._map(prefix, [chunk], "reduce" if summary else "map", numbers)
            if parts:  # more than one where the chunk had to be split
                summary = yield from self._reduce(parts)
        return summary

    def _map(
        self, prefix: tuple[Message, ...], chunks: Sequence[Chunk], stage: Stage, numbers: count[int]
    ) -> Generator[list[Request], list[Outcome], list[str]]:
        """The answers for `chunks`, those that failed left out and booked."""
        overhead = self.plan.overhead_tokens(prefix)

        def ask(chunk: Chunk) -> Request:
            text = self.document.text[chunk.span.start : chunk.span.end]
            return self._request(prefix, text, overhead + chunk.tokens, stage, chunk.index)

        answered = yield from ask_chunks(self.document, chunks, self.plan.tokenizer, ask, numbers)
        self.results += [chunk_result(chunk, outcome) for chunk, outcome in answered]
        self.failures += [outcome for _, outcome in answered if isinstance(outcome, Failure)]
        return [outcome.text for _, outcome in answered if isinstance(outcome, Completion)]

    def _reduce(self, parts: list[str]) -> _Asking:
        """One text of all parts. On a failure the unmerged parts stand joined, and the failure is booked."""
        prefix = reduce_prefix(self.plan.system, self.settings)
        overhead = self.plan.overhead_tokens(prefix)
        # A level must shrink: two answers of full length have to fit, whatever chunk size the job asks for.
        pair = 2 * (self.plan.max_output_tokens + _SEPARATOR_TOKENS)
        room = self.plan.input_tokens - overhead
        limit = min(room, max(self.plan.max_chunk_tokens or room, pair))
        while len(parts) > 1:
            sizes = [self.plan.tokenizer.count(part) + _SEPARATOR_TOKENS for part in parts]
            try:
                level = groups(sizes, limit)
            except ValueError as error:
                self.failures.append(Failure(key="", cause=Cause.TOO_LARGE, message=f"reduce: {error}"))
                return SEPARATOR.join(parts)
            merged = [SEPARATOR.join(parts[i] for i in group) for group in level]
            asked = [n for n, group in enumerate(level) if len(group) > 1]
            outcomes = yield [
                self._request(prefix, merged[n], overhead + sum(sizes[i] for i in level[n]), "reduce", None)
                for n in asked
            ]
            before = len(self.failures)
            for n, first in zip(asked, outcomes, strict=True):
                outcome = (yield from self._shorter(merged[n], overhead)) if too_long(first) else first
                if isinstance(outcome, Failure):
                    self.failures.append(replace(outcome, message=f"reduce: {outcome.message}"))
                else:
                    merged[n] = outcome.text
            if len(self.failures) > before:
                return SEPARATOR.join(merged)
            parts = merged
        return parts[0]

    def _shorter(self, text: str, overhead: int) -> Generator[list[Request], list[Outcome], Outcome]:
        """A merge whose answer was cut, asked again for half, then a quarter, of the words."""
        tokens = overhead + self.plan.tokenizer.count(text)
        failure = Failure(key="", cause=Cause.CUT, message="the merged summary was cut each time")
        for words in (self.settings.max_words // 2, self.settings.max_words // 4):
            fewer = self.settings.model_copy(update={"max_words": max(words, 1)})
            prefix = reduce_prefix(self.plan.system, fewer)
            (outcome,) = yield [self._request(prefix, text, tokens, "reduce", None, fewer.max_words)]
            if not too_long(outcome):
                return outcome
            failure = replace(failure, key=outcome.key)
        return failure

    def _request(
        self,
        prefix: tuple[Message, ...],
        text: str,
        tokens: int,
        stage: Stage,
        chunk: int | None,
        words: int | None = None,
    ) -> Request:
        return self.plan.request(
            (*prefix, Message("user", text)),
            stage=stage,
            chunk=chunk,
            input_tokens=tokens,
            max_words=words or self.settings.max_words,
        )
