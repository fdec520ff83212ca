"""A job from its documents to its committed Parquet results, inside any program and any thread.

Nothing here knows of terminals, signals or the process it runs in: whoever starts a run may listen (`listen`) and steer
it (`Run.stop`, `Run.abandon`)."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Any

import orjson
from docreduce.config import Job
from docreduce.desk import Budget, Desk, Ledger
from docreduce.engine.batching import BatchWay, open_batched
from docreduce.engine.carriers import Carrier
from docreduce.engine.drive import Driver
from docreduce.engine.events import Counts, Event, Finished, Listener, Noted
from docreduce.engine.forecast import Forecast
from docreduce.engine.groups import Groups, with_column
from docreduce.engine.intake import Intake, Read, Reads
from docreduce.engine.manifest import manifest_of, unfit_for_latest
from docreduce.engine.opening import (
    RunOptions,
    carrier_key,
    carrier_of,
    check_places,
    inputs_of,
    line_of,
    mark_committed,
    open_ledger,
    opening_notes,
    published,
    spread,
)
from docreduce.engine.session import Session, open_session
from docreduce.engine.shards import Origins
from docreduce.engine.takeover import open_takeover
from docreduce.readers import Discovered, close_sandboxes, slices
from docreduce.results import DatasetWriter, DocumentRow, Unchanged
from docreduce.results.schema import TableSpec
from docreduce.settings import LimitSettings
from docreduce.storage import is_address
from docreduce.values import Cause
from docreduce.values.columns import pinned_for, schema_from_json, schema_to_json
from docreduce.values.errors import DocumentError, MachineError
from docreduce.values.money import pusd

__all__ = ["Run", "RunOptions", "exit_code", "run_job"]

MAX_BACKLOG = 4096
"""What a run with input left is taken to have ready: more than it may have in flight."""
Steering = Callable[["Run"], AbstractContextManager[None]]


def run_job(
    job: Job,
    options: RunOptions = RunOptions(),  # noqa: B008 - it is frozen
    *,
    listen: Listener = lambda _: None,
    steer: Steering = lambda _: nullcontext(),
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> dict[str, Any]:
    """Runs `job` and returns its manifest, with `run_dir` (None for a sample).

    `listen` hears what happens, in the thread of the run; `steer` is entered while it runs. Raises JobError before
    anything is sent, MachineError where nothing could be committed. Not to be called inside a running loop."""
    discovered = inputs_of(job, *([options.shard.whole_output] if options.shard else job.output.places))
    check_places(job)  # whatever can be refused is refused before a file is made
    with open_ledger(job, options) as ledger:
        mark_committed(ledger, job)
        session = open_session(job, ledger)
        carriers: dict[str, Carrier] = {}
        run = Run(session, options, ledger, carriers, discovered, listen)
        for meter, settings in zip(session.meters, session.settings, strict=True):
            carriers[carrier_key(meter)] = carrier_of(session, meter, settings, lambda said: run.listen(Noted(said)))
        if is_address(job.output.path):
            run.listen(Noted(f"runs are made in {job.output.folder} and uploaded to {job.output.path}"))
        for note in opening_notes(ledger, session):
            run.listen(Noted(note))
        run.batched = open_batched(session, ledger, run.listen, wait=options.wait)
        if run.batched is not None:
            carriers[run.batched.route.carrier] = run.batched.carrier
            run.desk.add_line(run.batched.line)
            run.desk.take_up(run.batched.out)
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            manifest = runner.run(run.execute(steer))
    return published(manifest, job, ["documents", *(name for name, spec in run.tables.items() if spec.kept)])


def exit_code(manifest: dict[str, Any]) -> int:
    """The command's exit code for a committed run."""
    ended = {"budget": 3, "deadline": 3, "refused": 4, "waiting": 6, "interrupted": 130}
    counts, groups = manifest["counts"], manifest.get("groups", {})
    if manifest.get("dropped"):
        return MachineError.exit_code
    if manifest["status"] in ended:
        return ended[manifest["status"]]
    if counts["documents"] and not (counts["ok"] or counts["partial"]):
        return 7
    return 1 if any(each.get(status) for each in (counts, groups) for status in ("failed", "partial")) else 0


