"""`docreduce run`: a job from its documents to its committed Parquet results."""

from __future__ import annotations

import asyncio
import math
import os
import random
import resource
import secrets
import signal
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docreduce import __version__
from docreduce.config import Job
from docreduce.desk import Dispatch, Gate
from docreduce.desk.budget import Budget
from docreduce.desk.ledger import Ledger
from docreduce.desk.limits import Limiter
from docreduce.engine.driver import Driver, Read, Source
from docreduce.engine.estimate import Estimator, compared
from docreduce.engine.session import Session, open_session
from docreduce.providers import open_provider
from docreduce.readers import Discovered, Unread, close_sandboxes, discover, left_out, read
from docreduce.report.progress import Counts, printable, show_progress
from docreduce.results import DatasetWriter
from docreduce.values import Cause, Document, Provider
from docreduce.values.errors import DocumentError
from docreduce.values.money import money, pusd, usd

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["RunOptions", "exit_code", "run_job"]

LIBRARIES = ("polars", "pyarrow", "tiktoken", "toktok-rs", "genai-prices", "httpx", "aiohttp")
CORES = os.cpu_count() or 1
MAX_CONCURRENCY = 1024
OTHER_FILES = 40
"""What is open beside connections: the ledger, the tables, what is being read, pipes to readers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the command line adds to a job. `limit`: documents at most. `sample`: ask for so many of them only, spread
    over the input, and write no results: their answers are in the ledger."""

    fresh: bool = False
    retry_failed: bool = False
    limit: int | None = None
    sample: int | None = None


def run_job(job: Job, options: RunOptions, console: Console) -> dict[str, Any]:
    """Runs `job` and returns its manifest, with `run_dir` (None for a sample). Progress goes to `console`.

    Raises JobError before anything is sent, MachineError where nothing could be committed."""
    import uvloop

    discovered = discover(job.input)
    session = open_session(job)
    provider = open_provider(job.model, tokenizer=session.plan.tokenizer)
    with Ledger.open(Path(job.output.path) / "ledger.sqlite") as ledger:
        notes = list(ledger.notes)
        if ledger.recovered:
            most = money(sum(ledger.recovered))
            notes.append(
                f"{len(ledger.recovered):,} calls were in flight when an earlier run died; up to {most} of that may "
                "have been charged and is booked as unknown"
            )
        for note in notes:
            console.print(printable(note), style="yellow", markup=False, soft_wrap=True)
        session = open_session(job, ledger)
        run = _Run(session, options, ledger, provider, console, len(discovered.sources))
        reads = run.reads(discovered)
        with closing(reads), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            manifest = runner.run(run.execute(reads))
        if ledger.rotten:
            told = f"{len(ledger.rotten):,} answers in the ledger were damaged; they were asked and paid for again"
            console.print(told, style="yellow", soft_wrap=True)
        return manifest


def exit_code(manifest: dict[str, Any]) -> int:
    """The command's exit code for a committed run."""
    ended = {"budget": 3, "refused": 4, "interrupted": 130}
    unfinished = manifest["counts"]["failed"] or manifest["counts"]["partial"]
    return ended.get(manifest["status"], 1 if unfinished else 0)


