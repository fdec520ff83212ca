"""Spreadsheets (XLSX, XLSM, XLSB, XLS, ODS): each sheet is a table, read by polars through calamine.

A column has the type that polars finds where that keeps every cell; a column of dates in which one cell says "n/a" is
text, as the cells say it. Rows without a cell are no rows. The header is the first of the upper rows that has the
text column. A sheet is unpacked as a whole, under the child's memory limit: its format cannot be read otherwise.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from docreduce.readers.base import TableFormat
from docreduce.readers.columnar import damage, read_rows, sliced
from docreduce.readers.tables import Columns, Part
from docreduce.values.errors import DocumentError

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

__all__ = ["ODS", "XLSX", "parts"]

_UPPER_ROWS = 20
_MIDNIGHT = re.compile(r"^(\d{4}-\d\d-\d\d) 00:00:00$")


def parts(path: str, _wanted: list[str] | None, text_column: str | None) -> Iterator[Part]:
    """The workbook's sheets and their rows, for the child process; as grids of text where no text column is wanted."""
    try:
        import fastexcel
    except ImportError as error:
        hint = 'pip install "docreduce[sheets]"'
        raise DocumentError("spreadsheets need the extra `sheets`", kind="no_reader", hint=hint) from error
    _check_container(path)
    try:
        names = fastexcel.read_excel(path).sheet_names
    except fastexcel.FastExcelError as error:
        raise damage(error) from error
    sheets = 0
    for name in names:
        cells = _sheet(path, name, header=None)
        sheets += cells.height > 0
        if text_column is None:
            if cells.height:
                yield Columns(names=(), sheet=name)
                yield from sliced(_arrow(cells.select(_dates(cells))))
            continue
        at, header = _header(cells, text_column)
        if not header:  # an empty sheet
            continue
        yield Columns(names=header, sheet=name)
        if text_column in header:
            yield from sliced(_typed(path, name, cells.slice(at + 1), at, header))
    if not sheets:
        raise DocumentError("no sheet has a cell", kind="empty")


def _check_container(path: str) -> None:
    """Raises DocumentError for a ZIP whose parts are not as their checksums say, which calamine does not look at."""
    if not zipfile.is_zipfile(path):
        return  # XLS, or what calamine will refuse
    try:
        with zipfile.ZipFile(path) as container:
            broken = container.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise damage(error) from error
    if broken:
        raise damage(ValueError(f"its part {broken!r} is not what its checksum says"))


def _sheet(path: str, name: str, header: int | None) -> pl.DataFrame:
    """A sheet's cells: all as text without `header`; with the types of what is below that row otherwise."""
    import fastexcel
    import polars as pl

    options: dict[str, Any] = {"dtypes": "string"} if header is None else {"header_row": header}
    try:
        return pl.read_excel(
            path,
            sheet_name=name,
            has_header=header is not None,
            read_options=options,
            infer_schema_length=None,
            raise_if_empty=False,
            drop_empty_rows=False,
            drop_empty_cols=False,
        )
    except (pl.exceptions.PolarsError, fastexcel.FastExcelError) as error:
        raise damage(error) from error


def _header(cells: pl.DataFrame, text_column: str) -> tuple[int, list[str]]:
    """(row, names) of the header: the first upper row with the text column, else the first row."""
    upper = [[str(cell or "").strip() for cell in row] for row in cells.head(_UPPER_ROWS).rows()]
    at = next((number for number, row in enumerate(upper) if text_column in row), 0)
    names = upper[at] if upper else []
    return at, [name or f"column_{number}" for number, name in enumerate(names, 1)]


def _typed(path: str, name: str, cells: pl.DataFrame, header: int, names: Sequence[str]) -> pa.RecordBatch:
    """The rows below the header, each column typed where no cell is lost by it."""
    import polars as pl

    typed = _sheet(path, name, header)
    columns = []
    for at, own in enumerate(cells.columns):
        text = cells[own]
        found = typed.to_series(at) if typed.height == cells.height and at < typed.width else text
        kept = found if (found.is_null() == text.is_null()).all() and found.dtype != pl.Null else text
        columns.append(kept.alias(f"{at}"))
    batch = _arrow(pl.DataFrame(columns).filter(~pl.all_horizontal(pl.all().is_null())))
    return batch.rename_columns(list(names))  # two may have one name, which polars does not allow


def _dates(cells: pl.DataFrame) -> list[pl.Expr]:
    import polars as pl

    return [pl.col(name).str.replace(_MIDNIGHT.pattern, "$1") for name in cells.columns]


def _arrow(frame: pl.DataFrame) -> pa.RecordBatch:
    import polars as pl
    import pyarrow as pa

    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()
    return next(iter(table.to_batches()), pa.RecordBatch.from_pylist([], schema=table.schema))


XLSX = TableFormat(
    media_type="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    extensions=(".xlsx", ".xlsm", ".xlsb", ".xls"),
    rows=read_rows("sheets", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    divides=False,
)
ODS = TableFormat(
    media_type="application/vnd.oasis.opendocument.spreadsheet",
    extensions=(".ods",),
    rows=read_rows("sheets", "application/vnd.oasis.opendocument.spreadsheet"),
    divides=False,
)
