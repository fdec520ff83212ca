"""docreduce from Python: whole jobs, and frames that come back with their answers beside each row.

Everything works in a script, in a notebook (inside a running event loop) and in any thread: a run has a thread of its
own, and an interrupt ends it in order before it is raised. Job keys are keywords: those of the kind's own table, then
the command line's short forms, then those of the other tables; a whole table may be given as a dict."""

from __future__ import annotations

import asyncio
import html
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from docreduce.values.errors import JobError, MachineError
from docreduce.values.likeness import did_you_mean
from docreduce.values.money import PICO, money

if TYPE_CHECKING:
    import polars as pl
    from docreduce.config import Job
    from docreduce.engine.run import Run as Running
    from pydantic import BaseModel

__all__ = ["Estimate", "Run", "estimate", "extract", "map", "run", "summarize"]

T = TypeVar("T")
JobLike = str | os.PathLike[str] | Mapping[str, Any]

SHORT = {
    "input": "input.paths",
    "output": "output.path",
    "provider": "model.provider",
    "base_url": "model.base_url",
    "model": "model.name",
    "max_cost": "budget.max_cost_usd",
}
"""The command line's short forms."""


@dataclass(frozen=True, repr=False)
class Run:
    """A committed run. `dir` is its folder, `manifest` its run.json; tables are polars frames, read when asked for."""

    manifest: Mapping[str, Any]
    dir: Path

    @property
    def status(self) -> str:
        """complete, budget, deadline, refused or interrupted."""
        return str(self.manifest["status"])

    @cached_property
    def documents(self) -> pl.DataFrame:
        """A row a document, whatever became of it."""
        return self.table("documents")

    @cached_property
    def records(self) -> pl.DataFrame:
        """A row an item, or an answer of `map`. Raises LookupError for a kind that has none."""
        return self.table("records")

    @cached_property
    def groups(self) -> pl.DataFrame:
        """A row a group of [reduce]: its name, how many documents, its summary or its fields. Raises LookupError where
        the job has no [reduce]."""
        return self.table("groups")

    @cached_property
    def failures(self) -> pl.DataFrame:
        """The documents that are not ok, with the reason."""
        import polars as pl

        columns = ["document_id", "uri", "row", "status", "error_kind", "error"]
        return self.documents.filter(pl.col("status").cast(pl.String) != "ok").select(columns)

    @cached_property
    def cost(self) -> pl.DataFrame:
        """Calls, tokens and dollars by endpoint, model, stage and billing."""
        import polars as pl

        tokens = ["input_tokens", "output_tokens"]
        groups = self.table("calls").group_by("endpoint", "model", "stage", "billing", maintain_order=True)
        return groups.agg(pl.len().alias("attempts"), pl.col(*tokens).sum(), pl.col("cost_usd").sum())

    def table(self, name: str) -> pl.DataFrame:
        """Any of its tables; what polars cannot hold comes as text. Raises LookupError where it has none so named."""
        from docreduce.frames import read_frame

        path = self.dir / f"{name}.parquet"
        if not path.is_file():
            there = ", ".join(sorted(each.stem for each in self.dir.glob("*.parquet")))
            raise LookupError(f"this run has no table {name!r}: it has {there}")
        return read_frame(path)

    def __repr__(self) -> str:
        counts, cost = self.manifest["counts"], self.manifest["cost"]
        told = ", ".join(f"{counts[word]} {word}" for word in ("ok", "partial", "failed", "skipped") if counts[word])
        return (
            f"Run({self.status}: {counts['documents']} documents ({told or 'none'}), "
            f"{money(round(cost['charged_usd'] * PICO))}, {self.dir})"
        )

    def _repr_html_(self) -> str:
        shown = self.failures.head(10)
        failed = f"<p>What is not ok:</p>{shown._repr_html_()}" if shown.height else ""
        return f"<p><b>{html.escape(repr(self))}</b></p>{self.cost._repr_html_()}{failed}"


