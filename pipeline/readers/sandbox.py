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
from typing import IO, Any, cast

from pipeline.config import InputSettings
from pipeline.errors import DocumentError
from pipeline.readers.base import MEGABYTE
from pipeline.storage import machine_errors

__all__ = ["Sandbox", "close_sandboxes", "sandbox"]

_SCRIPT = Path(__file__).with_name("sandbox_worker.py")
_BASE_MEMORY = 2**30
_LATE = 1
"""The exit code of a child that stopped itself because a file took too long."""
_USES = 500
"""A child is replaced after so many files, so that a leak in a library stays small."""

# The child gets no more of our environment than it needs to start: no API key, no proxy, no token.
_ENVIRONMENT = ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "TEMP", "TZ", "HOME")

_idle: list[Sandbox] = []
_lock = threading.Lock()


class Sandbox:
    """One child process. `send` and `receive` raise DocumentError: timeout, crashed, or what the child refused."""

    def __init__(self, memory_bytes: int, timeout_s: float) -> None:
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        environment["OPENBLAS_NUM_THREADS"] = environment["OMP_NUM_THREADS"] = "1"
        environment["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # the others reserve address space, which is limited
        with machine_errors(_SCRIPT):
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", str(_SCRIPT), str(memory_bytes), str(timeout_s)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # an interrupt in the terminal is for us, and we finish what we began
            )
        self.limits = memory_bytes, timeout_s
        self.uses = 0
        self.busy = False

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, kind: bytes, payload: bytes) -> None:
        """One frame to the child."""
        self.busy = True
        stdin = cast(IO[bytes], self._process.stdin)
        try:
            stdin.write(kind + len(payload).to_bytes(8, "big"))
            stdin.write(payload)
            stdin.flush()
        except BrokenPipeError as error:
            raise self._death() from error

    def receive(self) -> tuple[bytes, bytes]:
        """The child's next frame."""
        stdout = cast(IO[bytes], self._process.stdout)
        head = stdout.read(9)
        size = int.from_bytes(head[1:], "big")
        payload = stdout.read(min(size, self.limits[0]))
        if len(head) < 9 or len(payload) < size:
            raise self._death()
        self.busy = head[:1] not in (b"E", b"Z")
        if head[:1] == b"E":
            refused: dict[str, Any] = json.loads(payload)
            raise DocumentError(refused["message"], kind=refused["kind"])
        return head[:1], payload

    def _death(self) -> DocumentError:
        code = self._process.wait()
        if code == _LATE:
            return DocumentError(f"reading took longer than {self.limits[1]:g} s", kind="timeout")
        return DocumentError(f"the reader crashed on it (exit {code})", kind="crashed")

    def close(self) -> None:
        """End the child, also in the middle of its work."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            # what was still to be written has nobody left to read it
            with contextlib.suppress(BrokenPipeError):
                cast(IO[bytes], pipe).close()
        self._process.wait()


@contextlib.contextmanager
def sandbox(settings: InputSettings) -> Iterator[Sandbox]:
    """A child process to read one file with; kept for the next one if it has answered all it was asked.

    Its memory limit is 1 GiB and eight times the largest document allowed; its time limit, reader_timeout_s, is for
    a file, of a table for a batch. Safe from many threads."""
    box = _take(_BASE_MEMORY + 8 * MEGABYTE * settings.max_document_mb, settings.reader_timeout_s)
    try:
        yield box
    finally:
        box.uses += 1
        if not box.busy and box.alive and box.uses < _USES:
            with _lock:
                _idle.append(box)
        else:
            box.close()


def close_sandboxes() -> None:
    """End the idle child processes. They end by themselves, too, when this process does."""
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
