"""The dataset of an earlier run, read once more: what became of each document there, and its rows as Arrow slices.

Of each document some 100 bytes are held; of each table one row group at a time, the files open so that nobody can
take them away. Documents are asked for in the order they have there, as a night's input has them, and never backwards:
what moved forward in the input is found, but its rows are not (`Previous.fits`)."""

from __future__ import annotations

import contextlib
import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

__all__ = ["Head", "Previous", "Unchanged", "is_word", "last_complete"]

Ints: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What of an unchanged document may still be new: where it stands, and the columns beside its text."""

    id: str
    uri: str
    row: int | None
    media_type: str
    columns: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchanged:
    """Consecutive documents of this run that are consecutive in `previous` too, from number `first` on: their rows are
    those of there, and whatever they took is reused. `at`: now, seconds since the epoch. Money in pico-dollars."""

    previous: Previous
    first: int
    heads: Sequence[Head]
    at: float

    @property
    def held_chars(self) -> int:
        """Characters held until it is written: its rows are in a file."""
        return 0

    @property
    def statuses(self) -> Sequence[str]:
        """The documents' own."""
        return [self.previous.statuses[code] for code in self._of(self.previous.status)]

    @property
    def chunks(self) -> int:
        return int(self._of(self.previous.chunks).sum())

    @property
    def calls(self) -> int:
        """Answers that were reused."""
        return int(self._of(self.previous.calls).sum())

    @property
    def cost_pusd(self) -> int:
        """What they once cost."""
        return int(self._of(self.previous.cost).sum())

    def told(self) -> Iterator[tuple[str | None, Mapping[str, int]]]:
        """Of documents with more to say than that they are ok: the kind of their error, what the job's kind counted."""
        for number in range(self.first, self.first + len(self.heads)):
            if number in self.previous.more:
                yield self.previous.more[number]

    def _of(self, values: Ints) -> Ints:
        return values[self.first : self.first + len(self.heads)]


class _Sorted:
    """Where hashes stand in an array."""

    def __init__(self, hashes: Ints) -> None:
        order: Any = np.argsort(hashes, kind="stable")
        ordered: Any = hashes[order]
        self._hashes, self._order = memoryview(ordered), memoryview(order)  # plain numbers, which bisect is quick on

    def find(self, key: int) -> int | None:
        """The first number with that hash."""
        at = bisect_left(self._hashes, key)
        return self._order[at] if at < len(self._hashes) and self._hashes[at] == key else None


