"""A job from its documents to its committed Parquet results, inside any program and any thread.

Nothing here knows of terminals, signals or the process it runs in: whoever starts a run may listen (`listen`) and steer
it (`Run.stop`, `Run.abandon`)."""

from __future__ import annotations

import asyncio
import math
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import orjson
from docreduce.config import Job
from docreduce.desk import Budget, Desk, Ledger, Limiter, Line
from docreduce.engine.carriers import Carrier, Embedded, Live
from docreduce.engine.drive import Driver
from docreduce.engine.events import Counts, Event, Listener, Noted
from docreduce.engine.forecast import Forecast
from docreduce.engine.intake import Intake, Read, Reads
from docreduce.engine.manifest import manifest_of
from docreduce.engine.session import OFFLINE, Session, open_session
from docreduce.models.meter import Meter
from docreduce.providers import open_provider
from docreduce.readers import Discovered, close_sandboxes, discover
from docreduce.results import DatasetWriter
from docreduce.settings import EndpointSettings
from docreduce.values import Cause, Document
from docreduce.values.columns import pinned_for, schema_from_json, schema_to_json
from docreduce.values.errors import DocumentError
from docreduce.values.money import money, pusd

__all__ = ["Run", "RunOptions", "exit_code", "run_job"]

MAX_IN_FLIGHT = 1024
TIMEOUT_S = 120.0
"""Of a call, where the job states none and none was learned."""

