"""Child processes for the readers that can hang, crash or eat the memory: reused, limited, killed when late."""

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

__all__ = ["Sandbox", "close_sandboxes", "sandbox"]

_SCRIPT = Path(__file__).with_name("sandbox_worker.py")
_BASE_MEMORY = 2**30
_USES = 500
"""A child is replaced after so many files, so that a leak in a library stays small."""

# The child gets no more of our environment than it needs to start: no API key, no proxy, no token.
_ENVIRONMENT = ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "TEMP", "TZ", "HOME")

_idle: list[Sandbox] = []
_lock = threading.Lock()


class Sandbox:
    """One child process. `send` and `receive` raise DocumentError (timeout, crashed, or what the child refused)."""

    def __init__(self, memory_bytes: int) -> None:
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        environment["OPENBLAS_NUM_THREADS"] = environment["OMP_NUM_THREADS"] = "1"
        environment["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # the others reserve address space, which is limited
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", str(_SCRIPT), str(memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self.memory_bytes = memory_bytes
        self.uses = 0
        self.busy = False
        self._late = False
        self._armed = False
        self._guard = threading.Lock()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @contextlib.contextmanager
    def deadline(self, timeout_s: float) -> Iterator[None]:
        """Kill the child if the block is not done in `timeout_s` seconds; what waits for it then ends."""
        self._armed = True
        timer = threading.Timer(timeout_s, self._expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        except (BrokenPipeError, EOFError) as error:
            code = self._process.wait()
            if self._late:
                raise DocumentError(f"reading took longer than {timeout_s:g} s", kind="timeout") from error
            raise DocumentError(f"the reader crashed on it (exit {code})", kind="crashed") from error
        finally:
            timer.cancel()
            with self._guard:
                self._armed = False

    def send(self, kind: bytes, payload: bytes) -> None:
        """One frame to the child. Inside `deadline` only."""
        self.busy = True
        stdin = cast(IO[bytes], self._process.stdin)
        stdin.write(kind + len(payload).to_bytes(8, "big"))
        stdin.write(payload)
        stdin.flush()

    def receive(self) -> tuple[bytes, bytes]:
        """The child's next frame. Inside `deadline` only."""
        stdout = cast(IO[bytes], self._process.stdout)
        head = stdout.read(9)
        size = int.from_bytes(head[1:], "big")
        payload = stdout.read(min(size, self.memory_bytes))
        if len(head) < 9 or len(payload) < size:
            raise EOFError("the child ended")
        self.busy = head[:1] not in (b"E", b"Z")
        if head[:1] == b"E":
            refused: dict[str, Any] = json.loads(payload)
            raise DocumentError(refused["message"], kind=refused["kind"])
        return head[:1], payload

    def close(self) -> None:
        """End the child, also in the middle of its work."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            # what was still to be written has nobody left to read it
            with contextlib.suppress(BrokenPipeError):
                cast(IO[bytes], pipe).close()
        self._process.wait()

    def _expire(self) -> None:
        with self._guard:
            if self._armed:
                self._late = True
                self._process.kill()


@contextlib.contextmanager
def sandbox(settings: InputSettings) -> Iterator[Sandbox]:
    """A child process to read one file with; kept for the next one if it has answered all it was asked.

    Its memory limit is 1 GiB and eight times the largest document allowed. Safe from many threads."""
    memory_bytes = _BASE_MEMORY + 8 * MEGABYTE * settings.max_document_mb
    box = _take(memory_bytes)
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


def _take(memory_bytes: int) -> Sandbox:
    while True:
        with _lock:
            box = _idle.pop() if _idle else None
        if box is None:
            return Sandbox(memory_bytes)
        if box.alive and box.memory_bytes == memory_bytes:
            return box
        box.close()


atexit.register(close_sandboxes)
