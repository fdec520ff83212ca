"""Child processes for the readers that can hang, crash or eat the memory: reused, limited, stopped when late."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import orjson
from docreduce.readers.base import MEGABYTE, Attachment, ReadOptions, Text
from docreduce.settings import InputSettings
from docreduce.storage import machine_errors
from docreduce.values import Mark
from docreduce.values.errors import DocumentError

__all__ = ["Sandbox", "as_request", "close_sandboxes", "read_in_child", "sandbox"]

_MODULE = "docreduce.readers.sandbox_worker"
_BASE_MEMORY = 2**30
_LATE = 1
"""The exit code of a child that stopped itself because a file took too long."""

# The child gets no more of our environment than it needs to start: no API key, no proxy, no token.
_ENVIRONMENT = ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "TEMP", "TZ", "HOME")

_idle: list[Sandbox] = []
_busy: set[Sandbox] = set()
_lock = threading.Lock()


class Sandbox:
    """One child process, that reads one file after the other."""

    def __init__(self, memory_bytes: int, timeout_s: float) -> None:
        from multiprocessing.connection import Pipe

        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        environment["OPENBLAS_NUM_THREADS"] = environment["OMP_NUM_THREADS"] = "1"
        environment["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # the others reserve address space, which is limited
        with machine_errors(Path(sys.executable)):
            self._pipe, theirs = Pipe()
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603
                    [sys.executable, "-P", "-m", _MODULE, str(theirs.fileno()), str(memory_bytes), str(timeout_s)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    env=environment,
                    start_new_session=True,  # an interrupt in the terminal is for us, and we finish what we began
                )
        self.limits = memory_bytes, timeout_s
        self.busy = False

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, name: str, payload: bytes) -> Iterator[bytes]:
        """The child's answers to a request, in order. Raises DocumentError: timeout, crashed, or what it refused."""
        self.busy = True
        try:
            self._pipe.send_bytes(name.encode())
            self._pipe.send_bytes(payload)
            while (mark := self._pipe.recv_bytes()) == b"more":
                yield self._pipe.recv_bytes(self.limits[0])
            end = self._pipe.recv_bytes(self.limits[0])
        except (EOFError, OSError) as error:
            raise self._death() from error
        self.busy = False
        if mark == b"error":
            message, hint, kind = json.loads(end)
            raise DocumentError(message, hint=hint, kind=kind)

    def _death(self) -> DocumentError:
        self.kill()  # if it lives, it said more than it may
        code = self._process.wait()
        if code == _LATE:
            return DocumentError(f"reading took longer than {self.limits[1]:g} s", kind="timeout")
        return DocumentError(f"the reader crashed on it (exit {code})", kind="crashed")

    def kill(self) -> None:
        """End the child's work; whoever waits for it gets a DocumentError. Safe from any thread."""
        self._process.kill()

    def close(self) -> None:
        """End the child, also in the middle of its work."""
        self.kill()
        self._pipe.close()
        self._process.wait()


@contextlib.contextmanager
def sandbox(settings: InputSettings) -> Iterator[Sandbox]:
    """A child process to read one file with; kept for the next one if it has answered all it was asked.

    Its memory limit is 1 GiB and eight times the largest document allowed; its time limit, reader_timeout_s, is for
    a file, of a table for a batch. Safe from many threads."""
    box = _take(_BASE_MEMORY + 8 * MEGABYTE * settings.max_document_mb, settings.reader_timeout_s)
    _busy.add(box)
    try:
        yield box
    finally:
        _busy.discard(box)
        if not box.busy and box.alive:
            with _lock:
                _idle.append(box)
        else:
            box.close()


def read_in_child(name: str, raw: bytes, options: ReadOptions, settings: InputSettings) -> Text:
    """What the reader of the format `name` makes of `raw`. Raises DocumentError."""
    with sandbox(settings) as box:
        text, *attached = box.ask(name, as_request(raw, options))
    found = orjson.loads(text)
    return Text(
        found["text"],
        tuple(Mark(*mark) for mark in found["marks"]),
        found["doubt"] and tuple(found["doubt"]),
        tuple(map(Attachment, found["attachments"], attached)),
    )


def as_request(raw: bytes, options: ReadOptions) -> bytes:
    """What a child is asked with to read a file."""
    return orjson.dumps(options) + b"\n" + raw


def close_sandboxes() -> None:
    """End the child processes, also those at work. They end by themselves, too, when this process does."""
    for box in tuple(_busy):
        box.kill()
    with _lock:
        boxes = _idle[:]
        _idle.clear()
    for box in boxes:
        box.close()


def _take(*limits: *tuple[int, float]) -> Sandbox:
    while True:
        with _lock:
            box = _idle.pop() if _idle else None
        if box is None:
            return Sandbox(*limits)
        if box.alive and box.limits == limits:
            return box
        box.close()


atexit.register(close_sandboxes)
