"""The only loop: units through the desk, with their results in the input's order.

Two heaps hold whatever waits: what is to come again, by its time, and what is due, by its place in the input; a call
that waits is an entry there and nothing else. What the desk cannot decide before a reply goes with the next one. The
loop sends what the desk lets go, gathers replies and asks into the desk's next turn, steps the units whose outcomes are
all there, and opens new ones as slots free. Four threads beside it, one for each thing that blocks:
reading, stepping (kinds cut and merge texts; the ledger is read there), the desk's turns, writing results.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import count

from docreduce.desk import Ask, Desk, Settled, Ticket
from docreduce.engine.bounds import Bounds, HeldBy
from docreduce.engine.carriers import Carrier
from docreduce.engine.events import Attempted, Finished, Listener, TakenOver
from docreduce.engine.intake import NOT_DONE, Batch, Source
from docreduce.engine.threads import Threads
from docreduce.engine.unit import Unit, reused
from docreduce.readers import Unread
from docreduce.results import DocumentRow, Unchanged
from docreduce.values import Cause, Completion, Decision, Outcome, Rejection, Reply, Request
from docreduce.values.errors import MachineError

__all__ = ["Driver"]

FINISHED_AHEAD = 2_000
HELD_CHARS = 2**27
"""Finished documents that may wait for an earlier one to be written, and characters of those and of all that are at
work; then none is opened."""
OPEN_UNITS = 4_096
"""Units at work at once, at most: more than calls in flight, so that never one slot waits for a document."""
TURN_ASKS = 4_096
"""Asks in one turn, at most: the ledger's transaction is to stay short."""
LEAVE_S = 1.0
"""A reader, or a text that is being cut or merged, that does not hear the end within this is left behind."""
SOON_S = 0.5
"""What comes again within this is waited for before a batch is sent without it."""

_Waiting = tuple[float, int, Ask]


