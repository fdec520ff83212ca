"""Driving many documents at once through dispatch, with their results in the input's order."""

from __future__ import annotations

import asyncio
import heapq
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TypeAlias

from docreduce.desk import Answered as Answer
from docreduce.desk import Dispatch
from docreduce.engine.estimate import Answered, Estimator
from docreduce.engine.session import Session
from docreduce.readers import UniqueIds, Unread
from docreduce.report.progress import Counts
from docreduce.results import DocumentRow
from docreduce.values import Attempt, Cause, Document, Outcome, Request, Result, Status, Steps, Usage
from docreduce.values.errors import DocumentError

__all__ = ["Driver", "Read", "Source"]

FINISHED_AHEAD = 2_000
"""Finished documents that may wait for an earlier one to be written; then no new one is opened."""
BATCH = 64
"""Documents opened in one turn of the reading thread, at most."""

Read: TypeAlias = Document | Unread
Write: TypeAlias = Callable[[DocumentRow], None]


@dataclass(slots=True, eq=False)
class _Unit:
    """Documents at work together; `sequences` are their places in the input."""

    sequences: tuple[int, ...]
    documents: tuple[Document, ...]
    steps: Steps
    requests: list[Request] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    outcomes: list[Outcome | None] = field(default_factory=list)
    missing: int = 0
    attempts: dict[int, list[Attempt]] = field(default_factory=lambda: defaultdict(list))  # by document
    shares: dict[int, list[Attempt]] = field(default_factory=lambda: defaultdict(list))
    answered: list[Sequence[Outcome | None]] | None = field(default_factory=list)  # until the first call to be made
    results: list[Result] | None = None

    def step(self, outcomes: list[Outcome] | None) -> None:
        """Take the generator to its next requests or its results. Runs in a thread: it cuts and merges texts."""
        try:
            self.requests = next(self.steps) if outcomes is None else self.steps.send(outcomes)
            self.keys = [request.key for request in self.requests]
        except StopIteration as stop:
            self.results = stop.value
        except DocumentError as error:
            self.results = [Result(status="failed", error_kind=error.kind, error=error.message)] * len(self.documents)


@dataclass(slots=True)
class Source:
    """Turns what the readers bring into units and rows; pulled from one thread at a time.

    `listing`: only say what is there; every further document is a skipped row with that reason."""

    session: Session
    reads: Iterator[Read]
    listing: tuple[Cause, str] | None = None
    exhausted: bool = False
    _rows: list[tuple[int, DocumentRow]] = field(default_factory=list)
    _pending: deque[int] = field(default_factory=deque)  # places of documents not yet in a unit
    _unique: UniqueIds = field(default_factory=UniqueIds)
    _units: Iterator[tuple[Document, ...]] | None = None

    def pull(self, requests: int) -> tuple[list[_Unit], list[tuple[int, DocumentRow]]]:
        """Open units until they hold `requests` requests or BATCH documents were read: (units, finished rows)."""
        if self._units is None:
            self._units = self.session.units(self._documents())
        opened: list[_Unit] = []
        ready = 0
        while ready < requests and len(opened) + len(self._rows) < BATCH:
            documents = next(self._units, None)
            if documents is None:
                self.exhausted = True
                break
            sequences = tuple(self._pending.popleft() for _ in documents)
            unit = _Unit(sequences, documents, self.session.steps(documents))
            unit.step(None)
            ready += len(unit.requests)
            opened.append(unit)
        rows, self._rows = self._rows, []
        return opened, rows

    def _documents(self) -> Iterator[Document]:
        """The documents there is work on; the others become rows at once."""
        for sequence, found in enumerate(self.reads):
            read = replace(found, id=self._unique(found.id))
            if isinstance(read, Unread):
                status: Status = "skipped" if read.error.kind == Cause.STOPPED else "failed"
                result = Result(status=status, error_kind=read.error.kind, error=read.error.message)
            elif self.listing is not None:
                cause, message = self.listing
                result = Result(status="skipped", error_kind=cause.value, error=message)
            elif not read.text.strip():
                result = Result(status="skipped", error_kind="empty", error="there is no text in it")
            else:
                self._pending.append(sequence)
                yield read
                continue
            self._rows.append((sequence, _row(read, result)))


