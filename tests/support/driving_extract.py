"""Drives an extraction by hand: answers in, Results out, every request kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from docreduce.config import ExtractSettings
from docreduce.kinds.extract.rows import extract
from docreduce.kinds.extract.schema import Extraction, compile_extraction
from docreduce.kinds.plan import ModelPlan
from docreduce.text.tokens import tokenizer
from docreduce.values import Cause, Completion, Document, Failure, FinishReason, Outcome, Request, Result, Usage

PARTY = {"type": "object", "properties": {"party": {"type": "string"}, "signed": {"type": "string", "format": "date"}}}


def settings(schema: dict[str, Any] | None = None, **more: Any) -> Extraction:
    return compile_extraction(ExtractSettings(schema=PARTY if schema is None else schema, **more))


def plan(**more: Any) -> ModelPlan:
    given: dict[str, Any] = {"input_tokens": 100_000, "max_output_tokens": 4_000, "structured_output": ("tools",)}
    return ModelPlan(
        provider="openai", model="m", tokenizer=tokenizer("o200k_base"), temperature=0.0, top_p=1.0, **(given | more)
    )


def document(text: str, **more: Any) -> Document:
    return Document(**({"id": "d", "uri": "d.txt", "text": text, "media_type": "text/plain"} | more))


def rows(*texts: str) -> list[Document]:
    return [document(text, id=f"t#{n}", uri=f"t.csv#{n}", row=n) for n, text in enumerate(texts)]


def say(*items: dict[str, Any], finish: FinishReason = "stop") -> Callable[[Request], Outcome]:
    return raw(json.dumps({"items": items}, ensure_ascii=False), finish)


def raw(text: str, finish: FinishReason = "stop") -> Callable[[Request], Outcome]:
    def answer(request: Request) -> Outcome:
        usage = Usage(input_tokens=1, output_tokens=1)
        return Completion(key=request.key, text=text, finish_reason=finish, usage=usage)

    return answer


def refuse(cause: Cause) -> Callable[[Request], Outcome]:
    return lambda request: Failure(key=request.key, cause=cause, message=f"it was {cause}")


def drive(
    documents: Sequence[Document],
    plan: ModelPlan,
    settings: Extraction,
    answer: Callable[[Request], Outcome] | Sequence[Callable[[Request], Outcome]],
) -> tuple[list[Result], list[Request]]:
    """`answer`: one for every request, or one a request, in the order they are asked."""
    given = None if callable(answer) else iter(answer)
    steps = extract(documents, plan, settings)
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
        outcomes = [(answer if callable(answer) else next(given))(request) for request in requests]
