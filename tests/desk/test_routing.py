"""Which line a call goes to: a vote's own model, the next one after a refusal, none twice; and who leads there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from desks import Played, answer, desk, line, play, rejection, request, route
from docreduce.desk import Ask, Ledger, Line, Ticket
from docreduce.values import Cause, Completion, Decision, Failure, Rejection, Reply

CAP = 10**12


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.sqlite") as opened:
        yield opened


def models(played: Played) -> list[str]:
    return [ticket.route.model for ticket in played.sent]


def lines(*names: str, **changes: object) -> list[Line]:
    return [line(route(name), **changes) for name in names]  # type: ignore[arg-type]


def refused(cause: Cause, decision: Decision = Decision.FAIL) -> Rejection:
    return rejection(cause, decision)


def rest(at: Line, seconds: float) -> None:
    """Let the line's account be refused until it rests for so long, at time 0."""
    for _ in range(8):
        lease = at.limiter.lease(10, 0.0)
        if isinstance(lease, int | float):
            break
        refusal = rejection(Cause.RATE_LIMITED, http_status=429, retry_after_s=seconds)
        at.limiter.settle(lease, 0.0, refusal)


# --- voices -------------------------------------------------------------------------------------------------------


def test_a_voice_goes_to_its_own_model_wherever_it_stands(ledger: Ledger) -> None:
    decides = desk(ledger, *lines("a", "b", "c"))
    asked = [request(voice="b"), request(voice="c"), request()]
    played = play(decides, asked, lambda *_: answer())
    assert sorted(models(played)) == ["a", "b", "c"]
    assert {outcome.model for outcome in played.outcomes.values() if isinstance(outcome, Completion)} == {"a", "b", "c"}


def test_a_voice_whose_model_refuses_it_is_asked_of_nobody_else(ledger: Ledger) -> None:
    decides = desk(ledger, *lines("a", "b"))
    for at, cause in enumerate((Cause.CONTENT_FILTER, Cause.CONTEXT_OVERFLOW)):
        asked = request(at, voice="a", tokens=30)
        played = play(decides, [asked], lambda *_, cause=cause: refused(cause))
        assert models(played) == ["a"]
        assert played.outcomes[asked.key] == Failure(key=asked.key, cause=cause, message=f"said {cause}")
    longer = request("longer", voice="a", tokens=31)
    outcome = play(decides, [longer], lambda *_: answer()).outcomes[longer.key]
    assert isinstance(outcome, Failure)
    assert (outcome.cause, "found 30 too long" in outcome.message) == (Cause.CONTEXT_OVERFLOW, True)


def test_a_voice_whose_model_is_closed_or_unknown_says_so(ledger: Ledger) -> None:
    decides = desk(ledger, *lines("a", "b"))
    decides.lines[1].close(Cause.QUOTA, "no credit")
    for voice, cause in (("b", Cause.QUOTA), ("z", Cause.UNKNOWN_MODEL)):
        asked = request(voice=voice)
        played = play(decides, [asked], lambda *_: answer())
        assert not played.sent
        outcome = played.outcomes[asked.key]
        assert isinstance(outcome, Failure)
        assert outcome.cause is cause


# --- the next one -------------------------------------------------------------------------------------------------


def test_a_call_goes_down_the_lines_and_to_none_of_them_twice(ledger: Ledger) -> None:
    decides = desk(ledger, *lines("a", "b", "c"))

    def service(ticket: Ticket, now: float) -> Reply:
        return answer() if ticket.route.model == "c" else refused(Cause.CONTENT_FILTER)

    played = play(decides, [request()], service)
    assert models(played) == ["a", "b", "c"]
    assert isinstance(played.outcomes[request().key], Completion)


def test_what_all_lines_refuse_has_failed_after_one_call_to_each(ledger: Ledger) -> None:
    played = play(desk(ledger, *lines("a", "b", "c")), [request()], lambda *_: refused(Cause.CONTENT_FILTER))
    assert models(played) == ["a", "b", "c"]


def test_attempts_at_one_line_do_not_count_against_the_next(ledger: Ledger) -> None:
    decides = desk(ledger, *lines("a", "b", give_up_s=5.0), max_attempts=2)
    tried = {"a": [Cause.TIMEOUT, Cause.CONTENT_FILTER], "b": [Cause.TIMEOUT]}

    def service(ticket: Ticket, now: float) -> Reply:
        left = tried[ticket.route.model]
        if not left:
            return answer()
        cause = left.pop(0)
        return refused(cause, Decision.FAIL if cause is Cause.CONTENT_FILTER else Decision.RETRY)

    played = play(decides, [request()], service)
    assert models(played) == ["a", "a", "b", "b"]


