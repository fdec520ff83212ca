"""An answer of nothing but thoughts: how often it is asked for, and what the next run knows of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from desks import answer, desk, play, rejection, request
from docreduce.desk import Ledger, Ticket
from docreduce.values import Cause, Completion, Failure, Reply


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.sqlite") as opened:
        opened.begin_run("run", "job", "0", 0.0)
        yield opened


def says(*replies: Reply) -> Callable[[Ticket, float], Reply]:
    """These in turn, then the last of them for ever."""
    left = list(replies)
    return lambda ticket, now: left.pop(0) if len(left) > 1 else left[0]


MUTE = rejection(Cause.EMPTY, billing="unknown", chars=4000)


@pytest.mark.parametrize(
    ("replies", "sent"),
    [
        ((MUTE,), 2),
        ((rejection(Cause.SERVER_ERROR), rejection(Cause.SERVER_ERROR), MUTE), 4),
        ((MUTE, rejection(Cause.SERVER_ERROR), MUTE), 3),
        ((rejection(Cause.EMPTY, billing="unknown"),), 6),
    ],
)
def test_an_answer_of_nothing_but_thoughts_is_asked_for_once_more_and_an_empty_one_as_often_as_others(
    ledger: Ledger, replies: tuple[Reply, ...], sent: int
) -> None:
    assert len(play(desk(ledger, max_attempts=6), [request()], says(*replies)).sent) == sent


def test_nothing_but_thoughts_twice_stands_until_it_is_to_be_asked_again(ledger: Ledger) -> None:
    decides = desk(ledger)
    played = play(decides, [request()], says(MUTE))
    (outcome,) = played.outcomes.values()
    assert isinstance(outcome, Failure)
    for retry, known in (("never", played.outcomes), ("transient", played.outcomes), ("all", {})):
        decides.retry = retry
        assert decides.known({request().key: request()}) == known


def test_thoughts_and_then_an_answer_are_an_answer_to_the_next_run_too(ledger: Ledger) -> None:
    decides = desk(ledger)
    play(decides, [request()], says(MUTE, answer()))
    assert isinstance(decides.known({request().key: request()})[request().key], Completion)
