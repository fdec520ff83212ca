"""When a service that only fails is given up: on time from every wait, and never for time in which nobody asked it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from desks import answer, desk, line, play, rejection, request, route
from docreduce.desk import Ask, Ledger, Ticket
from docreduce.desk.lines import LOADING_S
from docreduce.values import Cause, Decision, Failure, Reply
from drives import document, driven
from virtual import run_virtual


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.sqlite") as opened:
        yield opened


@pytest.mark.parametrize("stated_s", [None, 7.0, 49.0])
def test_a_rest_does_not_outlast_give_up_s(ledger: Ledger, stated_s: float | None) -> None:
    decides = desk(ledger, line(give_up_s=50.0, concurrency=2), max_attempts=100)
    refused = rejection(Cause.OVERLOADED, retry_after_s=stated_s)
    played = play(decides, [request(n) for n in range(5)], lambda _, now: answer() if now < 2 else refused)
    assert played.now == pytest.approx(52, abs=1.1)


def test_time_in_which_nothing_is_asked_or_a_person_pauses_is_no_failure(ledger: Ledger) -> None:
    decides = desk(ledger, line(give_up_s=50.0, concurrency=2), max_attempts=1)
    failed = play(decides, [request(1)], lambda *_: rejection(Cause.SERVER_ERROR)).now
    decides.take(failed)
    play(decides, [request(2)], lambda *_: rejection(Cause.SERVER_ERROR), now=failed + 500)
    assert decides.halted is None
    decides.take(failed + 501)
    decides.turn([], [Ask(request(3).key, request(3), "doc")], failed + 510)
    decides.paused = True
    assert decides.take(failed + 511) == math.inf
    decides.paused = False
    assert isinstance(decides.take(failed + 900), Ticket)
    assert decides.halted is None


def test_a_call_in_flight_is_awaited_though_others_fail_for_longer_than_give_up_s(ledger: Ledger) -> None:
    decides = desk(ledger, line(give_up_s=50.0, concurrency=2))
    decides.turn([], [Ask(request(n).key, request(n), "doc") for n in range(2)], 0.0)
    slow, other = decides.take(0.0), decides.take(0.0)
    assert isinstance(slow, Ticket)
    assert isinstance(other, Ticket)
    decides.arrived(other, rejection(Cause.OVERLOADED), 1.0)
    decides.turn([(other, rejection(Cause.OVERLOADED), 1.0)], [], 1.0)
    decides.take(200.0)
    assert decides.halted is None
    decides.arrived(slow, answer(), 201.0)
    decides.take(201.0)
    assert decides.halted is None


def test_a_line_that_rests_is_not_given_up_by_the_clock_while_another_answers(ledger: Ledger) -> None:
    first = line(route("a"), give_up_s=50.0, concurrency=2)
    second = line(route("b"), concurrency=2)
    decides = desk(ledger, first, second)

    def service(ticket: Ticket, now: float) -> Reply:
        if ticket.route.model == "b":
            return answer() if now < 400 else rejection(Cause.AUTHENTICATION, Decision.STOP)
        return rejection(Cause.OVERLOADED, retry_after_s=40.0) if now < 5 else answer()

    play(decides, [request(n) for n in range(9)], service, latency_s=20.0)
    decides.take(300.0)
    assert first.closed is None
    late = play(decides, [request(f"late {n}") for n in range(4)], service, now=450.0)
    assert {each.route.model for each in late.sent} == {"a"}


def test_where_all_lines_fail_the_run_ends_once_the_last_of_them_is_given_up(ledger: Ledger) -> None:
    first = line(route("a"), give_up_s=50.0, concurrency=2)
    second = line(route("b"), give_up_s=90.0, concurrency=2)
    decides = desk(ledger, first, second, max_attempts=100)
    played = play(decides, [request(n) for n in range(3)], lambda *_: rejection(Cause.CONNECTION))
    assert first.closed is not None
    assert played.now < 50 + 90 + 10
    assert decides.halted is not None
    assert {outcome.cause for outcome in played.outcomes.values() if isinstance(outcome, Failure)} == {
        Cause.UNREACHABLE
    }


@pytest.mark.parametrize(
    "refused",
    [
        rejection(Cause.CONNECTION),
        rejection(Cause.SERVER_ERROR),
        rejection(Cause.RATE_LIMITED, retry_after_s=200.0),
        rejection(Cause.TIMEOUT),
    ],
)
def test_a_run_whose_service_never_answers_ends_on_time(tmp_path: Path, refused: Reply) -> None:
    async def service(_: Ticket) -> Reply:
        return refused

    found = run_virtual(lambda: driven((document(n) for n in range(40)), tmp_path, service, max_attempts=1000))
    assert found.seconds == pytest.approx(240, abs=1), "two time-outs, before the first answer"
    assert {row.result.error_kind for row in found.rows} == {Cause.UNREACHABLE}
    assert len(found.rows) == 40


def test_a_model_that_loads_is_waited_for_an_hour_and_given_up_as_any_other_after_it(ledger: Ledger) -> None:
    loads = rejection(Cause.OVERLOADED, http_status=503)
    loads = replace(loads, message="HTTP 503: Loading model")
    decides = desk(ledger, line(give_up_s=50.0, concurrency=1), max_attempts=10_000)
    played = play(decides, [request()], lambda *_: loads)
    assert played.now == pytest.approx(1 + LOADING_S + 50, abs=65), "a minute is the longest rest between two tries"
    assert decides.halted is not None
    assert decides.halted.cause is Cause.UNREACHABLE
    assert len(played.sent) > 60


def test_a_model_that_has_loaded_begins_anew_when_it_loads_again(ledger: Ledger) -> None:
    loads = replace(rejection(Cause.OVERLOADED, http_status=503), message="the model is currently loading")
    decides = desk(ledger, line(give_up_s=50.0, concurrency=1), max_attempts=10_000)
    played = play(
        decides, [request(n) for n in range(2)], lambda _, now: answer() if 3000 < now < 3200 or now > 5000 else loads
    )
    assert decides.halted is None
    assert len(played.outcomes) == 2


def test_what_failed_before_and_after_a_time_without_calls_counts_together(ledger: Ledger) -> None:
    at = line(give_up_s=50.0)
    decides = desk(ledger, at)
    at.failing_since = 0.0
    decides.take(30.0)
    decides.take(400.0)
    decides.turn([], [Ask(request().key, request(), "doc")], 530.0)
    assert isinstance(decides.take(530.0), Ticket)
    assert at.failing_since == 500.0
    assert at.patience_left_s(530.0) == 20.0


def test_a_line_that_fails_for_too_long_is_closed_at_a_failure_also_while_another_answers(ledger: Ledger) -> None:
    first, second = line(route("a"), give_up_s=50.0), line(route("b"))
    decides = desk(ledger, first, second)
    asks = [Ask(request(n).key, request(n), "doc") for n in range(2)]
    decides.turn([], asks, 0.0)
    for now in (1.0, 60.0):
        ticket = decides.take(now)
        assert isinstance(ticket, Ticket)
        assert (ticket.route.model, first.closed) == ("a", None)
        decides.arrived(ticket, rejection(Cause.SERVER_ERROR), now)
    assert first.closed is not None
    assert (first.closed.cause, second.closed, decides.halted) == (Cause.UNREACHABLE, None, None)
