"""Many documents at once: order, bounds, time, ends, and what one document's trouble does to the others."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from desks import answer, line, rejection, route
from docreduce.desk import Desk, Ticket
from docreduce.engine import drive as drive_module
from docreduce.engine.events import Attempted
from docreduce.engine.intake import BATCH, Batch, Intake, Read
from docreduce.engine.session import PACK_SPAN
from docreduce.kinds.kind import Pack
from docreduce.readers import Unread, left_out
from docreduce.results import DocumentRow
from docreduce.values import Cause, Decision, Document, Message, Rejection, Reply, Request, Result, Steps
from docreduce.values.errors import DocumentError, MachineError
from drives import Driven, Service, document, driven, session
from virtual import run_virtual

SLOTS = 8


def takes(seconds: float) -> Service:
    async def service(ticket: Ticket) -> Reply:
        await asyncio.sleep(seconds)
        return answer(ticket.request.messages[-1].content)

    return service


def varies(longest_s: float) -> Service:
    """Answers after a seeded delay, so that they come in another order than they were asked for."""
    draw = random.Random(1)

    async def service(ticket: Ticket) -> Reply:
        await asyncio.sleep(draw.random() * longest_s)
        return answer(ticket.request.messages[-1].content)

    return service


def virtual(reads: Any, folder: Path, service: Service, *lines: Any, **changes: Any) -> Driven:
    return run_virtual(lambda: driven(reads, folder, service, *lines, **changes))


def real(reads: Any, folder: Path, service: Service, **changes: Any) -> Driven:
    """In real time and real threads."""
    return asyncio.run(asyncio.wait_for(driven(reads, folder, service, **changes), 60))


# --- order and bounds ---------------------------------------------------------------------------------------------


def test_rows_come_in_the_inputs_order_whatever_order_the_answers_have(tmp_path: Path) -> None:
    found = real((document(n) for n in range(120)), tmp_path, varies(0.01))
    assert [row.document_id for row in found.rows] == [f"{n}" for n in range(120)]
    assert [row.result.summary for row in found.rows] == [f"d{n} says so" for n in range(120)]


def test_slots_are_used_and_never_exceeded(tmp_path: Path) -> None:
    found = virtual((document(n) for n in range(120)), tmp_path, takes(1.0), line(concurrency=SLOTS))
    assert found.most == SLOTS
    assert found.seconds == pytest.approx(120 / SLOTS, rel=0.03)


def test_documents_are_opened_as_slots_free_and_not_all_at_once(tmp_path: Path) -> None:
    ahead: list[int] = []
    found: list[Driven] = []

    def reads() -> Iterator[Document]:
        for number in range(400):
            ahead.append(number - len(found[0].sent))
            yield document(number)

    virtual(reads(), tmp_path, varies(1.0), line(concurrency=SLOTS), begun=found.append)
    assert max(ahead) <= 4 * SLOTS


def test_earlier_documents_are_asked_first(tmp_path: Path) -> None:
    found = virtual((document(n) for n in range(100)), tmp_path, varies(1.0), line(concurrency=SLOTS))
    order = [int(words.split()[0].removeprefix("d")) for words in found.words]
    assert max(abs(place - number) for place, number in enumerate(order)) <= 3 * SLOTS


def test_a_call_to_be_asked_again_goes_before_those_of_later_documents(tmp_path: Path) -> None:
    """The second document alone has hundreds of calls; the first one's only call is refused once."""
    refused: list[str] = []

    async def service(ticket: Ticket) -> Reply:
        await asyncio.sleep(1.0)
        if not refused and ticket.request.messages[-1].content == "first":
            refused.append(ticket.key)
            return rejection(Cause.EMPTY)
        return answer()

    reads = [document(0, "first"), document(1, "\n".join(f"line {n}" for n in range(400)))]
    found = virtual(reads, tmp_path, service, line(concurrency=4))
    again = [place for place, words in enumerate(found.words) if words == "first"]
    assert len(again) == 2
    assert again[1] < 40


