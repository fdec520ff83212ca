"""Drives an extraction by hand: answers in, Results out, every request kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import driving
from docreduce.kinds.extract import KIND
from docreduce.kinds.extract.schema import Extraction, compile_extraction
from docreduce.kinds.extract.settings import ExtractSettings
from docreduce.kinds.kind import Plan, Work
from docreduce.values import Document, FinishReason, Request, Result
from driving import Answer, document, plan, raw, refuse, rows

__all__ = ["PARTY", "document", "drive", "plan", "raw", "refuse", "rows", "say", "settings", "work"]

PARTY = {"type": "object", "properties": {"party": {"type": "string"}, "signed": {"type": "string", "format": "date"}}}


def settings(schema: dict[str, Any] | str | None = None, **more: Any) -> Extraction:
    return compile_extraction(ExtractSettings(schema=PARTY if schema is None else schema, **more))


def work(plan: Plan, settings: Extraction) -> Work:
    return KIND.prepare(settings.table, plan)


def say(*items: dict[str, Any], finish: FinishReason = "stop") -> Answer:
    return raw(json.dumps({"items": items}, ensure_ascii=False), finish)


def drive(
    documents: Sequence[Document], plan: Plan, settings: Extraction, answer: Answer | Sequence[Answer]
) -> tuple[list[Result], list[Request]]:
    """As `driving.drive`, for an extraction."""
    return driving.drive(work(plan, settings), documents, answer)
