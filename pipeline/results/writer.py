"""The rows of a finished document, for all of a run's tables."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson
import pyarrow as pa
from docreduce.results.copied import copied
from docreduce.results.dataset import Dataset
from docreduce.results.previous import Unchanged
from docreduce.results.schema import CALLS, CHUNKS, DOCUMENTS, Settle, TableSpec, coerce
from docreduce.storage import machine_errors
from docreduce.values import Attempt, Billing, Result

__all__ = ["DatasetWriter", "DocumentRow"]

_TOKENS = attrgetter("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentRow:
    """A finished document, whatever became of it, without its text. `attempts`: all of its calls, reused answers too;
    a reused one's `cost_pusd` is what it once cost. `change` (new, changed, same) is since the last complete run,
    `digest` one of what it says, `packed_with` the first of the documents that shared its requests. `shares`: what it
    bears of them and of others' where calls served
    several documents; such a call stands once, with the first of them. `columns`: the kept ones."""

    document_id: str
    uri: str
    result: Result
    attempts: Sequence[Attempt] = ()
    shares: Sequence[Attempt] | None = None
    row: int | None = None
    change: str = "new"
    digest: str | None = None
    packed_with: str | None = None
    media_type: str | None = None
    chars: int | None = None
    source_tokens: int | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)

    @property
    def borne(self) -> Sequence[Attempt]:
        """The attempts that its tokens and its money are the sums of."""
        return self.attempts if self.shares is None else self.shares

    @property
    def held_chars(self) -> int:
        """Characters, about, that are held until it is written."""
        outputs = sum(len(each.output or "") for each in self.result.chunks)
        kept = sum(len(value) for value in self.columns.values() if isinstance(value, str))
        return len(self.result.summary or "") + outputs + kept


class DatasetWriter:
    """Writes OUTPUT/<job name>/<run id>/, hidden until `commit`. A context manager: without a commit it leaves nothing.

    `tables` are the kind's own, beside documents, chunks and calls; `also`: formats
    beside Parquet; `pinned`: kept columns with the types they had in
    earlier runs. Every method raises MachineError where the disk
    refuses. Not safe for threads. Memory is bounded by the row groups."""

    def __init__(
        self,
        output: Path,
        job_name: str,
        run_id: str,
        *,
        tables: Mapping[str, TableSpec] = MappingProxyType({}),
        also: Collection[str] = (),
        pinned: pa.Schema | None = None,
    ) -> None:
        self._specs = tables
        schemas = {"documents": DOCUMENTS, "chunks": CHUNKS, "calls": CALLS}
        schemas |= {name: spec.schema for name, spec in tables.items()}
        self._carrying = {"documents", *(name for name, spec in tables.items() if spec.kept)}
        kept = dict.fromkeys(self._carrying, pinned)
        self._dataset = Dataset(output, job_name, run_id, schemas, kept, dict.fromkeys(also, self._carrying))
        self._tables, self.final = self._dataset.tables, self._dataset.final

    @property
    def kept_columns(self) -> pa.Schema:
        """The kept columns of the documents so far and their types: what the next run should take for `pinned`."""
        return self._tables["documents"].carried

    def write(self, done: DocumentRow | Unchanged) -> None:
        """Add a document's rows to all tables, or those of an unchanged stretch; in the order of the input, that of the
        files. Writes a row group now and then, some 20 ms."""
        with machine_errors(self.final):
            if isinstance(done, Unchanged):
                for name, table in self._tables.items():
                    copies, beside = copied(done, name, table.schema)
                    table.extend(copies, beside if name in self._carrying else None)
                return
        self._write(done, {"documents": [_document(done)], "chunks": _chunks(done), "calls": _calls(done)})

    def write_group(self, done: DocumentRow) -> None:
        """Add the rows of a group of documents, which is itself none: its calls and those of the kind's tables."""
        self._write(done, {"calls": _calls(done)})

    def _write(self, done: DocumentRow, ours: Mapping[str, Iterable[tuple[Any, ...]]]) -> None:
        rows = dict(ours)
        rows |= {name: _own(done, name, spec) for name, spec in self._specs.items()}
        with machine_errors(self.final):
            for name, found in rows.items():
                carried = done.columns if name in self._carrying else {}
                for row in found:
                    self._tables[name].append(row, carried)

    def commit(
        self,
        manifest: Mapping[str, Any],
        *,
        promote: bool = True,
        settle: Mapping[str, Settle] = MappingProxyType({}),
    ) -> Path:
        """As `Dataset.commit`."""
        return self._dataset.commit(manifest, promote=promote, settle=settle)

    @property
    def blocked(self) -> str | None:
        """As `Dataset.blocked`."""
        return self._dataset.blocked

    def discard(self) -> None:
        """Leave nothing of what is not committed."""
        self._dataset.discard()

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


