"""From `input.paths` to the files there are to read: each once, in a stable order."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from docreduce.config import InputSettings
from docreduce.readers.base import shown
from docreduce.readers.registry import is_known
from docreduce.values.errors import JobError

__all__ = ["Discovered", "discover"]


@dataclass(frozen=True, slots=True)
class Discovered:
    """The files to read, sorted by path, and how many entries of folders were left out: hidden or of no known kind."""

    sources: tuple[str, ...]
    ignored: int


def discover(settings: InputSettings) -> Discovered:
    """All files that `settings.paths` name. A file named twice, by any path, comes once.

    A file named on its own, or by a glob whose last part is more than `*`, is read whatever its name.
    Raises JobError for a path that is missing, a folder that cannot be listed, a glob or folder without a file."""
    found: dict[tuple[int, int], str] = {}
    ignored = 0
    for path in settings.paths:
        files = 0
        for name, named in _entries(path):
            status = _status(name)
            if named and status is None:
                raise JobError(f"input.paths: {shown(name)}: no regular file that can be read", hint=_HINT)
            if status is None or not (named or (is_known(name) and not _hidden(name))):
                ignored += 1
                continue
            files += 1
            file = status.st_dev, status.st_ino
            # which of two names a file goes by must not depend on the order of paths
            found[file] = min(name, found.get(file, name))
        if not files:
            raise JobError(f"input.paths: {shown(path)}: nothing there to read", hint=_HINT)
    return Discovered(tuple(sorted(found.values())), ignored)


_HINT = "Paths are taken from the working directory."


def _entries(path: str) -> Iterator[tuple[str, bool]]:
    """(file, named on purpose?) for each entry; a hidden folder is one entry."""
    if re.match(r"[a-z][a-z0-9+.-]+://", path):
        raise JobError(f"input.paths: {shown(path)}: only local paths can be read", hint="Copy the files here first.")
    place = os.path.expanduser(path)  # noqa: PTH111 - the name must stay as the user wrote it: no `./` lost
    if os.path.isdir(place):  # noqa: PTH112
        yield from ((name, False) for name in _walk(place))
    elif os.path.lexists(place):
        yield place, True
    elif glob.has_magic(place):
        named = Path(place).name not in ("*", "**")
        # a folder that a glob matches is not read through: `**` is there for that
        yield from ((name, named) for name in glob.iglob(place, recursive=True) if not os.path.isdir(name))  # noqa: PTH112, PTH207
    else:
        raise JobError(f"input.paths: {shown(path)}: no such file or folder", hint=_HINT)


def _walk(folder: str) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise JobError(f"input.paths: {shown(error.filename)}: {error.strerror}") from error

    for place, folders, names in os.walk(folder, onerror=refuse):
        hidden = [name for name in folders if _hidden(name)]
        folders[:] = [name for name in folders if not _hidden(name)]
        yield from (os.path.join(place, name) for name in [*names, *hidden])  # noqa: PTH118


def _hidden(name: str) -> bool:
    return os.path.basename(name).startswith(".")  # noqa: PTH119


def _status(name: str) -> os.stat_result | None:
    """The status of a regular file, None for anything else: a pipe would wait for ever."""
    try:
        status = os.stat(name)  # noqa: PTH116
    except OSError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None
