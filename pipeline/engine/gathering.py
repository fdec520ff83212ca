"""Rows of a job's shards in the order of its input, under their final ids, in types that hold them all.

Bounded: a window of documents, with their rows of every table; what is read of each table lies in front of it."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from docreduce.readers import UniqueIds
from docreduce.results import Dataset
from docreduce.results.schema import free_name
from docreduce.storage import machine_errors
from docreduce.values.columns import wider

__all__ = ["ShardTables", "gather", "schemas_of"]

WINDOW = 2_000
"""Documents whose rows are gathered at once: some tens of megabytes, where each has a few chunks."""
READ_ROWS = 2_000


class _Cursor:
    """A table, read once from its first row to its last, in the order of its documents."""

    def __init__(self, path: Path) -> None:
        with machine_errors(path):
            self._file = pq.ParquetFile(path)
        self.schema = self._file.schema_arrow
        self._batches: Iterator[pa.RecordBatch] = self._file.iter_batches(READ_ROWS, use_threads=False)
        self._held: pa.RecordBatch | None = None

    def take(self, ids: pa.Array[Any]) -> pa.Table:
        """The next rows, as far as they are of these documents."""
        parts = []
        while (batch := self._batch()) is not None:
            foreign = int(pc.index(pc.is_in(batch.column("document_id"), value_set=ids), False).as_py())
            part = batch if foreign < 0 else batch.slice(0, foreign)
            parts.append(part)
            self._held = batch.slice(part.num_rows)
            if foreign >= 0:
                break
        return pa.Table.from_batches(parts, schema=self.schema)

    def next_ids(self, count: int) -> pa.Array[Any]:
        """The ids of the next `count` documents, which are not taken by it: one a row."""
        parts: list[pa.Array[Any]] = []
        held: list[pa.RecordBatch] = []
        while count > 0 and (batch := self._batch()) is not None:
            parts.append(batch.column("document_id").slice(0, count))
            count -= len(parts[-1])
            held.append(batch)
            self._held = None
        if held:
            whole = pa.Table.from_batches(held).combine_chunks().to_batches()
            self._held = whole[0]
        return pa.concat_arrays(parts) if parts else pa.array([], pa.string())

    def _batch(self) -> pa.RecordBatch | None:
        while self._held is None or not self._held.num_rows:
            self._held = next(self._batches, None)
            if self._held is None:
                return None
        return self._held

    def close(self) -> None:
        self._file.close()


class ShardTables:
    """A shard's run: its tables, and where its documents come from. A context manager."""

    def __init__(self, run_dir: Path, manifest: Mapping[str, Any]) -> None:
        paths = [run_dir / file["path"] for file in manifest["files"] if file["path"].endswith(".parquet")]
        self.origins = run_dir.parent.parent / "origins" / f"{run_dir.name}.parquet"
        self.tables = {path.stem: _Cursor(path) for path in paths}
        self.renamed: dict[int, str] = {}  # by the place among the shard's documents
        self.read = 0  # documents whose origins were read
        self.done = 0  # documents that were taken

    def origin_rows(self) -> Iterator[dict[str, Any]]:
        """Its origins, in order. Raises MachineError where they cannot be read."""
        with machine_errors(self.origins), pq.ParquetFile(self.origins) as file:
            for batch in file.iter_batches(READ_ROWS, use_threads=False):
                yield from batch.to_pylist()

    def __enter__(self) -> ShardTables:
        return self

    def __exit__(self, *_: object) -> None:
        for table in self.tables.values():
            table.close()


def _windows(shards: Sequence[ShardTables]) -> Iterator[list[tuple[int, int]]]:
    """Which shards the next documents of the input are of, in order: (shard, documents), WINDOW documents at a time."""

    def stream(which: int) -> Iterator[tuple[bytes, int, int, dict[str, Any]]]:
        for origin in shards[which].origin_rows():
            yield origin["source"], -1 if origin["row"] is None else origin["row"], which, origin

    window: list[tuple[int, int]] = []
    room = WINDOW
    merged = heapq.merge(*map(stream, range(len(shards))), key=lambda each: each[:3])
    for _, _, which, origin in merged:
        shard, left = shards[which], origin["documents"]
        for each in origin["renamed"]:
            shard.renamed[shard.read + each["at"]] = each["id"]
        shard.read += left
        while left:
            count = min(left, room)
            window.append((which, count))
            left, room = left - count, room - count
            if not room:
                yield window
                window, room = [], WINDOW
    if window:
        yield window


