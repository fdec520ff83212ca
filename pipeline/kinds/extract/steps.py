"""The way of a unit of documents: one alone, or short rows of a table that share a request.

On an account that answers five requests at a time, rows that share one are the difference between a night and a
week. Their answers are taken apart by row number; a row that is missing or invalid is asked again alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import orjson
from docreduce.kinds.extract.answers import ReadItem, read_items, read_rows
from docreduce.kinds.extract.found import Found
from docreduce.kinds.extract.merge import Merged, merge
from docreduce.kinds.extract.placing import place
from docreduce.kinds.extract.prompts import corrections, pack
from docreduce.kinds.extract.schema import Extraction
from docreduce.kinds.kind import Plan
from docreduce.kinds.steps import (
    Asking,
    Cutter,
    Invalid,
    chunk_result,
    document_result,
    over_rows,
    structured,
)
from docreduce.text.alignment import Aligner
from docreduce.values import (
    Chunk,
    ChunkResult,
    Completion,
    Document,
    Failure,
    Message,
    Request,
    Result,
    Span,
    Stage,
    Steps,
)

__all__ = ["Asked", "extract"]

MAX_ERROR_CHARS = 800

Items = Sequence[ReadItem]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What stands before the text in every request of one form, the answer's schema, and the tokens of both."""

    messages: tuple[Message, ...]
    schema: str
    overhead_tokens: int


def extract(
    documents: Sequence[Document],
    plan: Plan,
    extraction: Extraction,
    asked: Mapping[bool, Asked],
    budget: int,
    cutter: Cutter,
) -> Steps:
    """Steps for one unit; `asked` is what stands around one text (False) and around packed rows (True), `budget` the
    tokens of a chunk. One Result a document, in order.

    ok where every chunk was answered, partial where some were not, failed where none was, skipped where there is
    no text or the run ended first."""
    work = [
        _Extractor(document, at, plan, extraction, asked[False], budget, cutter)
        for at, document in enumerate(documents)
    ]
    alone = [each.at for each in work if each.document.text.strip()]
    stage: Stage = "map"
    if len(alone) > 1:
        alone = yield from _ask_rows(work, alone, plan, extraction, asked[True])
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
    plan: Plan
    extraction: Extraction
    asked: Asked
    budget: int
    cutter: Cutter
    results: list[ChunkResult] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)

    def ask(self, stage: Stage) -> Asking[None]:
        """Ask for every chunk, again where an answer was invalid."""

        def ask(chunk: Chunk, invalid: Sequence[Invalid]) -> Request:
            return self._request(chunk, stage, invalid)

        read = yield from structured(
            self.document,
            self.cutter.chunks(self.document, self.budget),
            self.plan,
            ask,
            lambda text: read_items(text, self.extraction.schema),
            max_repairs=self.extraction.table.max_repairs,
        )
        for each in read:
            self.rejected += each.rejected
            if isinstance(each.outcome, Completion):
                self.accept(each.chunk, each.outcome, each.value or ())
            else:
                self.fail(each.chunk, each.outcome)

    def whole(self) -> Chunk:
        """A row as one chunk; it has no pages."""
        text = self.document.text
        return Chunk(index=0, span=Span(0, len(text)), tokens=self.plan.tokenizer.count(text))

    def accept(self, chunk: Chunk, outcome: Completion, items: Items) -> None:
        """Book a chunk's valid answer."""
        self.results.append(chunk_result(chunk, outcome))
        self.found += place(items, self.document.text, chunk=chunk.index, span=chunk.span)

    def fail(self, chunk: Chunk, failure: Failure) -> None:
        """Book what became of a chunk that has no valid answer."""
        self.results.append(chunk_result(chunk, failure))
        self.failures.append(failure)

    def result(self) -> Result:
        """What stands in the rows: with cardinality one exactly one record, whatever happened."""
        result = Result(status="skipped", error_kind="empty", error="there is no text in it")
        if self.results:
            answered = any(each.status == "ok" for each in self.results)
            result = document_result(self.results, self.failures, answered=answered)
        found = self.found if result.status in {"ok", "partial"} else ()
        merged = merge(found, self.extraction, marks=self.document.marks)
        if merged.missing and result.status == "ok":
            result = replace(result, status="partial", error_kind="incomplete", error=_incomplete(merged))
        lost = sum(
            row["alignment"] == "none" and row["chosen"] and "category" not in (row["reason"] or "")
            for row in merged.evidence
        )
        records = [{"item": at, **record} for at, record in enumerate(merged.records)]
        return replace(
            result,
            tables={"records": records, "evidence": merged.evidence},
            counts={"evidence_not_found": lost} if lost else {},
            rejected=tuple(dict.fromkeys((*result.rejected, *self.rejected))),
        )

    def _request(self, chunk: Chunk, stage: Stage, invalid: Sequence[Invalid]) -> Request:
        turns: tuple[Message, ...] = ()
        salt, overhead = "", self.asked.overhead_tokens
        if invalid:
            room = self.plan.input_tokens - overhead - chunk.tokens
            turns = corrections(invalid[-1].answer.text, invalid[-1].wrong, self.plan, room)
            overhead += self.plan.overhead_tokens(turns) if turns else 0
            # A model that gives the same wrong answer again is to be asked again, not taken from the ledger.
            stage, salt = "repair", f"repair {len(invalid)}"
        text = self.document.text[chunk.span.start : chunk.span.end]
        return Request(
            messages=(*self.asked.messages, *turns, Message("user", text)),
            schema=self.asked.schema,
            salt=salt,
            stage=stage,
            tokens=overhead + chunk.tokens,
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