def test_a_pause_is_that_of_the_line_that_ends_it_first_and_none_while_one_sends(ledger: Ledger) -> None:
    first, second = lines("a", "b", concurrency=4)
    decides = desk(ledger, first, second)
    for each, wait_s in ((first, 30.0), (second, 20.0)):
        assert decides.paused_s(0.0) is None
        rest(each, wait_s)
    assert decides.paused_s(5.0) == pytest.approx(15.0)
    assert first.rests(5.0)
    second.close(Cause.QUOTA, "no credit")
    assert decides.paused_s(5.0) == pytest.approx(25.0)


@pytest.mark.parametrize("second", ["open", "closed", "rests", "finds it too long"])
def test_a_call_leaves_a_line_that_rests_only_for_one_that_takes_it_now(ledger: Ledger, second: str) -> None:
    at, after = lines("a", "b", concurrency=4)
    decides = desk(ledger, at, after)
    decides.turn([], [Ask(request().key, request(), "doc")], 0.0)
    assert not decides.stranded(0.0)
    rest(at, 100.0)
    if second == "closed":
        after.close(Cause.QUOTA, "no credit")
    elif second == "rests":
        rest(after, 100.0)
    elif second == "finds it too long":
        after.smallest_overflow = 10
    assert decides.stranded(1.0) == (second == "open")
    assert not decides.stranded(99.0), "what rests for a moment is waited for"


# --- who leads ----------------------------------------------------------------------------------------------------


def test_one_call_leads_until_its_kind_was_counted_and_then_all_go(ledger: Ledger) -> None:
    decides = desk(ledger, line(counted=False, concurrency=8), cap=CAP)
    played = play(decides, [request(n, tokens=200) for n in range(6)], lambda *_: answer())
    begun = sorted(played.sent_at)
    assert begun[0] < begun[1]
    assert played.most_in_flight == 5
    assert decides.lines[0].meter.known(played.sent[0].kind)
    assert played.sent[-1].bound_pusd < played.sent[0].bound_pusd


def test_a_leader_that_fails_leaves_the_lead_to_one_other(ledger: Ledger) -> None:
    decides = desk(ledger, line(counted=False, concurrency=8), cap=CAP)
    replies = [rejection(Cause.SERVER_ERROR), rejection(Cause.SERVER_ERROR)]
    played = play(decides, [request(n) for n in range(4)], lambda *_: replies.pop() if replies else answer())
    begun = sorted(played.sent_at)
    assert begun[0] < begun[1] < begun[2] < begun[3]
    assert len(played.sent) == 6
    assert played.most_in_flight == 3


def test_a_leader_that_is_not_to_be_sent_leaves_the_lead_to_one_other(ledger: Ledger) -> None:
    decides = desk(ledger, *lines("a", "b", counted=False, concurrency=4), cap=CAP)
    first, second = decides.lines
    asks = [Ask(each.key, each, "doc") for each in map(request, range(3))]
    assert len(decides.turn([], asks, 0.0).waiting) == 2
    assert list(first.leading.values()) == [1]
    rest(first, 100.0)
    turn = decides.turn([], [], 1.0)
    assert [each.outcome for each in turn.settled] == [None]
    assert not first.leading
    assert len(decides.turn([], asks, 2.0).waiting) == 2
    assert (list(first.leading.values()), list(second.leading.values())) == ([], [2])
    decides.budget.cap_pusd = 0
    decides.turn([], [], 200.0)
    ticket = decides.take(200.0)
    assert isinstance(ticket, Ticket)
    decides.arrived(ticket, rejection(Cause.SERVER_ERROR), 201.0)
    decides.turn([(ticket, rejection(Cause.SERVER_ERROR), 1.0)], asks[1:], 201.0)
    assert decides.halted is not None
    assert not first.leading


def test_a_text_as_long_as_one_that_was_too_long_is_not_sent(ledger: Ledger) -> None:
    decides = desk(ledger, *lines("a", concurrency=1))
    asked = [request("first", tokens=30), request("as long", tokens=30), request("shorter", tokens=29)]
    play(decides, asked[:1], lambda *_: refused(Cause.CONTEXT_OVERFLOW))
    played = play(decides, asked[1:], lambda *_: answer())
    assert [ticket.request.tokens for ticket in played.sent] == [29]
    outcome = played.outcomes[asked[1].key]
    assert isinstance(outcome, Failure)
    assert (outcome.cause, outcome.message) == (
        Cause.CONTEXT_OVERFLOW,
        "30 tokens: the service found 30 too long",
    )
