"""What earlier turns or runs left out in provider batches: taken up, never asked twice, never forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from desks import COST, answer, desk, line, rejection, request, route
from docreduce.desk import Ask, Desk, Ledger, Out, Ticket
from docreduce.values import Cause, Completion, Failure

ASKED = replace(route(), batch=True)
KEY = request().key


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.sqlite") as opened:
        opened.next_id = 10
        yield opened


def out(number: int, key: str = KEY) -> Out:
    return Out(
        id=number,
        document_id="d",
        key=key,
        stage="map",
        chunk=0,
        attempt=2,
        started_at=0.0,
        endpoint=ASKED.endpoint,
        model="m",
        bound_pusd=7000,
        token="a",
        setting=ASKED.setting,
        tokens=20,
        bytes=40,
    )


def taken_up(ledger: Ledger, *each: Out) -> Desk:
    decides = desk(ledger, line(ASKED), cap=10**9)
    decides.take_up(each)
    return decides


def sent(decides: Desk) -> Ticket:
    """The ticket that a turn with one ask lets go."""
    turn = decides.turn([], [Ask(KEY, request(), "doc")], 0.0)
    assert not turn.settled
    ticket = decides.take(0.0)
    assert isinstance(ticket, Ticket)
    return ticket


def test_what_is_out_is_asked_under_the_ticket_it_has_and_reserved_once(ledger: Ledger) -> None:
    decides = taken_up(ledger, out(1))
    assert (decides.budget.reserved, len(decides.out)) == (7000, 1)
    ticket = sent(decides)
    assert (ticket.id, ticket.attempt, ticket.bound_pusd, decides.budget.reserved) == (1, 2, 7000, 7000)
    assert ticket in decides.out
    assert len(decides.out) == 0
    decides.arrived(ticket, answer(), 1.0)
    (settled,) = decides.turn([(ticket, answer(), 1.0)], [], 1.0).settled
    assert isinstance(settled.outcome, Completion)
    assert (decides.budget.reserved, decides.budget.charged) == (0, COST)
    assert ticket not in decides.out
    assert KEY in decides.known({KEY: request()})


def test_what_is_still_out_keeps_its_money_and_its_ticket_for_whoever_asks_next(ledger: Ledger) -> None:
    decides = taken_up(ledger, out(1))
    ticket = sent(decides)
    later = rejection(Cause.WAITING)
    decides.arrived(ticket, later, 1.0)
    (settled,) = decides.turn([(ticket, later, 1.0)], [], 1.0).settled
    assert isinstance(settled.outcome, Failure)
    assert settled.outcome.cause is Cause.WAITING
    assert settled.attempt is None
    assert (decides.budget.reserved, len(decides.out)) == (7000, 1)
    assert sent(decides).id == 1


def test_a_halt_leaves_out_what_is_out(ledger: Ledger) -> None:
    decides = taken_up(ledger, out(1))
    decides.turn([], [Ask(KEY, request(), "doc")], 0.0)
    decides.halt(Cause.STOPPED, "interrupted")
    assert decides.stranded(0.0)
    (settled,) = decides.turn([], [], 0.0).settled
    assert isinstance(settled.outcome, Failure)
    assert settled.outcome.cause is Cause.WAITING
    assert (decides.budget.reserved, len(decides.out)) == (7000, 1)


def test_what_nobody_asks_for_any_more_is_booked_all_the_same(ledger: Ledger) -> None:
    decides = taken_up(ledger, out(1), out(2, "another"))
    orphans = decides.orphans()
    assert sorted(each.id for each in orphans) == [1, 2]
    decides.book_orphans([(each, answer()) for each in orphans], 1.0)
    assert (decides.budget.reserved, decides.budget.charged, len(decides.out)) == (0, 2 * COST, 0)
    assert ledger.carried("job").charged_pusd == 0, "no run of the job has begun"
    assert KEY in decides.known({KEY: request()})
    assert not decides.lines[0].full
    assert ledger.samples(ASKED.endpoint, "m") == [], "of a stand-in nothing is learned"


def test_what_this_run_sent_itself_stays_out_under_its_own_ticket(ledger: Ledger) -> None:
    decides = taken_up(ledger)
    ticket = sent(decides)
    later = rejection(Cause.WAITING)
    decides.arrived(ticket, later, 1.0)
    decides.turn([(ticket, later, 1.0)], [], 1.0)
    assert (len(decides.out), decides.budget.reserved) == (1, ticket.bound_pusd)
    again = sent(decides)
    assert (again.id, again.key, again.document_id, again.attempt) == (ticket.id, KEY, "doc", 1)
    assert (again.bound_pusd, again.route, again.started_at) == (ticket.bound_pusd, ASKED, 0.0)
