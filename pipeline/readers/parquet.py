"""Parquet: each row is a document, read row group by row group, so that a table may be larger than memory and a
broken row group costs its own rows.

By pyarrow: of 39 Arrow types polars brings 22 back as they were, and reads none of decimal256 and list views.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from docreduce.readers.base import Blocks, TableFormat
from docreduce.readers.columnar import batch_rows, damage, read_rows
from docreduce.readers.tables import Batch, Columns, Lost, Part, Passed

__all__ = ["FORMAT", "parts"]


def parts(
    path: str, wanted: list[str] | None, _text_column: str | None, blocks: Blocks | None = None
) -> Iterator[Part]:
    """The file's columns and rows, of the `wanted` columns that there are, or of all; of the row groups that are
    `blocks`. For the child process."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path, page_checksum_verification=True)
        names = table.schema_arrow.names
        groups = [table.metadata.row_group(number) for number in range(table.num_row_groups)]
        sizes = [(max(group.num_rows, 0), group.total_byte_size / max(group.num_rows, 1)) for group in groups]
    except MemoryError:  # Arrow's own is one, too
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise damage(error) from error
    yield Columns(names=names)
    columns = None if wanted is None else [name for name in wanted if name in names]
    for number, (rows, row_bytes) in enumerate(sizes):
        if blocks is not None and not blocks.have(number):
            yield Passed(rows)
            continue
        yield from _group(table, number, columns, rows, batch_rows(row_bytes))
    there = sum(rows for rows, _ in sizes)
    if there < table.metadata.num_rows and (blocks is None or blocks.have(len(sizes))):
        says = ValueError(f"it says that it has {table.metadata.num_rows} rows, and its row groups {there}")
        yield Lost(table.metadata.num_rows - there, damage(says))


def _group(table: Any, number: int, columns: list[str] | None, rows: int, most: int) -> Iterator[Part]:
    import pyarrow as pa

    done = 0
    try:
        for batch in table.iter_batches(most, row_groups=[number], columns=columns, use_threads=False):
            yield Batch(batch)
            done += batch.num_rows
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        yield Lost(rows - done if rows > done else None, damage(error))
        return
    if done < rows:
        yield Lost(rows - done, damage(ValueError(f"a row group of {rows} rows holds {done}")))


FORMAT = TableFormat(
    media_type="application/vnd.apache.parquet",
    extensions=(".parquet", ".pq"),
    rows=read_rows("parquet", "application/vnd.apache.parquet"),
)
