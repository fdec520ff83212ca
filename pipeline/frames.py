"""Frames in and out of Python: a column of texts out of whatever frame it is, and columns of ours back onto it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docreduce.results.schema import free_name, text_of
from docreduce.values.errors import JobError

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

__all__ = ["FrameColumn", "answers", "open_frame", "read_frame", "written"]

WIDEST = 38
"""Digits of a decimal that polars holds."""


def read_frame(path: Path) -> pl.DataFrame:
    """A Parquet file as a polars frame. Columns with decimals of more than 38 digits come as text: polars holds none,
    and inside lists it makes other numbers of them."""
    import polars as pl
    import pyarrow.parquet as pq

    schema = pq.read_schema(path)
    wide = [each.name for each in schema if _is_wide(each.type)]
    frame = pl.read_parquet(path, columns=[name for name in schema.names if name not in wide], glob=False)
    if not wide:
        return frame
    texts = [
        pl.Series(name, [None if value is None else text_of(value) for value in column.to_pylist()], pl.String)
        for name, column in zip(wide, pq.read_table(path, columns=wide).columns, strict=True)
    ]
    return frame.with_columns(texts).select(schema.names)


def _is_wide(kind: pa.DataType) -> bool:
    """Whether an Arrow type has such decimals in it."""
    import pyarrow as pa

    if pa.types.is_decimal(kind):
        return bool(kind.precision > WIDEST)
    if pa.types.is_dictionary(kind):
        return _is_wide(kind.value_type)
    return any(_is_wide(kind.field(at).type) for at in range(kind.num_fields))


class FrameColumn:
    """The text column of a frame: `texts` is a polars Series of strings, null where there is none."""

    def __init__(self, frame: Any, column: str) -> None:
        import polars as pl

        self._frame: Any = frame.collect() if isinstance(frame, pl.LazyFrame) else frame
        self._lazy = isinstance(frame, pl.LazyFrame)
        self._pandas = type(frame).__module__.partition(".")[0] == "pandas"
        names = self.names
        if column not in names:
            known = ", ".join(names)
            raise JobError(f"the frame has no column {column!r}: it has {known}", hint="Name it: column=….")
        self.texts = self._texts(column)

    @property
    def names(self) -> list[str]:
        """The frame's columns."""
        columns = getattr(self._frame, "column_names", None)  # Arrow's `columns` are its arrays
        return [str(name) for name in (columns or self._frame.columns)]

    def _texts(self, column: str) -> pl.Series:
        import polars as pl

        if self._pandas:
            series = self._frame[column]
            pairs = zip(series.tolist(), series.isna().tolist(), strict=True)
            texts = pl.Series("text", [None if missing else value for value, missing in pairs], strict=False)
        elif isinstance(self._frame, pl.DataFrame):
            texts = self._frame.get_column(column)
        else:
            texts = pl.Series("text", self._frame.column(column))
        if texts.dtype == pl.Null or isinstance(texts.dtype, pl.Categorical | pl.Enum):
            texts = texts.cast(pl.String)
        if texts.dtype != pl.String:
            raise JobError(f"column {column!r} holds {texts.dtype}, not text", hint="Name another one: column=….")
        return texts.alias("text")

    def with_columns(self, added: Sequence[pl.Series], prefix: str) -> Any:
        """The frame as it came, with `added` behind its own columns; one that is named like one of the frame's has
        `prefix` before its name."""
        import polars as pl

        taken = [*self.names, *(each.name for each in added)]
        own = self.names
        named = [each.alias(free_name(each.name, prefix, taken)) if each.name in own else each for each in added]
        if isinstance(self._frame, pl.DataFrame):
            whole = self._frame.with_columns(named)
            return whole.lazy() if self._lazy else whole
        if self._pandas:
            columns = {each.name: each.to_pandas().set_axis(self._frame.index) for each in named}
            return self._frame.assign(**columns)
        for each in named:
            self._frame = self._frame.append_column(each.name, each.to_arrow())
        return self._frame


def open_frame(frame: Any, column: str) -> FrameColumn:
    """The text column of a polars (eager, lazy), pandas or Arrow frame. Raises JobError for what is none of them."""
    import polars as pl
    import pyarrow as pa

    kind = type(frame)
    if isinstance(frame, pl.DataFrame | pl.LazyFrame | pa.Table) or (
        kind.__module__.partition(".")[0] == "pandas" and kind.__name__ == "DataFrame"
    ):
        return FrameColumn(frame, column)
    raise JobError(f"{kind.__module__}.{kind.__name__} is no frame: give one of polars, pandas or Arrow")


@contextmanager
def written(texts: pl.Series, output: Path) -> Iterator[Path]:
    """The texts with their row numbers in a file beside the output, while it is needed."""
    from docreduce.storage import machine_errors

    before = output.exists()
    with machine_errors(output):
        output.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=".frame-", dir=output)
    try:
        with folder as place:
            path = Path(place) / "frame.parquet"
            with machine_errors(path):
                texts.to_frame("text").with_row_index("row").write_parquet(path)
            yield path
    finally:
        if not before:
            with suppress(OSError):  # there are results in it
                output.rmdir()


def answers(documents: pl.DataFrame, records: pl.DataFrame | None, rows: int, *, many: bool) -> list[pl.Series]:
    """What a run's tables add to a frame of so many rows: a row the run did not come to is skipped, and says so.
    `many`: the items of a row in one list."""
    import polars as pl

    key = "document_id"
    names, own = ["summary"], documents.select(key, "summary")
    if records is not None:
        names = records.columns[3:-3]  # between document_id, uri, item and status, error, cost_usd
        own = records.select(key, *names)
        if many:
            own = own.group_by(key, maintain_order=True).agg(pl.struct(names).alias("items"))
            names = ["items"]
    every = pl.DataFrame({key: [str(row) for row in range(rows)]}, schema={key: pl.String})
    outcome = documents.select(key, pl.col("status").cast(pl.String).alias("_status"), "error", "cost_usd")
    outcome = outcome.rename({"error": "_error", "cost_usd": "_cost"})
    whole = every.join(outcome, on=key, how="left", maintain_order="left")
    whole = whole.join(own, on=key, how="left", maintain_order="left")
    status, items = pl.col("_status"), pl.col("items")
    if many:  # nothing found is an empty list, nothing answered is none
        whole = whole.with_columns(pl.when(status.is_in(["ok", "partial"])).then(items.fill_null([])).otherwise(items))
    error = pl.when(status.is_null()).then(pl.lit("the run ended before it was read")).otherwise(pl.col("_error"))
    added = [status.fill_null("skipped").alias("status"), error.alias("error")]
    return whole.select(*names, *added, pl.col("_cost").fill_null(0).alias("cost_usd")).get_columns()