class Run:
    """One run, from its id to its manifest. `counts` and `budget` say how far it is; `total` is the number of
    documents where it is known."""

    def __init__(
        self,
        session: Session,
        options: RunOptions,
        ledger: Ledger,
        carriers: dict[str, Carrier],
        discovered: Discovered,
        listen: Listener,
    ) -> None:
        job = session.job
        self.started = datetime.now(UTC)
        self.run_id = f"{self.started:%Y%m%dT%H%M%S}Z-{secrets.token_hex(3)}"
        self.session, self.options, self.discovered = session, options, discovered
        self.grace_s = job.limits.grace_s
        self.counts = Counts()
        self.forecast = Forecast(session, ledger.latency_s(job.sha256))
        self.carried = ledger.carried(job.name)
        cap, shard = job.budget.max_cost_usd, options.shard
        self.budget = Budget(shard.cap_pusd if shard else None if cap is None else pusd(cap))
        self.budget.carry(self.carried.charged_pusd, self.carried.unknown_pusd)
        # Every row of a table is a document: only without tables does the number of files tell that of documents.
        parts = slices(discovered.sources, job.input, shard.share if shard else None)
        files = len(parts)
        self.total = None if job.input.text_column else min(files, options.limit or files)
        self._ledger, self._carriers, self._listener = ledger, carriers, listen
        stored = ledger.noted(self._columns)
        self.pinned = None
        if stored is not None:
            self.pinned = pinned_for(schema_from_json(stored), job.input.keep_columns, job.input.types)
        # Groups are made of all documents' results: none is taken over, and the ledger answers for each.
        reuse = not options.fresh and options.sample is None and job.reduce is None
        self.groups: Groups | None = None
        if job.reduce is not None and options.sample is None:
            self.groups = Groups(session, job.reduce.by)
        self.takeover = open_takeover(session, reuse=reuse, answered_only=options.retry_failed)
        self._reads = Reads(parts, job.input, self.pinned)
        now = time.monotonic()
        self.desk = Desk(
            run_id=self.run_id,
            lines=[line_of(meter, session, options, now) for meter in session.meters],
            ledger=ledger,
            budget=self.budget,
            max_attempts=job.limits.max_attempts,
            retry="all" if options.retry_failed else job.output.retry,
            fresh=options.fresh,
        )
        self.batched: BatchWay | None = None
        self._driver: Driver | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def _columns(self) -> str:
        """Where the ledger keeps the types of the job's kept columns."""
        return f"columns/{self.session.job.name}"

    def listen(self, event: Event) -> None:
        """Tell all who listen."""
        self.counts(event)
        self._listener(event)

    @property
    def left_out(self) -> dict[str, int]:
        """What is no document, by reason: of folders (the first shard says it for all), archives and mails."""
        shard = self.options.shard
        folders = self.discovered.left_out if shard is None or shard.number == 1 else {}
        return dict(sorted((Counter(folders) + self._reads.skipped).items()))

    @property
    def unread(self) -> bool:
        """Whether not all of the input was read."""
        return self._reads.given_up is not None

    @property
    def bounded_by(self) -> dict[str, float]:
        """Seconds that each thing held the run back, the most first."""
        return {} if self._driver is None else self._driver.bounds.as_dict()

    @property
    def backlog(self) -> int:
        """Calls that could be sent if the limits let them; MAX_BACKLOG while there is more to be read."""
        driver = self._driver
        return MAX_BACKLOG if driver is None or driver.reading else min(driver.asking, MAX_BACKLOG)

    def retune(self, limits: Sequence[LimitSettings], cap_pusd: int | None, *, paused: bool = False) -> None:
        """Keep these limits (of the routes in order; the rest keep theirs) and this cap from now on, and send nothing
        while `paused`. In the loop's thread."""
        lines = self.desk.live
        given = [each.model_copy(update={"concurrency": self._slots(each)}) for each in limits[: len(lines)]]
        given += [line.tuned or line.route.limits for line in lines[len(given) :]]
        self.desk.retune(given, cap_pusd, time.monotonic(), paused=paused)
        if self._driver is not None:
            self._driver.wake()

    def _slots(self, limits: LimitSettings) -> int | None:
        return None if limits.concurrency is None else min(limits.concurrency, self.options.max_in_flight)

    def call_soon(self, call: Callable[..., Any], *given: Any) -> None:
        """Call it in the loop's thread, from another one. Raises RuntimeError where the loop is closed."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(call, *given)

    def stop(self, message: str, *, cause: Cause = Cause.STOPPED) -> None:
        """End in order: nothing new is sent; what is in flight goes on. In the loop's thread; further calls change
        nothing. What is in flight has `limits.grace_s` seconds."""
        stopped_before = self.desk.halted is not None and self.desk.halted.cause is not Cause.BUDGET
        self.desk.halt(cause, message)
        if self._driver is not None and self._loop is not None:
            self._driver.wake()
            if not stopped_before:
                self._loop.call_later(self.grace_s, self.abandon)

    def abandon(self) -> None:
        """Give up what is in flight and what is not read: booked unknown, rows that say so."""
        self._reads.given_up = DocumentError("not read before the run was interrupted", kind=Cause.STOPPED)
        close_sandboxes()
        if self._driver is not None:
            self._driver.abandon(self._reads.rest)

    def _idle(self) -> None:
        if self.batched is not None:
            self.batched.carrier.flush(halted=self.desk.halted is not None)

    async def execute(self, steer: Steering) -> dict[str, Any]:
        """From the first document to the manifest. Whatever ends it, the ledger says how."""
        job = self.session.job
        self._ledger.begin_run(self.run_id, job.name, job.sha256, self.started.timestamp())
        ended = "failed"
        try:
            with closing(iter(self._reads)) as reads:
                manifest = await self._drive(reads, steer)
            # What a sample or a limited run costs counts against the cap of the run it is made for.
            partly = "sample" if self.options.sample else "limited" if self.options.limit else "complete"
            ended = partly if manifest["status"] == "complete" else manifest["status"]
            return manifest
        finally:
            self.takeover.close()
            for carrier in self._carriers.values():
                await carrier.aclose()
            over = ended in ("complete", "limited")  # else its failures are not yet those of a whole run
            self._ledger.end_run(self.run_id, ended, time.time(), sorted(self.desk.failed) if over else ())

    async def _drive(self, reads: Iterator[Read], steer: Steering) -> dict[str, Any]:
        job, options = self.session.job, self.options
        self._loop = asyncio.get_running_loop()
        limited: Iterator[Read] = islice(reads, options.limit)
        if options.sample is not None:
            limited = iter(spread(limited, options.sample, job.sha256))
        limited = with_column(limited, job.reduce)
        place = job.output.folder / "origins" / f"{self.run_id}.parquet"
        with (
            nullcontext() if options.shard is None else Origins(place) as origins,
            DatasetWriter(
                job.output.folder,
                job.name,
                self.run_id,
                tables=self.tables,
                also=job.output.formats,
                pinned=self.pinned,
            ) as writer,
            steer(self),
        ):
            if origins is not None:
                self._reads.told = origins
            intake = Intake(self.session, limited, self.takeover)
            self._driver = Driver(
                intake,
                self.desk,
                self._carriers,
                partial(self._write, writer),
                self.listen,
                self.forecast.expect,
                idle=self._idle,
            )
            if options.deadline_s is not None:
                reached = f"the deadline of {options.deadline_s:g} s was reached"
                self._loop.call_later(options.deadline_s, lambda: self.stop(reached, cause=Cause.DEADLINE))
            await self._driver.run()
            if self.groups is not None:
                await self._reduce(self.groups, intake.unique, writer)
            if self.batched is not None:
                await self.batched.book_rest(self.desk, self.listen)
            if self._ledger.rotten:
                damaged = f"{len(self._ledger.rotten):,} answers in the ledger were damaged"
                self.listen(Noted(f"{damaged}; they were asked and paid for again"))
            self._note_kept_failures()
            manifest = manifest_of(self)
            if options.sample:
                return {**manifest, "run_dir": None}
            self._ledger.note(self._columns, schema_to_json(writer.kept_columns))
            unfit = unfit_for_latest(manifest, job.output.promote) or writer.blocked
            if origins is not None:
                origins.close()
            settle = self.session.work.settle
            commit = partial(writer.commit, settle=settle(self.counts.own) if settle else {})
            # In a thread: a second signal ends the run at once also while it commits.
            run_dir = await asyncio.to_thread(
                commit, {**manifest, "promoted": not unfit, "not_promoted": unfit}, promote=not unfit
            )
        return {**orjson.loads((run_dir / "run.json").read_bytes()), "run_dir": str(run_dir)}

    @property
    def tables(self) -> dict[str, TableSpec]:
        """The kind's own tables of this run."""
        work = self.session.work
        return {**work.tables, **({"groups": work.groups} if self.groups is not None and work.groups else {})}

    def _write(self, writer: DatasetWriter, done: DocumentRow | Unchanged) -> None:
        writer.write(done)
        if self.groups is not None and isinstance(done, DocumentRow):
            self.groups.add(done)

    async def _reduce(self, groups: Groups, unique: Callable[[str], str], writer: DatasetWriter) -> None:
        """Drive the groups of the finished documents to their rows, through the same desk."""
        groups.begin(unique)

        def listen(event: Event) -> None:
            if isinstance(event, Finished):  # a group is no document
                groups.finished(event.row)
            else:
                self.listen(event)

        def write(done: DocumentRow | Unchanged) -> None:
            assert isinstance(done, DocumentRow)  # no group is taken over
            writer.write_group(groups.whole(done))

        driver = Driver(groups, self.desk, self._carriers, write, listen, self.forecast.expect, idle=self._idle)
        if self._driver is not None:
            driver.bounds = self._driver.bounds  # what held the run back is told of all of it
        self._driver = driver
        await driver.run()

    def _note_kept_failures(self) -> None:
        """Say what failed because an earlier run did, and was not asked again."""
        if self.counts.kept_failures:
            kept = f"{self.counts.kept_failures:,} documents failed as in an earlier run and were not asked again"
            self.listen(Noted(f"{kept} (output.retry = {self.desk.retry!r}); --retry-failed asks them"))
