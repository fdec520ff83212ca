"""One request on its way: ledger → budget → limiter → provider, with retries.

Nothing is sent before its worst cost is reserved, in the budget and durably in the ledger; nothing is parsed
before its answer is stored. Equal requests in flight share one call.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

import tenacity
from docreduce.config import LimitSettings
from docreduce.desk.booking import Answered, Forms, attempt_row, bill, completion, reused_row, stored
from docreduce.desk.budget import Budget
from docreduce.desk.gate import Gate
from docreduce.desk.ledger import Ledger, Sample
from docreduce.desk.limits import Lease
from docreduce.models.calibration import sample
from docreduce.models.pricing import Pricing, Ratio, bound
from docreduce.values import (
    Answer,
    Attempt,
    Cause,
    Completion,
    Decision,
    Failure,
    Outcome,
    Provider,
    Rejection,
    Reply,
    Request,
)

__all__ = ["Dispatch"]

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
ACCIDENT_BACKOFF_S = 0.5
SAMPLES, SAMPLE_EVERY = 2_000, 32
"""Attempts of a run that are kept for calibration: so many, then one of so many."""
OUTAGE_ATTEMPTS = 100
"""Attempts a call may make in all where failures of the whole service (open circuit) do not count as its own."""


@dataclass(slots=True, kw_only=True, eq=False)
class Dispatch:
    """Answers requests, from the ledger or from the provider, and books every attempt.

    `halted` is the failure that ended the run for all calls not yet sent: a refusal, the cap, a stop."""

    run_id: str
    provider: Provider
    ledger: Ledger
    gate: Gate
    budget: Budget
    pricing: Pricing
    settings: LimitSettings
    ratio: Callable[[Request], Ratio] = lambda _: Ratio(1.0, 1.0, 1.0)  # model tokens per token of our count
    answer_tokens: Callable[[Request], int] = lambda request: request.max_output_tokens  # set aside of the rate
    retry_failed: bool = False
    fresh: bool = False
    halted: Failure | None = None
    _halting: asyncio.Event = field(default_factory=asyncio.Event)
    _freed: asyncio.Event = field(default_factory=asyncio.Event)
    _in_flight: dict[str, asyncio.Future[Outcome]] = field(default_factory=dict)
    _answered_now: set[str] = field(default_factory=set)
    _forms: Forms = field(default_factory=Forms)
    _sending: set[asyncio.Future[Reply]] = field(default_factory=set)
    _abandoned: bool = False
    _samples: int = 0

    def reuse(self, calls: Sequence[tuple[str, Request]]) -> dict[str, Answered]:
        """What the ledger already answers of `calls` (key, request), by key; it costs nothing.

        With `fresh`, only what this run has asked itself."""
        keys = [key for key, _ in calls if not self.fresh or key in self._answered_now]
        kept = self.ledger.stored(keys, retry_failed=self.retry_failed) if keys else {}
        return self._forms.reuse(kept, calls)

    def halt(self, cause: Cause, message: str) -> None:
        """Send nothing more; what is in flight goes on. The first cause stays, but a stop goes before the cap."""
        if self.halted is None or (cause is Cause.STOPPED and self.halted.cause is Cause.BUDGET):
            self.halted = Failure(key="", cause=cause, message=message)
            self._halting.set()
            self._freed.set()

    def abandon(self) -> None:
        """Give up the calls in flight; each is booked unknown, at its bound."""
        self._abandoned = True
        for sending in tuple(self._sending):
            sending.cancel()

    async def complete(self, request: Request, key: str, document_id: str) -> Answered:
        """The outcome of a request the ledger did not hold when looked up. Never raises for what provider or budget do.

        Raises MachineError if the ledger cannot be written: then nothing more may be sent."""
        known = self.reuse([(key, request)])  # an equal chunk may have been answered since the caller looked
        if known:
            return known[key]
        flying = self._in_flight.get(key)
        if flying is not None:
            outcome = await asyncio.shield(flying)
            return Answered(outcome, (reused_row(outcome, request),) if isinstance(outcome, Completion) else ())
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._in_flight[key] = future
        try:
            answered = await _Call(self, request, key, document_id).run()
        except BaseException as error:
            future.set_exception(error)
            future.exception()  # seen: nobody else may be waiting for it
            raise
        else:
            future.set_result(answered.outcome)
            self._forms.learn(request, answered.outcome)
            if self.fresh:
                self._answered_now.add(key)
            return answered
        finally:
            del self._in_flight[key]

    async def send(self, request: Request, timeout_s: float) -> Reply:
        """One attempt at the provider; an abandoned one is a STOPPED rejection that may have been billed."""
        sending = asyncio.ensure_future(self.provider.send(request, timeout_s=timeout_s))
        self._sending.add(sending)
        try:
            return await sending
        except asyncio.CancelledError:
            if not self._abandoned:
                raise
            message = "given up after the run was told to stop"
            return Rejection(cause=Cause.STOPPED, decision=Decision.FAIL, message=message, billing="unknown")
        finally:
            self._sending.discard(sending)

    async def afford(self, amount: int) -> bool:
        """Reserve `amount`; where calls in flight may still free money, wait for them. False: the cap is reached."""
        while self.halted is None:
            if self.budget.reserve(amount):
                return True
            if self.budget.reserved == 0:
                self.halt(Cause.BUDGET, "the next call could pass budget.max_cost_usd")
                break
            self._freed.clear()
            await self._freed.wait()
        return False

    def release(self, amount: int, charged: int, unknown: int) -> None:
        """End a reservation with what was charged and what may have been."""
        self.budget.settle(amount, charged, unknown)
        self._freed.set()

    def sample(self, request: Request, attempt: Attempt) -> Sample | None:
        """What the attempt teaches; of a long run, a part is enough."""
        self._samples += 1
        return sample(request, attempt) if self._samples <= SAMPLES or self._samples % SAMPLE_EVERY == 0 else None

    async def pause(self, seconds: float) -> None:
        """Sleep, but not past the end of the run."""
        try:
            await asyncio.wait_for(self._halting.wait(), seconds)
        except TimeoutError:
            return


@dataclass(slots=True)
class _Call:
    """One request's attempts."""

    dispatch: Dispatch
    request: Request
    key: str
    document_id: str
    attempts: list[Attempt] = field(default_factory=list)
    counted: int = 0  # attempts that count against max_attempts

    async def run(self) -> Answered:
        halted = self.dispatch.halted
        if halted is not None:
            return self._answered(halted.cause, halted.message)
        reply = await self._attempt()
        if self._may_retry(reply):
            reply = await self._retry(reply)
        if isinstance(reply, Answer):
            return Answered(completion(self.key, reply, self.attempts[-1]), tuple(self.attempts))
        return self._answered(reply.cause, reply.message)

    async def _retry(self, failed: Reply) -> Reply:
        """The last reply of all further attempts. Tenacity takes the failed first one for its own first attempt:
        most calls never come here, and it costs a tenth of a call."""
        replies = [failed]

        async def attempt() -> Reply:
            return replies.pop() if replies else await self._attempt()

        retrying = tenacity.AsyncRetrying(
            sleep=self.dispatch.pause,
            stop=self._exhausted,
            wait=self._wait_s,
            retry=tenacity.retry_if_result(self._may_retry),
            retry_error_callback=_reply,
        )
        return cast(Reply, await retrying(attempt))

    def _may_retry(self, reply: Reply) -> bool:
        return isinstance(reply, Rejection) and reply.decision is Decision.RETRY and self.dispatch.halted is None

    def _wait_s(self, state: tenacity.RetryCallState) -> float:
        """Back-off with full jitter (AWS, "Exponential Backoff And Jitter"); what the service asks for is a floor.

        An accident of one call among many that are answered says nothing of the service: it is not waited out."""
        reply = _reply(state)
        asked_s = reply.retry_after_s if isinstance(reply, Rejection) else None
        accident = isinstance(reply, Rejection) and reply.cause not in {Cause.RATE_LIMITED, Cause.OVERLOADED}
        if accident and asked_s is None and not self.dispatch.gate.limiter.troubled:
            return min(_backoff(state), ACCIDENT_BACKOFF_S)
        return max(_backoff(state), asked_s or 0.0)

    def _answered(self, cause: Cause, message: str) -> Answered:
        return Answered(Failure(key=self.key, cause=cause, message=message), tuple(self.attempts))

    def _exhausted(self, state: tenacity.RetryCallState) -> bool:
        return self.counted >= self.dispatch.settings.max_attempts or state.attempt_number >= OUTAGE_ATTEMPTS

    async def _attempt(self) -> Reply:
        """One attempt, booked from its reservation to its answer."""
        dispatch, gate = self.dispatch, self.dispatch.gate
        ratio = dispatch.ratio(self.request)
        input_high = math.ceil(self.request.input_tokens * ratio.high)
        worst = bound(dispatch.pricing, input_high, self.request.max_output_tokens)
        tokens = math.ceil(self.request.input_tokens * ratio.expected) + dispatch.answer_tokens(self.request)
        if not gate.limiter.fits(tokens):
            return _unsent(Cause.TOO_LARGE, f"a call of {tokens} tokens can never fit the account's token limit")
        if not await dispatch.afford(worst):
            return self._unsent_since_halted()
        try:
            lease = await gate.acquire(tokens, first=bool(self.attempts))
        except asyncio.CancelledError:
            dispatch.release(worst, 0, 0)
            raise
        if dispatch.halted is not None:  # while waiting for its turn
            gate.settle(lease, None, None)
            dispatch.release(worst, 0, 0)
            return self._unsent_since_halted()
        return await self._send(lease, worst)

    async def _send(self, lease: Lease, worst: int) -> Reply:
        dispatch, gate = self.dispatch, self.dispatch.gate
        number = len(self.attempts) + 1
        started_at, started = time.time(), gate.clock()
        try:
            attempt_id = await dispatch.ledger.reserve(
                dispatch.run_id, self.document_id, self.request, number, worst, started_at, key=self.key
            )
            reply = await dispatch.send(self.request, gate.timeout_s(lease, number))
        except BaseException:
            # Cancelled or the ledger failed: the durable reservation stays and is booked unknown when next opened.
            gate.settle(lease, None, None)
            dispatch.release(worst, 0, worst)
            raise
        latency_s = gate.clock() - started
        if isinstance(reply, Rejection) and reply.decision is Decision.STOP:
            dispatch.halt(reply.cause, reply.message)  # before the slot is free for another call
        billed = bill(self.request, reply, dispatch.pricing, worst)
        used = billed.usage
        gate.settle(lease, reply, used.input_tokens + used.output_tokens if used else None)
        dispatch.release(worst, billed.charged_pusd, billed.unknown_pusd)
        if not (isinstance(reply, Rejection) and self._outage(reply)):
            self.counted += 1
        attempt = attempt_row(self.request, self.key, reply, billed, number, started_at, latency_s)
        self.attempts.append(attempt)
        await dispatch.ledger.settle(
            attempt_id, attempt, stored(self.key, reply, billed), dispatch.sample(self.request, attempt)
        )
        return reply

    def _outage(self, reply: Rejection) -> bool:
        """Whether this failure is the whole service's and not this call's."""
        whole = {Cause.CONNECTION, Cause.OVERLOADED, Cause.SERVER_ERROR, Cause.RATE_LIMITED}
        return reply.cause in whole and self.dispatch.gate.paused_s() is not None

    def _unsent_since_halted(self) -> Rejection:
        halted = self.dispatch.halted
        if halted is None:
            raise RuntimeError("unsent, though the run goes on")
        return _unsent(halted.cause, halted.message)


def _unsent(cause: Cause, message: str) -> Rejection:
    return Rejection(cause=cause, decision=Decision.FAIL, message=message)


_backoff = tenacity.wait_random_exponential(multiplier=FIRST_BACKOFF_S, max=LONGEST_BACKOFF_S)


def _reply(state: tenacity.RetryCallState) -> Reply:
    return cast(Reply, cast("tenacity.Future", state.outcome).result())
