"""Readers: from paths to documents. One file a family of formats; a new one gets a line in registry.py.

`discover` finds the files, `read` opens one of them, `UniqueIds` keeps the ids of a run apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.config import InputSettings
from pipeline.errors import DocumentError
from pipeline.readers.base import MEGABYTE, FileFormat, Format, Unread, content_id, read_bytes, read_sample, shown
from pipeline.readers.inputs import Discovered, discover
from pipeline.readers.registry import format_of
from pipeline.readers.sandbox import close_sandboxes
from pipeline.types import Document, Source

__all__ = ["Discovered", "UniqueIds", "Unread", "close_sandboxes", "discover", "read"]


def read(source: Source, settings: InputSettings) -> Iterator[Document | Unread]:
    """The documents of a file in order: one, or one a row of a table, streamed.

    Raises nothing for what a file does, MachineError where the machine is at its end: a document that cannot be read
    comes as Unread, and so does the rest of a table that breaks off. Blocks, so pull it from a thread. Closing it
    early frees the file and ends a child process."""
    path, uri = Path(source.uri), shown(source.uri)
    try:
        head = read_sample(path)
        if not head:
            raise DocumentError("the file is empty", kind="empty")
        known = format_of(source.uri, head)
    except DocumentError as error:
        yield Unread(id=content_id(path.name), uri=uri, media_type="application/octet-stream", error=error)
        return
    if isinstance(known, FileFormat):
        yield _read_file(path, uri, known, settings)
        return
    row = 0
    try:
        for document in known.rows(path, uri, settings):
            row += 1
            yield document
    except DocumentError as error:
        yield _rest(path.name, uri, known, row, error)


def _read_file(path: Path, uri: str, known: FileFormat, settings: InputSettings) -> Document | Unread:
    raw = b""
    try:
        raw = read_bytes(path, settings.max_document_mb * MEGABYTE)
        text = known.read(raw, settings)
    except DocumentError as error:
        return Unread(id=_file_id(path, known, raw), uri=uri, media_type=known.media_type, error=error)
    return Document(
        id=_file_id(path, known, raw), uri=uri, text=text.text, marks=text.marks, media_type=known.media_type
    )


def _file_id(path: Path, known: FileFormat, raw: bytes) -> str:
    return content_id(f"{known.name} {known.version}", raw) if raw else content_id(path.name)


def _rest(name: str, uri: str, known: Format, row: int, error: DocumentError) -> Unread:
    """What stands for a table that cannot be read, or not past `row` rows."""
    if not row:
        return Unread(id=content_id(name), uri=uri, media_type=known.media_type, error=error)
    message = f"the table breaks off after {row} rows: {error.message}"
    cut = DocumentError(message, kind=error.kind, hint=error.hint)
    return Unread(id=content_id(name, str(row)), uri=f"{uri}#{row}", row=row, media_type=known.media_type, error=cut)


class UniqueIds:
    """Makes ids unique over a run: the second document of an id gets `~2`, the third `~3`, in the order asked."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def __call__(self, document_id: str) -> str:
        """`document_id`, or the next free name after it. Ask in the input's order: equal input, equal names."""
        count = self._seen[document_id] = self._seen.get(document_id, 0) + 1
        # once more, because a table may hold an id that looks like one of ours
        return document_id if count == 1 else self(f"{document_id}~{count}")