class Driver:
    """Drives every unit to its results and hands finished documents to `write` in order.

    `carriers` by a ticket's `carrier`; `listener` hears what happens; `forecast` is told each request that is paid for
    the first time, in the thread of the steps; `idle` is called where nothing goes on without another answer."""

    def __init__(
        self,
        intake: Source,
        desk: Desk,
        carriers: Mapping[str, Carrier],
        write: Callable[[DocumentRow | Unchanged], None],
        listener: Listener,
        forecast: Callable[[Sequence[Request]], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        idle: Callable[[], None] = lambda: None,
    ) -> None:
        self._intake, self._desk, self._carriers = intake, desk, carriers
        self._write, self._listen, self._forecast = write, listener, forecast
        self._clock, self._idle = clock, idle
        self.bounds = Bounds()
        desk.wall = time.time() - clock()
        self._later: list[_Waiting] = []  # by the time before which they are not to be asked again
        self._due: list[_Waiting] = []  # by place
        self._undecided: list[Ask] = []  # to be asked with the next reply
        self._asked = 0  # in the present turn
        self._ties = count()
        self._askers: dict[str, list[tuple[Unit, int]]] = {}  # who waits for a key; the first one bears its calls
        self._complete: list[Unit] = []  # units whose outcomes are all there
        self._replies: list[tuple[Ticket, Reply, float]] = []
        self._rejected: list[str] = []
        self._finished: dict[int, DocumentRow | Unchanged] = {}
        self._chars = 0  # of what is at work or finished
        self._next = 0  # the place in the input that is written next
        self._units = 0  # at work
        self._calls: dict[asyncio.Task[Reply], tuple[Ticket, float]] = {}  # with the time each was sent
        self._abandoned = False
        self._reading = False  # the readers' thread is at work
        self._stepping: Sequence[Unit] = ()  # what the thread of the steps is at work on
        self._wake = asyncio.Event()
        self._error: BaseException | None = None
        self._threads = Threads(self._ended)

    async def run(self) -> None:
        """Until every document is finished and written. Raises what made that impossible (MachineError)."""
        try:
            while self._error is None and not self._done():
                self._wake.clear()
                wait_s = self._pump()
                if not self._threads.busy and (wait_s is None or wait_s > SOON_S):
                    await asyncio.sleep(0)  # what was just sent reaches its carrier
                    self._idle()
                if not self._done() and self._error is None:
                    try:
                        await asyncio.wait_for(self._wake.wait(), wait_s)
                    except TimeoutError:
                        continue
            if self._error is not None:
                raise self._error
        finally:
            for task in self._calls:
                task.cancel()
            await asyncio.gather(*self._calls, return_exceptions=True)
            await self._threads.cancel(but="desk")
            with suppress(MachineError):  # it is told already; what was answered is to be kept if it can be
                if self._replies:
                    await self._turn([])
            await self._threads.close()

    @property
    def reading(self) -> bool:
        """Whether there is more to be read."""
        return not self._intake.exhausted

    @property
    def asking(self) -> int:
        """Calls that are asked for and not answered."""
        return len(self._askers)

    def wake(self) -> None:
        """Look again at what there is to do."""
        self._wake.set()

    def abandon(self, rest: Callable[[], Sequence[Unread]] = lambda: ()) -> None:
        """Give up the calls in flight, each booked unknown at its bound, and a reader that does not hear the end:
        `rest` says what it leaves."""
        self._abandoned = True
        for task in self._calls:
            task.cancel()
        asyncio.get_running_loop().call_later(LEAVE_S, self._leave, rest)
        self._wake.set()

    def _leave(self, rest: Callable[[], Sequence[Unread]]) -> None:
        """Go on without the threads that are still at work on texts; what they hold is skipped."""
        if self._reading:
            self._reading = False
            self._threads.leave("read")
            for place, row in self._intake.left_unread(rest()):
                self._finish(place, row)
        if self._stepping:
            stepping, self._stepping = self._stepping, ()
            self._threads.leave("step")
            for unit in stepping:
                self._units -= 1
                self._chars -= unit.chars
                for place, row in unit.rows([NOT_DONE] * len(unit.documents)):
                    self._finish(place, row)
        self._wake.set()

    def _done(self) -> bool:
        return self._intake.exhausted and not (
            self._threads.busy
            or self._askers
            or self._complete
            or self._replies
            or self._calls
            or self._rejected
            or self._finished
        )

    # --- one round of the loop --------------------------------------------------------------------------------

    def _pump(self) -> float | None:
        """Start whatever there is room for; seconds until the next round is due (None: when something happens)."""
        now = self._clock()
        wait_s = self._send(now)
        if "desk" not in self._threads:
            due = self._take_due(now)
            if self._replies or due or self._rejected or self._desk.stranded(now):
                self._asked = len(due)
                self._threads.start("desk", self._turn, due)
        if self._complete:
            self._threads.start("step", self._step)
        self._open(now)
        if self._next in self._finished:
            self._threads.start("write", self._store)
        if self._later and "desk" not in self._threads:
            wait_s = min(wait_s, max(0.0, self._later[0][0] - now))
        self.bounds.holds(self._held_by(now), now, time.process_time())
        return None if wait_s == math.inf else wait_s + 0.0005

    def _held_by(self, now: float) -> HeldBy | None:
        """What the next call waits for, or the end of the run."""
        held = self._desk.bound()
        if held is not None or self._desk.halted is not None:
            return held
        if self._undecided:
            return "cap"
        if self._due or self._replies or "desk" in self._threads:
            return "ledger"
        if "step" in self._threads:
            return "cpu"
        if "read" in self._threads and self._desk.room(now) > 0:
            return "reading"
        return "latency" if self._calls else "rest" if self._later else None

    def _send(self, now: float) -> float:
        """Send what may go now; seconds until more may."""
        while isinstance(taken := self._desk.take(now), Ticket):
            task = asyncio.get_running_loop().create_task(self._carriers[taken.carrier].carry(taken))
            self._calls[task] = taken, now
            task.add_done_callback(self._called)
        return taken

    def _take_due(self, now: float) -> list[Ask]:
        """The asks for the next turn, earlier documents first: as many as there is room for; all after a halt."""
        halted = self._desk.halted is not None
        while self._later and (halted or self._later[0][0] <= now):
            _, tie, ask = heapq.heappop(self._later)
            self._push(ask, tie)
        if self._replies or halted:
            for ask in self._undecided:
                self._push(ask)
            self._undecided = []
        room = len(self._due) if halted else self._desk.room(now)
        return [heapq.heappop(self._due)[2] for _ in range(min(room, len(self._due), TURN_ASKS))]

    def _open(self, now: float) -> None:
        """Bring in new documents while there are slots for them."""
        # What waits out a refusal holds no slot: others are brought in for it.
        wanted = self._desk.room(now) - len(self._due) - len(self._undecided) - self._asked
        full = len(self._finished) >= FINISHED_AHEAD or self._chars >= HELD_CHARS or self._units >= OPEN_UNITS
        # Only where something is on its way that will make room: what comes first may still be with the readers.
        held = full and bool(self._units or self._next in self._finished or "write" in self._threads)
        halted = self._desk.halted is not None
        if not self._intake.exhausted and (wanted > 0 or halted) and not held:
            self._threads.start("read", self._pull, max(wanted, 4))

    def _ended(self, error: BaseException | None) -> None:
        self._error = self._error or error
        self._wake.set()

    # --- calls ------------------------------------------------------------------------------------------------

    def _called(self, task: asyncio.Task[Reply]) -> None:
        ticket, started = self._calls.pop(task)
        self._wake.set()
        reply: Reply
        if task.cancelled():
            if not self._abandoned:
                return
            message = "given up after the run was told to stop"
            reply = Rejection(cause=Cause.STOPPED, decision=Decision.FAIL, message=message, billing="unknown")
        elif error := task.exception():
            self._error = self._error or error
            return
        else:
            reply = task.result()
        now = self._clock()
        self._desk.arrived(ticket, reply, now)
        self._replies.append((ticket, reply, now - started))

    async def _turn(self, asks: Sequence[Ask]) -> None:
        """One turn of the desk."""
        replies, self._replies = self._replies, []
        rejected, self._rejected = self._rejected, []
        turn = await self._threads.call("desk", self._desk.turn, replies, asks, self._clock(), rejected)
        self._undecided += turn.waiting
        self._asked = 0
        for settled in turn.settled:
            self._settle(settled)

    def _push(self, ask: Ask, tie: int | None = None) -> None:
        """Make the ask due. `tie`: when it came, among those of one document."""
        unit, _ = self._askers[ask.key][0]
        heapq.heappush(self._due, (unit.place, next(self._ties) if tie is None else tie, ask))

    def _settle(self, settled: Settled) -> None:
        key = settled.ask.key
        if settled.attempt is not None:
            unit, position = self._askers[key][0]
            unit.bear(position, settled.attempt)
            self._listen(Attempted(settled.attempt))
        if settled.outcome is None:
            heapq.heappush(self._later, (settled.not_before, next(self._ties), settled.ask))
        else:
            self._deliver(key, settled.outcome, paid=settled.attempt is not None)

    def _deliver(self, key: str, outcome: Outcome, *, paid: bool) -> None:
        """Give the outcome to all who asked; whoever did not bear the call reused its answer."""
        for at, (unit, position) in enumerate(self._askers.pop(key)):
            if isinstance(outcome, Completion) and (at or not paid):
                again = reused(outcome, unit.requests[position], self._desk.wall + self._clock())
                unit.bear(position, again)
                self._listen(Attempted(again))
            if unit.receive(position, outcome):
                self._complete.append(unit)

    # --- units ------------------------------------------------------------------------------------------------

    async def _pull(self, requests: int) -> None:
        halted = self._desk.halted
        # Without money the ledger may still answer; after a stop or a refusal nobody wants to wait for that.
        if halted is not None and halted.cause is not Cause.BUDGET:
            self._intake.listing = halted
        self._reading = True
        batch = await self._threads.call("read", self._intake.pull, requests)
        if self._reading:  # else it was left behind meanwhile
            self._reading = False
            await self._admit(batch)

    async def _admit(self, batch: Batch) -> None:
        for place, row in batch.rows:
            self._finish(place, row)
        for place, stretch in batch.stretches:
            self._finished[place] = stretch
            self._listen(TakenOver(stretch))
        self._units += len(batch.units)
        self._chars += sum(unit.chars for unit in batch.units)
        await self._ask(batch.units)

    async def _step(self) -> None:
        """Take every complete unit to its next step, and its requests to the ledger or the heap."""
        units, self._complete = self._complete, []
        self._stepping = units
        await self._threads.call("step", _step_all, units)
        if self._stepping is units:  # else they were left behind meanwhile
            self._stepping = ()
            await self._ask(units)

    async def _ask(self, units: Sequence[Unit]) -> None:
        """Queue what the units ask for; what is in flight is waited for, what the ledger holds comes at once."""
        fresh: dict[str, Request] = {}
        bearers: dict[str, str] = {}
        for unit in units:
            if unit.results is not None:
                self._settle_unit(unit)
            elif not unit.requests:
                self._complete.append(unit)
            for position, key in enumerate(unit.keys):
                if key in self._askers:
                    self._askers[key].append((unit, position))
                else:
                    self._askers[key] = [(unit, position)]
                    fresh[key], bearers[key] = unit.requests[position], unit.bearer(position)
        if not fresh:
            return
        known = await self._threads.call("step", self._look_up, fresh)
        for key, request in fresh.items():
            if key in known:
                self._deliver(key, known[key], paid=False)
            else:
                self._push(Ask(key, request, bearers[key]))
        self._wake.set()

    def _look_up(self, fresh: Mapping[str, Request]) -> dict[str, Outcome]:
        known = self._desk.known(fresh)
        self._forecast([request for key, request in fresh.items() if key not in known])
        return known

    def _settle_unit(self, unit: Unit) -> None:
        self._units -= 1
        self._chars -= unit.chars
        self._rejected += [key for result in unit.results or () for key in result.rejected]
        for place, row in unit.rows():
            self._finish(place, row)

    # --- results ----------------------------------------------------------------------------------------------

    def _finish(self, place: int, row: DocumentRow) -> None:
        self._finished[place] = row
        self._chars += row.held_chars
        self._listen(Finished(row))
        self._wake.set()

    async def _store(self) -> None:
        rows = []
        while self._next in self._finished:
            rows.append(self._finished.pop(self._next))
            self._chars -= rows[-1].held_chars
            self._next += len(done.heads) if isinstance(done := rows[-1], Unchanged) else 1

        def write() -> None:
            for row in rows:
                self._write(row)

        await self._threads.call("write", write)


def _step_all(units: Sequence[Unit]) -> None:
    for unit in units:
        unit.step()
