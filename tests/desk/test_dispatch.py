"""One request on its way: reuse, retries, the cap, stops, and what is booked for each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from docreduce.config import LimitSettings
from docreduce.desk import Answered, Dispatch, Gate
from docreduce.desk.budget import Budget
from docreduce.desk.ledger import Carried, Ledger
from docreduce.desk.limits import Limiter
from docreduce.models.pricing import Pricing
from docreduce.values import (
    Answer,
    Cause,
    Completion,
    Decision,
    Failure,
    Message,
    Rejection,
    Reply,
    Request,
    Usage,
)

USAGE = Usage(input_tokens=10, output_tokens=5)
PRICE = Pricing(mode="per_token", source="test", input_pusd=10, output_pusd=100)
COST = 10 * 10 + 5 * 100
BOUND = 20 * 10 + 50 * 100


def request(text: str = "text", **changes: Any) -> Request:
    fields: dict[str, Any] = {
        "provider": "scripted",
        "model": "m",
        "messages": (Message("user", text),),
        "max_output_tokens": 50,
        "temperature": 0.0,
        "top_p": 1.0,
        "input_tokens": 20,
    }
    return Request(**{**fields, **changes})


def answer(text: str = "fine", **changes: Any) -> Answer:
    return Answer(**{"text": text, "finish_reason": "stop", "usage": USAGE, "http_status": 200, **changes})


def rejection(cause: Cause, decision: Decision = Decision.RETRY, **changes: Any) -> Rejection:
    return Rejection(cause=cause, decision=decision, message=f"said {cause}", **changes)


class Scripted:
    """A provider that answers from a list, then goes on with the last of it."""

    name = "scripted"

    def __init__(self, *replies: Reply, delay_s: float = 0.0) -> None:
        self.replies = list(replies)
        self.sent: list[Request] = []
        self.in_flight = self.most_in_flight = 0
        self.delay_s = delay_s

    async def send(self, request: Request, *, timeout_s: float) -> Reply:
        self.sent.append(request)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.delay_s)
        finally:
            self.in_flight -= 1
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    async def aclose(self) -> None:
        return


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.sqlite") as opened:
        opened.begin_run("run", "job", "0", 0.0)
        yield opened


def dispatcher(provider: Scripted, ledger: Ledger, *, cap: int | None = None, **changes: Any) -> Dispatch:
    limits = changes.pop("limits", LimitSettings(max_attempts=3))
    gate = Gate(Limiter(concurrency=changes.pop("concurrency", 4), now=asyncio.get_running_loop().time()))
    gate.clock = asyncio.get_running_loop().time
    return Dispatch(
        run_id="run",
        provider=provider,
        ledger=ledger,
        gate=gate,
        budget=Budget(cap),
        pricing=PRICE,
        settings=limits,
        **changes,
    )


def run(ledger: Ledger, provider: Scripted, work: Callable[[Dispatch], Awaitable[Any]], **changes: Any) -> Any:
    async def main() -> Any:
        return await work(dispatcher(provider, ledger, **changes))

    return asyncio.run(main())


def complete(dispatch: Dispatch, asked: Request) -> Awaitable[Answered]:
    return dispatch.complete(asked, asked.key, "doc")


def test_an_answer_is_stored_charged_and_reused_without_another_call(ledger: Ledger) -> None:
    provider = Scripted(answer())

    async def work(dispatch: Dispatch) -> None:
        answered = await complete(dispatch, request())
        assert isinstance(answered.outcome, Completion)
        assert answered.outcome.text == "fine"
        assert answered.outcome.cost_pusd == COST
        (attempt,) = answered.attempts
        assert (attempt.billing, attempt.cost_pusd, attempt.outcome) == ("charged", COST, "ok")
        assert (dispatch.budget.charged, dispatch.budget.reserved) == (COST, 0)
        (again,) = dispatch.reuse([(request().key, request())]).values()
        assert isinstance(again.outcome, Completion)
        assert again.outcome.reused
        assert again.attempts[0].billing == "reused"

    run(ledger, provider, work)
    assert len(provider.sent) == 1
    assert ledger.carried("job") == Carried(charged_pusd=COST, unknown_pusd=0)


def test_equal_requests_in_flight_are_paid_once(ledger: Ledger) -> None:
    provider = Scripted(answer(), delay_s=0.02)

    async def work(dispatch: Dispatch) -> list[Answered]:
        return list(await asyncio.gather(*(complete(dispatch, request()) for _ in range(10))))

    answers = run(ledger, provider, work)
    assert len(provider.sent) == 1
    assert {each.outcome.text for each in answers} == {"fine"}
    assert sorted(each.attempts[0].billing for each in answers) == ["charged"] + ["reused"] * 9


def test_a_request_answered_since_it_was_looked_up_is_not_paid_again(ledger: Ledger) -> None:
    provider = Scripted(answer())

    async def work(dispatch: Dispatch) -> list[Answered]:
        return [await complete(dispatch, request()) for _ in range(2)]

    answers = run(ledger, provider, work)
    assert len(provider.sent) == 1
    assert [each.attempts[0].billing for each in answers] == ["charged", "reused"]


def test_a_retry_books_each_attempt_with_its_cause_and_price(ledger: Ledger) -> None:
    provider = Scripted(
        rejection(Cause.SERVER_ERROR, http_status=500),
        rejection(Cause.BAD_BODY, billing="unknown", http_status=200),
        answer(),
    )
    answered = run(ledger, provider, lambda dispatch: complete(dispatch, request()))
    assert [(each.attempt, each.outcome, each.billing, each.cost_pusd) for each in answered.attempts] == [
        (1, "server_error", "free", 0),
        (2, "bad_body", "unknown", BOUND),
        (3, "ok", "charged", COST),
    ]


def test_attempts_end_at_the_limit_and_the_last_cause_is_told(ledger: Ledger) -> None:
    provider = Scripted(rejection(Cause.SERVER_ERROR))
    answered = run(ledger, provider, lambda dispatch: complete(dispatch, request()))
    assert answered.outcome == Failure(key=request().key, cause=Cause.SERVER_ERROR, message="said server_error")
    assert len(provider.sent) == 3


def test_a_failure_that_words_cannot_mend_is_not_retried_and_is_remembered(ledger: Ledger) -> None:
    provider = Scripted(rejection(Cause.CONTEXT_OVERFLOW, Decision.SPLIT))

    async def work(dispatch: Dispatch) -> None:
        answered = await complete(dispatch, request())
        assert isinstance(answered.outcome, Failure)
        (again,) = dispatch.reuse([(request().key, request())]).values()
        assert again.outcome == answered.outcome

    run(ledger, provider, work)
    assert len(provider.sent) == 1


def test_a_refusal_stops_every_call_not_yet_sent(ledger: Ledger) -> None:
    provider = Scripted(rejection(Cause.AUTHENTICATION, Decision.STOP), delay_s=0.01)

    async def work(dispatch: Dispatch) -> list[Answered]:
        return list(await asyncio.gather(*(complete(dispatch, request(f"{n}")) for n in range(20))))

    answers = run(ledger, provider, work)
    assert len(provider.sent) <= 4
    assert {each.outcome.cause for each in answers} == {Cause.AUTHENTICATION}


def test_the_cap_is_never_passed_and_what_it_cannot_pay_is_not_sent(ledger: Ledger) -> None:
    cap = 3 * BOUND + COST
    provider = Scripted(answer(), delay_s=0.002)
    spent: list[int] = []

    async def work(dispatch: Dispatch) -> list[Answered]:
        async def one(number: int) -> Answered:
            done = await complete(dispatch, request(f"{number}"))
            spent.append(dispatch.budget.charged + dispatch.budget.unknown + dispatch.budget.reserved)
            return done

        answers = await asyncio.gather(*(one(n) for n in range(200)))
        assert dispatch.budget.charged <= cap
        # Calls in flight free what they did not use: money is left over only where the next call's bound is more.
        assert cap - dispatch.budget.charged < BOUND
        return list(answers)

    answers = run(ledger, provider, work, cap=cap)
    assert max(spent) <= cap
    paid = [each for each in answers if isinstance(each.outcome, Completion)]
    assert len(paid) == len(provider.sent) < 200
    assert {each.outcome.cause for each in answers if isinstance(each.outcome, Failure)} == {Cause.BUDGET}


def test_an_answer_without_usage_is_booked_unknown_at_its_bound(ledger: Ledger) -> None:
    answered = run(ledger, Scripted(answer(usage=None)), lambda dispatch: complete(dispatch, request()))
    assert isinstance(answered.outcome, Completion)
    assert (answered.attempts[0].billing, answered.attempts[0].cost_pusd) == ("unknown", BOUND)


def test_a_call_given_up_after_a_stop_is_booked_unknown(ledger: Ledger) -> None:
    provider = Scripted(answer(), delay_s=30)

    async def work(dispatch: Dispatch) -> Answered:
        call = asyncio.ensure_future(complete(dispatch, request()))
        while not provider.sent:
            await asyncio.sleep(0.001)
        dispatch.halt(Cause.STOPPED, "interrupted")
        dispatch.abandon()
        return await call

    answered = run(ledger, provider, work)
    assert answered.outcome.cause is Cause.STOPPED
    assert answered.attempts[0].billing == "unknown"
    assert ledger.carried("job") == Carried(charged_pusd=0, unknown_pusd=BOUND)


def test_a_wait_before_a_retry_ends_when_the_run_does(ledger: Ledger) -> None:
    provider = Scripted(rejection(Cause.RATE_LIMITED, retry_after_s=600.0))

    async def work(dispatch: Dispatch) -> Answered:
        call = asyncio.ensure_future(complete(dispatch, request()))
        while not provider.sent:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        dispatch.halt(Cause.STOPPED, "interrupted")
        return await asyncio.wait_for(call, 5)

    assert isinstance(run(ledger, provider, work).outcome, Failure)
    assert len(provider.sent) == 1


def test_a_request_larger_than_the_token_limit_is_refused_and_not_waited_for(ledger: Ledger) -> None:
    async def main() -> Answered:
        provider = Scripted(answer())
        dispatch = dispatcher(provider, ledger)
        dispatch.gate.limiter = Limiter(tokens_per_minute=60, now=asyncio.get_running_loop().time())
        answered = await complete(dispatch, request(input_tokens=100))
        assert not provider.sent
        return answered

    outcome = asyncio.run(main()).outcome
    assert isinstance(outcome, Failure)
    assert outcome.cause is Cause.TOO_LARGE


def test_fresh_ignores_older_answers_but_not_those_of_this_run(ledger: Ledger) -> None:
    provider = Scripted(answer())

    async def first(dispatch: Dispatch) -> None:
        await complete(dispatch, request())

    async def fresh(dispatch: Dispatch) -> None:
        asked = [(request().key, request())]
        assert not dispatch.reuse(asked)
        await complete(dispatch, request())
        assert dispatch.reuse(asked)

    run(ledger, provider, first)
    run(ledger, provider, fresh, fresh=True)
    assert len(provider.sent) == 2


def test_callers_of_the_gate_never_exceed_the_slots(ledger: Ledger) -> None:
    provider = Scripted(answer(), delay_s=0.002)

    async def work(dispatch: Dispatch) -> None:
        await asyncio.gather(*(complete(dispatch, request(f"{n}")) for n in range(60)))

    run(ledger, provider, work, concurrency=3)
    assert provider.most_in_flight == 3
