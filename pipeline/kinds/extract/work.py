"""The kind made ready for a job: its room, its packing, its tables, its predicted and its offline answers."""

from __future__ import annotations

import json
from collections.abc import Sequence

import orjson
from docreduce.kinds.extract.prompts import empty_answer, prefix
from docreduce.kinds.extract.schema import Extraction, compile_extraction
from docreduce.kinds.extract.settings import ExtractSettings
from docreduce.kinds.extract.steps import Asked, extract
from docreduce.kinds.kind import Pack, Plan, TableSpec, Work
from docreduce.kinds.steps import Cutter
from docreduce.results.schema import EVIDENCE, ITEM, arrow_fields
from docreduce.values import Document, Request, Steps

__all__ = ["prepare"]

OVERLAP_TOKENS = 400
"""Of two chunks, unless the job says otherwise: a clause and what stands before it; at most a quarter of a chunk."""
AUTO_MAX_ROWS = 10
"""Rows in one request: measured over 16 models, whole answers are right for 78-100 % at 10 rows and 17-100 % at 50."""
ROW_FRAME_TOKENS = 24
"""What the line before a row takes, at most, with the line breaks around it."""
ITEM_TOKENS = 25
FIELD_TOKENS = 40
"""Expected answer: an item's brackets and names, a field's value and quote. A cut answer halves its rows."""
ITEMS_A_ROW = 2
"""Expected with cardinality many."""
MAX_REPAIR_NOTE_TOKENS = 500
"""Room that is kept in every request for saying what was wrong with an earlier answer."""


def prepare(settings: ExtractSettings, plan: Plan) -> Work:
    """The work of an extraction. Raises JobError for a schema, examples or instructions that cannot be worked with."""
    extraction = compile_extraction(settings)
    asked = {rows: _asked(extraction, plan, rows=rows) for rows in (False, True)}
    whole = asked[False].overhead_tokens
    spare = min(MAX_REPAIR_NOTE_TOKENS if settings.max_repairs else 0, max(plan.input_tokens - whole, 0) // 8)
    budget = plan.chunk_tokens(whole + spare)
    overlap = min(OVERLAP_TOKENS, budget // 4) if plan.overlap_tokens is None else plan.overlap_tokens
    cutter = Cutter(plan, overlap)

    def steps(documents: Sequence[Document]) -> Steps:
        return extract(documents, plan, extraction, asked, budget, cutter)

    limit = _rows_a_request(plan, extraction)
    pack = None
    if limit > 1:
        room = plan.chunk_tokens(asked[True].overhead_tokens) - ROW_FRAME_TOKENS  # the line after the last
        pack = Pack(limit, room, ROW_FRAME_TOKENS)
    fields = arrow_fields(orjson.loads(extraction.item_schema))
    return Work(
        steps=steps,
        predict=lambda request, _: empty_answer(request),
        offline=_offline,
        tables={
            "records": TableSpec.of(ITEM, fields, kept=True, outcome=True, always=settings.cardinality == "one"),
            "evidence": TableSpec(columns=EVIDENCE),
        },
        pack=pack,
    )


def _asked(extraction: Extraction, plan: Plan, *, rows: bool) -> Asked:
    schema = extraction.rows_schema if rows else extraction.schema
    messages = prefix(
        plan.system,
        extraction.table.instructions,
        cardinality=extraction.table.cardinality,
        examples=extraction.examples,
        rows=rows,
    )
    return Asked(messages=messages, schema=schema, overhead_tokens=plan.overhead_tokens(messages, schema))


def _rows_a_request(plan: Plan, extraction: Extraction) -> int:
    table = extraction.table
    if table.rows_per_request != "auto":
        return table.rows_per_request
    items = ITEMS_A_ROW if table.cardinality == "many" else 1
    row_tokens = items * (ITEM_TOKENS + FIELD_TOKENS * len(extraction.fields))
    return max(1, min(AUTO_MAX_ROWS, plan.max_output_tokens // row_tokens))


def _offline(request: Request) -> str:
    from docreduce.kinds.extract.offline import extract_items

    if request.schema is None:
        return json.dumps({"items": []})
    return extract_items(request.messages[-1].content, request.schema)
