"""The actors of the Ray executor: workers that run shards, and the governor that divides the account among them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from docreduce.config import Job, parse_job
from docreduce.engine.governor import LAPSE_S, WHOLE, Governor, Grant, Report
from docreduce.engine.opening import open_ledger
from docreduce.engine.run import Run, RunOptions, run_job
from docreduce.engine.shards import LIMITS, ledger_on, sharded
from docreduce.settings import LimitSettings

__all__ = ["EXCHANGE_S", "GovernorActor", "Order", "Worker", "limits_of", "smallest"]

EXCHANGE_S = 1.0
"""A share follows demand within two or three exchanges; of each the governor takes a millisecond."""


def limits_of(job: Job) -> list[LimitSettings]:
    """Of all routes, in their order."""
    return [job.limits, *(each.limits for each in job.model.fallback)]


class GovernorActor:
    """The governor as an actor, with a clock."""

    def __init__(self, **settings: Any) -> None:
        self._governor = Governor(**settings)

    def exchange(self, number: int, report: Report) -> Grant:
        return self._governor.exchange(number, report, time.monotonic())

    def ended(self, number: int, spent_pusd: int | None) -> None:
        self._governor.ended(number, spent_pusd)

    def expect(self, workers: int) -> None:
        self._governor.expected = workers

    def stop(self) -> None:
        self._governor.stopped = True

    def view(self) -> dict[int, tuple[Report, bool]]:
        return self._governor.view()

    def held(self) -> tuple[int, int]:
        return self._governor.held


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A shard to be run: the job as its file states it, and the folder its paths are taken from."""

    stated: dict[str, Any]
    folder: str
    number: int
    of: int
    scratch: str | None
    options: RunOptions


class Worker:
    """Runs a shard at a time."""

    def ready(self) -> bool:
        return True

    def run(self, order: Order, governor: Any) -> int:
        """The pico-dollars that the shard has spent, or may have."""
        import ray
        import uvloop

        os.chdir(order.folder)
        whole = parse_job(order.stated)
        job, shard = sharded(whole, order.number, order.of, at_once=1)  # limits and cap are the governor's to give
        tuner = _Tuner(ray, governor, order.number, limits_of(whole))
        ledger = ledger_on(order.scratch, whole, order.number, order.of)
        # What was in flight when it died is booked unknown by it.
        with open_ledger(job, replace(order.options, ledger=ledger)) as opened:
            carried = opened.carried(job.name)
        grant = tuner.first(carried.charged_pusd + carried.unknown_pusd)
        limits = [_part(each, grant.share) for each in limits_of(whole)]
        fallback = [
            each.model_copy(update={"limits": own}) for each, own in zip(whole.model.fallback, limits[1:], strict=True)
        ]
        model = job.model.model_copy(update={"fallback": fallback})
        own_limits = whole.limits.model_copy(update={name: getattr(limits[0], name) for name in LIMITS})
        job = job.model_copy(update={"limits": own_limits, "model": model})
        shard = replace(shard, cap_pusd=grant.cap_pusd)
        options = replace(order.options, shard=shard, ledger=ledger)
        run_job(job, options, steer=tuner.steer, loop_factory=uvloop.new_event_loop)
        return tuner.spent


def _part(limits: LimitSettings, share: int) -> LimitSettings:
    """The limits of so many millionths, in whole units; of nothing the least there is, one a minute or one slot."""
    wholes = {name: getattr(limits, name) for name in LIMITS}
    return limits.model_copy(
        update={name: max(1, whole * share // WHOLE) for name, whole in wholes.items() if whole is not None}
    )


@dataclass(slots=True)
class _Tuner:
    """Keeps a run to what the governor grants, in a thread of its own."""

    ray: Any
    governor: Any
    number: int
    limits: Sequence[LimitSettings]
    spent: int = 0
    share: int = 0

    def first(self, spent_pusd: int) -> Grant:
        """The first grant that is something; others may have to give it up before. `spent_pusd`: by earlier runs."""
        report = Report(ready=1_000_000, spent_pusd=spent_pusd)
        while True:
            grant: Grant = self.ray.get(self.governor.exchange.remote(self.number, report))
            if grant.share * min(smallest(self.limits), WHOLE) >= WHOLE:
                self.share = grant.share
                return grant
            time.sleep(EXCHANGE_S / 4)

    @contextmanager
    def steer(self, run: Run) -> Iterator[None]:
        """Exchanges while the run goes on."""
        # Through the least there is, so that it begins with empty buckets: the account's burst is there once, and
        # not anew for each shard.
        for share in (0, self.share):
            run.retune([_part(each, share) for each in self.limits], run.budget.cap_pusd)
        ended = threading.Event()
        thread = threading.Thread(target=self._exchange, args=(run, ended), name="exchange", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self.spent = run.budget.charged + run.budget.unknown

    def _exchange(self, run: Run, ended: threading.Event) -> None:
        from ray.exceptions import GetTimeoutError, RayError

        renewed = time.monotonic()
        while not ended.wait(EXCHANGE_S):
            report = _report(run)
            try:
                grant = self.ray.get(self.governor.exchange.remote(self.number, report), timeout=LAPSE_S / 2)
            except GetTimeoutError:
                if time.monotonic() - renewed > LAPSE_S / 2:  # before others may have it
                    self._apply(run, Grant(share=0, cap_pusd=run.budget.cap_pusd))
                continue
            except RayError as error:
                run.call_soon(run.stop, f"the governor is gone: {error}")
                return
            renewed = time.monotonic()
            if grant.stop:
                run.call_soon(run.stop, "interrupted")
            self._apply(run, grant)

    def _apply(self, run: Run, grant: Grant) -> None:
        limits: list[LimitSettings] = []
        if grant.share != self.share:
            self.share = grant.share
            limits = [_part(each, grant.share) for each in self.limits]
        with suppress(RuntimeError):  # the run has just ended
            run.call_soon(run.retune, limits, grant.cap_pusd)


def smallest(limits: Sequence[LimitSettings]) -> int:
    wholes = [getattr(each, name) for each in limits for name in LIMITS]
    return min((whole for whole in wholes if whole is not None), default=WHOLE)


def _report(run: Run) -> Report:
    counts, budget = run.counts, run.budget
    return Report(
        ready=run.backlog,
        spent_pusd=budget.charged + budget.unknown + budget.reserved,
        documents=counts.done,
        calls=counts.calls,
        rate_limited=counts.rate_limited,
        failed=counts.documents["failed"],
    )