class _Run:
    """One run, from its id to its manifest."""

    def __init__(
        self, session: Session, options: RunOptions, ledger: Ledger, provider: Provider, console: Console, sources: int
    ) -> None:
        job = session.job
        self.started = datetime.now(UTC)
        self.run_id = f"{self.started:%Y%m%dT%H%M%S}Z-{secrets.token_hex(3)}"
        self._session = session
        self._options = options
        self._ledger = ledger
        self._console = console
        self._given_up: DocumentError | None = None  # why what is not read by then stays so
        # Every row of a table is a document: only without tables does the number of files tell that of documents.
        self._total = None if job.input.text_column else min(sources, options.limit or sources)
        self._counts = Counts()
        self._estimator = Estimator(session, ledger.latency_s(job.sha256))
        cap = job.budget.max_cost_usd
        self._budget = Budget(None if cap is None else pusd(cap))
        self._carried = ledger.carried(job.name)
        self._budget.carry(self._carried.charged_pusd, self._carried.unknown_pusd)
        self._dispatch = Dispatch(
            run_id=self.run_id,
            provider=provider,
            ledger=ledger,
            gate=Gate(_limiter(session)),
            budget=self._budget,
            pricing=session.pricing,
            settings=job.limits,
            ratio=session.ratio,
            answer_tokens=session.answer_tokens,
            retry_failed=options.retry_failed,
            fresh=options.fresh,
        )

    def reads(self, discovered: Discovered) -> Generator[Read, None, None]:
        """The documents of all files. Once given up, a file is a row nobody read, and so is the rest of a table."""
        for source in discovered.sources:
            if self._given_up is not None:
                yield left_out(source, self._given_up)
                continue
            for found in read(source, self._session.job.input):
                if self._given_up is not None:
                    rest = "" if found.row is None else ", nor were the rows after it"
                    error = DocumentError(f"{self._given_up.message}{rest}", kind=Cause.STOPPED)
                    place = {name: getattr(found, name) for name in ("id", "uri", "row", "media_type", "columns")}
                    yield Unread(**place, error=error)
                    break
                yield found

    async def execute(self, reads: Iterator[Read]) -> dict[str, Any]:
        job, counts = self._session.job, self._counts
        self._ledger.begin_run(self.run_id, job.name, job.sha256, self.started.timestamp())
        extract = job.extract
        reads = islice(reads, self._options.limit)
        if self._options.sample is not None:
            reads = iter(_spread(reads, self._options.sample, job.sha256))
        source = Source(self._session, reads)
        shown = show_progress(self._console, counts, self._budget, self._total, self._note)
        progress = asyncio.create_task(shown)
        try:
            with (
                DatasetWriter(
                    Path(job.output.path),
                    job.name,
                    self.run_id,
                    fields=self._session.fields,
                    cardinality=extract.cardinality if extract else "one",
                    csv=job.output.csv,
                ) as writer,
                self._interruptible(),
            ):
                await Driver(source, self._dispatch, writer.write, counts, self._estimator).run()
                manifest = self._manifest()
                # In a thread: a second signal ends the run at once also while it commits.
                run_dir = None if self._options.sample else str(await asyncio.to_thread(writer.commit, manifest))
        finally:
            progress.cancel()
            await asyncio.gather(progress, return_exceptions=True)
            await self._dispatch.provider.aclose()
        # What a sample costs counts against the cap of the run it is made for.
        ended = "sample" if self._options.sample and manifest["status"] == "complete" else manifest["status"]
        self._ledger.end_run(self.run_id, ended, time.time())
        return {**manifest, "run_dir": run_dir}

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """SIGINT, SIGTERM and a lost terminal end the run in order: nothing new is sent; calls in flight, and the list
        of what is not done, have grace_s seconds. A second signal ends it at once; what is in flight then is booked
        unknown by the next run."""
        loop, grace_s = asyncio.get_running_loop(), self._session.job.limits.grace_s
        signals = 0

        def stop(number: int) -> None:
            nonlocal signals
            signals += 1
            if signals > 1:
                os._exit(130)
            self._dispatch.halt(Cause.STOPPED, f"interrupted by {signal.Signals(number).name}")
            loop.call_later(grace_s, give_up)
            with suppress(OSError):  # the terminal may be what went away
                self._console.print(f"stopping: calls in flight have {grace_s:.0f} s; once more to stop at once")

        def give_up() -> None:
            self._given_up = DocumentError("not read before the run was interrupted", kind=Cause.STOPPED)
            self._dispatch.abandon()
            close_sandboxes()

        # A run started with nohup is told to go on when its terminal goes away.
        wanted = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            wanted.append(signal.SIGHUP)
        for number in wanted:
            loop.add_signal_handler(number, stop, number)
        try:
            yield
        finally:
            for number in wanted:
                loop.remove_signal_handler(number)

    def _note(self) -> str | None:
        if self._dispatch.halted is not None:
            return f"stopping: {self._dispatch.halted.message}"
        paused_s = self._dispatch.gate.paused_s()
        return f"the service is resting, next try in {paused_s:.0f} s" if paused_s and paused_s >= 1 else None

    def _manifest(self) -> dict[str, Any]:
        session, counts, halted = self._session, self._counts, self._dispatch.halted
        job, plan = session.job, session.plan
        status, stopped = "complete", None
        if halted is not None:
            status = {Cause.BUDGET: "budget", Cause.STOPPED: "interrupted"}.get(halted.cause, "refused")
            unread = self._given_up is not None
            stopped = {"kind": halted.cause.value, "message": halted.message, "unread": unread}
        estimate = self._estimator.as_dict()
        actual = {
            "calls": counts.calls,
            "input_tokens": counts.usage["input_tokens"],
            "output_tokens": counts.usage["output_tokens"],
            "cost_usd": float(usd(counts.cost_pusd["charged"])),
            "duration_s": round((datetime.now(UTC) - self.started).total_seconds(), 1),
        }
        return {
            "run_id": self.run_id,
            "job": job.name,
            "job_sha256": job.sha256,
            "kind": job.kind,
            "status": status,
            "halted": stopped,
            "started_at": self.started.isoformat(),
            "finished_at": datetime.now(UTC).isoformat(),
            "counts": counts.as_dict(),
            "usage": dict(counts.usage),
            "cost": {
                "charged_usd": float(usd(counts.cost_pusd["charged"])),
                "unknown_usd": float(usd(counts.cost_pusd["unknown"])),
                "reused_usd": float(usd(counts.cost_pusd["reused"])),
                "carried_usd": float(usd(self._carried.charged_pusd + self._carried.unknown_pusd)),
                "carried_unknown_usd": float(usd(self._carried.unknown_pusd)),
                "cap_usd": job.budget.max_cost_usd,
            },
            "estimate": estimate,
            "actual": actual,
            "difference": compared(estimate, actual),  # as a share of what was expected
            "pricing": asdict(session.pricing),
            "model": {
                "provider": plan.provider,
                "name": plan.model,
                "tokenizer": plan.tokenizer.name,
                "engine": plan.tokenizer.engine,
                "input_tokens": plan.input_tokens,
                "max_output_tokens": plan.max_output_tokens,
                "extractive": session.offline,
            },
            "limits": job.limits.model_dump(),
            "versions": {"docreduce": __version__, **{name: metadata.version(name) for name in LIBRARIES}},
        }


