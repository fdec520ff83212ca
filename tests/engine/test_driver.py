"""Many documents at once: order, bounds, and what one document's trouble does to the others."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from docreduce.config import LimitSettings, load_job
from docreduce.desk import Dispatch, Gate
from docreduce.desk.budget import Budget
from docreduce.desk.ledger import Ledger
from docreduce.desk.limits import Limiter
from docreduce.engine.driver import Driver, Read, Source
from docreduce.engine.estimate import Estimator
from docreduce.engine.session import Session, open_session
from docreduce.models.pricing import Pricing
from docreduce.readers import Unread
from docreduce.report.progress import Counts
from docreduce.results import DocumentRow
from docreduce.values import Answer, Cause, Document, Reply, Request, Usage
from docreduce.values.errors import DocumentError, MachineError

FREE = Pricing(mode="per_token", source="test")
SLOTS = 8


class Echo:
    """Answers with the text's first words after a seeded delay; remembers the order and the number in flight."""

    name = "echo"

    def __init__(self, longest_s: float = 0.01) -> None:
        self.draw = random.Random(1)
        self.longest_s = longest_s
        self.asked: list[str] = []
        self.in_flight = self.most = 0
        self.on_asked: Callable[[], None] = lambda: None

    async def send(self, request: Request, *, timeout_s: float) -> Reply:
        text = request.messages[-1].content
        self.asked.append(text.split()[0])
        self.on_asked()
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        await asyncio.sleep(self.draw.random() * self.longest_s)
        self.in_flight -= 1
        usage = Usage(input_tokens=10, output_tokens=2)
        return Answer(text=text[:20], finish_reason="stop", usage=usage)

    async def aclose(self) -> None:
        return


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    path = tmp_path_factory.mktemp("job") / "job.toml"
    path.write_text('name = "n"\nkind = "summarize"\n[input]\npaths = ["x"]\n[chunking]\nmax_tokens = 50\n')
    return open_session(load_job(path))


def document(number: int, words: int = 20) -> Document:
    text = f"d{number} " + "and so on it went. " * (words // 5)
    return Document(id=f"{number}", uri=f"{number}.txt", text=text, media_type="text/plain")


def drive(
    session: Session, reads: Iterator[Read], tmp_path: Path, provider: Echo, halt_after: int | None = None
) -> list[DocumentRow]:
    rows: list[DocumentRow] = []

    async def main() -> None:
        clock = asyncio.get_running_loop().time
        with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
            ledger.begin_run("run", "job", "0", 0.0)
            dispatch = Dispatch(
                run_id="run",
                provider=provider,
                ledger=ledger,
                gate=Gate(Limiter(concurrency=SLOTS, now=clock()), clock),
                budget=Budget(),
                pricing=FREE,
                settings=LimitSettings(),
            )

            def asked() -> None:
                if len(provider.asked) == halt_after:
                    dispatch.halt(Cause.STOPPED, "interrupted")

            provider.on_asked = asked
            await Driver(Source(session, reads), dispatch, rows.append, Counts(), Estimator(session)).run()

    asyncio.run(main())
    return rows


def test_rows_come_in_the_inputs_order_whatever_order_the_answers_have(session: Session, tmp_path: Path) -> None:
    rows = drive(session, (document(n) for n in range(120)), tmp_path, Echo())
    assert [row.document_id for row in rows] == [f"{n}" for n in range(120)]
    assert {row.result.status for row in rows} == {"ok"}


def test_slots_are_used_and_never_exceeded(session: Session, tmp_path: Path) -> None:
    provider = Echo(longest_s=0.1)
    drive(session, (document(n) for n in range(120)), tmp_path, provider)
    assert provider.most == SLOTS


def test_documents_are_opened_as_slots_free_and_not_all_at_once(session: Session, tmp_path: Path) -> None:
    provider = Echo()
    ahead: list[int] = []

    def reads() -> Iterator[Document]:
        for number in range(400):
            ahead.append(number - len(provider.asked))
            yield document(number)

    drive(session, reads(), tmp_path, provider)
    assert max(ahead) <= 3 * SLOTS


def test_earlier_documents_are_asked_first(session: Session, tmp_path: Path) -> None:
    provider = Echo()
    drive(session, (document(n) for n in range(100)), tmp_path, provider)
    order = [int(name.removeprefix("d")) for name in provider.asked]
    assert max(abs(place - number) for place, number in enumerate(order)) <= 3 * SLOTS


def test_a_long_document_does_not_hold_up_the_others_and_is_written_in_its_place(
    session: Session, tmp_path: Path
) -> None:
    reads = (document(n, words=2000 if n == 0 else 20) for n in range(60))
    rows = drive(session, reads, tmp_path, Echo())
    assert rows[0].document_id == "0"
    assert len(rows[0].result.chunks) > 20
    assert len(rows) == 60


def test_what_cannot_be_read_and_what_is_empty_are_rows_in_their_places(session: Session, tmp_path: Path) -> None:
    def reads() -> Iterator[Read]:
        yield document(0)
        yield Unread(id="bad", uri="bad.pdf", media_type="application/pdf", error=DocumentError("no", kind="encrypted"))
        yield Document(id="void", uri="void.txt", text=" \n", media_type="text/plain")
        yield document(3)

    rows = drive(session, reads(), tmp_path, Echo())
    assert [(row.document_id, row.result.status, row.result.error_kind) for row in rows] == [
        ("0", "ok", None),
        ("bad", "failed", "encrypted"),
        ("void", "skipped", "empty"),
        ("3", "ok", None),
    ]


def test_equal_documents_get_different_ids(session: Session, tmp_path: Path) -> None:
    rows = drive(session, iter([document(1), document(1), document(1)]), tmp_path, Echo())
    assert [row.document_id for row in rows] == ["1", "1~2", "1~3"]


def test_after_a_stop_every_further_document_is_a_skipped_row_and_nothing_is_sent(
    session: Session, tmp_path: Path
) -> None:
    provider = Echo()
    rows = drive(session, (document(n) for n in range(200)), tmp_path, provider, halt_after=30)
    assert len(rows) == 200
    assert len(provider.asked) < 80
    assert {row.result.status for row in rows} == {"ok", "skipped"}
    assert {row.result.error_kind for row in rows if row.result.status == "skipped"} == {"stopped"}


def test_a_reader_that_breaks_the_machine_ends_the_run_with_its_error(session: Session, tmp_path: Path) -> None:
    def reads() -> Iterator[Read]:
        yield document(0)
        raise MachineError("too many open files")

    with pytest.raises(MachineError, match="too many open files"):
        drive(session, reads(), tmp_path, Echo())
