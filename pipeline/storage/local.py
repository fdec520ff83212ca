"""Writing to the local disk so that nothing is ever half visible, not even after a power loss.

Order of a commit: write beside, fsync the files, rename, fsync the folder. What the disk refuses is a MachineError that
names the path and the cause.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from docreduce.values.errors import MachineError

__all__ = ["commit_folder", "fsync_folder", "machine_errors", "replacing"]

_HINTS = {
    errno.ENOSPC: "Free some space and run the same command again.",
    errno.EDQUOT: "Your disk quota is used up: free some space and run the same command again.",
    errno.EACCES: "Check who owns the folder and its permissions.",
    errno.EPERM: "Check who owns the folder and its permissions.",
    errno.EROFS: "The file system is mounted read-only: choose another output.path.",
    errno.EMFILE: "Too many open files: raise `ulimit -n`.",
}


@contextlib.contextmanager
def machine_errors(path: Path) -> Iterator[None]:
    """Turn an OSError inside the block into a MachineError that names its file, or else `path`."""
    try:
        yield
    except OSError as error:
        place = error.filename if isinstance(error.filename, str) else path
        cause = error.strerror or str(error) or type(error).__name__
        raise MachineError(f"{place}: {cause}", hint=_HINTS.get(error.errno or 0, "")) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path`, readable by its owner only, to be written in the block: durable and in the place of `path`
    when it ends, gone where it fails. Raises MachineError."""
    beside = path.with_name(f".{path.name}.partial")
    with machine_errors(path):
        try:
            beside.touch(mode=0o600)
            yield beside
            with beside.open("rb+") as file:
                os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
            raise


def fsync_folder(path: Path) -> None:
    """Make the names in a folder durable. Raises MachineError."""
    with machine_errors(path):
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def commit_folder(folder: Path, final: Path) -> None:
    """Make `folder` and all in it durable, then give it its final name in one step.

    Both must lie on one file system. Raises MachineError, also where `final` exists and is not empty."""
    with machine_errors(final):
        for place, _, names in os.walk(folder, topdown=False, onerror=_raise):
            for name in names:
                with Path(place, name).open("rb+") as file:
                    os.fsync(file.fileno())
            fsync_folder(Path(place))
        folder.rename(final)
        fsync_folder(final.parent)
        if folder.parent != final.parent:
            fsync_folder(folder.parent)


def _raise(error: OSError) -> None:
    raise error
