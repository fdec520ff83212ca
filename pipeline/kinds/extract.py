"""`kind = "extract"`: every chunk to items with evidence, the items of a document to its records.

An invalid answer is asked again as a whole, with what is wrong named: items that are valid by themselves are not
taken out of it, since nobody knows what else is wrong there. What stays invalid fails its chunk. An empty string says
as much as null: nothing was found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import count
from typing import Any, TypeAlias

from pipeline.kinds.answers import InvalidAnswerError, items_of
from pipeline.kinds.chunks import ask_chunks, chunk_result, cut, document_result
from pipeline.kinds.extraction import Extraction
from pipeline.kinds.plan import ModelPlan, StructuredOutput
from pipeline.merge.evidence import Aligner, Quote
from pipeline.merge.items import Found, merge_many, merge_one
from pipeline.merge.seams import absorb_fragments, seams
from pipeline.prompts.extract import EVIDENCE, prefix, refusal
from pipeline.types import (
    Cause,
    Chunk,
    ChunkResult,
    Completion,
    Document,
    Evidence,
    Failure,
    Message,
    Outcome,
    Request,
    Result,
    Span,
    Stage,
    Steps,
)

__all__ = ["Asking", "Extractor", "Frame", "frames", "in_forms"]

MAX_REPAIR_NOTE_TOKENS = 500
"""Room that is kept in every request for saying what was wrong with an earlier answer."""
MAX_ERROR_CHARS = 800
SEAM_CONTEXT_CHARS = 400
"""Text on either side of what stands at a border of two chunks, for a second look at it."""

Asking: TypeAlias = Generator[list[Request], list[Outcome], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What stands around the text in one form of structured output, and its tokens."""

    structured_output: StructuredOutput
    messages: tuple[Message, ...]
    overhead_tokens: int


@lru_cache(maxsize=16)
def frames(plan: ModelPlan, settings: Extraction, *, rows: bool) -> tuple[Frame, ...]:
    """The frames of a job's requests, one a form of structured output, the best first."""
    schema = settings.rows_schema if rows else settings.schema
    made = []
    for mode in plan.structured_output:
        carried = mode in {"tools", "json_schema"}
        messages = prefix(
            plan.system,
            settings.instructions,
            cardinality=settings.cardinality,
            schema=None if carried else schema,
            examples=settings.examples,
            rows=rows,
        )
        overhead = plan.overhead_tokens(messages, schema if carried else None)
        made.append(Frame(structured_output=mode, messages=messages, overhead_tokens=overhead))
    return tuple(made)


def in_forms(steps: Steps, plan: ModelPlan, settings: Extraction) -> Steps:
    """`steps`, whose requests are in the best form, asked again in the next one where the provider refuses theirs."""
    outcomes: list[Outcome] | None = None
    form = 0
    while True:
        try:
            requests = next(steps) if outcomes is None else steps.send(outcomes)
        except StopIteration as stop:
            results: list[Result] = stop.value
            return results
        outcomes = yield [_in_form(request, form, plan, settings) for request in requests]
        while form + 1 < len(plan.structured_output) and (
            refused := [at for at, o in enumerate(outcomes) if isinstance(o, Failure) and o.cause is Cause.UNSUPPORTED]
        ):
            form += 1
            again = yield [_in_form(requests[at], form, plan, settings) for at in refused]
            for at, outcome in zip(refused, again, strict=True):
                outcomes[at] = outcome


def _in_form(request: Request, form: int, plan: ModelPlan, settings: Extraction) -> Request:
    if form == 0:
        return request
    best, *_ = made = frames(plan, settings, rows=request.schema == settings.rows_schema)
    other = made[form]
    return replace(
        request,
        messages=(*other.messages, *request.messages[len(best.messages) :]),
        structured_output=other.structured_output,
        input_tokens=request.input_tokens + other.overhead_tokens - best.overhead_tokens,
    )


