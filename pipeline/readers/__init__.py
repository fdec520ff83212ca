"""Readers: from paths to documents. One file a family of formats; a new one gets a line in registry.py.

`discover` finds the files, `slices` says which of them a share has, `read` opens one of them, `read_ahead` several at
once, `UniqueIds` keeps a run's ids apart.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from docreduce.readers import archive, json, jsonlines, parquet
from docreduce.readers.ahead import ahead
from docreduce.readers.base import (
    MEGABYTE,
    SAMPLE_BYTES,
    ArchiveFormat,
    Blocks,
    FileFormat,
    Format,
    ReadOptions,
    TableFormat,
    Text,
    Unread,
    content_id,
    is_packed,
    open_stream,
    read_bytes,
    read_sample,
    shown,
    unreadable,
)
from docreduce.readers.boxes import PlacedBox, quote_boxes
from docreduce.readers.ids import UniqueIds
from docreduce.readers.inputs import Discovered, Selection, discover
from docreduce.readers.pages import Page, evidence_pages
from docreduce.readers.registry import format_of
from docreduce.readers.sandbox import close_sandboxes, read_in_child
from docreduce.readers.shares import Share, Slice, slices
from docreduce.settings import InputSettings
from docreduce.storage import fetched, is_address, machine_errors
from docreduce.values import Document
from docreduce.values.errors import DocumentError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Discovered",
    "Page",
    "PlacedBox",
    "Share",
    "Slice",
    "UniqueIds",
    "Unread",
    "close_sandboxes",
    "content_of",
    "discover",
    "evidence_pages",
    "left_out",
    "quote_boxes",
    "read",
    "read_ahead",
    "slices",
]

_MAX_NESTING = 4
"""Files in files in files: a mail in a ZIP with a ZIP attached is three."""
WORKERS = min(os.cpu_count() or 1, 8)
"""A file being read takes a core and the memory of the largest document allowed."""
_UNKNOWN = "application/octet-stream"


def read(
    source: str,
    settings: InputSettings,
    skipped: Counter[str] | None = None,
    pinned: pa.Schema | None = None,
    blocks: Blocks | None = None,
    only: str | None = None,
) -> Iterator[Document | Unread]:
    """The documents of a file in order: one, one a row of a table, or those of all files in it, streamed. `pinned`: the
    types that kept columns of tables had in earlier runs; `blocks`: which of a table's blocks of rows to read, all if
    None. `only`: the place of a file inside it (`a.zip!/b.pdf`), beside which no other is opened.

    Raises nothing for what a file does, MachineError where the machine is at its end: a document that cannot be read
    comes as Unread, and so does the rest of a table or an archive that breaks off. What is left out of an archive or of
    a mail's attachments is counted in `skipped` by reason, as `discover` counts what it leaves out of a folder. Blocks,
    so pull it from a thread. Closing it early frees the file and ends a child process."""
    reading = _Reading(settings, skipped if skipped is not None else Counter(), pinned, blocks, only)
    yield from reading.source(source)


def content_of(source: str, settings: InputSettings, place: str, document_id: str) -> bytes:
    """The bytes of the file that a document was read from: `place` is that of `source`, or of a file inside it.

    Raises DocumentError where they are not there any more."""
    seeking = _Seeking(settings, Counter(), only=place, document_id=document_id)
    for each in seeking.source(source):
        if seeking.found is not None:
            return seeking.found
        if isinstance(each, Unread):
            raise each.error
    raise DocumentError(f"{place} is not there any more")


def read_ahead(
    sources: Sequence[Slice],
    settings: InputSettings,
    skipped: Counter[str],
    pinned: pa.Schema | None = None,
    workers: int = WORKERS,
) -> Generator[Iterator[Document | Unread], None, None]:
    """For each of `sources`, in their order, its documents as `read` gives them; up to `workers` files that are read in
    a child process, or come from a store, are read before their turn."""

    def one(each: Slice, left: Counter[str]) -> Iterator[Document | Unread]:
        return read(each.source, settings, left, pinned, each.blocks)

    return ahead(one, sources, skipped, lambda each: reads_apart(each.source), workers)


def reads_apart(source: str) -> bool:
    """Whether, by its name, a source is read in a child process or fetched first."""
    known = format_of(source, b"", tuple)
    return is_address(source) or (isinstance(known, FileFormat) and known.sandboxed)


def left_out(source: str, error: DocumentError) -> Unread:
    """The row of a file that nobody opens."""
    name = content_id(Path(source).name)
    return Unread(id=name, uri=shown(source), media_type=_UNKNOWN, error=error)


@dataclass(slots=True)
class _Reading:
    """A file being read, with all files in it."""

    settings: InputSettings
    skipped: Counter[str]
    pinned: pa.Schema | None = None
    blocks: Blocks | None = None
    only: str | None = None
    options: ReadOptions = field(init=False)
    selection: Selection = field(init=False)

    def __post_init__(self) -> None:
        given = self.settings
        password = os.environ.get(given.password_env) if given.password_env else None
        self.options = ReadOptions(
            encoding=given.encoding,
            password=password,
            running_heads=given.running_heads,
            ocr=given.ocr,
            max_bytes=given.max_document_mb * MEGABYTE,
        )
        self.selection = Selection(given)

    def source(self, source: str) -> Iterator[Document | Unread]:
        """The documents of a file, or of an object at an address."""
        yield from self.address(source) if is_address(source) else self.file(Path(source), shown(source))

    def address(self, source: str) -> Iterator[Document | Unread]:
        """The documents of an object in a store, fetched first."""
        by_name = format_of(source, b"", tuple)
        bound = self.options.max_bytes if isinstance(by_name, FileFormat) else None  # tables and archives are streamed
        with contextlib.ExitStack() as held:
            try:
                path = held.enter_context(fetched(source, bound))
            except DocumentError as error:
                yield left_out(source, error)
                return
            yield from self.file(path, shown(source))

    def file(self, path: Path, uri: str, nesting: int = 0) -> Iterator[Document | Unread]:
        media_type, count, name = _UNKNOWN, 0, PurePath(uri).name
        try:
            head = read_sample(path)
            if not head:
                raise DocumentError("the file is empty", kind="empty")
            if head.startswith(b"PK") and is_packed(path):  # a ZIP is read from its end
                yield from self.content(uri, read_bytes(path, self.options.max_bytes), uri, nesting)
                return
            known = self.format(uri, head, lambda: _members(path))
            media_type = known.media_type
            if isinstance(known, FileFormat):
                yield from self.document(read_bytes(path, self.options.max_bytes), uri, known, nesting)
                return
            rows = (
                known.rows(path, uri, self.settings, self.pinned, self.blocks)
                if isinstance(known, TableFormat)
                else self.archive(path, uri, known, nesting)
            )
            for document in rows:
                if isinstance(document, int):  # rows passed over
                    count += document
                    continue
                count += 1
                yield document
        except DocumentError as error:
            if self._anothers(count, media_type):
                return
            if not count:
                yield Unread(id=content_id(name), uri=uri, media_type=media_type, error=error)
                return
            is_table = isinstance(known, TableFormat)
            parts = (
                f"table breaks off after {count} rows" if is_table else f"archive breaks off after {count} documents"
            )
            cut = DocumentError(f"the {parts}: {error.message}", kind=error.kind, hint=error.hint)
            yield Unread(
                id=content_id(name, str(count)),
                uri=f"{uri}#{count}",
                row=count if is_table else None,
                media_type=media_type,
                error=cut,
            )

    def format(self, name: str, head: bytes, members: Callable[[], Sequence[str]]) -> Format:
        """As `format_of`; a JSON array of objects with the column to work on is a table."""
        known, column = format_of(name, head, members), self.settings.text_column
        is_table = known is json.FORMAT and column is not None and jsonlines.is_array(head, column)
        return jsonlines.ARRAY if is_table else known

    def _anothers(self, row: int, media_type: str) -> bool:
        """Whether it is for another share to say that the table breaks off before `row`."""
        if self.blocks is None or (row and media_type == parquet.FORMAT.media_type):
            return False  # of Parquet only what is wanted is read
        return not self.blocks.have_row(row)

    def archive(self, path: Path, uri: str, known: ArchiveFormat, nesting: int) -> Iterator[Document | Unread]:
        """The documents of an archive's members."""
        if nesting >= _MAX_NESTING:
            raise DocumentError(f"archives inside archives, more than {_MAX_NESTING} deep", kind="too_large")
        empty = True
        with (
            unreadable(path),
            open_stream(path) as stream,
            contextlib.closing(known.members(stream, self.options, self.wanted)) as members,
        ):
            for name, content in members:
                empty = False
                yield from self.member(name, content, uri, nesting)
        if empty:
            raise DocumentError("no file of a known kind is in the archive", kind="empty")

    def member(self, name: str, content: bytes | DocumentError, uri: str, nesting: int) -> Iterator[Document | Unread]:
        """The documents of a file inside another one."""
        place = f"{uri}!/{shown(name)}"
        if self.only is not None and not f"{self.only}!/".startswith(f"{place}!/"):
            return
        if isinstance(content, DocumentError):
            yield Unread(id=content_id(name), uri=place, media_type=_UNKNOWN, error=content)
            return
        yield from self.content(name, content, place, nesting)

    def content(self, name: str, content: bytes, place: str, nesting: int) -> Iterator[Document | Unread]:
        """The documents of a file that is in memory."""
        head = content[:SAMPLE_BYTES]
        known = self.format(name, head, lambda: archive.zip_names(io.BytesIO(content))) if content else None
        if isinstance(known, FileFormat) and nesting < _MAX_NESTING and not _is_packed(content):
            yield from self.document(content, place, known, nesting + 1)
            return
        with tempfile.NamedTemporaryFile(suffix=Path(name).suffix[:20]) as file:
            with machine_errors(Path(file.name)):
                file.write(content)
                file.flush()
            yield from self.file(Path(file.name), place, nesting + 1)

    def wanted(self, name: str) -> bool:
        """Whether a file inside another one is a document; counts it where it is none."""
        reason = self.selection.refusal(name)
        if reason:
            self.skipped[reason] += 1
        return reason is None

    def document(self, raw: bytes, uri: str, known: FileFormat, nesting: int) -> Iterator[Document | Unread]:
        """The document in `raw`, then those attached to it."""
        document_id = content_id(f"{known.name} {known.version}", raw)
        text = Text("")
        try:
            text = (
                read_in_child(known.name, raw, self.options, self.settings)
                if known.sandboxed
                else known.read(raw, self.options)
            )
            if len(text.text) > self.options.max_bytes:
                raise DocumentError(f"more than {self.settings.max_document_mb} MB of text", kind="too_large")
        except DocumentError as error:
            yield Unread(id=document_id, uri=uri, media_type=known.media_type, error=error)
        else:
            yield Document(
                id=document_id, uri=uri, text=text.text, marks=text.marks, media_type=known.media_type, doubt=text.doubt
            )
        for attachment in text.attachments:
            if nesting >= _MAX_NESTING:
                self.skipped["nested too deep"] += 1
            elif self.wanted(attachment.name):
                yield from self.member(attachment.name, attachment.content, uri, nesting)


@dataclass(slots=True)
class _Seeking(_Reading):
    """Of the document with this id at `only` the bytes, which are not read."""

    document_id: str = ""
    found: bytes | None = field(init=False, default=None)

    def document(self, raw: bytes, uri: str, known: FileFormat, nesting: int) -> Iterator[Document | Unread]:
        if uri == self.only and content_id(f"{known.name} {known.version}", raw) == self.document_id:
            self.found = raw
            yield Document(id=self.document_id, uri=uri, text="", media_type=known.media_type)
            return
        yield from _Reading.document(self, raw, uri, known, nesting)


def _is_packed(content: bytes) -> bool:
    return content.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ\0"))


def _members(path: Path) -> list[str]:
    with unreadable(path), open_stream(path) as stream:
        return archive.zip_names(stream)