@dataclass(frozen=True, repr=False)
class Estimate:
    """What a job would send and cost: each figure by low, expected, high and ceiling. `stated` is the whole of it."""

    stated: Mapping[str, Any]

    @property
    def documents(self) -> int:
        return int(self.stated["documents"])

    @property
    def chunks(self) -> int:
        return int(self.stated["chunks"])

    @property
    def calls(self) -> Mapping[str, int]:
        return dict(self.stated["calls"])

    @property
    def input_tokens(self) -> Mapping[str, int]:
        return dict(self.stated["input_tokens"])

    @property
    def output_tokens(self) -> Mapping[str, int]:
        return dict(self.stated["output_tokens"])

    @property
    def cost_usd(self) -> Mapping[str, float]:
        return dict(self.stated["cost_usd"])

    @property
    def duration_s(self) -> Mapping[str, float]:
        return dict(self.stated["duration_s"])

    def __repr__(self) -> str:
        low, most = (money(round(self.cost_usd[name] * PICO)) for name in ("low", "high"))
        return f"Estimate({self.documents} documents, {self.calls['expected']} calls, {low} to {most})"

    def _repr_html_(self) -> str:
        names = ("calls", "input_tokens", "output_tokens", "cost_usd", "duration_s")
        columns = ("low", "expected", "high", "ceiling")
        rows = [f"<tr><th>{n}</th>{''.join(f'<td>{self.stated[n][c]}</td>' for c in columns)}</tr>" for n in names]
        head = "".join(f"<th>{name}</th>" for name in ("", *columns))
        return f"<p><b>{html.escape(repr(self))}</b></p><table><tr>{head}</tr>{''.join(rows)}</table>"


def run(
    job: JobLike, *, limit: int | None = None, fresh: bool = False, retry_failed: bool = False, **settings: Any
) -> Run:
    """Runs a job, as `docreduce run` does: a job file, or its content as a dict.

    Raises JobError before anything is sent, MachineError where nothing could be committed."""
    return _run(_job(job, settings), limit=limit, fresh=fresh, retry_failed=retry_failed)


def estimate(job: JobLike, *, limit: int | None = None, fresh: bool = False, **settings: Any) -> Estimate:
    """What a job would send and cost; sends nothing, writes nothing. Raises JobError as `run` does."""
    from docreduce.engine.forecast import estimate_job

    return Estimate(estimate_job(_job(job, settings), limit=limit, fresh=fresh))


def summarize(frame: Any, column: str = "text", **settings: Any) -> Any:
    """The frame with a `summary` of each row's text, and `status`, `error` and `cost_usd`."""
    return _over(frame, column, "summarize", {}, settings)


def extract(
    frame: Any, column: str = "text", *, schema: type[BaseModel] | Mapping[str, Any] | str, **settings: Any
) -> Any:
    """The frame with the fields of `schema` (a pydantic model, a JSON Schema or a file of one) out of each row's text,
    and `status`, `error` and `cost_usd`. With cardinality many, one list column `items`."""
    return _over(frame, column, "extract", {"schema": _schema(schema)}, settings)


def map(  # noqa: A001 - the kind's name
    frame: Any,
    column: str = "text",
    *,
    prompt: str,
    labels: list[str] | None = None,
    schema: type[BaseModel] | Mapping[str, Any] | str | None = None,
    **settings: Any,
) -> Any:
    """The frame with the `answer` to `prompt` for each row's text (the `label`, the fields), and `status`, `error` and
    `cost_usd`."""
    table: dict[str, Any] = {"prompt": prompt}
    if labels is not None:
        table["labels"] = list(labels)
    if schema is not None:
        table["schema"] = _schema(schema)
    return _over(frame, column, "map", table, settings)


# --- jobs ---------------------------------------------------------------------------------------------------------


def _job(job: JobLike, settings: Mapping[str, Any]) -> Job:
    from docreduce.config import load_job, parse_job

    if isinstance(job, Mapping):
        return parse_job(job, _overrides(settings, str(job.get("kind"))))
    if not settings:
        return load_job(Path(job))
    return load_job(Path(job), _overrides(settings, load_job(Path(job)).kind))


