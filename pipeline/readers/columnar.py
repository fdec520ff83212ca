"""Tables that a library reads from a file of its own form: in a child process, where it can crash, in batches.

The child runs a format's `Reader` and sends its parts; each batch is checked there to the last offset and character, so
that nothing read here can be out of bounds. Arrow's types pass unchanged.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from docreduce.readers.base import MEGABYTE, Blocks, Unread, is_packed, read_bytes
from docreduce.readers.sandbox import sandbox
from docreduce.readers.tables import BATCH_BYTES, BATCH_ROWS, Batch, Columns, Lost, Part, Passed, documents
from docreduce.settings import InputSettings
from docreduce.storage import machine_errors
from docreduce.values import Document
from docreduce.values.errors import DocumentError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Reader", "answers", "batch_rows", "damage", "read_rows", "sliced"]

Reader: TypeAlias = Callable[..., Iterator[Part]]
"""(path, the columns wanted or all, the text column or None for a grid) -> parts; of Parquet also the blocks that are
wanted, or all. Raises DocumentError, MemoryError."""


def read_rows(
    name: str, media_type: str
) -> Callable[[Path, str, InputSettings, pa.Schema | None, Blocks | None], Iterator[Document | Unread | int]]:
    """`TableFormat.rows` of the format `name`, whose reader runs in the child."""

    def rows(
        path: Path, uri: str, settings: InputSettings, pinned: pa.Schema | None = None, blocks: Blocks | None = None
    ) -> Iterator[Document | Unread | int]:
        grouped = blocks if name == "parquet" else None  # its reader passes over what is not wanted
        with _unpacked(path, settings) as file:
            parts = _parts(name, file, settings, grouped)
            yield from documents(parts, uri, media_type, settings, pinned, None if grouped else blocks)

    return rows


@contextlib.contextmanager
def _unpacked(path: Path, settings: InputSettings) -> Iterator[Path]:
    if not is_packed(path):
        yield path
        return
    raw = read_bytes(path, settings.max_document_mb * MEGABYTE)
    with tempfile.NamedTemporaryFile() as unpacked:
        with machine_errors(Path(unpacked.name)):
            unpacked.write(raw)
            unpacked.flush()
        yield Path(unpacked.name)


def _parts(name: str, path: Path, settings: InputSettings, blocks: Blocks | None) -> Iterator[Part]:
    import pyarrow as pa

    named = [settings.text_column, settings.id_column, *(settings.keep_columns or [])]
    # without an id column all of a row's cells make its id
    few = settings.keep_columns is not None and settings.id_column is not None
    wanted = list(dict.fromkeys(filter(None, named))) if few else None
    request: dict[str, Any] = {"path": str(path.absolute()), "wanted": wanted, "text_column": settings.text_column}
    if blocks is not None:
        request["blocks"] = [blocks.first, blocks.of]
    with sandbox(settings) as box:
        for answer in box.ask(name, json.dumps(request).encode()):
            mark, content = answer[:1], pa.py_buffer(answer).slice(1)
            if mark == b"B":
                yield Batch(pa.ipc.open_stream(content).read_next_batch())
            elif mark == b"C":
                yield Columns(**json.loads(content.to_pybytes()))
            elif mark == b"P":
                yield Passed(json.loads(content.to_pybytes()))
            else:
                count, message, kind, hint = json.loads(content.to_pybytes())
                yield Lost(count, DocumentError(message, kind=kind, hint=hint))


# --- in the child -------------------------------------------------------------------------------------------------


def answers(
    reader: Reader, path: str, wanted: list[str] | None, text_column: str | None, blocks: list[int] | None = None
) -> Iterator[bytes]:
    """What the parent's `_parts` reads. Raises DocumentError, MemoryError."""
    import pyarrow as pa

    for part in reader(path, wanted, text_column, *([Blocks(*blocks)] if blocks else [])):
        if isinstance(part, Columns):
            yield b"C" + json.dumps({"names": list(part.names), "sheet": part.sheet}).encode()
        elif isinstance(part, Passed):
            yield b"P" + json.dumps(part.count).encode()
        elif isinstance(part, Lost):
            error = part.error
            yield b"L" + json.dumps([part.count, error.message, error.kind, error.hint]).encode()
        else:
            try:
                batch = _sound(part.rows)
            except pa.ArrowException as error:
                lost = damage(error)
                yield b"L" + json.dumps([part.rows.num_rows, lost.message, lost.kind, lost.hint]).encode()
                continue
            sink = pa.BufferOutputStream()
            sink.write(b"B")
            with pa.ipc.new_stream(sink, batch.schema) as writer:
                writer.write_batch(batch)
            yield sink.getvalue().to_pybytes()


def damage(error: BaseException) -> DocumentError:
    """What a library says of a file, in our words."""
    words = str(error)[:300]
    kind = "encrypted" if any(word in words.lower() for word in ("encrypted", "decrypt", "password")) else "unreadable"
    return DocumentError(f"the file is damaged: {words}" if kind == "unreadable" else words, kind=kind)


def sliced(batch: pa.RecordBatch) -> Iterator[Batch]:
    """A batch in pieces of bounded size."""
    rows = batch_rows(batch.nbytes / max(batch.num_rows, 1))
    for start in range(0, batch.num_rows, rows):
        yield Batch(batch.slice(start, rows))


def batch_rows(row_bytes: float) -> int:
    """How many rows of this size a batch holds."""
    return int(min(max(BATCH_BYTES / max(row_bytes, 1.0), 1), BATCH_ROWS))


def _sound(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch, all offsets and characters checked. Text that is not UTF-8 has U+FFFD. Raises pa.ArrowException."""
    import pyarrow as pa

    try:
        batch.validate(full=True)
        return batch
    except pa.ArrowInvalid:
        columns = [_sound_column(column) for column in batch.columns]
        return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _sound_column(column: pa.Array[Any]) -> pa.Array[Any]:
    import pyarrow as pa

    texts = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}
    raw_type = texts.get(column.type)
    if raw_type is None:
        column.validate(full=True)
        return column
    raw = column.view(raw_type)
    raw.validate(full=True)
    values: Iterable[bytes | None] = raw.to_pylist()
    texts_of = [None if value is None else value.decode("utf-8", "replace") for value in values]
    sound: pa.Array[Any] = pa.array(texts_of, column.type)
    return sound
