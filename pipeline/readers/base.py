"""What readers share: what they return, what they refuse, and bounded reading of plain and packed files.

Every byte of an input comes through `open_file`."""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import hashlib
import io
import lzma
import os
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias, cast

from docreduce.settings import InputSettings
from docreduce.storage import machine_errors
from docreduce.values import Document, Mark
from docreduce.values.errors import DocumentError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "MEGABYTE",
    "SAMPLE_BYTES",
    "ArchiveFormat",
    "Attachment",
    "Blocks",
    "Doubt",
    "FileFormat",
    "Format",
    "Members",
    "ReadOptions",
    "TableFormat",
    "Text",
    "Unread",
    "content_id",
    "is_packed",
    "open_file",
    "open_stream",
    "read_bytes",
    "read_sample",
    "shown",
    "unreadable",
]

MEGABYTE = 2**20
SAMPLE_BYTES = 2**18
"""How much of a file is looked at to tell its kind, encoding and delimiter."""

Doubt: TypeAlias = tuple[str, str]
"""Why a text is less than what the file held: a kind (doubtful_encoding, thin_text, truncated_input …) and words."""


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
class Attachment:
    """A file inside another one, by its name there: a document of its own."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Text:
    """A file's text as all offsets count it, with its pages, headings and tables in order, and the files in it."""

    text: str
    marks: tuple[Mark, ...] = ()
    doubt: Doubt | None = None
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """What a job asks of a reader. `running_heads`: what becomes of heads and feet that pages repeat."""

    encoding: str | None = None
    password: str | None = None
    running_heads: Literal["once", "drop", "keep"] = "once"
    ocr: Literal["never", "auto", "always"] = "never"
    max_bytes: int = 256 * MEGABYTE


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFormat:
    """A format whose file is one document. `read` raises DocumentError for what it cannot read; `sandboxed`: in a
    child process, because it can hang, crash or eat the memory.

    Raise `version` when the same bytes come out as another text: document ids change with it."""

    name: str
    media_type: str
    extensions: tuple[str, ...]
    read: Callable[[bytes, ReadOptions], Text]
    sandboxed: bool = True
    version: int = 1


@dataclass(frozen=True, slots=True)
class Blocks:
    """Of a table's blocks of rows, counted from 0, every `of`-th from `first` on."""

    first: int
    of: int

    def have(self, block: int) -> bool:
        """Whether the block is one of them."""
        return block % self.of == self.first

    def have_row(self, row: int) -> bool:
        """Whether the row is in one of them, where they are of BLOCK_ROWS each."""
        return self.have(row // BLOCK_ROWS)


BLOCK_ROWS = 1_000
"""Rows of a block, but of Parquet, which has its own. Rows packed into one request are of one block, so that hardly one
request in fifty is smaller for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFormat:
    """A format whose rows are documents. `rows`, of a path, its name for people, the settings, the types that kept
    columns had in earlier runs and the blocks that are wanted (None: all), raises DocumentError where the table cannot
    go on; an integer stands for so many rows passed over. `divides`: rows are numbered through the file."""

    media_type: str
    extensions: tuple[str, ...]
    rows: Callable[[Path, str, InputSettings, pa.Schema | None, Blocks | None], Iterator[Document | Unread | int]]
    divides: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveFormat:
    """A format that holds files. `members` gives their names in order, each with its content or why it cannot be had;
    a member for which `wanted` is false is passed over. Raises DocumentError where the archive cannot go on."""

    media_type: str
    extensions: tuple[str, ...]
    members: Callable[[BinaryIO, ReadOptions, Callable[[str], bool]], Members]


Members: TypeAlias = Generator[tuple[str, bytes | DocumentError], None, None]
Format: TypeAlias = FileFormat | TableFormat | ArchiveFormat


def shown(path: str) -> str:
    """A path for people and for Parquet: valid UTF-8, control and bidirectional characters escaped."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def content_id(name: str, content: str | bytes = b"") -> str:
    """16 hexadecimal digits of SHA-256 over a name (without NUL) and a content."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass") + b"\0")
    digest.update(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
    return digest.hexdigest()[:16]


def open_file(path: Path) -> BinaryIO:
    """The file's bytes as they lie there, seekable. Raises OSError."""
    return path.open("rb")


def _zstd(file: BinaryIO) -> BinaryIO:
    import pyarrow as pa  # its codec takes concatenated frames, too

    return cast(BinaryIO, pa.CompressedInputStream(pa.PythonFile(cast(io.IOBase, file), "r"), "zstd"))


_UNPACKERS: tuple[tuple[bytes, Callable[[BinaryIO], BinaryIO]], ...] = (
    (b"\x1f\x8b", lambda file: cast(BinaryIO, gzip.GzipFile(fileobj=file))),
    (b"\x28\xb5\x2f\xfd", _zstd),
    (b"BZh", lambda file: cast(BinaryIO, bz2.BZ2File(file))),
    (b"\xfd7zXZ\x00", lambda file: cast(BinaryIO, lzma.LZMAFile(file))),  # noqa: SIM115 - _Unpacked closes it
)


class _Unpacked(io.BufferedReader):
    """What comes out of a packed file; closing it closes the file."""

    def __init__(self, stream: BinaryIO, packed: BinaryIO) -> None:
        super().__init__(cast(io.RawIOBase, stream), SAMPLE_BYTES)
        self._packed = packed

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._packed.close()


def _unpacker(path: Path) -> Callable[[BinaryIO], BinaryIO] | None:
    with unreadable(path), open_file(path) as file:
        head = file.read(6)
    return next((unpack for magic, unpack in _UNPACKERS if head.startswith(magic)), None)


def is_packed(path: Path) -> bool:
    """Whether the file's content is gzip, zstd, bzip2 or xz, whatever its name. Raises DocumentError."""
    return _unpacker(path) is not None


def open_stream(path: Path) -> BinaryIO:
    """The file's bytes from the start, unpacked if they are packed. Raises OSError, DocumentError."""
    unpack, file = _unpacker(path), open_file(path)
    return cast(BinaryIO, _Unpacked(unpack(file), file)) if unpack else file


def read_sample(path: Path) -> bytes:
    """The first bytes of the content, unpacked; all of it if less than SAMPLE_BYTES. Raises DocumentError."""
    with unreadable(path), open_stream(path) as stream:
        return stream.read(SAMPLE_BYTES)


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """The whole content, unpacked. Raises DocumentError too_large before it takes more than `max_bytes`."""
    with unreadable(path), open_stream(path) as stream:
        return take(stream, max_bytes)


def take(stream: BinaryIO, max_bytes: int) -> bytes:
    """All that a stream holds. Raises DocumentError too_large before it takes more than `max_bytes`."""
    data = io.BytesIO()  # read(n) would take n bytes for the smallest file
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
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise DocumentError(f"broken packed data: {error}") from error
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            with machine_errors(path):
                raise
        raise DocumentError(error.strerror or str(error)) from error