@dataclass(slots=True, kw_only=True)
class Extractor:
    """One document's way, `at` its place in the unit: asked in `ask`, told in `result`."""

    document: Document
    plan: ModelPlan
    settings: Extraction
    at: int = 0
    results: list[ChunkResult] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)

    def ask(self, stage: Stage = "map") -> Asking:
        """Ask for every chunk, again where an answer was invalid, and once more where two chunks meet in a find."""
        budget = self._budget()
        chunks = cut(self.document, self.plan, budget)
        yield from self._ask_all(chunks, count(len(chunks)), stage)
        self.results.sort(key=lambda result: (result.chunk.span.start, result.chunk.span.end))
        if len(self.results) > 1:
            yield from self._look_at_seams(budget)

    def accept(self, chunk: Chunk, output: str, items: Sequence[Mapping[str, Any]]) -> None:
        """Book a chunk's valid answer."""
        self.results.append(ChunkResult(chunk=chunk, status="ok", output=output))
        self.found += self._found(chunk.index, chunk.span, items)

    def fail(self, chunk: Chunk, failure: Failure) -> None:
        """Book what became of a chunk that has no valid answer."""
        self.results.append(chunk_result(chunk, failure))
        self.failures.append(failure)

    def result(self) -> Result:
        """What stands in the rows: with cardinality one exactly one record, whatever happened."""
        if not self.results:
            told = Result(status="skipped", error_kind="empty", error="there is no text in it")
        else:
            answered = any(result.status == "ok" for result in self.results)
            told = document_result(self.results, self.failures, answered=answered)
        rejected = tuple(dict.fromkeys((*told.rejected, *self.rejected)))
        records, evidence = self._merged(self.found if told.status in {"ok", "partial"} else ())
        return replace(told, records=records, evidence=evidence, rejected=rejected)

    def whole(self) -> Chunk:
        """The text as one chunk: a row has no pages."""
        text = self.document.text
        return Chunk(index=0, span=Span(0, len(text)), tokens=self.plan.tokenizer.count(text))

    def _overhead(self) -> int:
        """Of the form that takes the most room."""
        return max(frame.overhead_tokens for frame in frames(self.plan, self.settings, rows=False))

    def _budget(self) -> int:
        overhead = self._overhead()
        spare = max(self.plan.input_tokens - overhead, 0) // 8
        note = min(MAX_REPAIR_NOTE_TOKENS, spare) if self.settings.max_repairs else 0
        return self.plan.chunk_tokens(overhead + note)

    def _ask_all(self, chunks: Sequence[Chunk], numbers: Iterator[int], stage: Stage) -> Asking:
        notes: dict[int, tuple[str, str]] = {}  # what was wrong with a chunk's last answer
        keys: dict[int, list[str]] = {}

        def ask(chunk: Chunk) -> Request:
            return self._request(chunk.span, chunk.tokens, chunk.index, stage, notes.get(chunk.index))

        todo = list(chunks)
        while todo:
            answered = yield from ask_chunks(self.document, todo, self.plan.tokenizer, ask, numbers)
            todo = []
            for chunk, outcome in answered:
                if isinstance(outcome, Failure):
                    self.rejected += keys.get(chunk.index, [])
                    self.fail(chunk, outcome)
                    continue
                try:
                    self.accept(chunk, outcome.text, items_of(outcome.text, self.settings.schema))
                except InvalidAnswerError as error:
                    keys.setdefault(chunk.index, []).append(outcome.key)
                    if len(keys[chunk.index]) <= self.settings.max_repairs:
                        notes[chunk.index] = (outcome.text, error.message[:MAX_ERROR_CHARS])
                        todo.append(chunk)
                    else:
                        self.rejected += keys[chunk.index]
                        message = f"chunk {chunk.index}: {error.message}"
                        self.fail(chunk, Failure(key=outcome.key, cause=Cause.INVALID_OUTPUT, message=message))

    def _look_at_seams(self, budget: int) -> Asking:
        """Ask about the text around a border where both chunks found something of the same field up to it.

        Where that brings nothing, what the chunks found stands as it is: nothing is lost by it."""
        many = self.settings.cardinality == "many"
        text = self.document.text
        self.found = absorb_fragments(self.found, text, whole_items=many)
        answered = [result.chunk for result in self.results if result.status == "ok"]
        spans = [chunk.span for chunk in answered]
        context = min(SEAM_CONTEXT_CHARS, budget // 4)  # a code point may take a token or two
        windows = []
        for window in seams(self.found, spans, text, context_chars=context, whole_items=many):
            tokens = self.plan.tokenizer.count(text[window.start : window.end])
            if tokens <= budget:
                index = max((c for c in answered if c.span.start <= window.start), key=lambda c: c.span.start).index
                windows.append((window, tokens, index))
        if not windows:
            return
        outcomes = yield [self._request(window, tokens, index, "resolve") for window, tokens, index in windows]
        seen: list[Found] = []
        for (window, _, index), outcome in zip(windows, outcomes, strict=True):
            if isinstance(outcome, Completion) and outcome.finish_reason != "length":
                try:
                    items = items_of(outcome.text, self.settings.schema)
                except InvalidAnswerError:
                    continue
                seen += self._found(index, window, items)
        self.found = absorb_fragments(self.found, text, whole_items=many, second_look=seen)

    def _request(
        self, span: Span, tokens: int, index: int, stage: Stage, note: tuple[str, str] | None = None
    ) -> Request:
        frame = frames(self.plan, self.settings, rows=False)[0]
        turns: tuple[Message, ...] = ()
        if note is not None:
            room = self.plan.input_tokens - self._overhead() - tokens
            turns = refusal(*note)
            if self.plan.overhead_tokens(turns) > room:
                turns = refusal("", note[1])
            stage = "repair"
        return self.plan.request(
            (*frame.messages, *turns, Message("user", self.document.text[span.start : span.end])),
            stage=stage,
            chunk=index,
            input_tokens=frame.overhead_tokens + tokens + (self.plan.overhead_tokens(turns) if turns else 0),
            schema=self.settings.schema,
            structured_output=frame.structured_output,
            documents=(self.at,),
        )

    def _found(self, index: int, span: Span, items: Sequence[Mapping[str, Any]]) -> list[Found]:
        aligner = Aligner(self.document.text[span.start : span.end], span.start)
        mentions: Counter[tuple[str, str]] = Counter()
        found = []
        for ordinal, item in enumerate(items):
            values = {name: item[name] for name in self.settings.fields if _is_value(item.get(name))}
            given = item.get(EVIDENCE) or {}
            quotes: dict[str, tuple[Quote, ...]] = {}
            for name, value in values.items():
                texts = given.get(name)
                texts = texts if isinstance(texts, list) else [texts] if texts else []
                aligned = []
                for quote in texts:
                    aligned.append(aligner.find(quote, mentions[name, quote]))
                    mentions[name, quote] += 1
                if not texts and isinstance(value, str) and (own := aligner.only(value)):
                    aligned.append(own)
                quotes[name] = tuple(aligned)
            if values:
                found.append(Found(chunk=index, span=span, ordinal=ordinal, values=values, quotes=quotes))
        return found

    def _merged(self, found: Sequence[Found]) -> tuple[list[dict[str, Any]], list[Evidence]]:
        settings, marks = self.settings, self.document.marks
        if settings.cardinality == "one":
            record, evidence = merge_one(found, settings.fields, settings.conflict, marks)
            return [record], evidence
        return merge_many(found, settings.fields, settings.key, settings.conflict, marks)


def _is_value(value: Any) -> bool:
    return value is not None and not (isinstance(value, str) and not value.strip())
