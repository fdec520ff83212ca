"""Readers: from paths to documents. One file a family of formats; a new one gets a line in registry.py.

`discover` finds the files, `read` opens one of them, `UniqueIds` keeps the ids of a run apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from docreduce.config import InputSettings
from docreduce.readers.base import MEGABYTE, FileFormat, Unread, content_id, read_bytes, read_sample, shown
from docreduce.readers.inputs import Discovered, discover
from docreduce.readers.registry import format_of
from docreduce.readers.sandbox import close_sandboxes, read_in_child
from docreduce.values import Document
from docreduce.values.errors import DocumentError

__all__ = ["Discovered", "UniqueIds", "Unread", "close_sandboxes", "discover", "left_out", "read"]


def read(source: str, settings: InputSettings) -> Iterator[Document | Unread]:
    """The documents of a file in order: one, or one a row of a table, streamed.

    Raises nothing for what a file does, MachineError where the machine is at its end: a document that cannot be read
    comes as Unread, and so does the rest of a table that breaks off. Blocks, so pull it from a thread. Closing it
    early frees the file and ends a child process."""
    path, uri, media_type, rows = Path(source), shown(source), "application/octet-stream", 0
    try:
        head = read_sample(path)
        if not head:
            raise DocumentError("the file is empty", kind="empty")
        known = format_of(source, head)
        media_type = known.media_type
        if isinstance(known, FileFormat):
            yield _read_file(path, uri, known, settings)
            return
        for document in known.rows(path, uri, settings):
            rows += 1
            yield document
    except DocumentError as error:
        if not rows:
            yield Unread(id=content_id(path.name), uri=uri, media_type=media_type, error=error)
            return
        message = f"the table breaks off after {rows} rows: {error.message}"
        cut = DocumentError(message, kind=error.kind, hint=error.hint)
        yield Unread(
            id=content_id(path.name, str(rows)), uri=f"{uri}#{rows}", row=rows, media_type=media_type, error=cut
        )


def left_out(source: str, error: DocumentError) -> Unread:
    """The row of a file that nobody opens."""
    name = content_id(Path(source).name)
    return Unread(id=name, uri=shown(source), media_type="application/octet-stream", error=error)


def _read_file(path: Path, uri: str, known: FileFormat, settings: InputSettings) -> Document | Unread:
    max_mb = settings.max_document_mb
    raw = read_bytes(path, max_mb * MEGABYTE)
    name = content_id(f"{known.name} {known.version}", raw)
    try:
        text = read_in_child(known.name, raw, settings) if known.sandboxed else known.read(raw)
        if len(text.text) > max_mb * MEGABYTE:
            raise DocumentError(f"more than {max_mb} MB of text", kind="too_large")
    except DocumentError as error:
        return Unread(id=name, uri=uri, media_type=known.media_type, error=error)
    return Document(id=name, uri=uri, text=text.text, marks=text.marks, media_type=known.media_type)


class UniqueIds:
    """Makes ids unique over a run: the second document of an id gets `~2`, the third `~3`, in the order asked."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def __call__(self, document_id: str) -> str:
        """`document_id`, or the next free name after it. Ask in the input's order: equal input, equal names."""
        count = self._seen[document_id] = self._seen.get(document_id, 0) + 1
        # once more, because a table may hold an id that looks like one of ours
        return document_id if count == 1 else self(f"{document_id}~{count}")