def test_a_long_document_does_not_hold_up_the_others_and_is_written_in_its_place(tmp_path: Path) -> None:
    reads = (document(n, "\n".join(f"l{i}" for i in range(50)) if n == 0 else None) for n in range(60))
    found = virtual(reads, tmp_path, takes(1.0), line(concurrency=SLOTS))
    assert [row.document_id for row in found.rows] == [f"{n}" for n in range(60)]
    assert found.seconds == pytest.approx(109 / SLOTS, rel=0.1)


def test_what_cannot_be_read_and_what_is_empty_are_rows_in_their_places(tmp_path: Path) -> None:
    reads: list[Read] = [
        document(0),
        Unread(id="bad", uri="bad.pdf", media_type="application/pdf", error=DocumentError("no", kind="encrypted")),
        document(2, " \n"),
        document(3),
    ]
    found = real(reads, tmp_path, takes(0.001))
    assert [(row.document_id, row.result.status, row.result.error_kind) for row in found.rows] == [
        ("0", "ok", None),
        ("bad", "failed", "encrypted"),
        ("2", "skipped", "empty"),
        ("3", "ok", None),
    ]


def test_equal_documents_get_different_ids_and_are_paid_once(tmp_path: Path) -> None:
    found = real([document(1)] * 10, tmp_path, takes(0.05))
    assert [row.document_id for row in found.rows] == ["1", *(f"1~{n}" for n in range(2, 11))]
    assert found.words == ["d1 says so"]
    billings = [event.attempt.billing for event in found.events if isinstance(event, Attempted)]
    assert sorted(billings) == ["charged"] + ["reused"] * 9
    assert {row.result.summary for row in found.rows} == {"d1 says so"}


def test_an_answer_that_came_since_it_was_asked_for_is_not_paid_again(tmp_path: Path) -> None:
    found = virtual((document(n, "the same") for n in range(300)), tmp_path, takes(1.0), line(concurrency=1))
    assert found.words == ["the same"]
    assert len(found.rows) == 300


def test_a_kind_that_asks_nothing_gets_an_empty_list_and_goes_on(tmp_path: Path) -> None:
    def steps(documents: Sequence[Document]) -> Steps:
        assert (yield []) == []
        assert (yield []) == []
        outcomes = yield [Request(messages=(Message("user", "now"),), tokens=20)]
        assert len(outcomes) == 1
        return [Result(status="ok")]

    found = real([document(0)], tmp_path, takes(0.001), of=session(tmp_path, steps))
    assert [row.result.status for row in found.rows] == ["ok"]


