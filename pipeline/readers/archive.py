"""ZIP and TAR: files in a file, each a document or a table of its own.

What comes out is bounded: by document as everywhere, over the whole archive by how large it is."""

from __future__ import annotations

import contextlib
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from typing import BinaryIO

from docreduce.readers.base import ArchiveFormat, Members, ReadOptions, take
from docreduce.values.errors import DocumentError

__all__ = ["TAR", "ZIP", "zip_names"]

_MAX_RATIO = 100
"""Text packs to a third, logs and markup to a thirtieth; deflate's best is a thousandth, which is what bombs use."""


def zip_names(stream: BinaryIO) -> list[str]:
    """The names in a ZIP container; none where its directory is lost."""
    try:
        with zipfile.ZipFile(stream) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, OSError, zlib.error):
        return []


class _Allowance:
    """What an archive of `packed` bytes may still give."""

    def __init__(self, packed: int, options: ReadOptions) -> None:
        self._left = options.max_bytes + _MAX_RATIO * packed
        self._options = options

    def take(self, stream: BinaryIO) -> bytes:
        content = take(stream, min(self._options.max_bytes, self._left))
        self._left -= len(content)
        return content


def _size(stream: BinaryIO) -> int:
    end = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    return end


def _zip_members(stream: BinaryIO, options: ReadOptions, wanted: Callable[[str], bool]) -> Members:
    try:
        archive = zipfile.ZipFile(stream)
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError) as error:
        raise DocumentError(f"the ZIP file is damaged: {error}") from error
    allowance = _Allowance(_size(stream), options)
    password = options.password.encode() if options.password else None
    with archive:
        for member in archive.infolist():
            if member.is_dir() or not wanted(member.filename):
                continue
            try:
                with archive.open(member, pwd=password) as part:
                    yield member.filename, allowance.take(part)  # type: ignore[arg-type]
            except RuntimeError:  # zipfile's word for a password
                hint = "Name the variable that holds the password in input.password_env."
                yield member.filename, DocumentError("it is encrypted", kind="encrypted", hint=hint)
            except NotImplementedError as error:
                kind = "encrypted" if member.flag_bits & 1 else "unreadable"
                yield member.filename, DocumentError(f"packed in a way that cannot be read: {error}", kind=kind)
            except DocumentError as error:
                yield member.filename, error
            except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError) as error:
                yield member.filename, DocumentError(f"damaged in the archive: {error}")


def _tar_members(stream: BinaryIO, options: ReadOptions, wanted: Callable[[str], bool]) -> Members:
    packed = 0
    with contextlib.suppress(AttributeError, OSError):  # a stream that is unpacked as it is read has no size
        packed = os.fstat(stream.fileno()).st_size
    allowance = _Allowance(packed, options)
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                if not member.isfile() or not wanted(member.name):
                    continue
                part = archive.extractfile(member)
                assert part is not None
                try:
                    yield member.name, allowance.take(part)  # type: ignore[arg-type]
                except DocumentError as error:
                    yield member.name, error
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DocumentError(f"the TAR file breaks off: {error}") from error


ZIP = ArchiveFormat(media_type="application/zip", extensions=(".zip",), members=_zip_members)
TAR = ArchiveFormat(media_type="application/x-tar", extensions=(".tar",), members=_tar_members)
