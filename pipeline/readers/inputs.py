"""From `input.paths` to the files there are to read: each once, in a stable order, and what is left out counted by
reason. What is named on purpose is read whatever it is called; what merely lies in a folder must be of a known kind.

The output folder is never input: results would be read the next night. A link is followed where the job names it; of
the links that lie in a folder those into the input are the same file again, those out of it are left alone.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from docreduce.readers.base import shown
from docreduce.readers.registry import is_known
from docreduce.settings import InputSettings
from docreduce.storage import is_address, parse_address
from docreduce.values.errors import JobError
from docreduce.values.likeness import path_meant

__all__ = ["Discovered", "Selection", "discover"]

_HINT = "Paths are taken from the working directory."


@dataclass(frozen=True, slots=True)
class Discovered:
    """The files to read, sorted by path, and how many entries of folders were left out, by reason."""

    sources: tuple[str, ...]
    left_out: Mapping[str, int]


class Selection:
    """Which of the entries of a folder or an archive a job wants, by their path inside it."""

    def __init__(self, settings: InputSettings) -> None:
        self._include = None if settings.include is None else _pattern(settings.include)
        self._exclude = _pattern(settings.exclude)

    def refusal(self, path: str) -> str | None:
        """Why the entry is left out, None where it is wanted."""
        parts = [part for part in path.replace(os.sep, "/").split("/") if part not in ("", ".", "..")]
        if any(part.startswith(".") or part == "__MACOSX" for part in parts):
            return "hidden"
        # a pattern that fits a folder fits all in it
        above = ["/".join(parts[: i + 1]) for i in range(len(parts))]
        if any(map(self._exclude.fullmatch, above)):
            return "excluded"
        if self._include is not None:
            return None if any(map(self._include.fullmatch, above)) else "not included"
        return None if is_known(path) else "unknown kind"


def discover(settings: InputSettings, *outputs: str) -> Discovered:
    """All files that `settings.paths` name, without those of the folders `outputs`. A file named twice, by any path or
    link, comes once; hard links are files of their own.

    A file named on its own, or by a glob whose last part is more than `*`, is read whatever its name.
    Raises JobError for a variable that is not set, a path that is missing, a folder that cannot be listed, a glob or
    folder without a file."""
    if settings.password_env and settings.password_env not in os.environ:
        hint = "Set it, or leave the key out where nothing is encrypted."
        raise JobError(f"input.password_env: the variable {settings.password_env} is not set", hint=hint)
    search = _Search(settings, outputs)
    problems: list[JobError] = []
    for path in settings.paths:
        try:
            if not search.add(path):
                raise JobError(f"input.paths: {shown(path)}: nothing there to read", hint=search.hint())
        except JobError as error:
            problems.append(error)
    if problems:  # all of them at once; equal hints once
        hints = dict.fromkeys(each.hint for each in problems if each.hint)
        raise JobError("\n".join(each.message for each in problems), hint=" ".join(hints)) from problems[0]
    return Discovered(tuple(sorted(search.found.values())), dict(sorted(search.left_out().items())))


_RESULTS = ("run.json", "documents.parquet", "calls.parquet")


class _Search:
    def __init__(self, settings: InputSettings, outputs: Sequence[str]) -> None:
        self.found: dict[str, str] = {}  # by the real path
        self._refused: dict[str, str] = {}  # the reason by path: a folder named twice is counted once
        self._folders: dict[str, str] = {}
        self._selection = Selection(settings)
        self._outputs = [each.rstrip("/") if is_address(each) else os.path.realpath(each) for each in outputs]

    def left_out(self) -> Counter[str]:
        accepted = set(self.found.values())
        return Counter(reason for path, reason in self._refused.items() if path not in accepted)

    def hint(self) -> str:
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(self.left_out().items()))
        return f"Left out: {counts}." if counts else _HINT

    def add(self, path: str) -> int:
        """How many files of `path` are to be read."""
        if is_address(path):
            return self._add_address(path)
        place = os.path.expanduser(path)  # noqa: PTH111 - the name must stay as the user wrote it: no `./` lost
        if os.path.isdir(place):  # noqa: PTH112
            return sum(self._take(name, place) for name in _walk(place, self._outputs))
        if os.path.lexists(place):
            if _kind(place) != "file":
                raise JobError(f"input.paths: {shown(place)}: no regular file that can be read", hint=_HINT)
            return self._accept(place)
        if not glob.has_magic(place):
            said = f"input.paths: {shown(path)}: no such file or folder"
            raise JobError(". ".join(filter(None, (said, shown(path_meant(place))))), hint=_HINT)
        root = _fixed_part(place)
        named = Path(place).name not in ("*", "**")
        # a folder that a glob matches is not read through: `**` is there for that
        names = (name for name in glob.iglob(place, recursive=True) if not os.path.isdir(name))  # noqa: PTH112, PTH207
        return sum(self._take(name, root, named=named) for name in names)

    def _add_address(self, path: str) -> int:
        """How many objects of an address in a store are to be read. As for folders, what is named is read whatever it
        is called, and so is what fits a glob whose last part is more than `*`."""
        try:
            address = parse_address(path)
            below, keys = address.objects()
        except JobError as error:
            raise JobError(f"input.paths: {shown(error.message)}", hint=error.hint) from error
        named = not address.is_folder and glob.has_magic(address.key) and PurePath(address.key).name not in ("*", "**")
        count = 0
        for key in keys:
            source = f"{address.root}/{key}"
            reason = None if key == address.key else self._selection.refusal(key.removeprefix(below))
            if named and reason in ("hidden", "unknown kind"):
                reason = None
            if self._is_output(source):
                reason = "output folder"
            if reason is None:
                self.found[source] = source
                count += 1
            else:
                self._refused[source] = reason
        return count

    def _is_output(self, place: str) -> bool:
        return any(_within(place, output) for output in self._outputs)

    def _real(self, name: str) -> str:
        """As os.path.realpath, which asks for each folder of a path again."""
        folder, base = os.path.split(name)
        if os.path.islink(name) or not base or base in (".", ".."):  # noqa: PTH114
            return os.path.realpath(name)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder or ".")
        return os.path.join(self._folders[folder], base)  # noqa: PTH118

    def _take(self, name: str, root: str, *, named: bool = False) -> int:
        """Accept or count an entry of the folder `root`."""
        reason = self._selection.refusal(os.path.relpath(name, root))
        if named and reason in ("hidden", "unknown kind"):
            reason = None
        kind, real = _kind(name), self._real(name)
        if kind != "file":
            reason = kind
        elif self._is_output(real):
            reason = "output folder"
        elif not _within(real, self._real(root)):
            reason = "link out of the input"
        if reason is None:
            return self._accept(name)
        self._refused[name] = reason
        return 0

    def _accept(self, name: str) -> int:
        real = self._real(name)
        other = self.found.get(real, name)
        # which of two names a file goes by must not depend on the order of paths
        self.found[real] = min(name, other)
        if os.path.islink(max(name, other)) and name != other:  # noqa: PTH114
            self._refused[max(name, other)] = "link to a file of the input"
        return 1


def _walk(folder: str, outputs: Collection[str]) -> Iterator[str]:
    """The entries below a folder that are no folders themselves; a hidden, linked or output folder is one entry, and so
    is a run's, of whatever job."""

    def refuse(error: OSError) -> None:
        raise JobError(f"input.paths: {shown(error.filename)}: {error.strerror}") from error

    for place, folders, names in os.walk(folder, onerror=refuse):
        paths = {name: os.path.join(place, name) for name in folders}  # noqa: PTH118
        closed = {
            name
            for name, path in paths.items()
            if name.startswith(".")
            or os.path.islink(path)  # noqa: PTH114
            or os.path.realpath(path) in outputs
            or _is_run(path)
        }
        folders[:] = [name for name in folders if name not in closed]
        yield from (os.path.join(place, name) for name in [*names, *closed])  # noqa: PTH118