# --- memory -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", " \n"])
def test_one_pull_brings_no_more_than_its_share_also_where_all_is_empty(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    each: list[int] = []
    pull = Intake.pull

    def counted(intake: Intake, requests: int) -> Batch:
        before = len(taken)
        batch = pull(intake, requests)
        each.append(len(taken) - before)
        return batch

    def reads() -> Iterator[Document]:
        for number in range(1_000):
            taken.append(number)
            yield document(number, text)

    monkeypatch.setattr(Intake, "pull", counted)
    assert len(virtual(reads(), tmp_path, takes(1.0)).rows) == 1_000
    assert max(each) == BATCH

    def stopped(found: Driven) -> None:
        found.desk.halt(Cause.STOPPED, "interrupted")

    each.clear()
    (tmp_path / "stopped").mkdir()
    found = virtual((document(n) for n in range(1_000)), tmp_path / "stopped", takes(1.0), begun=stopped)
    assert len(found.rows) == 1_000
    assert len(each) >= 1_000 / BATCH


@pytest.mark.long
def test_of_a_hundred_thousand_equal_rows_a_bounded_number_is_held_at_a_time(tmp_path: Path) -> None:
    alive = [0, 0]

    class Counted(str):
        __slots__ = ()

        def __new__(cls, text: str) -> Counted:
            alive[0] += 1
            alive[1] = max(alive)
            return super().__new__(cls, text)

        def __del__(self) -> None:
            alive[0] -= 1

    written = [0]

    def write(_: DocumentRow) -> None:
        written[0] += 1

    async def main() -> Driven:
        reads = (document(n, Counted("the same")) for n in range(100_000))
        return await driven(reads, tmp_path, takes(1.0), line(concurrency=SLOTS), write=write, hear=lambda _: None)

    found = run_virtual(main)
    assert written == [100_000]
    assert found.words == ["the same"]
    assert alive[1] < 10_000


def test_rows_finished_behind_a_row_that_waits_for_company_never_stop_a_run(tmp_path: Path) -> None:
    """The first row waits to be packed with others, and all the rest are empty."""
    of = session(tmp_path, pack=Pack(max_rows=10, room_tokens=1_000, frame_tokens=5))
    reads = [document(0, "alone", row=0), *(document(n, "", row=n) for n in range(1, 6_000))]
    found = virtual(reads, tmp_path, takes(1.0), of=of)
    assert len(found.rows) == 6_000
    assert found.rows[0].result.summary == "alone"


def test_rows_of_a_packed_request_stand_near_each_other(tmp_path: Path) -> None:
    of = session(tmp_path, pack=Pack(max_rows=10, room_tokens=1_000, frame_tokens=5))
    texts = {0: "a", 5: "b", PACK_SPAN + 2: "c", PACK_SPAN + 3: "d"}
    units: list[list[int]] = []

    def steps(documents: Sequence[Document]) -> Steps:
        units.append([each.place for each in documents])
        yield []
        return [Result(status="ok")] * len(documents)

    reads = [document(n, texts.get(n, ""), row=n) for n in range(PACK_SPAN + 100)]
    virtual(reads, tmp_path, takes(1.0), of=session(tmp_path, steps, of.work.pack))
    assert units == [[0, 5], [PACK_SPAN + 2, PACK_SPAN + 3]]


# --- time ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("latency_s", "calls"), [(10.0, 30), (30.0, 120)])
def test_a_rate_is_used_to_the_full_however_long_the_answers_take(tmp_path: Path, latency_s: float, calls: int) -> None:
    """Sixty requests a minute: the last one leaves after calls - 1 seconds at best."""
    limited = line(requests_per_minute=60, concurrency=None)
    found = virtual((document(n) for n in range(calls)), tmp_path, takes(latency_s), limited)
    ideal_s = calls - 1 + latency_s
    assert len(found.sent) == calls
    assert found.seconds <= 1.03 * ideal_s
    for start, _ in found.sent:
        assert sum(start <= at < start + 60 for at, _ in found.sent) <= 60


REFUSALS = {
    "an empty answer": rejection(Cause.EMPTY),
    "a 429 with Retry-After": rejection(Cause.RATE_LIMITED, http_status=429, retry_after_s=2.0),
    "a 503 with Retry-After": rejection(Cause.SERVER_ERROR, http_status=503, retry_after_s=2.0),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_a_call_in_back_off_holds_no_slot(tmp_path: Path, refusal: Reply) -> None:
    """Five slots, 0.1 s an answer, one call in five refused by chance, which waits what it is told to."""
    draw = random.Random(5)
    refused: dict[str, list[float]] = {}

    async def service(ticket: Ticket) -> Reply:
        now = asyncio.get_running_loop().time()
        if ticket.key in refused and isinstance(refusal, Rejection):
            assert now >= refused[ticket.key][-1] + (refusal.retry_after_s or 0.0)
        await asyncio.sleep(0.1)
        if draw.random() < 0.2:
            refused.setdefault(ticket.key, []).append(now + 0.1)
            return refusal
        return answer()

    found = virtual((document(n) for n in range(1_000)), tmp_path, service, line(concurrency=5), max_attempts=50)
    assert len(refused) > 150
    assert {row.result.status for row in found.rows} == {"ok"}
    # What ends last has waited by itself: with nothing else to be done, slots are free and not idle.
    until = max(at for at, _ in found.sent[: len(found.sent) * 97 // 100])
    assert 0.1 * 0.97 * len(found.sent) / 5 / until >= 0.85


def test_while_a_call_leads_under_a_cap_the_desk_is_not_asked_over_and_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[int] = []
    turn = Desk.turn

    def counted(of: Desk, *given: Any) -> Any:
        turns.append(len(given))
        return turn(of, *given)

    monkeypatch.setattr(Desk, "turn", counted)
    found = virtual((document(n) for n in range(20)), tmp_path, takes(30.0), line(counted=False), cap=10**9)
    assert len(found.rows) == 20
    assert len(turns) < 100


# --- ends ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", [real, virtual])
def test_after_a_stop_every_further_document_is_a_skipped_row_and_nothing_is_sent(tmp_path: Path, run: Any) -> None:
    found: list[Driven] = []

    async def service(ticket: Ticket) -> Reply:
        if len(found[0].sent) == 30:
            found[0].desk.halt(Cause.STOPPED, "interrupted")
            found[0].driver.wake()
        await asyncio.sleep(0.01)
        return answer()

    run((document(n) for n in range(200)), tmp_path, service, begun=found.append)
    (done,) = found
    assert len(done.rows) == 200
    assert len(done.sent) < 30 + 4  # those that were let go in the same moment
    kinds = {(row.result.status, row.result.error_kind) for row in done.rows}
    assert kinds <= {("ok", None), ("failed", "stopped"), ("skipped", "stopped")}
    assert done.desk.budget.reserved == 0


def test_a_stop_while_calls_wait_out_a_refusal_ends_at_once(tmp_path: Path) -> None:
    found: list[Driven] = []

    async def service(ticket: Ticket) -> Reply:
        asyncio.get_running_loop().call_later(5, stop)
        return rejection(Cause.RATE_LIMITED, retry_after_s=600.0)

    def stop() -> None:
        found[0].desk.halt(Cause.STOPPED, "interrupted")
        found[0].driver.wake()

    virtual([document(n) for n in range(9)], tmp_path, service, begun=found.append)
    assert found[0].seconds < 6
    assert len(found[0].rows) == 9


@pytest.mark.parametrize("after_s", [0.0, 0.5, 1.0])
def test_calls_given_up_are_booked_unknown_and_the_run_ends(tmp_path: Path, after_s: float) -> None:
    """At once, too: before a call that was just let go has reached the network."""
    found: list[Driven] = []

    def give_up() -> None:
        found[0].desk.halt(Cause.STOPPED, "interrupted")
        found[0].driver.abandon()

    async def service(ticket: Ticket) -> Reply:
        if len(found[0].sent) == 1:
            if after_s:
                asyncio.get_running_loop().call_later(after_s, give_up)
            else:
                give_up()
        await asyncio.sleep(600)
        return answer()

    virtual((document(n) for n in range(50)), tmp_path, service, begun=found.append)
    assert len(found[0].rows) == 50
    assert found[0].seconds < 3
    unknown = found[0].desk.budget.unknown
    assert unknown == sum(event.attempt.cost_pusd for event in found[0].events if isinstance(event, Attempted)) > 0
    assert found[0].desk.budget.reserved == 0


@pytest.mark.long
def test_a_reader_that_never_comes_back_is_left_and_all_it_took_are_rows(tmp_path: Path) -> None:
    found: list[Driven] = []
    let_go, hung = threading.Event(), threading.Event()

    def reads() -> Iterator[Document]:
        for number in range(3):
            yield document(number)
        hung.set()
        let_go.wait(30)
        yield document(3)

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def stop() -> None:
            found[0].desk.halt(Cause.STOPPED, "interrupted")
            rest = DocumentError("not read", kind=Cause.STOPPED)
            found[0].driver.abandon(lambda: [left_out("4.txt", rest)])

        def watch() -> None:
            loop.call_soon_threadsafe(stop) if hung.is_set() else loop.call_later(0.05, watch)

        watch()
        try:
            await asyncio.wait_for(
                driven(reads(), tmp_path, takes(0.001), line(concurrency=64), begun=found.append), 30
            )
        finally:
            let_go.set()

    asyncio.run(main())
    assert [row.result.status for row in found[0].rows] == ["skipped"] * 4
    assert {row.result.error_kind for row in found[0].rows} == {"stopped"}


@pytest.mark.parametrize("place", ["read", "step", "desk", "write", "call"])
def test_what_breaks_the_machine_in_any_thread_ends_the_run_with_its_error(  # noqa: C901 - five places
    tmp_path: Path, place: str
) -> None:
    broken = MachineError("too many open files")

    def reads() -> Iterator[Read]:
        for number in range(40):
            if place == "read" and number == 20:
                raise broken
            yield document(number)

    def steps(documents: Sequence[Document]) -> Steps:
        if place == "step" and documents[0].id == "20":
            raise broken
        outcomes = yield [Request(messages=(Message("user", documents[0].text),), tokens=20)]
        return [Result(status="ok")] * len(outcomes)

    async def service(ticket: Ticket) -> Reply:
        if place == "call" and ticket.request.messages[-1].content.startswith("d20 "):
            raise broken
        await asyncio.sleep(0.001)
        return answer()

    def write(row: DocumentRow) -> None:
        if place == "write" and row.document_id == "20":
            raise broken

    def begun(found: Driven) -> None:
        def commit(*given: Any) -> None:
            if len(found.sent) > 20:
                raise broken
            of(*given)

        of = found.desk.ledger.commit
        if place == "desk":
            found.desk.ledger.commit = commit  # type: ignore[assignment,method-assign]

    with pytest.raises(MachineError, match="too many open files"):
        real(reads(), tmp_path, service, of=session(tmp_path, steps), write=write, begun=begun)


def test_answers_that_came_before_the_machine_broke_are_kept(tmp_path: Path) -> None:
    """The error is known in the same moment as the answers."""

    async def service(ticket: Ticket) -> Reply:
        await asyncio.sleep(1.0)
        if ticket.request.messages[-1].content.startswith("d3 "):
            raise MachineError("no more memory")
        return answer()

    with pytest.raises(MachineError, match="no more memory"):
        virtual([document(n) for n in range(4)], tmp_path, service)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as plain:
        assert plain.execute("SELECT count(*) FROM answer").fetchone() == (3,)
        assert plain.execute("SELECT count(*) FROM reservation").fetchone() == (1,)


def test_answers_that_led_to_a_failure_are_marked_also_those_of_the_last_document(tmp_path: Path) -> None:
    def steps(documents: Sequence[Document]) -> Steps:
        asked = Request(messages=(Message("user", documents[0].text),), tokens=20)
        yield [asked]
        return [Result(status="failed", error_kind="invalid_output", rejected=[asked.key])]

    for folder, run in ((tmp_path / "a", real), (tmp_path / "b", virtual)):
        folder.mkdir()
        run([document(n) for n in range(5)], folder, takes(0.001), of=session(folder, steps))
        with closing(sqlite3.connect(folder / "ledger.sqlite")) as plain:
            assert plain.execute("SELECT count(*) FROM answer WHERE rejected").fetchone() == (5,)


def test_where_a_route_closes_while_calls_are_reserved_on_it_the_next_takes_them(tmp_path: Path) -> None:
    async def service(ticket: Ticket) -> Reply:
        await asyncio.sleep(1.0)
        return answer() if ticket.route.model == "b" else rejection(Cause.AUTHENTICATION, Decision.STOP)

    found = virtual((document(n) for n in range(100)), tmp_path, service, line(route("a")), line(route("b")))
    assert {row.result.status for row in found.rows} == {"ok"}
    assert {attempt.model for row in found.rows for attempt in row.attempts if attempt.outcome == "ok"} == {"b"}
    assert found.seconds < 40


def test_names_of_the_room_are_those_that_others_may_use() -> None:
    assert drive_module.__all__ == ["Driver"]
