"""`kind = "extract"`: every chunk to items with evidence, the items of a document to its records.

An invalid answer is asked again as a whole, with what is wrong named: items that are valid by themselves are not
taken out of it, since nobody knows what else is wrong there. What stays invalid fails its chunk. An empty string says
as much as null: nothing was found.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import count
from typing import Any, TypeAlias

from docreduce.kinds.extract.answers import InvalidAnswerError, items_of
from docreduce.kinds.extract.merge import Found, merge
from docreduce.kinds.extract.prompts import prefix, quotes_of, refusal
from docreduce.kinds.extract.schema import Extraction
from docreduce.kinds.extract.seams import absorb_fragments, seams
from docreduce.kinds.plan import ModelPlan
from docreduce.kinds.steps import ask_chunks, chunk_result, cut, document_result
from docreduce.text.alignment import Aligner, Quote
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
    Result,
    Span,
    Stage,
    Steps,
)

__all__ = ["Extractor", "in_forms", "overhead_tokens", "request"]

MAX_REPAIR_NOTE_TOKENS = 500
"""Room that is kept in every request for saying what was wrong with an earlier answer."""
MAX_ERROR_CHARS = 800
SEAM_CONTEXT_CHARS = 400
"""Text on either side of what stands at a border of two chunks, for a second look at it."""

Asking: TypeAlias = Generator[list[Request], list[Outcome], None]


@lru_cache(maxsize=16)
def _frames(plan: ModelPlan, settings: Extraction, rows: bool) -> tuple[tuple[tuple[Message, ...], int], ...]:
    """The messages before the text and the tokens around it, by form of structured output, the best first."""
    schema = settings.rows_schema if rows else settings.schema
    made = []
    for form in plan.structured_output:
        carried = form in {"tools", "json_schema"}
        messages = prefix(
            plan.system,
            settings.table.instructions,
            cardinality=settings.table.cardinality,
            schema=None if carried else schema,
            examples=settings.examples,
            rows=rows,
        )
        made.append((messages, plan.overhead_tokens(messages, schema if carried else None)))
    return tuple(made)


def overhead_tokens(plan: ModelPlan, settings: Extraction, *, rows: bool = False) -> int:
    """Tokens around the text, in the form that takes the most of them."""
    return max(tokens for _, tokens in _frames(plan, settings, rows))


def request(
    plan: ModelPlan,
    settings: Extraction,
    text: str,
    tokens: int,
    *,
    rows: bool = False,
    turns: tuple[Message, ...] = (),
    **where: Any,
) -> Request:
    """A request in the best form about `text` of `tokens`, with `turns` before it; `where` as in ModelPlan.request."""
    messages, overhead = _frames(plan, settings, rows)[0]
    return plan.request(
        (*messages, *turns, Message("user", text)),
        input_tokens=overhead + tokens + (plan.overhead_tokens(turns) if turns else 0),
        schema=settings.rows_schema if rows else settings.schema,
        structured_output=plan.structured_output[0],
        **where,
    )


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
        outcomes = yield [_in_form(one, form, plan, settings) for one in requests]
        while form + 1 < len(plan.structured_output) and (
            refused := [at for at, o in enumerate(outcomes) if _is_refused(o)]
        ):
            form += 1
            again = yield [_in_form(requests[at], form, plan, settings) for at in refused]
            for at, outcome in zip(refused, again, strict=True):
                outcomes[at] = outcome


def _is_refused(outcome: Outcome) -> bool:
    return isinstance(outcome, Failure) and outcome.cause is Cause.UNSUPPORTED


def _in_form(best: Request, form: int, plan: ModelPlan, settings: Extraction) -> Request:
    frames = _frames(plan, settings, best.schema == settings.rows_schema)
    (prefix_, overhead), (other_prefix, other_overhead) = frames[0], frames[form]
    return replace(
        best,
        messages=(*other_prefix, *best.messages[len(prefix_) :]),
        structured_output=plan.structured_output[form],
        input_tokens=best.input_tokens + other_overhead - overhead,
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
        overhead = overhead_tokens(self.plan, self.settings)
        spare = max(self.plan.input_tokens - overhead, 0) // 8
        budget = self.plan.chunk_tokens(
            overhead + min(MAX_REPAIR_NOTE_TOKENS if self.settings.table.max_repairs else 0, spare)
        )
        yield from self._ask_all(cut(self.document, self.plan, budget), stage)
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
        told = Result(status="skipped", error_kind="empty", error="there is no text in it")
        if self.results:
            answered = any(result.status == "ok" for result in self.results)
            told = document_result(self.results, self.failures, answered=answered)
        found = self.found if told.status in {"ok", "partial"} else ()
        table, marks = self.settings.table, self.document.marks
        one = table.cardinality == "one"
        records, evidence = merge(
            found, self.settings.fields, one=one, key=table.key, conflict=table.conflict, marks=marks
        )
        rejected = tuple(dict.fromkeys((*told.rejected, *self.rejected)))
        return replace(told, records=records, evidence=evidence, rejected=rejected)

    def _ask_all(self, chunks: Sequence[Chunk], stage: Stage) -> Asking:
        numbers = count(len(chunks))
        invalid: dict[int, list[tuple[Completion, str]]] = defaultdict(list)  # a chunk's, and what was wrong with each

        def ask(chunk: Chunk) -> Request:
            if not invalid[chunk.index]:
                return self._request(chunk.span, chunk.tokens, chunk.index, stage)
            room = self.plan.input_tokens - overhead_tokens(self.plan, self.settings) - chunk.tokens
            answer, wrong = invalid[chunk.index][-1]
            whole, short = (refusal(text, wrong) for text in (answer.text, ""))
            turns = whole if self.plan.overhead_tokens(whole) <= room else short
            best = self._request(chunk.span, chunk.tokens, chunk.index, "repair", turns)
            # A model that gives the same wrong answer again is to be asked again, not taken from the ledger.
            return replace(best, salt=f"repair {len(invalid[chunk.index])}")

        todo = chunks
        while todo:
            answered = yield from ask_chunks(self.document, todo, self.plan.tokenizer, ask, numbers)
            todo = []
            for chunk, outcome in answered:
                if isinstance(outcome, Completion):
                    try:
                        self.accept(chunk, outcome.text, items_of(outcome.text, self.settings.schema))
                        continue
                    except InvalidAnswerError as error:
                        wrong = error.message[:MAX_ERROR_CHARS]
                    invalid[chunk.index].append((outcome, wrong))
                    if len(invalid[chunk.index]) <= self.settings.table.max_repairs:
                        todo.append(chunk)
                        continue
                    message = f"chunk {chunk.index}: {wrong}"
                    failure = Failure(key=outcome.key, cause=Cause.INVALID_OUTPUT, message=message)
                else:
                    failure = outcome
                self.rejected += [answer.key for answer, _ in invalid[chunk.index]]
                self.fail(chunk, failure)

    def _look_at_seams(self, budget: int) -> Asking:
        """Ask about the text around a border where both chunks found something of the same field up to it.

        Where that brings nothing, what the chunks found stands as it is: nothing is lost by it."""
        many = self.settings.table.cardinality == "many"
        text = self.document.text
        self.found = absorb_fragments(self.found, text, whole_items=many)
        answered = [result.chunk for result in self.results if result.status == "ok"]
        spans = [chunk.span for chunk in answered]
        context = min(SEAM_CONTEXT_CHARS, budget // 4)  # a code point may take a token or two
        windows = []
        for window in seams(self.found, spans, text, context_chars=context, whole_items=many):
            tokens = self.plan.tokenizer.count(text[window.start : window.end])
            if tokens <= budget:
                index = next(chunk.index for chunk in reversed(answered) if chunk.span.start <= window.start)
                windows.append((window, tokens, index))
        outcomes = (yield [self._request(*window, "resolve") for window in windows]) if windows else []
        seen: list[Found] = []
        for (window, _, index), outcome in zip(windows, outcomes, strict=True):
            if isinstance(outcome, Completion) and outcome.finish_reason != "length":
                with suppress(InvalidAnswerError):
                    seen += self._found(index, window, items_of(outcome.text, self.settings.schema))
        self.found = absorb_fragments(self.found, text, whole_items=many, second_look=seen)

    def _request(self, span: Span, tokens: int, index: int, stage: Stage, turns: tuple[Message, ...] = ()) -> Request:
        text = self.document.text[span.start : span.end]
        return request(
            self.plan, self.settings, text, tokens, turns=turns, stage=stage, chunk=index, documents=(self.at,)
        )

    def _found(self, index: int, span: Span, items: Sequence[Mapping[str, Any]]) -> list[Found]:
        aligner = Aligner(self.document.text[span.start : span.end], span.start)
        mentions: Counter[tuple[str, str]] = Counter()
        found = []
        for ordinal, item in enumerate(items):
            values = {name: item[name] for name in self.settings.fields if _is_value(item.get(name))}
            quotes: dict[str, tuple[Quote, ...]] = {}
            for name, value in values.items():
                aligned = []
                for quote in quotes_of(item, name):
                    aligned.append(aligner.find(quote, mentions[name, quote]))
                    mentions[name, quote] += 1
                if not aligned and isinstance(value, str) and (own := aligner.only(value)):
                    aligned.append(own)
                quotes[name] = tuple(aligned)
            if values:
                found.append(Found(chunk=index, span=span, ordinal=ordinal, values=values, quotes=quotes))
        return found


def _is_value(value: Any) -> bool:
    return value is not None and not (isinstance(value, str) and not value.strip())
