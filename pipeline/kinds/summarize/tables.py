"""The tables of a summary: the tree it was made in, what its sentences rest on, what groups of documents come to."""

from __future__ import annotations

import pyarrow as pa
from docreduce.results.schema import TableSpec

__all__ = ["GROUPS", "SUMMARIES", "SUPPORT"]

_COUNT: pa.DataType = pa.int64()
_NUMBERS: pa.DataType = pa.list_(pa.field("element", _COUNT))
_TEXT: pa.DataType = pa.string()
_WORD: pa.DataType = pa.dictionary(pa.int32(), pa.string())
_REAL: pa.DataType = pa.float64()

SUMMARIES = TableSpec(
    columns=pa.schema(
        [
            ("level", _COUNT),
            ("node", _COUNT),
            ("children", _NUMBERS),
            ("text", _TEXT),
            ("tokens", _COUNT),
        ]
    )
)
"""`node` counts from 0 over the document; `children` are nodes, none of a chunk's own summary (level 0)."""
SUPPORT = TableSpec(
    columns=pa.schema(
        [
            ("sentence", _COUNT),
            ("text", _TEXT),
            ("char_start", _COUNT),
            ("char_end", _COUNT),
            ("score", _REAL),
            ("status", _WORD),
        ]
    )
)
GROUPS = TableSpec(columns=pa.schema([("group", _TEXT), ("documents", _COUNT), ("summary", _TEXT)]), outcome=True)
