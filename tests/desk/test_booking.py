"""What of a reply is booked, kept and learned; what no run goes on with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from desks import BOUND, COST, answer, desk, line, play, rejection, request, route
from docreduce.desk import Ask, Ledger, Ticket
from docreduce.desk import desk as desk_module
from docreduce.desk.booking import MOST_THOUGHT, TEMPLATE_TOKENS, misstated
from docreduce.settings import LimitSettings
from docreduce.values import Answer, Cause, Completion, Decision, Failure, Reply, Usage


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.sqlite") as opened:
        yield opened


def test_an_attempt_that_failed_says_what_the_service_said(ledger: Ledger) -> None:
    refusal = rejection(Cause.BAD_REQUEST, Decision.FAIL, http_status=400)
    _, (attempt,) = play(desk(ledger), [request()], lambda *_: refusal).of(request())
    assert (attempt.outcome, attempt.error, attempt.http_status) == ("bad_request", "said bad_request", 400)
    assert (attempt.billing, attempt.cost_pusd) == ("free", 0)


def test_an_answer_that_nobody_counted_is_guessed_by_its_characters_and_booked_at_its_bound(ledger: Ledger) -> None:
    reply = answer("x" * 40, usage=None)
    _, (attempt,) = play(desk(ledger), [request()], lambda *_: reply).of(request())
    assert attempt.usage == Usage(input_tokens=20, output_tokens=10)
    assert (attempt.billing, attempt.cost_pusd) == ("unknown", BOUND)


@pytest.mark.parametrize(
    ("thought", "chars", "stated"),
    [
        (MOST_THOUGHT, 40, None),
        (MOST_THOUGHT + 1, 40, "too much"),
        (300_000, 100_000, None),
        (400_001, 100_000, "too much"),
    ],
)
def test_thoughts_are_believed_as_far_as_any_service_lets_think_or_as_they_were_seen(
    ledger: Ledger, thought: int, chars: int, stated: str | None
) -> None:
    usage = Usage(input_tokens=20, output_tokens=5 + thought, reasoning_tokens=thought)
    ticket = first(ledger)
    assert misstated(ticket, answer("x" * 40, usage=usage, chars=chars)) == stated


def first(ledger: Ledger) -> Ticket:
    decides = desk(ledger)
    decides.turn([], [Ask(request().key, request(), "doc")], 0.0)
    ticket = decides.take(0.0)
    assert isinstance(ticket, Ticket)
    return ticket


@pytest.mark.parametrize("usage", [Usage(input_tokens=0, output_tokens=5), Usage(input_tokens=20, output_tokens=0)])
def test_nothing_for_something_is_no_count(ledger: Ledger, usage: Usage) -> None:
    reply = answer("something", usage=usage)
    assert misstated(first(ledger), reply) == "too little"
    assert misstated(first(ledger), replace(reply, text="")) == ("too little" if not usage.input_tokens else None)


def test_an_answer_to_a_text_read_in_part_is_known_as_such_and_a_whole_one_is_not(ledger: Ledger) -> None:
    decides = desk(ledger)
    for number, partly in enumerate((True, False)):
        asked = request(number)
        play(decides, [asked], lambda *_, partly=partly: answer(truncated=partly))
        known = decides.known({asked.key: asked})[asked.key]
        assert isinstance(known, Completion)
        assert known.truncated == partly


def test_the_cap_says_what_the_next_call_could_cost_and_what_is_left(ledger: Ledger) -> None:
    decides = desk(ledger, line(concurrency=1), cap=3 * 10**9)
    decides.budget.carry(10**9)
    dear = request(tokens=10**9)
    play(decides, [dear], lambda *_: answer())
    assert decides.halted is not None
    assert decides.halted.cause is Cause.BUDGET
    assert decides.halted.message.endswith(
        "it is bounded by 0.010000 USD, and 0.002000 USD are left",
    )


@pytest.mark.parametrize(("over", "stated"), [(0, None), (1, "too much")])
def test_a_request_is_no_more_tokens_than_its_bytes_its_schema_twice_and_a_template(
    ledger: Ledger, over: int, stated: str | None
) -> None:
    asked = request("é" * 50, schema="x" * 300)
    most = TEMPLATE_TOKENS + 100 + 2 * 300
    decides = desk(ledger)
    decides.turn([], [Ask(asked.key, asked, "doc")], 0.0)
    ticket = decides.take(0.0)
    assert isinstance(ticket, Ticket)
    assert misstated(ticket, answer(usage=Usage(input_tokens=most + over, output_tokens=5))) == stated


def test_so_many_answers_may_wait_for_the_disk_and_no_more(ledger: Ledger) -> None:
    at = line(concurrency=16)
    decides = desk(ledger, at)
    decides.turn([], [Ask(each.key, each, "doc") for each in map(request, range(40))], 0.0)
    replies = []
    for now in range(40):
        ticket = decides.take(float(now))
        if not isinstance(ticket, Ticket):
            break
        decides.arrived(ticket, answer(), float(now))
        replies.append((ticket, answer(), 1.0))
    assert len(replies) == at.limiter.window + max(2, at.limiter.window // 4)
    assert (at.full, decides.bound()) == (True, "ledger")
    decides.turn(replies[:1], [], 50.0)
    assert not at.full
    assert isinstance(decides.take(50.0), Ticket)


# --- what is learned ----------------------------------------------------------------------------------------------


def test_what_was_cut_short_before_it_was_read_teaches_nothing(ledger: Ledger) -> None:
    at = line(counted=False)
    play(desk(ledger, at), [request(tokens=200)], lambda *_: answer(truncated=True))
    assert ledger.samples(at.route.endpoint, "m") == []
    assert not at.meter.known("latin0-en")
    play(desk(ledger, at), [request("other", tokens=200)], lambda *_: answer())
    assert [each.input_tokens for each in ledger.samples(at.route.endpoint, "m")] == [10]


def test_of_a_long_run_a_part_is_kept_as_samples(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk_module, "SAMPLES", 3)
    monkeypatch.setattr(desk_module, "SAMPLE_EVERY", 4)
    play(desk(ledger, line(concurrency=1)), [request(n) for n in range(12)], lambda *_: answer())
    assert len(ledger.samples(route().endpoint, "m")) == 3 + len([4, 8, 12])


def test_a_call_that_was_taken_is_known_as_sent_to_whoever_opens_what_is_left(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "a" / "ledger.sqlite") as ledger:
        decides = desk(ledger, line(concurrency=2))
        decides.turn([], [Ask(each.key, each, "doc") for each in map(request, range(2))], 0.0)
        assert isinstance(decides.take(0.0), Ticket)
        shutil.copytree(tmp_path / "a", tmp_path / "b")  # as a killed process leaves it
    with Ledger.open(tmp_path / "b" / "ledger.sqlite") as left:
        assert left.recovered == [BOUND]


# --- what no run goes on with -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tokens", "halts"), [(50, False), (51, True)])
def test_a_bill_may_reach_its_bound_and_not_pass_it(ledger: Ledger, tokens: int, halts: bool) -> None:
    decides = desk(ledger, cap=10**9)
    _, (attempt,) = play(
        decides, [request()], lambda *_: answer(usage=Usage(input_tokens=20, output_tokens=tokens))
    ).of(request())
    assert (attempt.billing, attempt.cost_pusd) == ("charged", BOUND + 100 * (tokens - 50))
    assert (decides.halted is not None) == halts


def cut(number: int) -> Answer:
    return answer(f"cut {number}", finish_reason="length")


@pytest.mark.parametrize(("breaks_off", "halts"), [(4, False), (5, True)])
def test_a_job_whose_first_twenty_answers_break_off_too_often_is_halted(
    ledger: Ledger, breaks_off: int, halts: bool
) -> None:
    decides = desk(ledger, line(concurrency=1))
    said: list[Reply] = [cut(n) if n < breaks_off else answer() for n in range(20)]
    played = play(decides, [request(n) for n in range(30)], lambda *_: said.pop(0) if said else cut(99))
    # Later ones do not count; one may be on its way when the twentieth is booked.
    assert len(played.sent) in ((20, 21) if halts else (30,))
    assert (decides.halted is not None) == halts
    if decides.halted:
        assert decides.halted.cause is Cause.CUT
        assert "5 of the first 20 answers broke off at 50 tokens" in decides.halted.message


def test_the_third_refusal_alike_of_first_calls_ends_the_run(ledger: Ledger) -> None:
    decides = desk(ledger, line(concurrency=1))
    refusal = rejection(Cause.BAD_REQUEST, Decision.FAIL)
    played = play(decides, [request(n) for n in range(9)], lambda *_: refusal)
    assert len(played.sent) == 3
    assert decides.halted is not None
    kept = {each.cause for each in played.outcomes.values() if isinstance(each, Failure)}
    assert kept == {Cause.BAD_REQUEST}


def test_an_outcome_after_a_halt_is_the_halts_where_the_call_would_have_been_asked_again(ledger: Ledger) -> None:
    decides = desk(ledger)
    decides.turn([], [Ask(request().key, request(), "doc")], 0.0)
    ticket = decides.take(0.0)
    assert isinstance(ticket, Ticket)
    decides.halt(Cause.STOPPED, "interrupted")
    reply = rejection(Cause.SERVER_ERROR)
    decides.arrived(ticket, reply, 1.0)
    (settled,) = decides.turn([(ticket, reply, 1.0)], [], 1.0).settled
    assert settled.outcome == Failure(key=request().key, cause=Cause.STOPPED, message="interrupted")


def test_the_first_refusal_stays_whatever_is_told_after_it(ledger: Ledger) -> None:
    for first_cause, later in ((Cause.AUTHENTICATION, Cause.STOPPED), (Cause.BUDGET, Cause.AUTHENTICATION)):
        decides = desk(ledger)
        decides.halt(first_cause, "first")
        decides.halt(later, "later")
        assert decides.halted == Failure(key="", cause=first_cause, message="first")


# --- limits told anew ---------------------------------------------------------------------------------------------


def test_limits_told_anew_hold_at_once_and_those_that_did_not_change_stay_found_out(ledger: Ledger) -> None:
    at = line(route(limits=LimitSettings(requests_per_minute=1)), concurrency=None, requests_per_minute=1.0)
    decides = desk(ledger, at)
    decides.turn([], [Ask(each.key, each, "doc") for each in map(request, range(4))], 0.0)
    assert isinstance(decides.take(0.0), Ticket)
    wait_s = decides.take(0.0)
    assert not isinstance(wait_s, Ticket)
    assert wait_s > 30
    decides.retune([LimitSettings(requests_per_minute=1, give_up_s=5.0, max_attempts=7)], None, 0.0)
    assert (at.give_up_s, decides.max_attempts, decides.take(0.0)) == (5.0, 7, wait_s)
    told = LimitSettings(requests_per_minute=6000, tokens_per_minute=10**9, concurrency=9)
    decides.retune([told], 3 * COST, 0.0)
    assert decides.budget.cap_pusd == 3 * COST
    decides.turn([], [Ask("k", request("new"), "doc")], 1.0)
    assert isinstance(decides.take(1.0), Ticket)


def test_a_person_who_pauses_holds_all_and_is_said_to(ledger: Ledger) -> None:
    decides = desk(ledger)
    decides.turn([], [Ask(request().key, request(), "doc")], 0.0)
    limits = [LimitSettings()]
    decides.retune(limits, None, 0.0, paused=True)
    assert decides.bound() == "pause"
    assert not isinstance(decides.take(0.0), Ticket)
    decides.retune(limits, None, 0.0)
    assert decides.bound() is None
    assert isinstance(decides.take(0.0), Ticket)
    with pytest.raises(ValueError, match="zip"):
        decides.retune([], None, 0.0)


def test_room_is_what_may_be_in_flight_less_what_is_or_is_about_to_be(ledger: Ledger) -> None:
    decides = desk(ledger, line(concurrency=8))
    whole = decides.room(0.0)
    decides.turn([], [Ask(each.key, each, "doc") for each in map(request, range(3))], 0.0)
    assert decides.room(0.0) == whole - 3
    assert isinstance(decides.take(0.0), Ticket)
    assert decides.room(0.0) <= whole - 3


def test_trouble_says_the_newest_failure_and_how_often_it_failed(ledger: Ledger) -> None:
    decides = desk(ledger)
    assert decides.trouble is None
    decides.turn([], [Ask(each.key, each, "doc") for each in map(request, range(4))], 0.0)
    for cause, told in (
        (Cause.CONNECTION, "said connection (1 try)"),
        (Cause.SERVER_ERROR, "said server_error (2 tries)"),
        (None, None),
        (Cause.CONNECTION, "said connection (1 try)"),
    ):
        ticket = decides.take(0.0)
        assert isinstance(ticket, Ticket)
        reply = answer() if cause is None else rejection(cause)
        decides.arrived(ticket, reply, 0.0)
        decides.turn([(ticket, reply, 1.0)], [], 0.0)
        assert decides.trouble == told
