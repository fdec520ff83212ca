"""Server-sent events to one reply: text, finish reason, usage from the last event. Pure: fed with bytes.

Source: the WHATWG HTML standard, "Server-sent events"; OpenAI ends with `[DONE]`, Anthropic with `message_stop`.
"""

from __future__ import annotations

from docreduce.providers.answers import loops, parse, settle
from docreduce.providers.dialect import Dialect, Draft, HttpResponse
from docreduce.providers.faults import bad_body, find_fault, reject, rejection
from docreduce.values import Cause, Reply, Request

__all__ = ["StreamReader"]

_LOOP_STEP_CHARS = 1000


class StreamReader:
    """Feed it the bytes of a stream; `reply` is set when it is over early, `finish()` settles what came."""

    def __init__(self, dialect: Dialect, request: Request, head: HttpResponse) -> None:
        self.reply: Reply | None = None
        self._dialect = dialect
        self._request = request
        self._head = head
        self._draft = Draft()
        self._rest = b""
        self._data: list[bytes] = []
        self._next_look = _LOOP_STEP_CHARS

    def feed(self, part: bytes) -> bool:
        """Take the next bytes; True if the answer grew (comments, pings and empty deltas are no progress)."""
        *lines, self._rest = (self._rest + part).split(b"\n")
        before = self._draft.chars
        for line in lines:
            if self.reply is None:
                self._line(line.removesuffix(b"\r"))
        if self.reply is None and self._draft.chars >= self._next_look:
            self._next_look = self._draft.chars + _LOOP_STEP_CHARS
            self._look_for_a_loop()
        return self._draft.chars > before

    def finish(self) -> Reply:
        """The reply once the stream is at its end."""
        self._line(self._rest)
        self._line(b"")
        if self.reply is not None:
            return self.reply
        if not self._draft.done and self._draft.finish is None:
            return bad_body(self._head, "the stream broke off")
        return settle(self._dialect, self._request, self._head, self._draft)

    def _line(self, line: bytes) -> None:
        if line:
            if line.startswith(b"data:"):
                self._data.append(line[5:].strip())
            return
        data, self._data = b"\n".join(self._data), []
        if data == b"[DONE]":
            self._end()
        elif data:
            self._event(data)

    def _event(self, data: bytes) -> None:
        event = parse(data)
        if event is None:
            self.reply = bad_body(self._head, "an event that is no JSON object")
            return
        if fault := find_fault(event):
            self.reply = reject(fault, self._request, self._head)
            return
        self._dialect.read_event(event, self._draft)
        if self._draft.done:
            self._end()

    def _end(self) -> None:
        self._draft.done = True
        self.reply = settle(self._dialect, self._request, self._head, self._draft)

    def _look_for_a_loop(self) -> None:
        text = self._draft.text
        if loops(self._request, text):
            # Usage would have come with the last event.
            words = f"cut early: the answer repeats itself: …{text[-80:]}"
            self.reply = rejection(Cause.LOOP, words, self._head)
