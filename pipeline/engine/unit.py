"""Documents at work together: their generator, what it waits for, and what they have taken so far."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from docreduce.readers import Unread
from docreduce.results import DocumentRow
from docreduce.values import Attempt, Cause, Completion, Document, Outcome, Request, Result, Steps, Usage
from docreduce.values.errors import DocumentError

__all__ = ["Unit", "reused", "row_of"]


@dataclass(slots=True, eq=False)
class Unit:
    """One generator of a kind, with the requests of its present step and what came of them."""

    documents: Sequence[Document]
    steps: Steps
    requests: Sequence[Request] = ()
    keys: Sequence[str] = ()
    outcomes: list[Outcome | None] = field(default_factory=list)
    missing: int = 0
    begun: bool = False
    results: Sequence[Result] | None = None
    attempts: dict[int, list[Attempt]] = field(default_factory=lambda: defaultdict(list))  # by document
    shares: dict[int, list[Attempt]] = field(default_factory=lambda: defaultdict(list))
    truncated: set[int] = field(default_factory=set)  # documents of which a service read a part only

    @property
    def place(self) -> int:
        """Where it stands in the input."""
        return self.documents[0].place

    @property
    def chars(self) -> int:
        """Code points of its texts."""
        return sum(len(document.text) for document in self.documents)

    def step(self) -> None:
        """Take the generator to its next requests or its results. Cuts and merges texts: not for an event loop."""
        outcomes = [outcome for outcome in self.outcomes if outcome is not None]
        try:
            self.requests = self.steps.send(outcomes if self.begun else None)  # type: ignore[arg-type]
            self.begun = True
            self.keys = [request.key for request in self.requests]
        except StopIteration as stop:
            self.requests, self.keys = (), ()
            self.results = stop.value
        except DocumentError as error:
            self.requests, self.keys = (), ()
            self.results = [Result(status="failed", error_kind=error.kind, error=error.message)] * len(self.documents)
        self.outcomes = [None] * len(self.requests)
        self.missing = len(self.requests)

    def receive(self, position: int, outcome: Outcome) -> bool:
        """Take the outcome of a request; whether it was the last one that the step waits for."""
        self.outcomes[position] = outcome
        if isinstance(outcome, Completion) and outcome.truncated:
            self.truncated.update(self.requests[position].serves)
        self.missing -= 1
        return not self.missing

    def bear(self, position: int, attempt: Attempt) -> None:
        """Book an attempt with the documents that the request serves: whole with the first, in parts with each."""
        served = self.requests[position].serves
        self.attempts[served[0]].append(attempt)
        for at, share in zip(served, _shares(attempt, len(served)), strict=True):
            self.shares[at].append(share)

    def bearer(self, position: int) -> str:
        """The id of the document that bears a request."""
        return self.documents[self.requests[position].serves[0]].id

    @property
    def packed_with(self) -> str | None:
        """The id of the first of the documents that share its requests; None for one that stands alone."""
        return self.documents[0].id if len(self.documents) > 1 else None

    def rows(self, results: Sequence[Result] | None = None) -> list[tuple[int, DocumentRow]]:
        """Its finished documents by their place in the input; with `results` in place of its own, which it has not."""
        found = self.results or () if results is None else results
        return [
            (document.place, replace(self._row(at, document, result), packed_with=self.packed_with))
            for at, (document, result) in enumerate(zip(self.documents, found, strict=True))
        ]

    def _row(self, at: int, document: Document, result: Result) -> DocumentRow:
        result = self._judged(at, document, result)
        return row_of(document, result, document.change, self.attempts[at], self.shares[at])

    def _judged(self, at: int, document: Document, result: Result) -> Result:
        """The result, partial where the reader was unsure of the text or a service did not read all of it."""
        doubt = document.doubt
        if at in self.truncated:
            doubt = Cause.TRUNCATED_INPUT, "the service read a part of what it was sent: set model.context_window"
        if doubt is None or result.status != "ok":
            return result
        return replace(result, status="partial", error_kind=doubt[0], error=doubt[1])


def row_of(
    read: Document | Unread,
    result: Result,
    change: str = "new",
    attempts: Sequence[Attempt] = (),
    shares: Sequence[Attempt] = (),
) -> DocumentRow:
    """A finished document without its text."""
    text = read.text if isinstance(read, Document) else None
    return DocumentRow(
        document_id=read.id,
        uri=read.uri,
        row=read.row,
        change=change,
        digest=(read.digest or None) if isinstance(read, Document) else None,
        media_type=read.media_type,
        chars=None if text is None else len(text),
        source_tokens=sum({each.chunk.span: each.chunk.tokens for each in result.chunks}.values()) or None,
        columns=read.columns,
        result=result,
        attempts=tuple(attempts),
        shares=tuple(shares),
    )


def _shares(attempt: Attempt, documents: int) -> list[Attempt]:
    """The attempt in as many equal parts, to the token and the pico-dollar: the first ones bear what is left over."""
    if documents == 1:
        return [attempt]

    def part(whole: int, at: int) -> int:
        return whole // documents + (at < whole % documents)

    usage = attempt.usage
    return [
        replace(
            attempt,
            cost_pusd=part(attempt.cost_pusd, at),
            usage=usage and Usage(**{name: part(getattr(usage, name), at) for name in Usage.__slots__}),
        )
        for at in range(documents)
    ]


def reused(answer: Completion, request: Request, at: float) -> Attempt:
    """The row of an answer that cost nothing this time; the tokens and the money it once took stand in it."""
    return Attempt(
        key=answer.key,
        stage=request.stage,
        chunk=request.chunk,
        attempt=0,
        started_at=at,
        latency_s=0.0,
        outcome="ok",
        billing="reused",
        cost_pusd=answer.cost_pusd,
        model=answer.model,
        endpoint=answer.endpoint,
        usage=answer.usage,
        finish_reason=answer.finish_reason,
    )
