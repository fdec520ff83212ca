"""The lines of a text file, unpacked and decoded as they stream."""

from __future__ import annotations

import codecs
import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from docreduce.readers.base import MEGABYTE, SAMPLE_BYTES, open_stream, read_sample, unreadable
from docreduce.readers.text import encoding_of
from docreduce.settings import InputSettings
from docreduce.values.errors import DocumentError

__all__ = ["Lines", "open_lines"]


def _stray_bytes(error: UnicodeError) -> tuple[str, int]:
    """Bytes that are not UTF-8 in a table that began as UTF-8: a cell pasted from Windows, so Windows-1252."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


codecs.register_error("docreduce-stray", _stray_bytes)


class Lines:
    """A text's lines with their ends, one by one or in blocks; lines may be put back. `read` gives the text piece by
    piece, "" at its end. Raises DocumentError for a line longer than `most` characters, and what `read` raises, but
    only after the last whole line before."""

    def __init__(self, read: Callable[[], str], most: int) -> None:
        self._read = read
        self._most = most
        self._back: deque[str] = deque()
        self._rest = ""  # the begin of a line
        self._ended: DocumentError | bool = False

    def next(self) -> str | None:
        """The next line, None after the last."""
        while not self._back:
            if self._ended:
                if isinstance(self._ended, DocumentError):
                    raise self._ended
                return None
            self._back.extend(io.StringIO(self._whole(1), newline=""))
        return self._back.popleft()

    def block(self, chars: int) -> str:
        """Whole lines of at least so many characters; "" after the last."""
        parts, size = [], 0
        while self._back and size < chars:
            parts.append(self._back.popleft())
            size += len(parts[-1])
        if size < chars and not self._ended:
            parts.append(self._whole(chars - size))
        return "".join(parts)

    def put_back(self, lines: Iterable[str]) -> None:
        """Let these lines come next, in this order."""
        self._back.extendleft(reversed(list(lines)))

    def put_back_text(self, text: str) -> None:
        """Let the lines of a text come next."""
        self.put_back(io.StringIO(text, newline=""))

    def _whole(self, chars: int) -> str:
        """The next whole lines, of at least so many characters."""
        parts, size = [self._rest], len(self._rest)
        end = 0
        while not end:
            try:
                piece = self._read()
            except DocumentError as error:  # the line that breaks off is none
                self._ended, self._rest = error, ""
                return _whole_lines("".join(parts))
            if not piece:
                self._ended, self._rest = True, ""
                return "".join(parts)
            parts.append(piece)
            size += len(piece)
            if size >= chars:
                # what ends a piece may be half of "\r\n"
                end = max(piece.rfind("\n"), piece.rfind("\r", 0, -1)) + 1
            if not end and size >= max(self._most, chars):
                message = f"a line longer than {self._most // MEGABYTE} MB"
                self._ended, self._rest = DocumentError(message, kind="too_large"), ""
                return _whole_lines("".join(parts))
        self._rest = parts[-1][end:]
        parts[-1] = parts[-1][:end]
        return "".join(parts)


def _whole_lines(text: str) -> str:
    return text[: max(text.rfind("\n"), text.rfind("\r")) + 1]


@contextmanager
def open_lines(path: Path, settings: InputSettings) -> Iterator[Lines]:
    """A file's lines, unpacked and decoded as they stream. Raises DocumentError."""
    sample = read_sample(path)
    encoding = encoding_of(sample, whole=len(sample) < SAMPLE_BYTES)
    errors = "docreduce-stray" if encoding.startswith("utf-8") else "replace"
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    with unreadable(path), open_stream(path) as stream:

        def read() -> str:
            with unreadable(path):
                while raw := stream.read1(SAMPLE_BYTES):  # type: ignore[attr-defined]
                    if text := decoder.decode(raw):
                        return text
                return decoder.decode(b"", True)

        yield Lines(read, settings.max_document_mb * MEGABYTE)