def _overrides(settings: Mapping[str, Any], kind: str) -> list[tuple[str, Any]]:
    """The job keys that keywords mean. Raises JobError for one that is none."""
    from docreduce.config import Job
    from docreduce.kinds.registry import kind_named, kind_names

    tables: dict[str, Any] = {name: field.annotation for name, field in Job.model_fields.items()}
    tables |= {kind: kind_named(kind).settings} if kind in kind_names() else {}
    keys: dict[str, str] = {}
    for title, annotation in tables.items():
        for table in (annotation, *getattr(annotation, "__args__", ())):
            for name, field in getattr(table, "model_fields", {}).items():
                key = field.alias or name
                keys[key] = f"{title}.{key}" if title == kind else keys.get(key, f"{title}.{key}")
    own = {key: place for key, place in keys.items() if place == f"{kind}.{key}"}
    keys |= {"name": "name", "kind": "kind", **SHORT, **own}
    overrides: list[tuple[str, Any]] = []
    for name, value in settings.items():
        plain = _plain(value)
        if name in tables and isinstance(plain, Mapping):
            overrides += [(f"{name}.{key}", part) for key, part in plain.items()]
        elif name in keys:
            one_path = keys[name] == "input.paths" and isinstance(plain, str)
            overrides.append((keys[name], [plain] if one_path else plain))
        else:
            raise JobError(f"{name}: no key of a job", hint=did_you_mean(name, [*keys, *tables]))
    return overrides


def _plain(value: Any) -> Any:
    """Paths as text, tuples as lists: what a job file could say."""
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _run(job: Job, **chosen: Any) -> Run:
    from docreduce.engine.opening import connections
    from docreduce.engine.run import RunOptions, run_job
    from docreduce.report.notebook import cell, shown_in

    place = cell()
    options = RunOptions(max_in_flight=connections(), cores=os.cpu_count() or 1, **chosen)
    held: list[tuple[Running, asyncio.AbstractEventLoop]] = []

    @contextmanager
    def steer(running: Running) -> Iterator[None]:
        held.append((running, asyncio.get_running_loop()))
        with shown_in(place, running):
            yield
        held.clear()

    def stop(again: bool) -> None:
        for running, loop in held:
            act = running.abandon if again else partial(running.stop, "interrupted")
            with suppress(RuntimeError):  # its loop is closed: it is done
                loop.call_soon_threadsafe(act)

    manifest = _apart(lambda: run_job(job, options, steer=steer), stop)
    if job.output.report:
        from docreduce.report.html import write_report

        try:
            write_report(manifest, job.output.path)
        except MachineError as error:  # the results stand without it
            warnings.warn(f"report.html could not be written: {error.message}", stacklevel=3)
    return Run(manifest, Path(manifest["run_dir"]))


def _apart(work: Callable[[], T], stop: Callable[[bool], None]) -> T:
    """What `work` returns or raises, done in a thread of its own: here may be an event loop already.

    An interrupt calls `stop`, a second one `stop(True)`; it is raised when the work is done."""
    done: list[T] = []
    raised: list[BaseException] = []

    def target() -> None:
        try:
            done.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again where the caller is
            raised.append(error)
        finally:
            finished.set()

    # Not Thread.join: a thread whose join was interrupted counts as dead (Python 3.11).
    finished = threading.Event()
    thread = threading.Thread(target=target, name="docreduce", daemon=True)
    thread.start()
    interrupts: list[KeyboardInterrupt] = []
    while not finished.is_set():
        try:
            finished.wait()
        except KeyboardInterrupt as interrupt:
            stop(bool(interrupts))
            interrupts.append(interrupt)
    if interrupts:
        raise interrupts[0] from next(iter(raised), None)
    if raised:
        raise raised[0]
    return done[0]


# --- frames -------------------------------------------------------------------------------------------------------


def _schema(schema: Any) -> Any:
    return schema.model_json_schema() if hasattr(schema, "model_json_schema") else schema


def _over(frame: Any, column: str, kind: str, table: dict[str, Any], settings: Mapping[str, Any]) -> Any:
    """The frame with the columns of the kind, in the order of its rows."""
    from docreduce.frames import answers, open_frame, written

    opened = open_frame(frame, column)
    stated = {
        "name": f"{kind}-frame",
        "kind": kind,
        "input": {"paths": ["frame.parquet"], "text_column": "text", "id_column": "row", "keep_columns": []},
        kind: table,
    }
    job = _job(stated, settings)
    with written(opened.texts, job.output.folder) as path:
        finished = _run(job.model_copy(update={"input": job.input.model_copy(update={"paths": [str(path)]})}))
    records = finished.records if (finished.dir / "records.parquet").is_file() else None
    return opened.with_columns(answers(finished.documents, records, len(opened.texts), many=_many(job)), f"{kind}_")


def _many(job: Job) -> bool:
    return getattr(job.settings, "cardinality", "one") == "many"