class Previous:
    """An earlier run's documents by number, in its order. `manifest` is its run.json.

    Made by `Previous.open`. `fits` says of each document whether its rows can stand as they are: it came to an end
    and each call of it has its answer. `units`: the number of the first document of its packed request."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any], stack: contextlib.ExitStack) -> None:
        self.manifest = manifest
        self._stack = stack
        names = [
            each["path"].removesuffix(".parquet") for each in manifest["files"] if each["path"].endswith("parquet")
        ]
        self._files = {name: stack.enter_context(pq.ParquetFile(folder / f"{name}.parquet")) for name in names}
        rows = self._files["documents"].metadata.num_rows
        self._groups = self._files["groups"].read(["document_id"])["document_id"] if "groups" in names else None
        self.ids: Ints = np.zeros(rows, np.int64)  # hashes, for this process only
        self.digests: Ints = np.zeros(rows, np.int64)
        self.places: Ints = np.zeros(rows, np.int64)  # of documents that are a whole file
        self.status: Ints = np.zeros(rows, np.int64)
        self.statuses: list[str] = []
        self.chunks: Ints = np.zeros(rows, np.int64)
        self.calls: Ints = np.zeros(rows, np.int64)
        self.cost: Ints = np.zeros(rows, np.int64)
        self.units: Ints = np.arange(rows)
        self.more: dict[int, tuple[str | None, Mapping[str, int]]] = {}
        self._read_documents()
        self._by_id, self._by_place = _Sorted(self.ids), _Sorted(self.places)
        self._read_calls()
        self._tables = {name: _Cursor(file, self) for name, file in self._files.items()}

    @classmethod
    def open(cls, folder: Path, manifest: Mapping[str, Any]) -> Previous | None:
        """The run in `folder`; None where its files are not those that its manifest tells of, or lack the columns."""
        with contextlib.ExitStack() as stack:
            try:
                for each in manifest["files"]:
                    with (folder / each["path"]).open("rb") as file:
                        if hashlib.file_digest(file, "sha256").hexdigest() != each["sha256"]:
                            return None
                previous = cls(folder, manifest, stack)
            except (OSError, KeyError, ValueError, TypeError, pa.ArrowException):  # KeyError: a column from later days
                return None
            previous._stack = stack.pop_all()
            return previous

    def close(self) -> None:
        """Let the files go."""
        self._stack.close()

    def __len__(self) -> int:
        return len(self.ids)

    def find(self, document_id: str, hint: int) -> int | None:
        """The number of the document of that id; `hint`: where it probably is."""
        key = hash(document_id)
        if hint < len(self.ids) and self.ids[hint] == key:
            return hint
        return self._by_id.find(key)

    def at(self, uri: str) -> int | None:
        """The number of the document that was the whole file at this place."""
        return self._by_place.find(hash(uri))

    def same(self, number: int, digest: str | None) -> bool:
        """Whether the document had this digest."""
        return bool(self.digests[number] == hash(digest))

    def unit(self, number: int) -> range:
        """The numbers of the documents that shared the requests of this one, which is the first of them."""
        end = number + 1
        while end < len(self.units) and self.units[end] == number:
            end += 1
        return range(number, end)

    def rows(self, table: str, first: int, end: int) -> tuple[pa.Table, Ints]:
        """The rows of documents `first` to `end` in a table, and the number of each row's document."""
        return self._tables[table].rows(first, end)

    def names(self, numbers: Sequence[int]) -> list[str]:
        """The ids of documents, given in ascending order."""
        if not numbers:
            return []
        names: list[str] = []
        start, wanted = 0, np.asarray(numbers)
        for ids in self._columns("documents", "document_id"):
            here = wanted[(wanted >= start) & (wanted < start + len(ids))] - start
            names += map(str, ids.column(0).take(pa.array(here.tolist())).to_pylist())
            start += len(ids)
        return names

    # --- inside -----------------------------------------------------------------------------------------------

    def _columns(self, table: str, *names: str) -> Iterator[pa.Table]:
        file = self._files[table]
        missing = set(names) - set(file.schema_arrow.names)
        if missing:
            raise KeyError(*missing)
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns=list(names))

    def _read_documents(self) -> None:
        start, leader, shared = 0, 0, None
        torn: list[int] = []  # parts of units that another document stands in the middle of
        wanted = (
            "document_id",
            "uri",
            "row",
            "digest",
            "status",
            "error_kind",
            "chunks",
            "cost_usd",
            "reused_cost_usd",
        )
        for group in self._columns("documents", *wanted, "packed_with", "counts"):
            here = slice(start, start + len(group))
            self.ids[here] = [hash(each) for each in group["document_id"].to_pylist()]
            self.digests[here] = [hash(each) for each in group["digest"].to_pylist()]
            words = [str(word) for word in group["status"].to_pylist()]
            self.statuses += sorted(set(words) - set(self.statuses))
            self.status[here] = [self.statuses.index(word) for word in words]
            self.chunks[here] = np.asarray(group["chunks"].to_pylist(), np.int64)
            self.cost[here] = _pusd(group["cost_usd"]) + _pusd(group["reused_cost_usd"])
            for number, name in enumerate(group["packed_with"].to_pylist(), start):
                if name is None:
                    shared = None
                elif name != shared:
                    shared = name
                    if self.ids[number] == hash(name):
                        leader = number
                    else:
                        torn += [leader, number]
                self.units[number] = number if name is None else leader
            kinds, counts = group["error_kind"].to_pylist(), group["counts"].to_pylist()
            for number, (kind, counted) in enumerate(zip(kinds, counts, strict=True), start):
                if kind or counted:
                    self.more[number] = kind, orjson.loads(counted) if counted else {}
            places, rows = group["uri"].to_pylist(), group["row"].to_pylist()
            self.places[here] = [hash(uri) if row is None else 0 for uri, row in zip(places, rows, strict=True)]
            start += len(group)
        ended = [self.statuses.index(word) for word in ("ok", "partial") if word in self.statuses]
        self.fits = np.isin(self.status, np.asarray(ended, np.int64))
        self.fits[torn] = False

    def _read_calls(self) -> None:
        """Which documents have a call without its answer, and how many answers each has."""
        hint = 0
        for group in self._columns("calls", "document_id", "call_key", "outcome", "billing", "cost_usd"):
            if self._groups is not None:  # a group's calls are no document's
                theirs: Any = pc.is_in(group["document_id"], self._groups.combine_chunks())
                group = group.filter(pc.invert(theirs))  # noqa: PLW2901
            numbers, hint = self.numbers(group["document_id"], hint)
            answered = is_word(group["outcome"], "ok") & is_word(group["billing"], "charged", "reused")
            answers = group["call_key"].filter(pa.array(answered.tolist(), pa.bool_())).combine_chunks()
            tried = is_word(group["billing"], "free") & is_word(group["call_key"], *answers.to_pylist())
            good = answered | tried
            np.add.at(self.calls, numbers[answered], 1)
            self.fits[self.units[numbers[~good]]] = False
        # one that does not fit takes its whole unit with it
        unfit = np.unique(self.units[~self.fits])
        self.fits &= ~np.isin(self.units, unfit)

    def numbers(self, names: Any, hint: int) -> tuple[Ints, int]:
        """The documents' numbers of a column of ids whose documents stand in order, and the last one."""
        runs: Any = pc.call_function("run_end_encode", [names.combine_chunks()])
        if isinstance(runs, pa.ChunkedArray):
            runs = runs.combine_chunks()
        found = []
        for name in runs.values.to_pylist():
            number = self.find(name, hint)
            if number is None:
                raise ValueError("a row of no document")
            found.append(number)
            hint = number + 1
        lengths: Any = np.diff([0, *runs.run_ends.to_pylist()])
        return np.repeat(np.asarray(found, np.int64), lengths), max(0, hint - 1)


