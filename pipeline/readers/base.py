"""What readers share: what they return, what they refuse, and bounded reading of plain and gzipped files."""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

from docreduce.config import InputSettings
from docreduce.storage import machine_errors
from docreduce.values import Document, Mark
from docreduce.values.errors import DocumentError

__all__ = [
    "MEGABYTE",
    "SAMPLE_BYTES",
    "FileFormat",
    "Format",
    "TableFormat",
    "Text",
    "Unread",
    "content_id",
    "is_packed",
    "open_stream",
    "read_bytes",
    "read_sample",
    "shown",
    "unreadable",
]

MEGABYTE = 2**20
SAMPLE_BYTES = 2**18
"""How much of a file is looked at to tell its kind, encoding and delimiter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """A document, or a whole table, that could not be read, and why. Its row in the results says so."""

    id: str
    uri: str
    media_type: str
    error: DocumentError
    row: int | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Text:
    """A file's text as all offsets count it, with its pages and headings in order."""

    text: str
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFormat:
    """A format whose file is one document. `read` raises DocumentError for what it cannot read; `sandboxed`: in a
    child process, because it can hang, crash or eat the memory.

    Raise `version` when the same bytes come out as another text: document ids change with it."""

    name: str
    media_type: str
    extensions: tuple[str, ...]
    read: Callable[[bytes], Text]
    sandboxed: bool = False
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFormat:
    """A format whose rows are documents. `rows` raises DocumentError where the table cannot go on."""

    media_type: str
    extensions: tuple[str, ...]
    rows: Callable[[Path, str, InputSettings], Iterator[Document | Unread]]


Format: TypeAlias = FileFormat | TableFormat


def shown(path: str) -> str:
    """A path for people and for Parquet: valid UTF-8, control and bidirectional characters escaped."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def content_id(name: str, content: str | bytes = b"") -> str:
    """16 hexadecimal digits of SHA-256 over a name (without NUL) and a content."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass") + b"\0")
    digest.update(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
    return digest.hexdigest()[:16]


def is_packed(path: Path) -> bool:
    """Whether the file's content is gzip, whatever its name. Raises DocumentError."""
    with unreadable(path), path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def open_stream(path: Path) -> BinaryIO:
    """The file's bytes from the start, unpacked if they are packed. Raises OSError, DocumentError."""
    return cast(BinaryIO, io.BufferedReader(gzip.open(path), SAMPLE_BYTES)) if is_packed(path) else path.open("rb")


def read_sample(path: Path) -> bytes:
    """The first bytes of the content, unpacked; all of it if less than SAMPLE_BYTES. Raises DocumentError."""
    with unreadable(path), open_stream(path) as stream:
        return stream.read(SAMPLE_BYTES)


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """The whole content, unpacked. Raises DocumentError too_large before it takes more than `max_bytes`."""
    data = io.BytesIO()  # read(n) would take n bytes for the smallest file
    with unreadable(path), open_stream(path) as stream:
        while chunk := stream.read(MEGABYTE):
            if data.tell() + len(chunk) > max_bytes:
                message = f"more than {max_bytes // MEGABYTE} MB"
                raise DocumentError(message, kind="too_large", hint="Raise input.max_document_mb or split the file.")
            data.write(chunk)
    return data.getvalue()


@contextlib.contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """A block in which a file that cannot be opened or breaks off is a DocumentError.

    Raises MachineError where the fault is not the file's: no memory, too many open files."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DocumentError(f"broken gzip data: {error}") from error
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            with machine_errors(path):
                raise
        raise DocumentError(error.strerror or str(error)) from error
