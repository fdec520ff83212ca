"""What earlier turns or runs left out in provider batches: taken up, never asked twice, never forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from desks import COST, answer, desk, line, rejection, request, route
from docreduce.desk import Ask, BatchRow, Desk, Ledger, Out, Ticket
from docreduce.desk.ledger import Booked
from docreduce.values import Cause, Completion, Failure
from ledgers import attempt, reserve

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
    assert sent(decides).id != ticket.id, "asked anew, it goes out anew"


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
    assert decides.lines[0].unbooked == 0
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


def test_the_ledger_keeps_batches_from_before_they_are_sent_until_the_last_answer_is_booked(ledger: Ledger) -> None:
    row = BatchRow(
        token="t", endpoint="e", model="m", setting="s", asked="{}", service_id=None, state="submitting",
        submitted_at=5.0, calls=2,
    )  # fmt: skip
    first, second = reserve(ledger, "a"), reserve(ledger, "b")
    ledger.batches.begin(row, [(first.id, 20, 40), (second.id, 21, 41)])
    ledger.batches.begin(replace(row, token="u", submitted_at=1.0), [(reserve(ledger, "c").id, 1, 2)])
    assert [each.token for each in ledger.batches.rows()] == ["u", "t"]
    assert ledger.batches.known_ids() == set()
    ledger.batches.sent("t", "service-1")
    assert ledger.batches.known_ids() == {"service-1"}
    assert [(each.state, each.service_id) for each in ledger.batches.rows()] == [
        ("submitting", None),
        ("out", "service-1"),
    ]
    left = {each.id: (each.token, each.tokens, each.bytes, each.bound_pusd) for each in ledger.batches.out()}
    assert left[first.id] == ("t", 20, 40, 100)
    assert left[second.id] == ("t", 21, 41, 100)
    ledger.batches.never_sent("u")
    ledger.commit([], [Booked(reserved=first, attempt=attempt("a"))])
    assert [each.id for each in ledger.batches.out()] == [second.id]
    ledger.commit([], [Booked(reserved=second, attempt=attempt("b"))])
    assert (ledger.batches.out(), ledger.batches.rows()) == ([], [])
    assert ledger.batches.known_ids() == {"service-1"}
