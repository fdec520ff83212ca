"""Tables: from batches of rows to documents, whatever the format.

A format's reader gives `Columns` (where a table, or a sheet of a workbook, begins), then its rows in order as `Batch`es
of bounded size, and `Lost` for rows that cannot be read: rows in are rows out, or a named failure. Here each row
becomes a document with its text, its id and its kept columns, whose Arrow types stay.

Without `text_column` a small table is one document: its rows as a Markdown table.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from docreduce.readers.base import BLOCK_ROWS, MEGABYTE, Blocks, Unread, content_id
from docreduce.settings import InputSettings
from docreduce.values import Document, Mark
from docreduce.values.columns import Kept, fit, text_of, type_of, values_of
from docreduce.values.errors import DocumentError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["BATCH_BYTES", "BATCH_ROWS", "Batch", "Columns", "Lost", "Part", "Passed", "documents", "text_batch"]

BATCH_ROWS = 4096
BATCH_BYTES = 2**22
"""A batch holds at most so many rows, or so many bytes and one row: what is kept of it stays in memory with it."""

_WHOLE_CHARS = MEGABYTE
"""A table larger than this is no single document: the contract's 1 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Where a table begins: its columns' names, none for a grid of cells without a header; `sheet`: of a workbook."""

    names: Sequence[str]
    sheet: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows as they stand in the file. `wrong`: what is the matter with those that are no good, by their place here.
    `ids`: the documents', where the format knows better than the columns."""

    rows: pa.RecordBatch
    wrong: Mapping[int, DocumentError] = field(default_factory=dict)
    ids: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """So many rows (None: unknown) that cannot be read, where others can."""

    count: int | None
    error: DocumentError


@dataclass(frozen=True, slots=True)
class Passed:
    """So many rows that are not wanted."""

    count: int


Part: TypeAlias = Columns | Batch | Lost | Passed


def documents(
    parts: Iterable[Part],
    uri: str,
    media_type: str,
    settings: InputSettings,
    pinned: pa.Schema | None = None,
    blocks: Blocks | None = None,
) -> Iterator[Document | Unread | int]:
    """The documents of a table's parts in order. `pinned`: types that kept columns had in earlier runs; a row whose
    values do not fit them, or `settings.types`, is Unread. `blocks`: those wanted; an integer is so many rows that are
    not. Raises DocumentError where the table has no such columns."""
    if settings.text_column is None:
        yield _whole(parts, uri, media_type)
        return
    table: _Table | None = None
    row = 0
    for part in parts:
        if isinstance(part, Columns):
            place = f"{uri}#{part.sheet}!" if part.sheet else f"{uri}#"
            row = 0
            try:
                table = _resolve(place, media_type, part.names, settings, pinned)
            except DocumentError as error:
                if not part.sheet:
                    raise
                table = None  # another sheet may have them
                yield Unread(id=content_id(place), uri=place.rstrip("!"), media_type=media_type, error=error)
        elif isinstance(part, Passed):
            yield part.count
            row += part.count
        elif isinstance(part, Lost):
            wanted = blocks is None or blocks.have_row(row)
            yield _lost(part, uri, media_type, row) if wanted else part.count or 0
            row += part.count or 0
        elif table is not None:
            yield from _rows_of(table, part, row, blocks)
            row += part.rows.num_rows


def _rows_of(table: _Table, part: Batch, row: int, blocks: Blocks | None) -> Iterator[Document | Unread | int]:
    for start, batch, wanted in _cut(part, row, blocks):
        if wanted:
            yield from table.read(batch, start)
        else:
            yield batch.rows.num_rows


