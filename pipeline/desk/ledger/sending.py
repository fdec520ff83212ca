"""Which reserved attempts had been handed to the network when a process died.

A mapped file of attempt ids, written before the socket is and never synced: it outlives the process, not the power.
After a kill on the same boot, an id that is not in it was never sent.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

from docreduce.storage import machine_errors

__all__ = ["Sending"]

SLOTS = 8192
"""Ids that are kept, the newest: more than calls can be in flight."""
_ID = struct.Struct("<Q")
_HEAD = 64  # the boot's id
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Sending:
    """The ids at `path`. `before`: those that an ended process of this boot left; None where nobody can say."""

    def __init__(self, path: Path) -> None:
        boot = _BOOT.read_bytes().strip()[:_HEAD].ljust(_HEAD) if _BOOT.exists() else b""
        size = _HEAD + SLOTS * _ID.size
        with machine_errors(path):
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                same = bool(boot) and os.fstat(handle).st_size == size and os.pread(handle, _HEAD, 0) == boot
                ids = os.pread(handle, size - _HEAD, _HEAD) if same else b""
                os.posix_fallocate(handle, 0, size)  # a full disk is to say so here, not at a write to memory
                self._map = mmap.mmap(handle, size)
            finally:
                os.close(handle)
        self.before = {number for (number,) in _ID.iter_unpack(ids)} if same else None
        self._next = 0
        self._map[:] = boot.ljust(size, b"\0")

    def add(self, attempt_id: int) -> None:
        """Say that the attempt is about to be sent."""
        _ID.pack_into(self._map, _HEAD + self._next * _ID.size, attempt_id)
        self._next = (self._next + 1) % SLOTS

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()
