"""The way of a unit of documents: one alone, or short rows of a table that share a request.

On an account that answers five requests at a time, rows that share one are the difference between a night and a
week. Their answers are taken apart by row number; a row that is missing or invalid is asked again alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import orjson
from docreduce.kinds.extract.accepting import counted_as
from docreduce.kinds.extract.answers import ReadItem, read_items, read_rows
from docreduce.kinds.extract.context import context
from docreduce.kinds.extract.continuing import keep
from docreduce.kinds.extract.expecting import Expectation
from docreduce.kinds.extract.found import Found
from docreduce.kinds.extract.gold import Gold, groundings
from docreduce.kinds.extract.lanes import Asked, Lane
from docreduce.kinds.extract.merge import Merged, merge
from docreduce.kinds.extract.paths import leaves
from docreduce.kinds.extract.placing import place
from docreduce.kinds.extract.prompts import corrections, missed, pack
from docreduce.kinds.extract.schema import Extraction
from docreduce.kinds.kind import Plan
from docreduce.kinds.rows import over_rows
from docreduce.kinds.steps import (
    CUT_SPLITS,
    Asking,
    Cutter,
    Invalid,
    InvalidAnswerError,
    Kept,
    Read,
    abreast,
    chunk_result,
    document_result,
    is_cut,
    structured,
)
from docreduce.text.alignment import Aligner
from docreduce.values import (
    UNSENT,
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

__all__ = ["ACCEPTED_KEY", "GROUNDING_KEY", "Extracting", "extract"]

MAX_ERROR_CHARS = 800
LIST_SPLITS = 3
"""As CUT_SPLITS, where a list is asked for: fifteen calls a chunk hold seven times the items that were expected."""
GROUNDING_KEY, ACCEPTED_KEY = "\0grounding", "\0accepted"
"""In a record, beside its fields: no field is called so."""
BARREN = 0.1
"""Of a document's tokens, how much a chunk holds that is worth a second look though nothing was found in it."""

Items = Sequence[ReadItem]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracting:
    """A job's extraction made ready: who is asked for what (`lanes`, and `rows` for packed rows), `budget` tokens of a
    chunk, cut by `cutter` and by what its answer is expected to come to; `gold`: what is known of some documents."""

    plan: Plan
    extraction: Extraction
    lanes: Sequence[Lane]
    rows: Asked
    budget: int
    cutter: Cutter
    expectation: Expectation
    gold: Gold | None = None


def extract(documents: Sequence[Document], job: Extracting) -> Steps:
    """Steps for one unit. One Result a document, in order.

    ok where every chunk was answered, partial where some were not, failed where none was, skipped where there is
    no text or the run ended first."""
    work = [_Extractor(document, at, job) for at, document in enumerate(documents)]
    alone = [each.at for each in work if each.document.text.strip()]
    stage: Stage = "map"
    if len(alone) > 1:
        alone = yield from _ask_rows(work, alone, job.plan, job.extraction, job.rows)
        stage = "repair"
    for at in alone:  # one after the other: the other units fill the slots
        yield from work[at].ask(stage)
    return [each.result() for each in work]


def _ask_rows(
    work: Sequence[_Extractor], rows: Sequence[int], plan: Plan, extraction: Extraction, asked: Asked
) -> Asking[list[int]]:
    """Ask for rows that share a request; those that have to be asked alone, in order."""

    def ask(group: Sequence[int]) -> Request:
        text = pack([work[at].document.text for at in group])
        return Request(
            messages=(*asked.messages, Message("user", text)),
            schema=asked.schema,
            tokens=asked.overhead_tokens + plan.tokenizer.count(text),
            chunk=0,
            serves=tuple(group),
        )

    def take_apart(group: Sequence[int], text: str) -> Mapping[int, Items]:
        by_row = read_rows(text, range(1, len(group) + 1), extraction.schema)
        texts = {at: work[at].document.text for at in group}
        return {
            at: by_row[row] for row, at in enumerate(group, 1) if row in by_row and not _foreign(by_row[row], at, texts)
        }

    apart = yield from over_rows(rows, ask, take_apart)
    for at, (items, outcome) in apart.answered.items():
        output = orjson.dumps({"items": [item.values for item in items]}).decode()
        work[at].accept(work[at].whole(), replace(outcome, text=output), items)
    for at, failure in apart.failed.items():
        work[at].fail(work[at].whole(), failure)
    return apart.alone


def _foreign(items: Items, own: int, texts: Mapping[int, str]) -> bool:
    """Whether words given for a row are not its own: a row may have told the model what to answer for others."""
    aligner = Aligner(texts[own])
    if any(aligner.find(words).alignment == "none" for item in items for _, words in item.quotes):
        return True
    values = [value for item in items for value in item.values.values() if isinstance(value, str)]
    return any(
        value not in texts[own] and any(value in text for at, text in texts.items() if at != own) for value in values
    )


