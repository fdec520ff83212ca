"""The kind made ready for a job: its room, its packing, its tables, its predicted and its offline answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
from docreduce.kinds.extract.accepting import ACCEPTED, GROUNDING, acceptance, settled
from docreduce.kinds.extract.expecting import FIELD_TOKENS, ITEM_TOKENS, Expectation
from docreduce.kinds.extract.gold import quality, read_gold, shares
from docreduce.kinds.extract.lanes import asked_for, lanes
from docreduce.kinds.extract.prompts import empty_answer
from docreduce.kinds.extract.schema import Extraction, compile_extraction
from docreduce.kinds.extract.settings import ExtractSettings
from docreduce.kinds.extract.steps import ACCEPTED_KEY, GROUNDING_KEY, Extracting, extract
from docreduce.kinds.kind import Pack, Plan, TableSpec, Work
from docreduce.kinds.steps import Cutter
from docreduce.results.schema import EVIDENCE, FLAG, ITEM, WORD, Settle, arrow_fields
from docreduce.values import Request
from docreduce.values.errors import JobError

__all__ = ["prepare"]

OVERLAP_TOKENS = 400
"""Of two chunks, unless the job says otherwise: a clause and what stands before it; at most a quarter of a chunk."""
ROW_FRAME_TOKENS = 24
"""What the line before a row takes, at most, with the line breaks around it."""
ITEMS_A_ROW = 2
"""Expected with cardinality many."""
MAX_TURN_TOKENS = 500
"""Room that is kept in every request for saying what was wrong with an earlier answer, or a table's header."""
TURN_FRAME_TOKENS = 80
"""What stands around the context of a chunk."""


def prepare(settings: ExtractSettings, plan: Plan) -> Work:
    """The work of an extraction. Raises JobError for a schema, examples or instructions that cannot be worked with."""
    accept = settings.accept
    if accept is not None and not settings.gold:
        hint = 'Label some documents and name the file as extract.gold = "labels.jsonl", or leave accept out.'
        raise JobError("extract.accept: nothing says how often a value is right without extract.gold", hint=hint)
    extraction = compile_extraction(settings)
    every = lanes(extraction, plan)
    rows = asked_for(extraction, plan, rows=True)
    whole = max(lane.asked.overhead_tokens for lane in every)
    spare = min(MAX_TURN_TOKENS, max(plan.input_tokens - whole, 0) // 8)
    if plan.context_tokens:
        spare += min(plan.context_tokens + TURN_FRAME_TOKENS, max(plan.input_tokens - whole, 0) // 4)
    expectation = Expectation(extraction, plan)
    room = plan.chunk_tokens(whole + spare)
    budget = expectation.budget(room)
    overlap = min(OVERLAP_TOKENS, budget // 4) if plan.overlap_tokens is None else plan.overlap_tokens
    gold = read_gold(Path(settings.gold), extraction) if settings.gold else None
    job = Extracting(
        plan=plan,
        extraction=extraction,
        lanes=every,
        rows=rows,
        budget=budget,
        cutter=Cutter(plan, overlap),
        expectation=expectation,
        gold=gold,
    )
    limit = _rows_a_request(plan, extraction, len(every))
    pack = None
    if limit > 1:
        pack = Pack(limit, plan.chunk_tokens(rows.overhead_tokens) - ROW_FRAME_TOKENS, ROW_FRAME_TOKENS)
    fields = arrow_fields(orjson.loads(extraction.item_schema))
    return Work(
        steps=lambda documents: extract(documents, job),
        predict=lambda request, _: empty_answer(request),
        offline=_offline,
        tables={
            "records": _records(settings, fields),
            "evidence": TableSpec(columns=EVIDENCE),
        },
        pack=pack,
        quality=partial(quality, accept=accept) if gold else None,
        settle=None if accept is None else partial(_settle, accept),
        notes=_notes(expectation, plan, room, budget),
    )


def _records(settings: ExtractSettings, fields: list[pa.Field[Any]]) -> TableSpec:
    made = partial(TableSpec.of, kept=True, outcome=True, always=settings.cardinality == "one")
    if settings.accept is None:
        return made(ITEM, fields)
    spec = made(pa.schema([*ITEM, pa.field(GROUNDING, WORD), pa.field(ACCEPTED, FLAG)]), fields)
    return replace(spec, names=(*ITEM.names, GROUNDING_KEY, ACCEPTED_KEY, *spec.names[len(ITEM) + 2 :]))


def _settle(accept: float, counts: Mapping[str, int]) -> dict[str, Settle]:
    return {"records": settled(acceptance(accept, shares(counts), counts).accepted)}


def _notes(expectation: Expectation, plan: Plan, room: int, budget: int) -> list[str]:
    """That the answer is narrower than the window, and what would be cheaper."""
    wide = min(room, plan.max_chunk_tokens or room)
    if budget >= wide:
        return []
    tokens = ceil(plan.max_output_tokens * wide / budget)
    return [
        f"an answer of model.max_output_tokens = {plan.max_output_tokens} holds the list of about {budget} tokens of "
        f"text, a request {wide}: with up to {tokens} tokens of answer there would be fewer calls"
    ]


def _rows_a_request(plan: Plan, extraction: Extraction, lanes: int) -> int:
    table = extraction.table
    if lanes > 1:
        if table.rows_per_request not in {1, "auto"}:
            raise JobError("extract.rows_per_request: rows share no request with extract.vote or extract.split_fields")
        return 1
    if table.rows_per_request != "auto":
        return table.rows_per_request
    items = ITEMS_A_ROW if table.cardinality == "many" else 1
    row_tokens = items * (ITEM_TOKENS + FIELD_TOKENS * len(extraction.fields))
    return max(1, min(plan.auto_rows, plan.max_output_tokens // row_tokens))


def _offline(request: Request) -> str:
    from docreduce.kinds.extract.offline import extract_items

    if request.schema is None:
        return json.dumps({"items": []})
    return extract_items(request.messages[-1].content, request.schema)
