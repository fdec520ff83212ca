"""Calls by a provider's batch service: gathered, sent together, and fetched when the batch has ended, in this run or a
later one.

Theory of operation. A ticket is reserved before it comes here. It is gathered until the run can go no further without
an answer (`flush`); then the ledger keeps, in one transaction, that it goes out under a token, and only then is it
sent. From there on its place is the ledger: the run may end, or die, and a later one takes the batch up by its id, or
by its token where nobody saw the id. A submission whose answer was not seen is looked for in the service's list; it is
given up only once the list has stayed without it for SETTLED_S. With `wait` a call lasts until its batch has ended;
without, it comes back as WAITING as soon as it is out, and its document is left for a later run.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import tenacity
from docreduce.desk import BatchRow, Ledger, Out, Ticket
from docreduce.models.routes import Route
from docreduce.providers.batches import BatchService, Refusal, Result
from docreduce.providers.dialect import HttpResponse
from docreduce.providers.http import HttpProvider
from docreduce.values import Cause, Decision, Rejection, Reply
from docreduce.values.errors import MachineError, RefusedError

__all__ = ["Batched", "own_results"]

POLL_S = (0.5, 60.0)
"""First and longest wait between two looks at a batch, twice as long each time."""
SETTLED_S = 10.0
"""A submission that nobody saw answered may still be on its way for so long."""
LOOKS = 5
"""Failures in a row of looks at a batch after which a run leaves it to a later one; with `wait` it looks on."""


@dataclass(slots=True, eq=False)
class _Batch:
    """A batch on its way. `tickets` by id: those who wait for it; `results` by ticket id once it has ended."""

    row: BatchRow
    waiting: dict[int, tuple[Ticket, asyncio.Future[Reply]]] = field(default_factory=dict)
    results: dict[int, HttpResponse | Rejection] | None = None
    missing: Rejection | None = None  # what stands for a ticket of which the service says nothing
    left: str | None = None  # why it is left for a later run
    task: asyncio.Task[None] | None = None


class Batched:
    """A carrier. `out`: tickets that earlier runs left with the service; `asked`: the endpoint's settings in JSON."""

    def __init__(
        self,
        provider: HttpProvider,
        service: BatchService,
        route: Route,
        ledger: Ledger,
        asked: str,
        *,
        out: Sequence[Out],
        wait: bool,
        note: Callable[[str], None],
    ) -> None:
        self._provider, self._service, self._route, self._ledger = provider, service, route, ledger
        self._asked, self._wait, self._note = asked, wait, note
        self._gathered: list[tuple[Ticket, asyncio.Future[Reply]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None
        mine = [row for row in ledger.batches.rows() if (row.endpoint, row.setting) == (route.endpoint, route.setting)]
        self._batches = {row.token: _Batch(row) for row in mine}
        self._of = {each.id: each.token for each in out if each.token in self._batches}
        self._halted = False

    async def carry(self, ticket: Ticket) -> Reply:
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        token = self._of.get(ticket.id)
        if token is None:
            self._gathered.append((ticket, future))
        else:
            batch = self._batches[token]
            batch.waiting[ticket.id] = ticket, future
            self._go_on(batch)
        try:
            return await future
        except asyncio.CancelledError:
            # Sent or about to be: the ledger knows which.
            if ticket.id in self._of:
                return _waiting("its batch is still out")
            self._gathered = [each for each in self._gathered if each[0].id != ticket.id]
            return Rejection(cause=Cause.STOPPED, decision=Decision.FAIL, message="the run was told to stop")

    def flush(self, *, halted: bool = False) -> None:
        """Send what was gathered: nothing more comes before an answer. `halted`: give it back, and wait for nothing."""
        if self._error is not None:
            raise self._error
        gathered, self._gathered = self._gathered, []
        if halted:
            self._halted = True
            for _, future in gathered:
                stop = Rejection(cause=Cause.STOPPED, decision=Decision.FAIL, message="the run was told to stop")
                _give(future, stop)
            for batch in self._batches.values():
                self._leave(batch, "its batch is still out")
            return
        lines: list[tuple[Ticket, asyncio.Future[Reply], bytes]] = []
        size = 0
        for ticket, future in gathered:
            body = self._provider.rendered(ticket.request).body
            if lines and (len(lines) >= self._service.max_lines or size + len(body) > self._service.max_bytes * 0.9):
                self._start(self._submit(lines))
                lines, size = [], 0
            lines.append((ticket, future, body))
            size += len(body) + 200  # and its frame
        if lines:
            self._start(self._submit(lines))

    async def rest(self, tickets: Sequence[Ticket]) -> list[tuple[Ticket, Reply]]:
        """The replies to `tickets`, that nobody waits for, as far as their batches have ended."""
        for batch in self._batches.values():
            if batch.row.token in {self._of.get(each.id) for each in tickets} and not self._halted:
                self._go_on(batch)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        found: list[tuple[Ticket, Reply]] = []
        for ticket in tickets:
            batch = self._batches.get(self._of.get(ticket.id, ""))  # type: ignore[assignment]
            if batch is not None and batch.results is not None:
                found.append((ticket, self._read(batch, ticket)))
        return found

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._provider.aclose()

    # --- sending ----------------------------------------------------------------------------------------------

    async def _submit(self, lines: Sequence[tuple[Ticket, asyncio.Future[Reply], bytes]]) -> None:
        token = secrets.token_hex(6)
        route = self._route
        row = BatchRow(
            token=token,
            endpoint=route.endpoint,
            model=route.model,
            setting=route.setting,
            asked=self._asked,
            service_id=None,
            state="submitting",
            submitted_at=time.time(),
            calls=len(lines),
        )
        batch = self._batches[token] = _Batch(row)
        for ticket, future, _ in lines:
            batch.waiting[ticket.id] = ticket, future
            self._of[ticket.id] = token
        tickets = [(ticket.id, ticket.request.tokens, len(body)) for ticket, _, body in lines]
        await asyncio.to_thread(self._ledger.batches.begin, row, tickets)
        try:
            named = [(f"{token}-{ticket.id}", body) for ticket, _, body in lines]
            answer = await self._service.submit(token, named)
        except RefusedError as error:
            if error.kind == "unsent":
                lost = Rejection(cause=Cause.CONNECTION, decision=Decision.RETRY, message=error.message)
                await self._never_sent(batch, lost)
                return
            answer = ""
        if isinstance(answer, Refusal):
            first = lines[0][0].request
            refused = self._provider.read(first, answer.response)
            if not isinstance(refused, Rejection):
                refused = Rejection(cause=Cause.BAD_BODY, decision=Decision.RETRY, message="no batch was made")
            await self._never_sent(batch, replace(refused, billing="free", usage=None))
            return
        if answer:
            await self._sent(batch, answer)
        await self._follow(batch)

    async def _sent(self, batch: _Batch, service_id: str) -> None:
        batch.row = replace(batch.row, service_id=service_id, state="out")
        await asyncio.to_thread(self._ledger.batches.sent, batch.row.token, service_id)

    async def _never_sent(self, batch: _Batch, reply: Rejection) -> None:
        """There is no such batch: its tickets are booked as `reply` says, or forgotten where nobody asks for them."""
        batch.missing, batch.results = reply, {}
        await asyncio.to_thread(self._ledger.batches.never_sent, batch.row.token)
        self._deliver(batch)

    # --- following --------------------------------------------------------------------------------------------

    def _go_on(self, batch: _Batch) -> None:
        """Have somebody look after the batch, or say at once what is known of it."""
        if batch.results is not None:
            self._deliver(batch)
        elif batch.left is not None or self._halted:
            self._leave(batch, batch.left or "its batch is still out")
        elif batch.task is None:
            batch.task = self._start(self._follow(batch))

    async def _follow(self, batch: _Batch) -> None:
        """Look at the batch until it has ended and its results are here, once where the run is not to wait."""
        wait = tenacity.wait_exponential(multiplier=POLL_S[0], max=POLL_S[1])
        state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
        failures = 0
        while not self._halted:
            last = f"batch {batch.row.service_id or 'just submitted'} is still out"
            try:
                if await self._advance(batch):
                    return
                failures = 0
                enough = not self._wait and batch.row.service_id is not None
            except RefusedError as error:
                failures += 1
                last = f"batch {batch.row.service_id or batch.row.token} could not be looked at: {error.message}"
                enough = not self._wait and failures >= LOOKS
            undecided = not self._wait and batch.row.service_id is None
            if enough or (undecided and time.time() - batch.row.submitted_at > SETTLED_S):
                self._leave(batch, last)
                return
            await asyncio.sleep(wait(state))
            state.attempt_number += 1

    async def _advance(self, batch: _Batch) -> bool:
        """One look; whether that was the last one that is needed."""
        row = batch.row
        if row.service_id is None:
            known = await asyncio.to_thread(self._ledger.batches.known_ids)
            found = await self._service.find(row.token, row.submitted_at, row.calls, known)
            if found.service_id is not None:
                await self._sent(batch, found.service_id)
            elif not found.open and time.time() - row.submitted_at > SETTLED_S:
                lost = "the submission of its batch never arrived"
                await self._never_sent(batch, Rejection(cause=Cause.CONNECTION, decision=Decision.RETRY, message=lost))
                return True
            return False
        seen = await self._service.look(row.service_id)
        if not seen.ended:
            return False
        results = await self._service.results(row.service_id, seen)
        batch.missing = _missing(seen.state, seen.said)
        batch.results, others = own_results(row.token, results)
        if others:
            self._note(f"batch {row.service_id}: {others} rows of its results are repeated or another's: left aside")
        if batch.missing.billing == "free":
            self._note(f"batch {row.service_id} {seen.state}: {seen.said}")
        self._deliver(batch)
        return True

    def _deliver(self, batch: _Batch) -> None:
        waiting, batch.waiting = batch.waiting, {}
        for ticket, future in waiting.values():
            _give(future, self._read(batch, ticket))

    def _read(self, batch: _Batch, ticket: Ticket) -> Reply:
        assert batch.results is not None
        assert batch.missing is not None
        result = batch.results.get(ticket.id, batch.missing)
        self._of.pop(ticket.id, None)  # asked again, it is another ticket
        reply = self._provider.read(ticket.request, result) if isinstance(result, HttpResponse) else result
        return replace(reply, batch=batch.row.service_id)

    def _leave(self, batch: _Batch, why: str) -> None:
        batch.left = why
        waiting, batch.waiting = batch.waiting, {}
        for _, future in waiting.values():
            _give(future, _waiting(why))

    # --- tasks ------------------------------------------------------------------------------------------------

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        self._error = self._error or error
        for batch in self._batches.values():  # whoever waits hears it
            waiting, batch.waiting = batch.waiting, {}
            for _, future in waiting.values():
                if not future.done():
                    future.set_exception(error if isinstance(error, MachineError) else RuntimeError(str(error)))


def own_results(token: str, results: Iterable[Result]) -> tuple[dict[int, HttpResponse | Rejection], int]:
    """The results of the batch's own tickets, and how many rows are none of them.

    Of a ticket's rows the first one counts, but an answer before a failure: it was made and is paid for."""
    own: dict[int, HttpResponse | Rejection] = {}
    others = 0
    for name, result in results:
        head, _, number = name.rpartition("-")
        if head != token or not (number.isascii() and number.isdecimal()):
            others += 1
            continue
        known = own.setdefault(int(number), result)
        if known is not result:
            others += 1
            if _answered(result) and not _answered(known):
                own[int(number)] = result
    return own, others


def _answered(result: HttpResponse | Rejection) -> bool:
    return isinstance(result, HttpResponse) and result.status < 300


def _missing(state: str, said: str) -> Rejection:
    """What stands for a ticket without a result: nothing was done in a batch that failed; in another it may have
    been."""
    if state == "failed":
        full = "token_limit" in said or "enqueued" in said
        cause = Cause.RATE_LIMITED if full else Cause.SERVER_ERROR
        return Rejection(cause=cause, decision=Decision.RETRY, message=f"its batch failed: {said}", billing="free")
    message = f"its batch ended ({state}) without a word on it"
    return Rejection(cause=Cause.BAD_BODY, decision=Decision.RETRY, message=message, billing="unknown")


def _waiting(message: str) -> Rejection:
    return Rejection(cause=Cause.WAITING, decision=Decision.FAIL, message=message, billing="free")


def _give(future: asyncio.Future[Reply], reply: Reply) -> None:
    if not future.done():
        future.set_result(reply)