@dataclass(slots=True)
class _Extractor:
    """One document's way, `at` its place in the unit: asked in `ask`, told in `result`."""

    document: Document
    at: int
    job: Extracting
    results: list[ChunkResult] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def ask(self, stage: Stage) -> Asking[None]:
        """Ask every lane for every chunk, again where an answer was invalid or broke off, and for what was missed."""
        chunks = self.job.expectation.chunks(self.document, self.job.cutter, self.job.budget)
        numbers = count(len(chunks) * len(self.job.lanes))
        lanes = [
            (lane, [replace(chunk, index=lane.number * len(chunks) + chunk.index) for chunk in chunks])
            for lane in self.job.lanes
        ]
        reads = yield from abreast([self._lane(lane, own, stage, numbers) for lane, own in lanes])
        for (lane, _), read in zip(lanes, reads, strict=True):
            for each in read:
                self.rejected += each.rejected
                if isinstance(each.outcome, Completion):
                    self.accept(each.chunk, each.outcome, each.value or (), repeats=each.repeats, voice=lane.voice)
                else:
                    self.fail(each.chunk, each.outcome)
        yield from self._again([(lane, read) for (lane, _), read in zip(lanes, reads, strict=True)])

    def _lane(
        self, lane: Lane, chunks: Sequence[Chunk], stage: Stage, numbers: Iterator[int]
    ) -> Asking[list[Read[Items]]]:
        job = self.job

        def ask(chunk: Chunk, invalid: Sequence[Invalid]) -> Request:
            return self._request(lane, chunk, stage, invalid)

        def read(text: str) -> Items:
            return read_items(text, lane.schema)

        def keep_items(chunk: Chunk, answer: str) -> Kept[Items] | None:
            return keep(self.document.text, answer, chunk, lane.schema)

        many = job.extraction.table.cardinality == "many"
        return (
            yield from structured(
                self.document,
                chunks,
                job.plan,
                ask,
                read,
                max_repairs=job.extraction.table.max_repairs,
                keep=keep_items if many else None,
                cut_splits=LIST_SPLITS if job.expectation.list_fields else CUT_SPLITS,
                numbers=numbers,
            )
        )

    def _again(self, lanes: Sequence[tuple[Lane, Sequence[Read[Items]]]]) -> Asking[None]:
        """Further passes: chunks that yielded nothing though they are large first, then all that may hold more. A chunk
        that brings nothing new is not asked any more."""
        passes = self.job.extraction.table.passes
        if passes < 2 or not self._may_lack():
            return
        answered = [(lane, each) for lane, read in lanes for each in read if isinstance(each.outcome, Completion)]
        total = sum(each.chunk.tokens for _, each in answered)
        items = {each.chunk.index: list(each.value or ()) for _, each in answered}
        open_now = [(lane, each.chunk) for lane, each in answered]
        for number in range(2, passes + 1):
            barren = [pair for pair in open_now if not items[pair[1].index] and pair[1].tokens >= BARREN * total]
            rest = [pair for pair in open_now if items[pair[1].index]]
            open_now = []
            for wave in (barren, rest):
                asked = [(lane, chunk, self._missed(lane, chunk, items[chunk.index], number)) for lane, chunk in wave]
                asked = [each for each in asked if each[2] is not None]
                if not asked:
                    continue
                outcomes = yield [request for *_, request in asked if request]
                for (lane, chunk, _), outcome in zip(asked, outcomes, strict=True):
                    more = self._more(lane, chunk, outcome, number)
                    if more:
                        items[chunk.index] += more
                        open_now.append((lane, chunk))

    def _may_lack(self) -> bool:
        """Whether there can be more than was found: with one record and no list in it, only where a field is null."""
        if self.job.expectation.list_fields or any("[" in row["field"] for row in self._merged().evidence):
            return True
        return self._size() < self.job.expectation.fields

    def _missed(self, lane: Lane, chunk: Chunk, items: Items, number: int) -> Request | None:
        """The request for what the answers about the chunk so far missed; None where it has no room."""
        plan = self.job.plan
        room = plan.input_tokens - lane.asked.overhead_tokens - chunk.tokens
        turns = missed([orjson.dumps(item.values).decode() for item in items], plan, room)
        if not turns:
            self.counts["passes_without_room"] += 1
            return None
        return self._asked(lane, chunk, "pass", turns, f"pass {number}")

    def _more(self, lane: Lane, chunk: Chunk, outcome: Outcome, number: int) -> list[ReadItem]:
        """What a further pass brought that was not there: booked, with what it cost."""
        if isinstance(outcome, Failure):
            if outcome.cause in UNSENT:
                self.failures.append(outcome)
            self.counts["passes_failed"] += 1
            return []
        self.counts["passes_calls"] += 1
        self.counts["passes_input_tokens"] += outcome.usage.input_tokens
        self.counts["passes_output_tokens"] += outcome.usage.output_tokens
        try:
            if is_cut(outcome):
                kept = keep(self.document.text, outcome.text, chunk, lane.schema)
                items = list(kept.value) if kept else []
            else:
                items = read_items(outcome.text, lane.schema)
        except InvalidAnswerError:
            self.counts["passes_failed"] += 1
            return []
        if not items:
            return []
        before = self._size()
        self.found += place(
            items, self.document.text, chunk=chunk.index, span=chunk.span, answer=number, voice=lane.voice
        )
        new = self._size() - before
        self.counts["passes_values"] += max(new, 0)
        return items if new > 0 else []

    def _size(self) -> int:
        """Values in the records as they are now."""
        return sum(1 for _, value in leaves(self._merged().records) if value is not None)

    def _merged(self) -> Merged:
        return merge(self.found, self.job.extraction)

    def whole(self) -> Chunk:
        """A row as one chunk; it has no pages."""
        text = self.document.text
        return Chunk(index=0, span=Span(0, len(text)), tokens=self.job.plan.tokenizer.count(text))

    def accept(
        self, chunk: Chunk, outcome: Completion, items: Items, *, repeats: bool = False, voice: str = ""
    ) -> None:
        """Book a chunk's valid answer, in a vote that of `voice`; `repeats`: it said the same again and again, and that
        was left out."""
        result = chunk_result(chunk, outcome)
        if repeats:
            self.counts["repeating_answers"] += 1
            said = "the answer repeated an item until it broke off: asked on from there"
            result = replace(result, error=result.error or said)
        self.results.append(result)
        self.found += place(items, self.document.text, chunk=chunk.index, span=chunk.span, voice=voice)

    def fail(self, chunk: Chunk, failure: Failure) -> None:
        """Book what became of a chunk that has no valid answer."""
        self.results.append(chunk_result(chunk, failure))
        self.failures.append(failure)

    def result(self) -> Result:
        """What stands in the rows: with cardinality one exactly one record, whatever happened."""
        result = Result(status="skipped", error_kind="empty", error="there is no text in it")
        if self.results:
            answered = any(each.status in {"ok", "partial"} for each in self.results)
            result = document_result(self.results, self.failures, answered=answered)
        found = self.found if result.status in {"ok", "partial"} else ()
        merged = merge(found, self.job.extraction, marks=self.document.marks)
        if merged.missing and result.status == "ok":
            result = replace(result, status="partial", error_kind="incomplete", error=_incomplete(merged))
        lost = sum(
            row["alignment"] == "none" and row["chosen"] and "category" not in (row["reason"] or "")
            for row in merged.evidence
        )
        if lost:
            self.counts["evidence_not_found"] = lost
        if self.job.gold is not None and result.status in {"ok", "partial"}:
            self.counts.update(self.job.gold.compared(self.document, merged))
        records = [{"item": at, **record} for at, record in enumerate(merged.records)]
        if self.job.extraction.table.accept is not None:
            for record, grounding in zip(records, groundings(merged), strict=True):
                record[GROUNDING_KEY] = grounding
                self.counts.update([counted_as(grounding)] if grounding else [])
        return replace(
            result,
            tables={"records": records, "evidence": merged.evidence},
            counts=self.counts,
            rejected=tuple(dict.fromkeys((*result.rejected, *self.rejected))),
        )

    def _request(self, lane: Lane, chunk: Chunk, stage: Stage, invalid: Sequence[Invalid]) -> Request:
        if not invalid:
            return self._asked(lane, chunk, stage)
        plan = self.job.plan
        room = plan.input_tokens - lane.asked.overhead_tokens - chunk.tokens
        turns = corrections(invalid[-1].answer.text, invalid[-1].wrong, plan, room)
        # A model that gives the same wrong answer again is to be asked again, not taken from the ledger.
        return self._asked(lane, chunk, "repair", turns, f"repair {len(invalid)}")

    def _asked(
        self, lane: Lane, chunk: Chunk, stage: Stage, turns: tuple[Message, ...] = (), salt: str = ""
    ) -> Request:
        plan = self.job.plan
        tokens = lane.asked.overhead_tokens + chunk.tokens + (plan.overhead_tokens(turns) if turns else 0)
        before = context(self.document, chunk, plan, plan.input_tokens - tokens)
        text = self.document.text[chunk.span.start : chunk.span.end]
        return Request(
            messages=(*lane.asked.messages, *before, *turns, Message("user", text)),
            schema=lane.asked.schema,
            salt=salt,
            voice=lane.voice,
            stage=stage,
            tokens=tokens + (plan.overhead_tokens(before) if before else 0),
            chunk=chunk.index,
            serves=(self.at,),
        )


def _incomplete(merged: Merged) -> str:
    """What the schema asks of a record and nobody found, by path."""
    reasons = [
        f"item {at}: {reason}" if len(merged.records) > 1 else reason
        for at, every in merged.missing.items()
        for reason in every
    ]
    return "the schema asks for more: " + "; ".join(reasons)[:MAX_ERROR_CHARS]
