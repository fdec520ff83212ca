"""Who may write a ledger's segments: a lease with an epoch, a file in their folder.

A lease is taken by making the file of the next epoch, which only one can; so of two writers one has the higher epoch,
and whoever sees an epoch above its own stops (`renew`). While it works a holder renews its lease, by changing the file;
a newcomer watches the file for LEASE_S and takes over where nothing changes. No clocks are compared. At once it takes
over what was released, and what a process of the same ledger on the same machine held: the lock on that ledger, which
the newcomer has, says that it ended."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from docreduce.storage import fsync_folder, machine_errors
from docreduce.values.errors import MachineError

__all__ = ["COPY_S", "LEASE_S", "Lease"]

COPY_S = 2.0
"""Between two segments, and two renewals. What a lost disk costs grows with it, the number of files shrinks."""
LEASE_S = 5 * COPY_S
"""A lease that was not renewed for so long is another's to take: five renewals that did not come."""
_LOOK_S = COPY_S / 4
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(slots=True)
class Lease:
    """The right to write the segments in `folder`, until a lease of a higher epoch is there."""

    folder: Path
    epoch: int
    place: str
    renewals: int = 0

    @classmethod
    def take(cls, folder: Path, ledger: Path) -> Lease:
        """The next epoch, for the ledger at `ledger`, on which the caller has the lock.

        Blocks up to LEASE_S where the last holder did not release it. Raises MachineError: kind "locked" where the
        holder is at work."""
        place = _place(ledger)
        with machine_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            while True:
                newest = max(_epochs(folder), default=0)
                if newest:
                    _wait_until_free(_path(folder, newest), place)
                lease = cls(folder, newest + 1, place)
                try:
                    with _path(folder, lease.epoch).open("xb") as file:
                        _path(folder, lease.epoch).chmod(0o600)
                        file.write(lease._content(released=False))
                        file.flush()
                        os.fsync(file.fileno())
                except FileExistsError:  # another was quicker: it is watched as any holder is
                    continue
                fsync_folder(folder)
                return lease

    def renew(self) -> None:
        """Say that the holder is at work. Raises MachineError, kind "locked", where another has taken over."""
        self.check()
        self.renewals += 1
        with machine_errors(self.folder):
            self._write(released=False)

    def check(self) -> None:
        """Raises MachineError, kind "locked", where another has taken over."""
        with machine_errors(self.folder):
            newest = max(_epochs(self.folder), default=0)
        if newest != self.epoch:
            raise MachineError(
                f"{self.folder}: another run has taken over this ledger (epoch {newest}, ours is {self.epoch})",
                hint="What was not copied until then is asked and paid for again there.",
                kind="locked",
            )

    def release(self) -> None:
        """Let the next one in at once."""
        with machine_errors(self.folder):
            self._write(released=True)

    def forget_older(self) -> None:
        """Remove the leases of earlier epochs."""
        with machine_errors(self.folder):
            for epoch in _epochs(self.folder):
                if epoch < self.epoch:
                    _path(self.folder, epoch).unlink(missing_ok=True)

    def _write(self, *, released: bool) -> None:
        # In place: a rename would let a file of an epoch that was taken over come back.
        with _path(self.folder, self.epoch).open("r+b") as file:
            file.write(self._content(released=released))

    def _content(self, *, released: bool) -> bytes:
        said = {"place": self.place, "pid": os.getpid(), "renewals": self.renewals, "released": released}
        return orjson.dumps(said).ljust(len(self.place.encode()) * 6 + 128) + b"\n"


def _wait_until_free(path: Path, place: str) -> None:
    """Until the lease at `path` may be taken over. Raises MachineError where its holder is at work."""
    before = _read(path)
    said = _said(before)
    if said.get("released") or said.get("place") == place:
        return
    end = time.monotonic() + LEASE_S
    while time.monotonic() < end:
        time.sleep(_LOOK_S)
        now = _read(path)
        if _said(now).get("released"):
            return
        if now != before:
            holder = f"{said.get('place')}, process {said.get('pid')}"
            raise MachineError(
                f"{path.parent}: another run is at work on this ledger ({holder})",
                hint="Wait for it to end.",
                kind="locked",
            )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:  # its successor has tidied up
        return b""


def _said(content: bytes) -> dict[str, Any]:
    try:
        said = orjson.loads(content)
    except orjson.JSONDecodeError:  # half written
        return {}
    return said if isinstance(said, dict) else {}


def _epochs(folder: Path) -> list[int]:
    names = (path.name.removeprefix("lease-") for path in folder.glob("lease-*"))
    return [int(name) for name in names if name.isdecimal()]


def _path(folder: Path, epoch: int) -> Path:
    return folder / f"lease-{epoch:08}"


def _place(ledger: Path) -> str:
    """This machine as it booted, and the ledger's path on it."""
    boot = _BOOT.read_text().strip() if _BOOT.exists() else ""
    return f"{socket.gethostname()} {boot} {ledger.absolute()}"
