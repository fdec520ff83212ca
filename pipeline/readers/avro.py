"""Avro object container files: each row is a document, read by polars, a few blocks at a time.

polars reads a whole file at once. A container is a header and blocks that each stand for themselves, so it is given
the header and as many blocks as make a batch, and a block that is broken costs its own rows. What polars does not read
(maps, unions, rarer codecs) is read by fastavro, an extra, in the same pieces.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from docreduce.readers.avro_types import by_fastavro
from docreduce.readers.base import MEGABYTE, TableFormat
from docreduce.readers.columnar import damage, read_rows, sliced
from docreduce.readers.tables import BATCH_BYTES, Columns, Lost, Part
from docreduce.values.errors import DocumentError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FORMAT", "MAGIC", "parts"]

MAGIC = b"Obj\x01"
_SYNC_BYTES = 16
_MOST_BYTES = 2**28
"""A block that says it is larger is not believed; writers make them of 16 KB to 64 MB."""


def parts(path: str, wanted: list[str] | None, _text_column: str | None) -> Iterator[Part]:
    """The file's columns and rows, for the child process. Raises DocumentError for what polars does not read."""
    with Path(path).open("rb") as file:
        try:
            header = _header(file)
        except EOFError as error:
            raise damage(error) from error
        yield Columns(names=_frame(header, b"").schema.names)
        blocks: list[tuple[int, bytes]] = []
        for block in _blocks(file, header[-_SYNC_BYTES:]):
            blocks += [block] if isinstance(block, tuple) else []
            if isinstance(block, Lost) or sum(len(raw) for _, raw in blocks) >= BATCH_BYTES:
                yield from _decoded(header, blocks)
                blocks = []
            if isinstance(block, Lost):
                yield block
        yield from _decoded(header, blocks)


def _decoded(header: bytes, blocks: list[tuple[int, bytes]]) -> Iterator[Part]:
    """The rows of blocks, together if all are sound, else one by one."""
    if not blocks:
        return
    rows = sum(count for count, _ in blocks)
    try:
        batch = _frame(header, b"".join(raw for _, raw in blocks))
        if batch.num_rows != rows:
            raise DocumentError(f"blocks of {rows} rows hold {batch.num_rows}", kind="unreadable")
    except DocumentError as error:
        if len(blocks) == 1:
            yield Lost(rows, error)
            return
        for block in blocks:
            yield from _decoded(header, [block])
        return
    yield from sliced(batch)


def _frame(header: bytes, blocks: bytes) -> pa.RecordBatch:
    import polars as pl
    import pyarrow as pa

    try:
        frame = pl.read_avro(io.BytesIO(header + blocks))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return by_fastavro(header + blocks)
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()
    return next(iter(table.to_batches()), pa.RecordBatch.from_pylist([], schema=table.schema))


def _header(file: BinaryIO) -> bytes:
    """The container's first bytes: magic, metadata (a map of bytes), sync marker. Raises EOFError."""
    parts = [_exactly(file, len(MAGIC))]
    while True:
        count, raw = _long(file)
        parts.append(raw)
        if count == 0:
            break
        if count < 0:  # then the size in bytes follows
            parts.append(_long(file)[1])
        for _ in range(2 * abs(count)):
            size, raw = _long(file)
            parts += [raw, _exactly(file, size)]
    return b"".join([*parts, _exactly(file, _SYNC_BYTES)])


def _blocks(file: BinaryIO, sync: bytes) -> Iterator[tuple[int, bytes] | Lost]:
    """(rows, bytes) of each block, its sync marker included; after a broken one from the next marker on."""
    while True:
        start = file.tell()
        try:
            count, head = _long(file)
        except EOFError:
            if file.tell() > start:
                yield Lost(None, damage(EOFError("it breaks off in a block")))
            return
        try:
            size, more = _long(file)
            raw = _exactly(file, size + _SYNC_BYTES)
        except EOFError as error:
            raw = b""
            reason = str(error)
        if raw.endswith(sync) and raw and count >= 0:
            yield count, head + more + raw
            continue
        reason = "a block does not end where it says" if raw else reason
        yield Lost(None, damage(ValueError(reason)))
        if not _seek(file, start, sync):
            return


def _seek(file: BinaryIO, start: int, sync: bytes) -> bool:
    """Go behind the next sync marker after `start`; whether there is one."""
    file.seek(start)
    tail = b""
    while chunk := file.read(MEGABYTE):
        found = (tail + chunk).find(sync)
        if found >= 0:
            file.seek(found + len(sync) - len(tail) - len(chunk), io.SEEK_CUR)
            return True
        tail = (tail + chunk)[-len(sync) + 1 :]
    return False


def _exactly(file: BinaryIO, size: int) -> bytes:
    if not 0 <= size <= _MOST_BYTES:
        raise EOFError(f"it says that a part has {size} bytes")
    raw = file.read(size)
    if len(raw) < size:
        raise EOFError("it breaks off in a block")
    return raw


def _long(file: BinaryIO) -> tuple[int, bytes]:
    """A number as Avro writes it (zigzag, seven bits a byte), and its bytes. Raises EOFError."""
    raw = b""
    value = 0
    while True:
        byte = file.read(1)
        if not byte or len(raw) > 9:
            raise EOFError("it breaks off in a number" if not byte else "a number of more than 64 bits")
        value |= (byte[0] & 0x7F) << (7 * len(raw))
        raw += byte
        if byte[0] < 0x80:
            return (value >> 1) ^ -(value & 1), raw


FORMAT = TableFormat(
    media_type="application/vnd.apache.avro",
    extensions=(".avro",),
    rows=read_rows("avro", "application/vnd.apache.avro"),
)