def _is_run(folder: str) -> bool:
    """Whether it holds the results of a run of ours: they are no input but by their name."""
    return all(os.path.isfile(os.path.join(folder, name)) for name in _RESULTS)  # noqa: PTH113, PTH118


def _kind(name: str) -> str:
    """What an entry is: "file", or why it cannot be read as one. A pipe or a device would be waited for, for ever."""
    try:
        mode = os.stat(name).st_mode  # noqa: PTH116
    except OSError:
        return "broken link"
    if stat.S_ISREG(mode):
        return "file"
    if not stat.S_ISDIR(mode):
        return "pipe, socket or device"
    if os.path.islink(name):  # noqa: PTH114
        return "linked folder"
    return "hidden" if os.path.basename(name).startswith(".") else "output folder"  # noqa: PTH119


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _fixed_part(place: str) -> str:
    """The folder below which a glob looks."""
    parts = PurePath(place).parts
    fixed = [part for i, part in enumerate(parts) if not any(map(glob.has_magic, parts[: i + 1]))]
    return str(PurePath(*fixed)) if fixed else "."


def _pattern(globs: Sequence[str]) -> re.Pattern[str]:
    """What fits one of `globs`, in any case: without a slash a name at any depth, with one a path from the top."""
    return re.compile("|".join(map(_regex, globs)) or r"(?!)", re.IGNORECASE)


def _regex(pattern: str) -> str:
    signs = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    path = pattern.strip("/") if "/" in pattern.strip("/") else "**/" + pattern.strip("/")
    return "".join(signs.get(sign, re.escape(sign)) for sign in re.findall(r"\*\*/|\*\*|[^\w\s]|[\w\s]+", path))