def _cut(batch: Batch, row: int, blocks: Blocks | None) -> Iterator[tuple[int, Batch, bool]]:
    """The batch that begins at `row`, cut where blocks begin: (first row, rows, wanted)."""
    if blocks is None:
        yield row, batch, True
        return
    end = row + batch.rows.num_rows
    at = row
    while at < end:
        until = min(end, (at // BLOCK_ROWS + 1) * BLOCK_ROWS)
        begin, count = at - row, until - at
        wrong = {place - begin: error for place, error in batch.wrong.items() if begin <= place < begin + count}
        ids = None if batch.ids is None else batch.ids[begin : begin + count]
        yield at, Batch(batch.rows.slice(begin, count), wrong, ids), blocks.have_row(at)
        at = until


def text_batch(names: Sequence[str], rows: Sequence[Sequence[str]], wrong: Mapping[int, DocumentError]) -> Batch:
    """A batch of rows of text. Cells past the names are dropped, missing ones null."""
    import pyarrow as pa

    columns = [[row[at] if at < len(row) else None for row in rows] for at in range(len(names))]
    arrays = [pa.array(column, pa.large_string()) for column in columns]
    return Batch(pa.RecordBatch.from_arrays(arrays, list(names)), wrong)


def _lost(part: Lost, uri: str, media_type: str, row: int) -> Unread:
    last = "" if part.count is None else f" to {row + part.count - 1}"
    which = f"row {row}" if part.count == 1 else f"rows {row}{last or ' and after'}"
    error = DocumentError(f"{which} cannot be read: {part.error.message}", kind=part.error.kind, hint=part.error.hint)
    name = content_id(uri.rpartition("/")[2], f"{row}{last}")
    return Unread(id=name, uri=f"{uri}#{row}", row=row, media_type=media_type, error=error)


# --- a row, a document --------------------------------------------------------------------------------------------


def _resolve(
    place: str, media_type: str, columns: Sequence[str], settings: InputSettings, pinned: pa.Schema | None
) -> _Table:
    """A table with the columns a job wants of it. Raises DocumentError no_column, which lists those it has."""
    kept = settings.keep_columns
    wanted = [str(settings.text_column), *filter(None, [settings.id_column]), *(kept or []), *settings.types]
    twice = [name for name, count in Counter(columns).items() if count > 1 and (name in wanted or kept is None)]
    missing = [name for name in wanted if name not in columns]
    if missing:
        problem, hint = f"no column {missing[0]!r}", "Name one of its columns."
    elif twice:
        problem, hint = f"two columns {twice[0]!r}", "Name those to keep in input.keep_columns."
    else:
        return _Table(place=place, media_type=media_type, settings=settings, pinned=pinned)
    raise _no_column(problem, columns, hint)


def _no_column(problem: str, columns: Sequence[str], hint: str) -> DocumentError:
    there = ", ".join(map(repr, columns[:50])) + (" …" if len(columns) > 50 else "")
    return DocumentError(f"{problem}; its columns are {there or 'none'}", kind="no_column", hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """A table, and what a job wants of it."""

    place: str
    media_type: str
    settings: InputSettings
    pinned: pa.Schema | None

    def read(self, batch: Batch, start: int) -> Iterator[Document | Unread]:
        """The documents of a batch, whose first row is the table's row `start`."""
        rows, settings = batch.rows, self.settings
        texts = _column(rows, settings.text_column) or [None] * rows.num_rows
        ids = batch.ids or self._ids(rows)
        kept, unfit = self._keep(rows)
        for at, (name, text) in enumerate(zip(ids, texts, strict=True)):
            place, row, columns = f"{self.place}{start + at}", start + at, Kept(kept, at)
            checked = batch.wrong.get(at) or unfit.get(at) or self._text(text)
            if isinstance(checked, DocumentError):
                yield Unread(id=name, uri=place, row=row, media_type=self.media_type, columns=columns, error=checked)
            else:
                yield Document(id=name, uri=place, row=row, text=checked, media_type=self.media_type, columns=columns)

    def _ids(self, rows: pa.RecordBatch) -> list[str]:
        """What the id column says of each row, else a hash of the row."""
        values = _column(rows, self.settings.id_column)
        ids = [""] * rows.num_rows if values is None else ["" if value is None else text_of(value) for value in values]
        if "" not in ids:
            return ids
        return [own or other for own, other in zip(ids, content_ids(rows), strict=True)]

    def _text(self, value: Any) -> str | DocumentError:
        if isinstance(value, bytes):
            try:
                value = value.decode()
            except UnicodeDecodeError:
                return DocumentError("its text is not UTF-8", kind="not_text")
        if value is None:
            return ""
        if not isinstance(value, str):
            message = f"its {self.settings.text_column!r} is {type(value).__name__}, not text"
            return DocumentError(message, kind="not_text")
        if len(value) > self.settings.max_document_mb * MEGABYTE:
            return DocumentError(f"its text is larger than {self.settings.max_document_mb} MB", kind="too_large")
        return value

    def _keep(self, rows: pa.RecordBatch) -> tuple[pa.RecordBatch, dict[int, DocumentError]]:
        """The kept columns in their stated or pinned types, and the rows whose values do not fit these."""
        import pyarrow as pa

        settings, wrong = self.settings, {}
        names = settings.keep_columns
        if names is None:
            names = [name for name in rows.schema.names if name != settings.text_column]
        fields = []
        for name in dict.fromkeys(names):
            at = rows.schema.get_field_index(name)
            own = rows.schema.field(at) if at >= 0 else pa.field(name, pa.null())
            if name in settings.types:
                own = pa.field(name, type_of(settings.types[name]))
            elif self.pinned is not None and (pinned := self.pinned.get_field_index(name)) >= 0:
                own = self.pinned.field(pinned)
            elif own.type == pa.large_string() and not own.metadata and self.media_type in _UNTYPED:
                own = own.with_type(pa.string())
            fields.append(own.with_nullable(True))
        kept, words = fit(rows, pa.schema(fields))
        for at, message in words.items():
            wrong[at] = DocumentError(message, kind="unfit_value", hint="State the column's type in input.types.")
        return _own(kept), wrong


_UNTYPED = ("text/csv",)


def _column(rows: pa.RecordBatch, name: str | None) -> list[Any] | None:
    at = rows.schema.get_field_index(name or "")
    return None if at < 0 else values_of(rows.column(at))


def _own(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A copy that does not hold the memory of the columns beside it: the texts, above all."""
    import pyarrow as pa

    if not batch.num_columns:
        return batch
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return pa.ipc.open_stream(sink.getvalue()).read_next_batch()


def content_ids(rows: pa.RecordBatch) -> list[str]:
    """An id for each row: a hash of its cells by their columns' names, nulls left out. So neither the row's place nor
    the columns' order matter to it, nor a new column that says nothing."""
    named = sorted(zip(rows.schema.names, rows.columns, strict=True), key=lambda pair: pair[0])
    columns = [(f"{name}\x1f", _canonical(column)) for name, column in named]
    ids = []
    for cells in zip(*(values for _, values in columns), strict=True):
        content = "\x1e".join(head + cell for (head, _), cell in zip(columns, cells, strict=True) if cell is not None)
        ids.append(hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:16])
    return ids or [content_id("")] * rows.num_rows


def _canonical(column: pa.Array[Any]) -> list[str | None]:
    """Values as text that no installed library changes."""
    import pyarrow as pa

    if not (pa.types.is_nested(column.type) or pa.types.is_binary(column.type)):
        try:
            return [value if value is None else str(value) for value in column.cast(pa.string()).to_pylist()]
        except (ValueError, pa.ArrowException):
            pass
    return [None if value is None else text_of(value) for value in values_of(column)]


# --- a table, a document ------------------------------------------------------------------------------------------


def _whole(parts: Iterable[Part], uri: str, media_type: str) -> Document:
    """All rows as one document: a Markdown table, of a workbook one under each sheet's name, its number as page.

    Rows that are no good are left out, and the document is in doubt. Raises DocumentError for a table that is too large
    for that, has rows that cannot be read, or says nothing."""
    text, wrong = _Markdown(), list[DocumentError]()
    for part in parts:
        if isinstance(part, Lost):
            raise part.error
        if isinstance(part, Columns):
            text.begin(part)
        elif isinstance(part, Batch):
            columns = [_written(column) for column in part.rows.columns]
            for at, cells in enumerate(zip(*columns, strict=True)):
                if at not in part.wrong:
                    text.add_row(cells)
            wrong += part.wrong.values()
    if not text.says:
        raise wrong[0] if wrong else DocumentError("no cell of the table says anything", kind="empty")
    doubt = ("malformed_row", f"{len(wrong)} rows are left out: {wrong[0].message}") if wrong else None
    whole = "".join(f"{line}\n" for line in text.lines)
    name = content_id(f"table {_WHOLE_VERSION}", whole)
    return Document(id=name, uri=uri, text=whole, media_type=media_type, marks=tuple(text.marks), doubt=doubt)


class _Markdown:
    """Tables as Markdown, the first row of each as its header."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.marks: list[Mark] = []
        self.says = False
        self._names: Sequence[str] = ()
        self._chars = 0
        self._sheets = 0
        self._fresh = True  # the next row is a header

    def begin(self, columns: Columns) -> None:
        self._names, self._fresh = columns.names, True
        if columns.sheet:
            self._sheets += 1
            if self.lines:
                self._add("")
            self.marks.append(Mark(kind="page", start=self._chars, label=str(self._sheets)))
            self.marks.append(Mark(kind="heading", start=self._chars, label=columns.sheet, level=2))
            self._add(f"## {columns.sheet}")
            self._add("")
        if columns.names:
            self.add_row(columns.names)

    def add_row(self, cells: Sequence[Any]) -> None:
        written = [_cell(cell) for cell in cells]
        self.says = self.says or any(written)
        self._names = self._names or written  # a grid's own header
        self._add("| " + " | ".join(written) + " |")
        if self._fresh:
            self._add("|" + " --- |" * len(cells))
        self._fresh = False

    def _add(self, line: str) -> None:
        self._chars += len(line) + 1
        if self._chars > _WHOLE_CHARS:
            problem = f"a table of more than {_WHOLE_CHARS // MEGABYTE} MB needs input.text_column"
            raise _no_column(problem, self._names, "Name the column that holds the text.")
        self.lines.append(line)


_WHOLE_VERSION = 1
"""Raised when the same table comes out as another text: document ids change with it."""


def _written(column: pa.Array[Any]) -> list[Any]:
    import pyarrow as pa

    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type) or pa.types.is_boolean(column.type):
        return values_of(column)
    return _canonical(column)


def _cell(value: object) -> str:
    """A cell as Markdown has it: a line end inside becomes a space, which keeps the row in one line."""
    if value is None:
        return ""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else text_of(value)
    return " ".join(text.replace("|", "\\|").splitlines()).strip()