class Driver:
    """Drives every document's generator through dispatch and hands finished documents to `write` in order.

    Holds a bounded number of open documents, however many there are: new ones are opened as slots free, and the
    requests of earlier documents go first. What happens is counted in `counts`; each unit is estimated by `estimator`
    when the first of its calls is not answered by the ledger, in the thread of the steps."""

    def __init__(self, source: Source, dispatch: Dispatch, write: Write, counts: Counts, estimator: Estimator) -> None:
        self._source = source
        self._dispatch = dispatch
        self._write = write
        self._counts = counts
        self._estimator = estimator
        self._ready: list[tuple[int, int, _Unit, int]] = []  # place in the input, tie-breaker, unit, position
        self._ties = count()
        self._calls = 0
        self._finished: dict[int, DocumentRow] = {}
        self._next = 0  # the place in the input that is written next
        self._pulling = False
        self._writing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._error: BaseException | None = None
        # One thread each: readers are generators, the writer keeps its order, and steps may take a while.
        self._reading, self._stepping, self._storing = (
            ThreadPoolExecutor(1, name) for name in ("read", "step", "write")
        )

    async def run(self) -> None:
        """Until every document is finished and written. Raises what made that impossible (MachineError)."""
        try:
            while self._error is None and not self._done():
                self._wake.clear()
                self._pump()
                if not self._done() and self._error is None:
                    await self._wake.wait()
            if self._error is not None:
                raise self._error
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for threads in (self._reading, self._stepping, self._storing):
                # Not on the loop: a second signal must be heard while a reader is still at work.
                await asyncio.to_thread(threads.shutdown, cancel_futures=True)

    def _done(self) -> bool:
        return self._source.exhausted and not (self._tasks or self._ready or self._finished)

    def _pump(self) -> None:
        """Start whatever there is room for."""
        slots = self._dispatch.gate.slots()
        while self._ready and self._calls < slots:
            _, _, unit, position = heapq.heappop(self._ready)
            self._calls += 1
            self._spawn(self._call(unit, position))
        wanted = max(slots // 4, 4) - len(self._ready) + max(slots - self._calls, 0)
        waiting = len(self._finished)
        if wanted > 0 and waiting < FINISHED_AHEAD and not self._pulling and not self._source.exhausted:
            self._pulling = True
            self._spawn(self._pull(wanted))
        if self._next in self._finished and not self._writing:
            self._writing = True
            self._spawn(self._store())

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            error = task.exception()  # asked for also where an earlier one is told: else asyncio prints it
            self._error = self._error or error
        self._wake.set()

    async def _pull(self, requests: int) -> None:
        halted = self._dispatch.halted
        # Without money the ledger may still answer; after a stop or a refusal nobody wants to wait for that.
        if halted is not None and halted.cause is not Cause.BUDGET:
            self._source.listing = (halted.cause, halted.message)
        loop = asyncio.get_running_loop()
        units, rows = await loop.run_in_executor(self._reading, self._source.pull, requests)
        self._pulling = False
        for sequence, row in rows:
            self._finish(sequence, row)
        for unit in units:
            await self._proceed(unit)

    async def _proceed(self, unit: _Unit) -> None:
        """Queue a unit's requests; where the ledger answers them all, take the next step at once."""
        while unit.results is None:
            reused = self._dispatch.reuse(list(zip(unit.keys, unit.requests, strict=True)))
            unit.outcomes = [None] * len(unit.requests)
            unit.missing = len(unit.requests)
            for position, key in enumerate(unit.keys):
                if key in reused:
                    self._receive(unit, position, reused[key])
                else:
                    heapq.heappush(self._ready, (unit.sequences[0], next(self._ties), unit, position))
            answered = unit.answered
            if answered is not None:
                answered.append(tuple(unit.outcomes))
            if unit.missing:
                self._wake.set()
                if answered is not None:
                    unit.answered = None
                    self._spawn(self._plan(unit.documents, answered, unit.keys))
                return
            await self._step(unit)
        await self._settle(unit)

    async def _plan(self, documents: Sequence[Document], answered: Answered, keys: Sequence[str]) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._stepping, self._estimator.add, documents, answered, keys)

    async def _step(self, unit: _Unit) -> None:
        outcomes = [outcome for outcome in unit.outcomes if outcome is not None]
        unit.requests, unit.keys, unit.outcomes = [], [], []  # the texts sent are not needed any more
        await asyncio.get_running_loop().run_in_executor(self._stepping, unit.step, outcomes)

    async def _call(self, unit: _Unit, position: int) -> None:
        document = unit.documents[unit.requests[position].documents[0]]
        answered = await self._dispatch.complete(unit.requests[position], unit.keys[position], document.id)
        self._calls -= 1
        self._wake.set()
        self._receive(unit, position, answered)
        if not unit.missing:
            await self._step(unit)
            await self._proceed(unit)

    def _receive(self, unit: _Unit, position: int, answered: Answer) -> None:
        unit.outcomes[position] = answered.outcome
        unit.missing -= 1
        served = unit.requests[position].documents
        for attempt in answered.attempts:
            self._counts.attempted(attempt)
            unit.attempts[served[0]].append(attempt)
            for at, share in zip(served, _shares(attempt, len(served)), strict=True):
                unit.shares[at].append(share)

    async def _settle(self, unit: _Unit) -> None:
        results = unit.results or []
        rejected = [key for result in results for key in result.rejected]
        if rejected:
            await self._dispatch.ledger.reject(rejected)
        if unit.answered is not None:
            self._estimator.add_answered(results, unit.answered)
        for at, (sequence, document, result) in enumerate(zip(unit.sequences, unit.documents, results, strict=True)):
            self._finish(sequence, _row(document, result, unit.attempts[at], unit.shares[at]))

    def _finish(self, sequence: int, row: DocumentRow) -> None:
        self._finished[sequence] = row
        self._counts.finished(row)
        self._wake.set()

    async def _store(self) -> None:
        rows = []
        while self._next in self._finished:
            rows.append(self._finished.pop(self._next))
            self._next += 1

        def write() -> None:
            for row in rows:
                self._write(row)

        await asyncio.get_running_loop().run_in_executor(self._storing, write)
        self._writing = False


def _shares(attempt: Attempt, documents: int) -> list[Attempt]:
    """The attempt in as many equal parts, to the token and the pico-dollar: the first ones bear what is left over."""
    if documents == 1:
        return [attempt]

    def part(whole: int, at: int) -> int:
        return whole // documents + (at < whole % documents)

    usage = attempt.usage
    return [
        replace(
            attempt,
            cost_pusd=part(attempt.cost_pusd, at),
            usage=usage and Usage(**{name: part(getattr(usage, name), at) for name in Usage.__slots__}),
        )
        for at in range(documents)
    ]


def _row(read: Read, result: Result, attempts: Sequence[Attempt] = (), shares: Sequence[Attempt] = ()) -> DocumentRow:
    """A finished document without its text."""
    text = read.text if isinstance(read, Document) else None
    return DocumentRow(
        document_id=read.id,
        uri=read.uri,
        row=read.row,
        media_type=read.media_type,
        chars=None if text is None else len(text),
        source_tokens=sum(each.chunk.tokens for each in result.chunks) if result.chunks else None,
        columns=read.columns,
        result=result,
        attempts=tuple(attempts),
        shares=tuple(shares),
    )
