"""The way of one document to its summary.

Strategy "tree" merges partial summaries level by level, as many at a time as fit a request; "refine" carries
one summary through the chunks in order. A summary that breaks off at the answer's limit is asked for once more in half
the words; if that breaks off too, its whole sentences stand, and the document is partial.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Any

from docreduce.kinds.kind import Plan, Work
from docreduce.kinds.steps import (
    Asking,
    Cutter,
    chunk_result,
    cut_failure,
    document_result,
    is_cut,
    likeness,
    over_chunks,
)
from docreduce.kinds.summarize.prompts import SEPARATOR, map_prefix, reduce_prefix, refine_prefix
from docreduce.kinds.summarize.settings import SummarizeSettings
from docreduce.kinds.summarize.support import support
from docreduce.kinds.summarize.tables import GROUPS, SUMMARIES, SUPPORT
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
    Result,
    Stage,
    Steps,
)

__all__ = ["prepare"]

_SEPARATOR_TOKENS = 2
_LAST_SENTENCE = re.compile(r"^.*[.!?。！？।۔።…]['\"”’»)]?(?=\s|$)", re.DOTALL)
"""A token of tiktoken's encodings, however often it stands there."""

Prefix = Callable[[SummarizeSettings], tuple[Message, ...]]


def prepare(settings: SummarizeSettings, plan: Plan) -> Work:
    """The work of a summary. Raises JobError if the instructions leave no room for text."""
    notes = []
    if settings.max_words > plan.answer_words:
        notes.append(
            f"summarize.max_words = {settings.max_words} does not surely fit model.max_output_tokens = "
            f"{plan.max_output_tokens}: {plan.answer_words} words are asked for"
        )
        settings = settings.model_copy(update={"max_words": plan.answer_words})
    plan.leave_room(map_prefix(plan.system, settings))
    cutter = Cutter(plan, plan.overlap_tokens or 0)

    def steps(documents: Sequence[Document]) -> Steps:
        (document,) = documents
        work = _Summarizer(document, plan, settings, cutter)
        summary = yield from work.refine() if settings.strategy == "refine" else work.tree()
        return [work.result(summary)]

    def reduce(group: str, results: Sequence[Result]) -> Steps:
        """One summary of the summaries of many documents; those without one are counted and named."""
        document = Document(id=group, uri=group, text="", media_type="text/plain")
        work = _Summarizer(document, plan, settings, cutter)
        summary = yield from work.merge([each.summary for each in results if each.summary])
        return [work.group(group, summary, results)]

    def offline(request: Request) -> str:
        from docreduce.kinds.summarize.offline import summarize

        *before, source = (message.content for message in request.messages if message.role == "user")
        return summarize(
            SEPARATOR.join([*before, source]),
            max_words=request.max_words or settings.max_words,
            max_tokens=plan.max_output_tokens,
            count=plan.tokenizer.count,
            shorten=request.stage == "map",
        )

    return Work(
        steps=steps,
        predict=partial(likeness, plan),
        offline=offline,
        tables={"summaries": SUMMARIES, "support": SUPPORT},
        reduce=reduce,
        groups=GROUPS,
        notes=notes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    """A summary in the tree; `children` are the numbers of those it was made of."""

    number: int
    level: int
    children: tuple[int, ...]
    text: str


@dataclass(slots=True)
class _Summarizer:
    """One document's way: `results` and `failures` grow in the order of the text, `nodes` as they are made: each a
    summary with the nodes it was made of."""

    document: Document
    plan: Plan
    settings: SummarizeSettings
    cutter: Cutter
    results: list[ChunkResult] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    nodes: list[_Node] = field(default_factory=list)
    shortened: int = 0

    def tree(self) -> Asking[str]:
        prefix = partial(map_prefix, self.plan.system)
        chunks = self.cutter.chunks(self.document, self.plan.chunk_tokens(self._overhead(prefix)))
        parts = yield from self._map(prefix, chunks, "map", count(len(chunks)))
        return (yield from self._reduce(parts)).text if parts else ""

    def merge(self, texts: Sequence[str]) -> Asking[str]:
        """One summary of `texts`, level by level. A text that is longer than a merge has room for is cut off."""
        most = self.plan.max_output_tokens
        parts = [self._node(0, (), self.plan.tokenizer.truncate(text, most)) for text in texts]
        return (yield from self._reduce(parts)).text if parts else ""

    def refine(self) -> Asking[str]:
        """One call a chunk, each with the summary of all before it; a failed chunk is left out and named."""
        first = partial(map_prefix, self.plan.system)
        room = max(self._overhead(first), self._overhead(self._refining(""))) + self.plan.max_output_tokens
        chunks = self.cutter.chunks(self.document, self.plan.chunk_tokens(room))
        numbers = count(len(chunks))
        summary: _Node | None = None
        for chunk in chunks:
            prefix = self._refining(summary.text) if summary else first
            parts = yield from self._map(prefix, [chunk], "reduce" if summary else "map", numbers, before=summary)
            if parts:  # more than one where the chunk had to be split
                summary = yield from self._reduce(parts)
        return summary.text if summary else ""

    def result(self, summary: str) -> Result:
        """The document's row; that a summary had to be asked for in fewer words is said."""
        result = document_result(self.results, self.failures, summary=summary, answered=bool(summary))
        if self.shortened and result.status == "ok":
            words = f"asked for in half the words, since {self.shortened} of its parts broke off"
            hint = "raise model.max_output_tokens or lower summarize.max_words"
            result = replace(result, error_kind="shortened", error=f"{words}: {hint}")
        counts = {"shortened_summaries": self.shortened} if self.shortened else {}
        if not result.summary:
            return replace(result, counts=counts)
        rests = support(result.summary, self.document.text)
        unsupported = len({row["sentence"] for row in rests if row["status"] == "unsupported"})
        if unsupported:
            counts["unsupported_sentences"] = unsupported
        return replace(result, counts=counts, tables={"summaries": self._tree(), "support": rests})

    def group(self, group: str, summary: str, results: Sequence[Result]) -> Result:
        """The group's row: partial where a document of it has no summary or a merge failed."""
        result = document_result((), self.failures, summary=summary, answered=bool(summary))
        lacking = sum(not each.summary for each in results)
        if not summary and result.status == "ok":
            result = replace(result, status="skipped", error_kind="empty", error="no document of it has a summary")
        elif lacking and result.status == "ok":
            words = f"{lacking} of its {len(results)} documents have no summary"
            result = replace(result, status="partial", error_kind="incomplete", error=words)
        row = {"group": group, "documents": len(results), "summary": result.summary or None}
        return replace(result, tables={"groups": [row], "summaries": self._tree()})

    def _node(self, level: int, children: Sequence[_Node], text: str) -> _Node:
        node = _Node(number=len(self.nodes), level=level, children=tuple(each.number for each in children), text=text)
        self.nodes.append(node)
        return node

    def _tree(self) -> list[dict[str, Any]]:
        """Rows of `summaries.parquet`."""
        count = self.plan.tokenizer.count
        return [
            {
                "level": each.level,
                "node": each.number,
                "children": list(each.children),
                "text": each.text,
                "tokens": count(each.text),
            }
            for each in self.nodes
        ]

    def _refining(self, summary: str) -> Prefix:
        # A model may write more of our tokens than of its own.
        so_far = self.plan.tokenizer.truncate(summary, self.plan.max_output_tokens)
        return partial(refine_prefix, self.plan.system, so_far=so_far)

    def _overhead(self, prefix: Prefix) -> int:
        return self.plan.overhead_tokens(prefix(self.settings))

    def _map(
        self,
        prefix: Prefix,
        chunks: Sequence[Chunk],
        stage: Stage,
        numbers: Iterator[int],
        *,
        before: _Node | None = None,
    ) -> Asking[list[_Node]]:
        """The answers for `chunks`, those that failed left out and booked. `before`: the summary they go on from."""
        overhead = self._overhead(prefix)

        def ask(chunk: Chunk) -> Request:
            text = self.document.text[chunk.span.start : chunk.span.end]
            return self._request(prefix, text, overhead + chunk.tokens, stage, chunk.index)

        answered = yield from over_chunks(self.document, chunks, self.plan, ask, numbers)
        whole = yield from self._whole([(ask(chunk), outcome) for chunk, outcome in answered], prefix)
        for (chunk, _), outcome in zip(answered, whole, strict=True):
            self.results.append(chunk_result(chunk, outcome))
            if isinstance(outcome, Failure):
                self.failures.append(outcome)
        level, children = (before.level + 1, [before]) if before else (0, [])
        return [self._node(level, children, outcome.text) for outcome in whole if isinstance(outcome, Completion)]

    def _reduce(self, parts: list[_Node]) -> Asking[_Node]:
        """One text of all parts. On a failure the unmerged parts stand joined, and the failure is booked."""
        prefix = partial(reduce_prefix, self.plan.system)
        overhead = self._overhead(prefix)
        # A level must shrink: two answers of full length have to fit, whatever chunk size the job asks for.
        pair = 2 * (self.plan.max_output_tokens + _SEPARATOR_TOKENS)
        room = self.plan.input_tokens - overhead
        limit = min(room, max(self.plan.max_chunk_tokens or room, pair))
        while len(parts) > 1:
            sizes = [self.plan.tokenizer.count(part.text) + _SEPARATOR_TOKENS for part in parts]
            try:
                level = groups(sizes, limit)
            except ValueError as error:
                self.failures.append(Failure(key="", cause=Cause.TOO_LARGE, message=f"reduce: {error}"))
                return self._joined(parts)
            merged = [SEPARATOR.join(parts[i].text for i in group) for group in level]
            asked = [n for n, group in enumerate(level) if len(group) > 1]
            requests = [
                self._request(prefix, merged[n], overhead + sum(sizes[i] for i in level[n]), "reduce", None)
                for n in asked
            ]
            outcomes = yield requests
            outcomes = yield from self._whole(list(zip(requests, outcomes, strict=True)), prefix)
            failed = False
            made = [parts[group[0]] for group in level]
            for n, outcome in zip(asked, outcomes, strict=True):
                if isinstance(outcome, Failure):
                    failed = True
                    self.failures.append(replace(outcome, message=f"reduce: {outcome.message}"))
                    made[n] = self._joined([parts[i] for i in level[n]])
                else:
                    below = [parts[i] for i in level[n]]
                    made[n] = self._node(1 + max(each.level for each in below), below, outcome.text)
            if failed:
                return self._joined(made)
            parts = made
        return parts[0]

    def _joined(self, parts: Sequence[_Node]) -> _Node:
        """What could not be merged, one after the other."""
        if len(parts) == 1:
            return parts[0]
        return self._node(1 + max(each.level for each in parts), parts, SEPARATOR.join(each.text for each in parts))

    def _whole(self, answered: Sequence[tuple[Request, Outcome]], prefix: Prefix) -> Asking[list[Outcome]]:
        """The outcomes, with those that broke off asked for once more in half the words.

        What breaks off again stands with its whole sentences, and is booked as cut."""
        outcomes = [outcome for _, outcome in answered]
        cut = [at for at, outcome in enumerate(outcomes) if is_cut(outcome)]
        if not cut:
            return outcomes
        fewer = self.settings.model_copy(update={"max_words": max(1, self.settings.max_words // 2)})
        again = yield [
            replace(answered[at][0], messages=(*prefix(fewer), answered[at][0].messages[-1]), max_words=fewer.max_words)
            for at in cut
        ]
        for at, outcome in zip(cut, again, strict=True):
            outcomes[at] = outcome
            if isinstance(outcome, Completion) and is_cut(outcome):
                self.failures.append(cut_failure(outcome, self.plan))
                sentences = _LAST_SENTENCE.match(outcome.text)
                outcomes[at] = replace(outcome, text=sentences[0]) if sentences else outcome
            elif isinstance(outcome, Completion):
                self.shortened += 1
        return outcomes

    def _request(self, prefix: Prefix, text: str, tokens: int, stage: Stage, chunk: int | None) -> Request:
        return Request(
            messages=(*prefix(self.settings), Message("user", text)),
            stage=stage,
            chunk=chunk,
            tokens=tokens,
            max_words=self.settings.max_words,
        )