Steering = Callable[["Run"], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What a caller adds to a job. `limit`: documents at most. `sample`: ask for so many of them only, spread over the
    input, and write no results: their answers are in the ledger. `deadline_s`: end in order after so long.
    `max_in_flight`: connections there may be."""

    fresh: bool = False
    retry_failed: bool = False
    limit: int | None = None
    sample: int | None = None
    deadline_s: float | None = None
    max_in_flight: int = MAX_IN_FLIGHT
    cores: int = 1


def run_job(
    job: Job,
    options: RunOptions = RunOptions(),
    *,
    listen: Listener = lambda _: None,
    steer: Steering = lambda _: nullcontext(),
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> dict[str, Any]:
    """Runs `job` and returns its manifest, with `run_dir` (None for a sample).

    `listen` hears what happens, in the thread of the run; `steer` is entered while it runs. Raises JobError before
    anything is sent, MachineError where nothing could be committed. Not to be called inside a running loop."""
    discovered = discover(job.input, job.output.path)
    open_session(job)  # whatever can be refused is refused before a file is made
    with Ledger.open(Path(job.output.path) / "ledger.sqlite") as ledger:
        _mark_committed(ledger, job)
        session = open_session(job, ledger)
        carriers: dict[str, Carrier] = {}
        run = Run(session, options, ledger, carriers, discovered, listen)
        for meter, settings in zip(session.meters, session.settings, strict=True):
            carriers[_carrier_key(meter)] = _carrier(session, meter, settings, lambda said: run.listen(Noted(said)))
        for note in _opening_notes(ledger, session):
            run.listen(Noted(note))
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(run.execute(steer))


def exit_code(manifest: dict[str, Any]) -> int:
    """The command's exit code for a committed run."""
    ended = {"budget": 3, "deadline": 3, "refused": 4, "waiting": 6, "interrupted": 130}
    counts = manifest["counts"]
    if manifest["status"] in ended:
        return ended[manifest["status"]]
    if counts["documents"] and not (counts["ok"] or counts["partial"]):
        return 7
    return 1 if counts["failed"] or counts["partial"] else 0


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
        self.counts = Counts()
        self.forecast = Forecast(session, ledger.latency_s(job.sha256))
        self.carried = ledger.carried(job.name)
        cap = job.budget.max_cost_usd
        self.budget = Budget(None if cap is None else pusd(cap))
        self.budget.carry(self.carried.charged_pusd, self.carried.unknown_pusd)
        # Every row of a table is a document: only without tables does the number of files tell that of documents.
        files = len(discovered.sources)
        self.total = None if job.input.text_column else min(files, options.limit or files)
        self._ledger, self._carriers, self._listener = ledger, carriers, listen
        stored = ledger.noted(self._columns)
        self.pinned = None
        if stored is not None:
            self.pinned = pinned_for(schema_from_json(stored), job.input.keep_columns, job.input.types)
        self._reads = Reads(discovered.sources, job.input, self.pinned)
        now = time.monotonic()
        self.desk = Desk(
            run_id=self.run_id,
            lines=[_line(meter, session, options, now) for meter in session.meters],
            ledger=ledger,
            budget=self.budget,
            max_attempts=job.limits.max_attempts,
            retry_failed=options.retry_failed,
            fresh=options.fresh,
        )
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
        """What is no document, by reason: of folders, archives and mails."""
        return dict(sorted((Counter(self.discovered.left_out) + self._reads.skipped).items()))

    @property
    def unread(self) -> bool:
        """Whether not all of the input was read."""
        return self._reads.given_up is not None

    def stop(self, message: str, *, cause: Cause = Cause.STOPPED) -> None:
        """End in order: nothing new is sent; what is in flight goes on. In the loop's thread; further calls change
        nothing. What is in flight has `limits.grace_s` seconds."""
        stopped_before = self.desk.halted is not None and self.desk.halted.cause is not Cause.BUDGET
        self.desk.halt(cause, message)
        if self._driver is not None and self._loop is not None:
            self._driver.wake()
            if not stopped_before:
                self._loop.call_later(self.session.job.limits.grace_s, self.abandon)

    def abandon(self) -> None:
        """Give up what is in flight and what is not read: booked unknown, rows that say so."""
        self._reads.given_up = DocumentError("not read before the run was interrupted", kind=Cause.STOPPED)
        close_sandboxes()
        if self._driver is not None:
            self._driver.abandon(self._reads.rest)

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
            for carrier in self._carriers.values():
                await carrier.aclose()
            self._ledger.end_run(self.run_id, ended, time.time())

    async def _drive(self, reads: Iterator[Read], steer: Steering) -> dict[str, Any]:
        job, options = self.session.job, self.options
        self._loop = asyncio.get_running_loop()
        limited: Iterator[Read] = islice(reads, options.limit)
        if options.sample is not None:
            limited = iter(_spread(limited, options.sample, job.sha256))
        tables = self.session.work.tables
        with (
            DatasetWriter(
                Path(job.output.path),
                job.name,
                self.run_id,
                tables=tables,
                csv=job.output.csv,
                pinned=self.pinned,
            ) as writer,
            steer(self),
        ):
            intake = Intake(self.session, limited)
            self._driver = Driver(intake, self.desk, self._carriers, writer.write, self.listen, self.forecast.expect)
            if options.deadline_s is not None:
                reached = f"the deadline of {options.deadline_s:g} s was reached"
                self._loop.call_later(options.deadline_s, lambda: self.stop(reached, cause=Cause.DEADLINE))
            await self._driver.run()
            if self._ledger.rotten:
                damaged = f"{len(self._ledger.rotten):,} answers in the ledger were damaged"
                self.listen(Noted(f"{damaged}; they were asked and paid for again"))
            manifest = manifest_of(self)
            if options.sample:
                return {**manifest, "run_dir": None}
            self._ledger.note(self._columns, schema_to_json(writer.kept_columns))
            promote = manifest["status"] == "complete" and not options.limit
            # In a thread: a second signal ends the run at once also while it commits.
            run_dir = await asyncio.to_thread(writer.commit, manifest, promote=promote)
        return {**orjson.loads((run_dir / "run.json").read_bytes()), "run_dir": str(run_dir)}


def _line(meter: Meter, session: Session, options: RunOptions, now: float) -> Line:
    limits, offline = meter.route.limits, meter.route.endpoint == OFFLINE
    info = session.infos[session.meters.index(meter)]
    concurrency = limits.concurrency or info.concurrency or (options.cores if offline else None)
    timeout_s = limits.timeout_s or TIMEOUT_S
    return Line(
        route=meter.route,
        meter=meter,
        limiter=Limiter(
            requests_per_minute=limits.requests_per_minute,
            tokens_per_minute=limits.tokens_per_minute,
            # The embedded answers are made on this machine: more at once would only wait for each other.
            concurrency=concurrency and min(concurrency, options.max_in_flight),
            max_concurrency=min(MAX_IN_FLIGHT, options.max_in_flight),
            timeout_s=math.inf if offline else timeout_s,
            timeout_stated=limits.timeout_s is not None,
            now=now,
        ),
        give_up_s=limits.give_up_s,
        timeout_s=timeout_s,
    )


def _carrier_key(meter: Meter) -> str:
    return f"{meter.route.endpoint} {meter.route.model}"


def _carrier(session: Session, meter: Meter, settings: EndpointSettings, note: Callable[[str], None]) -> Carrier:
    if meter.route.endpoint == OFFLINE:
        offline = session.work.offline
        assert offline is not None
        return Embedded(offline, session.plan.tokenizer)
    return Live(open_provider(meter.route, settings), note)


def _opening_notes(ledger: Ledger, session: Session) -> Iterator[str]:
    yield from ledger.notes
    if ledger.recovered:
        most = money(sum(ledger.recovered))
        yield (
            f"{len(ledger.recovered):,} calls were in flight when an earlier run died; up to {most} of that may "
            "have been charged and is booked as unknown"
        )
    yield from session.work.notes


def _mark_committed(ledger: Ledger, job: Job) -> None:
    """A run that died between its commit and its mark is as complete as its manifest says."""
    for run_id in ledger.died(job.name):
        with suppress(OSError, ValueError, KeyError):
            manifest = orjson.loads((Path(job.output.path) / job.name / run_id / "run.json").read_bytes())
            ledger.end_run(run_id, "limited" if manifest.get("limited") else str(manifest["status"]), time.time())


def _spread(reads: Iterator[Read], number: int, seed: str) -> list[Read]:
    """`number` of the documents with text, each as likely as any other, in order (Vitter's reservoir, algorithm R)."""
    draw = random.Random(seed)  # noqa: S311 - the same job takes the same sample
    kept: list[tuple[int, Read]] = []
    for at, found in enumerate(each for each in reads if isinstance(each, Document) and each.text.strip()):
        place = at if at < number else draw.randrange(at + 1)
        if place < number:
            kept[place : place + 1] = [(at, found)]
    return [found for _, found in sorted(kept, key=itemgetter(0))]