@dataclass(slots=True)
class _Cursor:
    """A table, one row group at a time, forwards."""

    file: pq.ParquetFile
    previous: Previous
    group: int = -1
    table: pa.Table | None = None
    numbers: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    hint: int = 0

    def rows(self, first: int, end: int) -> tuple[pa.Table, Ints]:
        parts, numbers = [], []
        while True:
            if self.table is not None:
                low, high = np.searchsorted(self.numbers, [first, end])
                parts.append(self.table.slice(int(low), int(high - low)))
                numbers.append(self.numbers[low:high])
                if high < len(self.numbers):
                    break
            if self.group + 1 >= self.file.num_row_groups:
                break
            self.group += 1
            self.table = self.file.read_row_group(self.group)
            self.numbers, self.hint = self.previous.numbers(self.table["document_id"], self.hint)
        return pa.concat_tables(parts), np.concatenate(numbers)


def last_complete(folder: Path) -> tuple[Path, Mapping[str, Any]] | None:
    """The newest run in a job's folder that is complete and not limited, with its manifest."""
    if not folder.is_dir():
        return None
    for place in sorted((each for each in folder.iterdir() if each.name[0].isdigit()), reverse=True):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            manifest = orjson.loads((place / "run.json").read_bytes())
            if manifest["status"] == "complete" and not manifest.get("limited"):
                return place, manifest
    return None


def is_word(column: Any, *words: str | None) -> NDArray[np.bool_]:
    """Where a column has one of these words."""
    there: Any = pc.is_in(column.cast(pa.string()), pa.array(words, pa.string()))
    return np.asarray(there.to_pylist(), np.bool_)


def _pusd(column: Any) -> Ints:
    """Pico-dollars of a column of money: the low half of its 128 bits, which no sum of ours exceeds."""
    parts: list[Ints] = [np.zeros(0, np.int64)]
    for chunk in column.chunks:
        whole = np.frombuffer(memoryview(chunk.buffers()[1]), np.int64)[::2]
        parts.append(whole[chunk.offset : chunk.offset + len(chunk)])
    return np.concatenate(parts)
