"""Frames: a table of somebody's own program gives the documents that its file would."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from docreduce.readers.frames import frame_rows
from docreduce.values import Document
from docreduce.values.errors import JobError

FRAME = pl.DataFrame(
    {"body": ["a", None, "c"], "n": [1, 2, 3], "kind": pl.Series(["x", "y", "x"], dtype=pl.Categorical)}
)


def to_pandas(frame: pl.DataFrame) -> Any:
    pytest.importorskip("pandas")
    return frame.to_pandas()


@pytest.mark.parametrize(
    "make",
    [
        lambda frame: frame,
        lambda frame: frame.lazy(),
        lambda frame: frame.to_arrow(),
        lambda frame: frame.to_arrow().to_batches()[0],
        lambda frame: frame.to_arrow().to_reader(),
        to_pandas,
    ],
    ids=["polars", "lazy", "arrow", "batch", "reader", "pandas"],
)
def test_every_frame_gives_its_rows_in_order(make: Callable[[pl.DataFrame], Any]) -> None:
    found = list(frame_rows(make(FRAME), "body", name="mail"))
    assert [(each.text, each.row, each.uri) for each in found if isinstance(each, Document)] == [
        ("a", 0, "mail#0"), ("", 1, "mail#1"), ("c", 2, "mail#2"),
    ]  # fmt: skip
    assert [dict(each.columns) for each in found] == [{"n": n, "kind": k} for n, k in ((1, "x"), (2, "y"), (3, "x"))]
    assert len({each.id for each in found}) == 3
    assert [each.id for each in frame_rows(make(FRAME), "body", id_column="n", keep_columns=[])] == ["1", "2", "3"]


def test_a_large_frame_comes_in_batches_in_order() -> None:
    frame = pl.DataFrame({"body": [f"text {row}" for row in range(20_000)]})
    for each in (frame, frame.lazy()):
        assert [found.text for found in frame_rows(each, "body")] == frame["body"].to_list()


def test_what_arrow_lacks_is_kept_exactly() -> None:
    pandas = pytest.importorskip("pandas")
    wide = pl.DataFrame({"body": ["a"], "big": pl.Series([2**100], dtype=pl.Int128)})
    (only,) = frame_rows(wide, "body")
    assert only.columns["big"] == Decimal(2**100)
    mixed = pandas.DataFrame({"body": ["a", "b"], "any": [1, "x"], 3: [1.5, None]})
    assert [dict(each.columns) for each in frame_rows(mixed, "body")] == [
        {"any": "1", "3": 1.5},
        {"any": "x", "3": None},
    ]


def test_what_is_no_frame_or_has_no_such_column_is_refused() -> None:
    with pytest.raises(JobError, match=r"no column 'x'; its columns are 'body', 'n', 'kind'"):
        list(frame_rows(FRAME, "x"))
    with pytest.raises(JobError, match="a list is no frame"):
        list(frame_rows([{"body": "a"}], "body"))
    assert list(frame_rows(pa.table({"body": pa.array([], pa.string())}), "body")) == []