def _document(done: DocumentRow) -> tuple[Any, ...]:
    result, attempts = done.result, done.borne
    usages = [attempt.usage for attempt in attempts if attempt.usage and attempt.billing == "charged"]
    return (
        done.document_id,
        done.uri,
        done.row,
        done.change,
        done.digest,
        result.status,
        result.error_kind,
        result.error,
        done.media_type,
        done.chars,
        done.source_tokens,
        len(result.chunks),
        len({attempt.key for attempt in attempts}),
        sum(attempt.billing != "reused" for attempt in attempts),
        sum(usage.input_tokens for usage in usages),
        sum(usage.output_tokens for usage in usages),
        _usd(_sum(attempts, "charged")),
        _usd(_sum(attempts, "unknown")),
        _usd(_sum(attempts, "reused")),
        done.packed_with,
        orjson.dumps(result.counts, option=orjson.OPT_SORT_KEYS).decode() if result.counts else None,
        result.summary,
    )


def _chunks(done: DocumentRow) -> Iterator[tuple[Any, ...]]:
    for each in done.result.chunks:
        chunk = each.chunk
        place = (chunk.index, chunk.span.start, chunk.span.end, chunk.page_start, chunk.page_end, chunk.heading)
        yield done.document_id, *place, chunk.tokens, each.status, each.error, each.output, each.model, each.endpoint


def _calls(done: DocumentRow) -> Iterator[tuple[Any, ...]]:
    for call in done.attempts:
        paid, reused = (0, call.cost_pusd) if call.billing == "reused" else (call.cost_pusd, 0)
        tokens = _TOKENS(call.usage) if call.usage else (None,) * 5
        began = round(call.started_at * 1_000_000)
        head = (call.key, done.document_id, call.stage, call.chunk, call.attempt, began, call.latency_s)
        middle = (call.http_status, call.outcome, call.finish_reason, *tokens, call.model, call.endpoint)
        paying = (call.service_tier, call.batch, call.billing, _usd(paid), _usd(reused))
        yield (*head, *middle, *paying, call.request_id, call.error)


def _own(done: DocumentRow, name: str, spec: TableSpec) -> Iterator[tuple[Any, ...]]:
    """A document's rows of a kind's table; its cost is split over them to the pico-dollar, the first bears the rest."""
    rows = done.result.tables.get(name, ())
    if spec.always:
        rows = rows[:1] or [{}]
    share, rest = divmod(_sum(done.borne, "charged"), max(1, len(rows)))
    types = list(zip(spec.names or spec.columns.names, spec.columns.types, strict=True))
    for at, row in enumerate(rows):
        values = [coerce(row.get(column), kind) for column, kind in types]
        outcome: tuple[Any, ...] = ()
        if spec.outcome:
            outcome = (done.result.status, done.result.error, _usd(share + (rest if at == 0 else 0)))
        yield (done.document_id, done.uri, *values, *outcome)


def _sum(attempts: Sequence[Attempt], billing: Billing) -> int:
    return sum(attempt.cost_pusd for attempt in attempts if attempt.billing == billing)


def _usd(pusd: int) -> Decimal:
    return Decimal(pusd).scaleb(-12)