def gather(shards: Sequence[ShardTables], dataset: Dataset) -> dict[str, Decimal]:
    """Write all rows; dollars by billing."""
    unique = UniqueIds()
    money = dict.fromkeys(("charged", "unknown", "reused"), Decimal(0))
    for window in _windows(shards):
        counts = Counter[int]()
        for which, count in window:
            counts[which] += count
        own = {which: shards[which].tables["documents"].next_ids(count) for which, count in counts.items()}
        places, final = _places(window, shards, own, unique)
        ids = pa.array(final, pa.string())
        for name, table in dataset.tables.items():
            parts, order = [], []
            for which, known in own.items():
                if name not in shards[which].tables:
                    continue
                part = shards[which].tables[name].take(known)
                at = pa.array(places[which], pa.int64()).take(pc.index_in(part["document_id"], value_set=known))
                at = at.combine_chunks() if isinstance(at, pa.ChunkedArray) else at
                column = part.schema.get_field_index("document_id")
                parts.append(part.set_column(column, part.schema.field(column), ids.take(at)))
                order.append(at)
            if parts:
                table.gather(parts, pc.call_function("array_sort_indices", [pa.concat_arrays(order)]))  # stable
            if name == "calls":
                for part in parts:
                    _add_money(part, money)
    return money


def _places(
    window: Sequence[tuple[int, int]],
    shards: Sequence[ShardTables],
    own: Mapping[int, pa.Array[Any]],
    unique: UniqueIds,
) -> tuple[dict[int, list[int]], list[str]]:
    """The places of each shard's documents in the window, and the window's final ids."""
    names = {which: ids.to_pylist() for which, ids in own.items()}
    at = Counter[int]()
    places: dict[int, list[int]] = {which: [] for which in own}
    final: list[str] = []
    for which, count in window:
        shard = shards[which]
        for _ in range(min(count, len(names[which]) - at[which])):  # a run with --partial may have fewer rows
            places[which].append(len(final))
            final.append(unique(shard.renamed.pop(shard.done, str(names[which][at[which]]))))
            at[which] += 1
            shard.done += 1
    return places, final


def _add_money(calls: pa.Table, money: dict[str, Decimal]) -> None:
    for billing, column in (("charged", "cost_usd"), ("unknown", "cost_usd"), ("reused", "reused_cost_usd")):
        chosen = calls.filter(pc.equal(calls["billing"].cast(pa.string()), pa.scalar(billing)))
        money[billing] += Decimal(pc.sum(chosen[column]).as_py() or 0)


def schemas_of(shards: Sequence[ShardTables]) -> tuple[dict[str, pa.Schema], dict[str, pa.Schema]]:
    """The tables' fixed columns, and the carried ones in the order they come in the input, in types that hold all."""
    first: dict[str, tuple[bytes, int, int]] = {}
    for shard in shards:
        for origin in shard.origin_rows():
            for at, name in enumerate(origin["columns"]):  # a row may bring several
                place = (origin["source"], -1 if origin["row"] is None else origin["row"], at)
                first[name] = min(first.get(name, place), place)
    order = sorted(first, key=lambda name: first[name])
    fixed: dict[str, pa.Schema] = {}
    kept: dict[str, pa.Schema] = {}
    for name in {name: None for shard in shards for name in shard.tables}:
        found = [shard.tables[name].schema for shard in shards if name in shard.tables]
        # All begin with the fixed columns. What they have in common beyond is carried everywhere in this order.
        common = _common(found)
        rest: dict[str, pa.Field[Any]] = {}
        for each in (each for schema in found for each in list(schema)[common:]):
            known = rest.get(each.name)
            rest[each.name] = each if known is None else known.with_type(wider(known.type, each.type))
        heads = [_wider(column) for column in zip(*(list(schema)[:common] for schema in found), strict=True)]
        own = {free_name(each, "input_", [head.name for head in heads]): at for at, each in enumerate(order)}
        fixed[name] = pa.schema(heads).remove_metadata()
        kept[name] = pa.schema(sorted(rest.values(), key=lambda each: own.get(each.name, len(own)))).remove_metadata()
    return fixed, kept


def _common(schemas: Sequence[pa.Schema]) -> int:
    """How many columns all of them begin with, of the same names and types."""
    count = 0
    for fields in zip(*schemas, strict=False):
        if len({each.name for each in fields}) > 1 or len({str(each.type) for each in fields}) > 1:
            break
        count += 1
    return count


def _wider(fields: Iterable[pa.Field[Any]]) -> pa.Field[Any]:
    first, *others = fields
    for each in others:
        first = first.with_type(wider(first.type, each.type))
    return first
