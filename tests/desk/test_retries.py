"""Whether a call is asked again, and when."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from desks import answer, desk, line, rejection, request, route
from docreduce.desk import Ask, Ledger, Line, Ticket
from docreduce.desk.retries import again_s, counts
from docreduce.desk.routing import Call, Routing
from docreduce.values import Cause, Decision, Rejection


@pytest.fixture
def ticket(tmp_path: Path) -> Ticket:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        decides = desk(ledger, line())
        decides.turn([], [Ask(request().key, request(), "doc")], 0.0)
        found = decides.take(0.0)
        assert isinstance(found, Ticket)
        return found


def again(ticket: Ticket, reply: Rejection, call: Call, at: Line | None = None, most: int = 3) -> float | None:
    at = at or line(ticket.route)
    return again_s(replace(ticket, route=at.route), reply, call, Routing([at]), most, 0.0)


@pytest.mark.parametrize(("started", "goes_on"), [(164.0, True), (165.0, False)])
def test_a_call_that_is_rate_limited_is_asked_until_its_attempts_span_the_longest_window(
    ticket: Ticket, started: float, goes_on: bool
) -> None:
    call = Call(attempts=9, counted=9, began=100.0)
    late = replace(ticket, started_at=started)
    wait_s = again(late, rejection(Cause.RATE_LIMITED, retry_after_s=2.0), call)
    assert wait_s == (2.0 if goes_on else None)
    assert again(late, rejection(Cause.TIMEOUT), call) is None


@pytest.mark.parametrize(("counted", "goes_on"), [(2, True), (3, False)])
def test_a_call_has_its_attempts_and_no_more(ticket: Ticket, counted: int, goes_on: bool) -> None:
    wait_s = again(ticket, rejection(Cause.TIMEOUT), Call(attempts=counted, counted=counted, began=0.0))
    assert (wait_s is not None) == goes_on


@pytest.mark.parametrize(("attempts", "goes_on"), [(99, True), (100, False)])
def test_where_failures_are_the_services_a_call_is_still_asked_a_hundred_times_at_most(
    ticket: Ticket, attempts: int, goes_on: bool
) -> None:
    wait_s = again(ticket, rejection(Cause.SERVER_ERROR), Call(attempts=attempts, counted=0, began=0.0))
    assert (wait_s is not None) == goes_on


@pytest.mark.parametrize(
    ("attempts", "stated_s", "wait_s"), [(1, None, 1.0), (3, None, 4.0), (9, None, 30.0), (1, 7.0, 7.0), (9, 7.0, 30.0)]
)
def test_calls_of_a_batch_wait_alike_so_that_they_go_out_together(
    ticket: Ticket, attempts: int, stated_s: float | None, wait_s: float
) -> None:
    at = line(replace(route(), batch=True))
    reply = rejection(Cause.SERVER_ERROR, retry_after_s=stated_s)
    assert again(ticket, reply, Call(attempts=attempts, counted=1, began=0.0), at, most=99) == wait_s


def test_a_wait_without_a_word_of_the_service_is_drawn_and_bounded(ticket: Ticket) -> None:
    call = Call(attempts=12, counted=1, began=0.0)
    waits = [again(ticket, rejection(Cause.RATE_LIMITED), call, most=99) or 0.0 for _ in range(50)]
    assert all(0 <= each <= 30 for each in waits)
    assert max(waits) > 5
    accidents = [again(ticket, rejection(Cause.CONNECTION), call, most=99) or 0.0 for _ in range(50)]
    assert max(accidents) <= 0.5, "one failure says nothing of the service"


def test_an_attempt_counts_unless_the_whole_service_failed_or_it_is_asked_another_way() -> None:
    at = line()
    assert counts(answer(), at, 0.0)
    assert counts(rejection(Cause.SERVER_ERROR), at, 0.0)
    assert not counts(rejection(Cause.BAD_REQUEST, Decision.AGAIN), at, 0.0)
    for _ in range(8):
        lease = at.limiter.lease(10, 0.0)
        if isinstance(lease, int | float):
            break
        at.limiter.settle(lease, 0.0, rejection(Cause.RATE_LIMITED, http_status=429, retry_after_s=9.0))
    assert at.limiter.paused_until(1.0) is not None
    assert not counts(rejection(Cause.SERVER_ERROR), at, 1.0)
    assert counts(rejection(Cause.TIMEOUT), at, 1.0)
    flex = line(route(service_tier="flex"))
    assert not counts(rejection(Cause.OVERLOADED), flex, 0.0)
    assert counts(rejection(Cause.SERVER_ERROR), flex, 0.0)
