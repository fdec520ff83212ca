"""What the desk decides: reuse, retries, the cap, fall-back, ends, and what is booked for each."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from desks import BOUND, COST, PRICE, Played, answer, desk, line, play, rejection, request, route
from docreduce.desk import Ask, Carried, Desk, Ledger, Ticket
from docreduce.models.prices import stated
from docreduce.settings import LimitSettings, PricingSettings
from docreduce.values import Cause, Completion, Decision, Failure, Reply, Usage

DEARER = stated(PricingSettings(input_usd_per_million=0.0001, output_usd_per_million=0.001), "test")
Service = Callable[[Ticket, float], Reply]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.sqlite") as opened:
        opened.begin_run("run", "job", "0", 0.0)
        yield opened


def says(*replies: Reply) -> Service:
    """These in turn, then the last of them for ever."""
    left = list(replies)
    return lambda ticket, now: left.pop(0) if len(left) > 1 else left[0]


def by_model(**replies: Reply) -> Service:
    return lambda ticket, now: replies[ticket.route.model]


def models(played: Played) -> list[str]:
    return [ticket.route.model for ticket in played.sent]


# --- one call -----------------------------------------------------------------------------------------------------


def test_an_answer_is_stored_charged_and_known_without_another_call(ledger: Ledger) -> None:
    decides, asked = desk(ledger), request()
    outcome, (attempt,) = play(decides, [asked], says(answer())).of(asked)
    assert isinstance(outcome, Completion)
    assert (outcome.text, outcome.cost_pusd, outcome.model, outcome.reused) == ("fine", COST, "m", False)
    assert (attempt.billing, attempt.cost_pusd, attempt.outcome) == ("charged", COST, "ok")
    assert (decides.budget.charged, decides.budget.reserved) == (COST, 0)
    again = decides.known({asked.key: asked})[asked.key]
    assert isinstance(again, Completion)
    assert (again.text, again.cost_pusd, again.reused) == ("fine", COST, True)
    assert ledger.carried("job") == Carried(charged_pusd=COST, unknown_pusd=0)


def test_an_attempt_says_who_was_asked_and_what_the_service_said(ledger: Ledger) -> None:
    reply = answer(finish="end_turn", service_tier="flex", request_id="r-1")
    _, (attempt,) = play(desk(ledger), [request()], says(reply)).of(request())
    assert (attempt.model, attempt.endpoint) == ("m", "https://m.example/v1")
    assert (attempt.finish_reason, attempt.service_tier, attempt.request_id) == ("end_turn", "flex", "r-1")


def test_a_retry_books_each_attempt_with_its_cause_and_price(ledger: Ledger) -> None:
    replies = (
        rejection(Cause.SERVER_ERROR, http_status=500),
        rejection(Cause.BAD_BODY, billing="unknown", http_status=200),
        answer(),
    )
    _, attempts = play(desk(ledger), [request()], says(*replies)).of(request())
    assert [(each.attempt, each.outcome, each.billing, each.cost_pusd) for each in attempts] == [
        (1, "server_error", "free", 0),
        (2, "bad_body", "unknown", BOUND),
        (3, "ok", "charged", COST),
    ]


def test_attempts_end_at_the_limit_and_the_last_cause_is_told(ledger: Ledger) -> None:
    bad = request("bad")

    def service(ticket: Ticket, now: float) -> Reply:
        return rejection(Cause.SERVER_ERROR) if ticket.key == bad.key else answer()

    played = play(desk(ledger), [bad, *(request(n) for n in range(40))], service)
    outcome, attempts = played.of(bad)
    assert outcome == Failure(key=bad.key, cause=Cause.SERVER_ERROR, message="said server_error")
    assert len(attempts) == 3


def test_a_rate_limited_call_is_not_given_up_before_a_minute_is_over(ledger: Ledger) -> None:
    played = play(desk(ledger), [request()],
                  says(rejection(Cause.RATE_LIMITED, http_status=429)))  # fmt: skip
    assert isinstance(played.outcomes[request().key], Failure)
    assert len(played.sent) > 3
    assert played.sent_at[-1] - played.sent_at[0] >= 60


def test_the_wait_that_a_service_asks_for_is_kept(ledger: Ledger) -> None:
    played = play(desk(ledger), [request()], says(rejection(Cause.RATE_LIMITED, retry_after_s=40.0), answer()))
    assert played.sent_at[1] - played.sent_at[0] >= 41.0


def test_a_call_to_be_asked_another_way_goes_at_once_and_counts_as_no_attempt(ledger: Ledger) -> None:
    replies = [rejection(Cause.UNSUPPORTED, Decision.AGAIN)] * 5
    played = play(desk(ledger), [request()], says(*replies, answer()))
    assert isinstance(played.outcomes[request().key], Completion)
    assert played.sent_at[-1] == pytest.approx(5, abs=0.1)


def test_failures_of_the_whole_service_are_not_counted_against_a_call(ledger: Ledger) -> None:
    """Thirty calls meet an outage of two minutes: each would have used up three attempts of its own."""

    def service(ticket: Ticket, now: float) -> Reply:
        return rejection(Cause.CONNECTION) if now < 120 else answer()

    played = play(desk(ledger, line(concurrency=10)), [request(n) for n in range(30)], service)
    lost = sum(isinstance(outcome, Failure) for outcome in played.outcomes.values())
    assert lost <= 10  # those that were out before anybody could know
    assert len(played.sent) < 30 * 3 + 60


@pytest.mark.parametrize("cause", [Cause.CONTEXT_OVERFLOW, Cause.CONTENT_FILTER])
def test_what_is_about_the_text_is_not_retried_and_is_remembered(ledger: Ledger, cause: Cause) -> None:
    decides = desk(ledger)
    decision = Decision.SPLIT if cause is Cause.CONTEXT_OVERFLOW else Decision.FAIL
    played = play(decides, [request()], says(rejection(cause, decision)))
    assert len(played.sent) == 1
    assert decides.known({request().key: request()}) == played.outcomes
    decides.retry = "all"
    assert decides.known({request().key: request()}) == {}


def test_thinking_that_took_all_the_room_is_paid_once_until_there_is_more(ledger: Ledger) -> None:
    decides = desk(ledger)
    played = play(decides, [request()], says(rejection(Cause.EMPTY, Decision.FAIL, billing="charged")))
    assert len(played.sent) == 1
    assert decides.known({request().key: request()}) == played.outcomes


@pytest.mark.parametrize(
    ("cause", "decision"),
    [
        *((cause, Decision.STOP) for cause in (Cause.AUTHENTICATION, Cause.CREDIT, Cause.PERMISSION, Cause.QUOTA)),
        (Cause.UNKNOWN_MODEL, Decision.STOP),
        (Cause.BAD_REQUEST, Decision.FAIL),
        (Cause.SERVER_ERROR, Decision.RETRY),
        (Cause.TIMEOUT, Decision.RETRY),
    ],
)
def test_a_refusal_that_is_about_us_or_about_now_is_never_remembered(
    ledger: Ledger, cause: Cause, decision: Decision
) -> None:
    play(desk(ledger), [request()], says(rejection(cause, decision)))
    mended = desk(ledger)
    assert mended.known({request().key: request()}) == {}
    assert isinstance(play(mended, [request()], says(answer())).outcomes[request().key], Completion)


def test_a_request_larger_than_the_token_limit_is_refused_and_not_waited_for(ledger: Ledger) -> None:
    small = line(tokens_per_minute=60)
    played = play(desk(ledger, small), [request(tokens=100)], says(answer()))
    assert not played.sent
    (outcome,) = played.outcomes.values()
    assert isinstance(outcome, Failure)
    assert outcome.cause is Cause.TOO_LARGE


def test_slots_are_used_and_never_exceeded(ledger: Ledger) -> None:
    played = play(desk(ledger, line(concurrency=3)), [request(n) for n in range(60)], says(answer()))
    assert played.most_in_flight == 3
    assert len(played.sent) == 60
    assert played.now == pytest.approx(20, abs=0.1)


# --- what is known ------------------------------------------------------------------------------------------------


def test_fresh_ignores_older_answers_but_not_those_of_this_run(ledger: Ledger) -> None:
    asked = {request().key: request()}
    play(desk(ledger), [request()], says(answer()))
    fresh = desk(ledger, fresh=True)
    assert fresh.known(asked) == {}
    play(fresh, [request()], says(answer("newer")))
    again = fresh.known(asked)[request().key]
    assert isinstance(again, Completion)
    assert again.text == "newer"


@pytest.mark.parametrize(
    "other",
    [route("other"), route("m", max_output_tokens=60)],
    ids=["another endpoint", "another answer limit"],
)
def test_an_answer_is_known_only_where_and_as_it_was_asked(ledger: Ledger, other: object) -> None:
    play(desk(ledger), [request()], says(answer()))
    assert desk(ledger, line(other)).known({request().key: request()}) == {}  # type: ignore[arg-type]


def test_an_answer_of_a_fall_back_is_known_also_where_the_first_route_failed_for_good(ledger: Ledger) -> None:
    def both() -> Desk:
        return desk(ledger, line(route("a")), line(route("b")))

    filtered = rejection(Cause.CONTENT_FILTER, Decision.FAIL)
    play(both(), [request()], by_model(a=filtered, b=answer("by b")))
    known = both().known({request().key: request()})[request().key]
    assert isinstance(known, Completion)
    assert (known.text, known.model) == ("by b", "b")


def test_a_remembered_failure_does_not_keep_a_new_fall_back_from_being_asked(ledger: Ledger) -> None:
    filtered = rejection(Cause.CONTENT_FILTER, Decision.FAIL)
    play(desk(ledger, line(route("a"))), [request()], by_model(a=filtered))
    with_fall_back = desk(ledger, line(route("a")), line(route("b")))
    assert with_fall_back.known({request().key: request()}) == {}


# --- the cap ------------------------------------------------------------------------------------------------------


def test_the_cap_is_never_passed_and_what_it_cannot_pay_is_not_sent(ledger: Ledger) -> None:
    cap = 3 * BOUND + COST
    decides = desk(ledger, cap=cap)
    spent: list[int] = []
    budget = decides.budget
    played = play(decides, [request(n) for n in range(200)], says(answer()),
                  each=lambda _: spent.append(budget.charged + budget.unknown + budget.reserved))  # fmt: skip
    assert max(spent) <= cap
    # Calls in flight free what they did not use: money is left over only where the next call's bound is more.
    assert cap - budget.charged < BOUND
    paid = [each for each in played.outcomes.values() if isinstance(each, Completion)]
    assert len(paid) == len(played.sent) < 200
    assert {each.cause for each in played.outcomes.values() if isinstance(each, Failure)} == {Cause.BUDGET}


def test_until_a_kind_of_text_is_counted_one_call_of_it_leads_under_a_cap(ledger: Ledger) -> None:
    decides = desk(ledger, line(counted=False, concurrency=8), cap=10**9)
    asked = [request(f"words of document {chr(97 + n)} " * 20, tokens=60) for n in range(20)]
    reply = answer(usage=Usage(input_tokens=70, output_tokens=5))
    played = play(decides, asked, says(reply))
    assert played.sent_at.count(0.0) == 1
    assert max(played.sent_at) < 6  # then all that there are slots for


@pytest.mark.parametrize("usage", [None, Usage(input_tokens=9, output_tokens=5)], ids=["not stated", "of a short text"])
def test_where_a_lead_teaches_nothing_the_others_go_at_their_bound(ledger: Ledger, usage: Usage | None) -> None:
    decides = desk(ledger, line(counted=False, concurrency=8), cap=10**9)
    played = play(decides, [request(n) for n in range(20)], says(answer(usage=usage)))
    assert max(played.sent_at) < 6


def test_without_a_cap_no_call_has_to_lead(ledger: Ledger) -> None:
    played = play(desk(ledger, line(counted=False)), [request(n) for n in range(4)], says(answer()))
    assert played.sent_at == [0.0] * 4


def test_a_bill_above_its_bound_ends_a_run_that_has_a_cap_and_is_booked_as_it_is(ledger: Ledger) -> None:
    dear = answer(usage=Usage(input_tokens=10, output_tokens=90))
    decides = desk(ledger, line(concurrency=1), cap=10**9)
    played = play(decides, [request(n) for n in range(9)], says(dear))
    assert decides.halted is not None
    assert decides.halted.cause is Cause.BUDGET
    assert len(played.sent) <= 2  # the slot is free before the bill is booked
    assert decides.budget.charged == len(played.sent) * (10 * 10 + 90 * 100)


IN, OUT, THOUGHT = "input_tokens", "output_tokens", "reasoning_tokens"


@pytest.mark.parametrize(
    ("stated", "chars", "billing"),
    [
        ({IN: 10, OUT: 20}, 80, "charged"),
        ({IN: 10, OUT: 0}, 80, "unknown"),  # nothing for something
        ({IN: 0, OUT: 20}, 80, "unknown"),
        ({IN: 10, OUT: 99}, 80, "charged"),  # a little past the limit of 50
        ({IN: 10, OUT: 2000}, 80, "unknown"),
        ({IN: 10, OUT: 2000}, 8000, "charged"),  # what came shows that the server does not keep the limit
        ({IN: 90_000, OUT: 20}, 80, "unknown"),  # more tokens than bytes
        ({IN: 10**30, OUT: 10**15}, 80, "unknown"),
        ({IN: 10, OUT: 5020, THOUGHT: 5000}, 80, "charged"),  # thoughts beside the answer may pass its limit
        ({IN: 10, OUT: 10**15 + 20, THOUGHT: 10**15}, 80, "unknown"),
    ],
)
def test_a_bill_that_cannot_be_true_is_unknown_at_the_bound_and_teaches_nothing(
    ledger: Ledger, stated: dict[str, int], chars: int, billing: str
) -> None:
    said = answer(usage=Usage(**stated), chars=chars)
    _, (attempt,) = play(desk(ledger), [request()], says(said)).of(request())
    taught = len(ledger.samples(attempt.endpoint, attempt.model))
    if billing == "unknown":
        assert (attempt.billing, attempt.cost_pusd, taught) == ("unknown", BOUND, 0)
        assert "to be true: booked unknown" in (attempt.error or "")
    else:
        assert (attempt.billing, attempt.error, taught) == ("charged", None, 1)
        assert attempt.cost_pusd == stated[IN] * 10 + stated[OUT] * 100


@pytest.mark.parametrize(("stated", "halted"), [({IN: 10**9, OUT: 5}, True), ({IN: 0, OUT: 0}, False)])
def test_a_bill_too_large_to_be_true_ends_a_run_that_has_a_cap_in_words_of_its_own(
    ledger: Ledger, stated: dict[str, int], halted: bool
) -> None:
    decides = desk(ledger, line(concurrency=1), cap=10**9)
    played = play(decides, [request(n) for n in range(9)], says(answer(usage=Usage(**stated))))
    assert (decides.halted is not None) == halted
    assert (len(played.sent) < 9) == halted
    assert (decides.budget.charged, decides.budget.unknown) == (0, len(played.sent) * BOUND)
    if decides.halted is not None:
        assert f"stated {10**9} tokens in and 5 out, too much to be true" in decides.halted.message


def test_what_has_no_price_is_booked_unknown_at_its_bound_and_said(ledger: Ledger) -> None:
    priced = PricingSettings(
        input_usd_per_million=0.00001, output_usd_per_million=0.0001, cache_write_5m_usd_per_million=0.0000125
    )
    written = Usage(input_tokens=10, output_tokens=5, cache_write_tokens=7, cache_write_1h_tokens=3)
    decides = desk(ledger, line(route(pricing=stated(priced, "test"))))
    _, (attempt,) = play(decides, [request()], says(answer(usage=written))).of(request())
    assert attempt.billing == "unknown"
    assert attempt.cost_pusd >= 10 * 10 + 5 * 100
    assert attempt.error is not None
    assert "no price for 3 cache_write_1h tokens" in attempt.error


def test_an_answer_without_usage_is_booked_unknown_at_its_bound(ledger: Ledger) -> None:
    outcome, (attempt,) = play(desk(ledger), [request()], says(answer(usage=None))).of(request())
    assert isinstance(outcome, Completion)
    assert (attempt.billing, attempt.cost_pusd) == ("unknown", BOUND)


# --- ends ---------------------------------------------------------------------------------------------------------


def test_a_refusal_stops_every_call_not_yet_sent(ledger: Ledger) -> None:
    decides = desk(ledger)
    played = play(decides, [request(n) for n in range(20)], says(rejection(Cause.AUTHENTICATION, Decision.STOP)))
    assert len(played.sent) <= 4
    assert {each.cause for each in played.outcomes.values() if isinstance(each, Failure)} == {Cause.AUTHENTICATION}
    assert len(played.outcomes) == 20
    assert decides.budget.reserved == 0


def test_the_first_calls_refused_alike_as_bad_requests_end_the_run(ledger: Ledger) -> None:
    decides = desk(ledger)
    played = play(decides, [request(n) for n in range(50)], says(rejection(Cause.BAD_REQUEST, Decision.FAIL)))
    assert len(played.sent) <= 3 + 4
    assert decides.halted is not None
    assert decides.halted.cause is Cause.BAD_REQUEST


def test_bad_requests_after_an_answer_are_each_documents_own(ledger: Ledger) -> None:
    decides = desk(ledger, line(concurrency=1))
    played = play(decides, [request(n) for n in range(9)], says(answer(), rejection(Cause.BAD_REQUEST, Decision.FAIL)))
    assert len(played.sent) == 9
    assert decides.halted is None


def test_a_service_that_only_fails_ends_the_run_after_give_up_s(ledger: Ledger) -> None:
    decides = desk(ledger, line(give_up_s=50.0, concurrency=2), max_attempts=100)

    def service(ticket: Ticket, now: float) -> Reply:
        return answer() if now < 2 else rejection(Cause.SERVER_ERROR)

    played = play(decides, [request(n) for n in range(20)], service)
    assert decides.halted is not None
    assert decides.halted.cause is Cause.UNREACHABLE
    assert "nothing but failure" in decides.halted.message
    assert 52 <= played.now < 55, "its first failure came at 2 s"
    assert len(played.outcomes) == 20


def test_a_wait_asked_for_beyond_give_up_s_ends_the_run_as_a_quota(ledger: Ledger) -> None:
    decides = desk(ledger, line(give_up_s=50.0))
    play(decides, [request(n) for n in range(9)], says(rejection(Cause.RATE_LIMITED, retry_after_s=3600.0)))
    assert decides.halted is not None
    assert decides.halted.cause is Cause.QUOTA


@pytest.mark.parametrize("tier", ["flex", None])
@pytest.mark.parametrize("cause", [Cause.RATE_LIMITED, Cause.OVERLOADED])
def test_a_flex_tier_without_capacity_has_its_patience_before_the_line_is_given_up(
    ledger: Ledger, tier: str | None, cause: Cause
) -> None:
    decides = desk(ledger, line(route(service_tier=tier, flex_patience_s=400.0)))
    refused = rejection(cause, billing="free", http_status=429)
    outcome, _ = play(decides, [request()], lambda _, now: refused if now < 500 else answer()).of(request())
    assert isinstance(outcome, Completion if tier else Failure)
    assert (decides.halted is None) == bool(tier)


def test_a_call_given_up_after_a_stop_is_booked_unknown(ledger: Ledger) -> None:
    decides = desk(ledger)

    def service(ticket: Ticket, now: float) -> Reply:
        decides.halt(Cause.STOPPED, "interrupted")
        return rejection(Cause.STOPPED, Decision.FAIL, billing="unknown")

    outcome, (attempt,) = play(decides, [request()], service).of(request())
    assert isinstance(outcome, Failure)
    assert (outcome.cause, attempt.billing) == (Cause.STOPPED, "unknown")
    assert ledger.carried("job") == Carried(charged_pusd=0, unknown_pusd=BOUND)


def test_a_call_that_waits_out_a_refusal_ends_when_the_run_does(ledger: Ledger) -> None:
    decides = desk(ledger)
    stop: list[float] = []

    def service(ticket: Ticket, now: float) -> Reply:
        stop.append(now)
        return rejection(Cause.RATE_LIMITED, retry_after_s=600.0)

    played = play(decides, [request()], service,
                  each=lambda _: decides.halt(Cause.STOPPED, "interrupted") if stop else None)  # fmt: skip
    assert len(played.sent) == 1
    assert played.now < 2
    outcome = played.outcomes[request().key]
    assert isinstance(outcome, Failure)
    assert outcome.cause is Cause.STOPPED


def test_what_was_reserved_and_never_sent_costs_nothing_and_leaves_no_row(ledger: Ledger) -> None:
    decides = desk(ledger, line(concurrency=1))
    asks = [Ask(each.key, each, "doc") for each in map(request, range(5))]
    assert decides.turn([], asks, 0.0).waiting == []
    assert isinstance(decides.take(0.0), Ticket)
    decides.halt(Cause.STOPPED, "interrupted")
    turn = decides.turn([], [], 0.1)
    assert [settled.outcome.cause for settled in turn.settled if isinstance(settled.outcome, Failure)] == [
        "stopped"
    ] * 4
    assert decides.budget.reserved == BOUND
    with closing(sqlite3.connect(ledger.path)) as plain:
        assert plain.execute("SELECT count(*) FROM reservation").fetchone() == (1,)
        assert plain.execute("SELECT count(*) FROM attempt").fetchone() == (0,)


def test_a_stop_goes_before_the_cap_and_the_first_refusal_before_all(ledger: Ledger) -> None:
    decides = desk(ledger)
    decides.halt(Cause.BUDGET, "no money")
    decides.halt(Cause.STOPPED, "interrupted")
    decides.halt(Cause.AUTHENTICATION, "no key")
    assert decides.halted == Failure(key="", cause=Cause.STOPPED, message="interrupted")


# --- fall-back ----------------------------------------------------------------------------------------------------


def two(ledger: Ledger, **changes: object) -> Desk:
    return desk(ledger, line(route("a"), **changes), line(route("b", DEARER)))  # type: ignore[arg-type]


def test_where_the_first_refuses_for_good_all_calls_go_to_the_next_at_its_own_price(ledger: Ledger) -> None:
    decides = two(ledger)
    refused = rejection(Cause.AUTHENTICATION, Decision.STOP, http_status=401)
    played = play(decides, [request(n) for n in range(40)], by_model(a=refused, b=answer()))
    assert {type(outcome) for outcome in played.outcomes.values()} == {Completion}
    assert models(played).count("a") <= 4
    assert decides.halted is None
    assert decides.budget.charged == 40 * 10 * COST
    assert {each.model for each in played.outcomes.values() if isinstance(each, Completion)} == {"b"}


def test_calls_reserved_for_a_route_that_has_closed_go_to_the_next(ledger: Ledger) -> None:
    decides = two(ledger, concurrency=1)
    asks = [Ask(each.key, each, "doc") for each in map(request, range(2))]
    decides.turn([], asks, 0.0)
    first = decides.take(0.0)
    assert isinstance(first, Ticket)
    decides.arrived(first, reply := rejection(Cause.AUTHENTICATION, Decision.STOP), 1.0)
    assert decides.stranded(1.0)
    again = decides.turn([(first, reply, 1.0)], [], 1.0)
    decides.turn([], [settled.ask for settled in again.settled], 1.0)
    sent = [decides.take(1.0), decides.take(1.0)]
    assert {ticket.route.model for ticket in sent if isinstance(ticket, Ticket)} == {"b"}
    assert sorted(ticket.attempt for ticket in sent if isinstance(ticket, Ticket)) == [1, 2]
    assert decides.budget.reserved == 2 * 10 * BOUND


def test_the_run_stops_when_no_route_is_left(ledger: Ledger) -> None:
    decides = two(ledger)
    played = play(decides, [request(n) for n in range(40)], by_model(
        a=rejection(Cause.AUTHENTICATION, Decision.STOP), b=rejection(Cause.CREDIT, Decision.STOP)))  # fmt: skip
    assert decides.halted is not None
    assert decides.halted.cause is Cause.CREDIT
    assert len(played.sent) <= 10
    assert len(played.outcomes) == 40
    assert decides.budget.reserved == 0


@pytest.mark.parametrize("cause", [Cause.CONTENT_FILTER, Cause.CONTEXT_OVERFLOW])
def test_a_refusal_of_one_text_sends_that_call_alone_to_the_next(ledger: Ledger, cause: Cause) -> None:
    decides = two(ledger)
    bad = request("bad", tokens=25)

    def service(ticket: Ticket, now: float) -> Reply:
        refused = ticket.route.model == "a" and ticket.key == bad.key
        return rejection(cause, Decision.FAIL) if refused else answer()

    played = play(decides, [bad, *(request(n) for n in range(10))], service)
    assert [ticket.key for ticket in played.sent if ticket.route.model == "b"] == [bad.key]
    assert {type(outcome) for outcome in played.outcomes.values()} == {Completion}


def test_a_text_found_too_long_sends_longer_ones_to_the_next_at_once(ledger: Ledger) -> None:
    decides = two(ledger, concurrency=1)

    def service(ticket: Ticket, now: float) -> Reply:
        too_long = ticket.route.model == "a" and ticket.request.tokens >= 30
        return rejection(Cause.CONTEXT_OVERFLOW, Decision.SPLIT) if too_long else answer()

    asked = [request(0, tokens=30), *(request(n, tokens=30 + n) for n in range(1, 9)), request("short", tokens=29)]
    first = play(decides, asked[:1], service)
    rest = play(decides, asked[1:], service, now=first.now)
    assert models(first) == ["a", "b"]
    assert sorted(models(rest)) == ["a", *["b"] * 8]


def test_a_call_that_an_accounts_limit_can_never_take_goes_to_the_next(ledger: Ledger) -> None:
    played = play(two(ledger, tokens_per_minute=60), [request(tokens=100)], says(answer()))
    assert models(played) == ["b"]


def test_while_the_first_rests_for_long_the_next_is_asked_and_then_it_is_the_first_again(ledger: Ledger) -> None:
    decides = two(ledger)

    def service(ticket: Ticket, now: float) -> Reply:
        if ticket.route.model == "a" and now < 100:
            return rejection(Cause.RATE_LIMITED, http_status=429, retry_after_s=100.0)
        return answer()

    early = play(decides, [request(n) for n in range(20)], service)
    assert early.now < 60
    assert models(early).count("b") >= 16
    late = play(decides, [request(f"late {n}") for n in range(4)], service, now=300.0)
    assert set(models(late)) == {"a"}


# --- a wait that is nobody's ----------------------------------------------------------------------------------------


def test_a_call_in_back_off_holds_no_slot(ledger: Ledger) -> None:
    """Five slots, 0.1 s an answer, each fifth call refused once and told to wait 2 s by itself: the time is that of the
    calls, not that of the waits."""
    decides = desk(ledger, line(concurrency=5))
    refused: set[str] = set()

    def service(ticket: Ticket, now: float) -> Reply:
        if int(ticket.key[:8], 16) % 5 == 0 and ticket.key not in refused:
            refused.add(ticket.key)
            return rejection(Cause.EMPTY)
        return answer()

    played = play(decides, [request(n) for n in range(500)], service, latency_s=0.1)
    assert len(refused) > 70
    assert {type(outcome) for outcome in played.outcomes.values()} == {Completion}
    assert 0.1 * len(played.sent) / 5 > 0.85 * played.now


def test_prices_are_those_that_the_tests_add_up() -> None:
    assert PRICE.output_pusd == 100


def test_limits_told_anew_are_those_of_the_routes_where_a_batch_line_stands_before_them(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        first, second = line(route("a")), line(route("b"))
        asked = desk(ledger, first, second)
        asked.add_line(line(route("a", batch=True)))
        slow, fast = LimitSettings(concurrency=2, max_attempts=9), LimitSettings(concurrency=3)
        asked.retune([slow, fast], None, 0.0)
    assert [each.tuned for each in asked.lines] == [None, slow, fast]
    assert asked.max_attempts == 9