def _spread(reads: Iterator[Read], number: int, seed: str) -> list[Read]:
    """`number` of the documents with text, each as likely as any other, in order (Vitter's reservoir, algorithm R)."""
    draw = random.Random(seed)  # noqa: S311 - the same job takes the same sample
    kept: list[tuple[int, Read]] = []
    for at, found in enumerate(each for each in reads if isinstance(each, Document) and each.text.strip()):
        place = at if at < number else draw.randrange(at + 1)
        if place < number:
            kept[place : place + 1] = [(at, found)]
    return [found for _, found in sorted(kept, key=itemgetter(0))]


def _limiter(session: Session) -> Limiter:
    limits, most = session.job.limits, _connections()
    concurrency = limits.concurrency or session.info.concurrency or (CORES if session.offline else None)
    return Limiter(
        requests_per_minute=limits.requests_per_minute,
        tokens_per_minute=limits.tokens_per_minute,
        # The embedded provider computes on this machine: more calls at once would only wait for each other.
        concurrency=concurrency and min(concurrency, most),
        max_concurrency=min(MAX_CONCURRENCY, most),
        timeout_s=math.inf if session.offline else limits.timeout_s,
        now=time.monotonic(),
    )


def _connections() -> int:
    """How many connections this process may have open, its limit on files raised as far as it goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # some systems have a limit beyond the one they tell
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return 10**6 if soft == resource.RLIM_INFINITY else max(soft - OTHER_FILES, 1)
