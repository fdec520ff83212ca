"""Server-sent events out of bytes, and JSON a line each. Pure.

Sources: the WHATWG HTML standard, "Server-sent events"; the NDJSON specification.
"""

from __future__ import annotations

__all__ = ["Events"]


class Events:
    """Feed it bytes; it gives the data of the events that are complete."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []  # of a line that is not complete; joined once, so that long lines stay cheap
        self._data: list[bytes] = []
        self._begun = False
        self._after_return = False  # a line feed that comes next ends no line of its own

    def feed(self, part: bytes) -> list[bytes]:
        """The data of each event that ends in `part`."""
        if b"\r" in part or self._after_return:
            part = part.removeprefix(b"\n") if self._after_return else part
            self._after_return = part.endswith(b"\r")
            part = part.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        head, newline, tail = part.rpartition(b"\n")
        if not newline:
            self._rest.append(part)
            return []
        lines = b"".join((*self._rest, head)).split(b"\n")
        self._rest = [tail]
        return [data for line in lines if (data := self._line(line))]

    def rest(self) -> list[bytes]:
        """The data of what was not ended by an empty line."""
        lines = (b"".join(self._rest), b"")
        self._rest = []
        return [data for line in lines if (data := self._line(line))]

    def _line(self, line: bytes) -> bytes | None:
        if not self._begun:
            self._begun, line = True, line.removeprefix(b"\xef\xbb\xbf")
        if line:
            if line.startswith(b"data:"):
                self._data.append(line[5:].strip())
            # An object with no name before it is no field: a line of NDJSON, or an error that broke into the stream.
            return line.strip() if line.startswith(b"{") else None
        data, self._data = b"\n".join(self._data), []
        return data or None
