"""Drives a kind's generator by hand: outcomes in, Results out, every request kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from docreduce.kinds.kind import Plan, Work
from docreduce.text.tokens import tokenizer
from docreduce.values import Cause, Completion, Document, Failure, FinishReason, Outcome, Request, Result, Usage

__all__ = ["Answer", "document", "drive", "plan", "raw", "refuse", "rows"]

Answer = Callable[[Request], Outcome]


def plan(**more: Any) -> Plan:
    """A plan with much room and no overlap, unless it is said otherwise."""
    given: dict[str, Any] = {"input_tokens": 100_000, "max_output_tokens": 4_000, "overlap_tokens": 0}
    return Plan(tokenizer=tokenizer("o200k_base"), **(given | more))


def document(text: str, **more: Any) -> Document:
    return Document(**({"id": "d", "uri": "d.txt", "text": text, "media_type": "text/plain"} | more))


def rows(*texts: str) -> list[Document]:
    return [document(text, id=f"t#{n}", uri=f"t.csv#{n}", row=n) for n, text in enumerate(texts)]


def raw(text: str, finish: FinishReason = "stop") -> Answer:
    """The same answer to whatever is asked."""

    def answer(request: Request) -> Outcome:
        usage = Usage(input_tokens=1, output_tokens=1)
        return Completion(
            key=request.key, text=text, finish_reason=finish, usage=usage, model="m", endpoint="https://test"
        )

    return answer


def refuse(cause: Cause) -> Answer:
    return lambda request: Failure(key=request.key, cause=cause, message=f"it was {cause}")


def drive(
    work: Work, documents: Sequence[Document], answer: Answer | Sequence[Answer]
) -> tuple[list[Result], list[Request]]:
    """The results and all requests. `answer`: one for every request, or one a request, in the order they are asked."""
    given = None if callable(answer) else iter(answer)
    steps = work.steps(documents)
    asked: list[Request] = []
    outcomes: list[Outcome] | None = None
    while True:
        try:
            requests = next(steps) if outcomes is None else steps.send(outcomes)
        except StopIteration as stop:
            assert given is None or next(given, None) is None, "an answer was not asked for"
            return stop.value, asked
        assert requests, "an empty list of requests"
        asked += requests
        outcomes = [(answer if callable(answer) else next(given))(request) for request in requests]  # type: ignore[arg-type]
