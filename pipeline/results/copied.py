"""The rows of unchanged documents as the present run has them: copied from the last one, columns at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from docreduce.results.previous import Unchanged, is_word
from docreduce.results.schema import MONEY, TIME

__all__ = ["copied"]


def copied(stretch: Unchanged, name: str, schema: pa.Schema) -> tuple[pa.Table, Sequence[Mapping[str, Any]]]:
    """A table's rows of unchanged documents, with the columns of `schema`, and the kept columns of each row.

    Nothing was sent and every answer was reused, as if the ledger had been asked; each document stands where it
    stands now."""
    heads = stretch.heads
    rows, numbers = stretch.previous.rows(name, stretch.first, stretch.first + len(heads))
    numbers = numbers - stretch.first
    new: dict[str, Any] = {}
    if name == "calls":
        answered = is_word(rows["outcome"], "ok")
        rows, numbers = rows.filter(pa.array(answered.tolist(), pa.bool_())), numbers[answered]
        began = pa.scalar(round(stretch.at * 1_000_000), pa.int64()).cast(TIME).as_py()
        new = {"attempt": 0, "latency_s": 0.0, "billing": "reused", "started_at": began}
        new |= dict.fromkeys(("http_status", "service_tier", "batch", "request_id", "error"))
    elif name == "documents":
        new = {"change": "same", "attempts": 0, "input_tokens": 0, "output_tokens": 0}
        new |= {column: pa.array([getattr(head, column) for head in heads]) for column in ("row", "media_type")}
    if "uri" in schema.names:
        new["uri"] = pa.array([head.uri for head in heads], pa.string()).take(pa.array(numbers.tolist(), pa.int64()))
    if "reused_cost_usd" in schema.names:
        new["reused_cost_usd"] = pc.call_function("add", [rows["cost_usd"], rows["reused_cost_usd"]]).cast(MONEY)
    new |= dict.fromkeys({"cost_usd", "unknown_cost_usd"} & {*schema.names}, Decimal(0))
    columns = [
        _column(new[each.name] if each.name in new else rows[each.name], each.type, len(rows)) for each in schema
    ]
    return pa.table(columns, schema=schema), [heads[number].columns for number in numbers.tolist()]


def _column(value: Any, kind: pa.DataType, length: int) -> Any:
    """An array as `kind`, or any other value so many times."""
    if not isinstance(value, pa.Array | pa.ChunkedArray):
        value = pa.array([value], kind).take(pa.array([0] * length, pa.int32()))
    if pa.types.is_dictionary(kind) and not pa.types.is_dictionary(value.type):
        value = pc.call_function("dictionary_encode", [value.cast(pa.string())])
    return value if value.type == kind else value.cast(kind)
