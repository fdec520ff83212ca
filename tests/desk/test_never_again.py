"""What the next run is not to ask again where a job says "never", and what it asks all the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from desks import answer, desk, line, play, rejection, request, route
from docreduce.desk import Desk, Ledger
from docreduce.settings import Retry
from docreduce.values import UNSENT, Cause, Completion, Decision, Failure

PASSING = (Cause.SERVER_ERROR, Cause.TIMEOUT, Cause.BAD_BODY)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.sqlite") as opened:
        opened.begin_run("run", "job", "0", 0.0)
        yield opened


def two(ledger: Ledger, retry: Retry, **changes: object) -> Desk:
    """A desk with two models."""
    return desk(ledger, line(route("a")), line(route("b")), retry=retry, **changes)


@pytest.mark.parametrize("cause", PASSING)
def test_a_failure_that_may_pass_stands_for_never_and_for_nothing_else(ledger: Ledger, cause: Cause) -> None:
    asks = {request().key: request()}
    failed = play(two(ledger, "never"), [request()], lambda *_: rejection(cause)).outcomes
    (outcome,) = failed.values()
    assert isinstance(outcome, Failure)
    assert outcome.cause is cause
    assert two(ledger, "never").known(asks) == failed
    assert two(ledger, "transient").known(asks) == two(ledger, "all").known(asks) == {}
    asked = play(two(ledger, "transient"), [request()], lambda *_: answer())
    assert isinstance(asked.outcomes[request().key], Completion)
    assert isinstance(two(ledger, "never").known(asks)[request().key], Completion)


@pytest.mark.parametrize("cause", PASSING)
def test_it_is_not_kept_of_a_job_that_asks_again(ledger: Ledger, cause: Cause) -> None:
    play(two(ledger, "transient"), [request()], lambda *_: rejection(cause))
    assert two(ledger, "never").known({request().key: request()}) == {}


@pytest.mark.parametrize("cause", sorted(UNSENT - {Cause.WAITING}))
def test_what_says_nothing_of_the_document_is_asked_again_always(ledger: Ledger, cause: Cause) -> None:
    play(two(ledger, "never"), [request()], lambda *_: rejection(cause, Decision.STOP))
    assert two(ledger, "never").known({request().key: request()}) == {}


def test_a_run_that_is_stopped_keeps_no_failure_and_a_fresh_one_loses_no_answer(ledger: Ledger) -> None:
    asks = {request().key: request()}
    stopped = two(ledger, "never")

    def service(*_: object) -> object:
        stopped.halt(Cause.STOPPED, "stopped")
        return rejection(Cause.SERVER_ERROR)

    play(stopped, [request()], service)  # type: ignore[arg-type]
    assert two(ledger, "never").known(asks) == {}
    play(two(ledger, "never"), [request()], lambda *_: answer())
    play(two(ledger, "never", fresh=True), [request()], lambda *_: rejection(Cause.SERVER_ERROR))
    assert isinstance(two(ledger, "never").known(asks)[request().key], Completion)
