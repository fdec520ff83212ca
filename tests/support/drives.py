"""Drivers for tests: documents of lines, each a request; a service that is a function; real desks and ledgers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from desks import desk, line
from docreduce.config import load_job
from docreduce.desk import Desk, Ledger, Line, Ticket
from docreduce.engine.drive import Driver
from docreduce.engine.events import Event, Listener
from docreduce.engine.intake import Intake, Read
from docreduce.engine.session import Session, open_session
from docreduce.kinds.kind import Pack, Work
from docreduce.results import DocumentRow
from docreduce.values import Completion, Document, Message, Reply, Request, Result, Steps

__all__ = ["Driven", "Service", "document", "driven", "each_line", "session"]

Service = Callable[[Ticket], Awaitable[Reply]]


def document(number: int, text: str | None = None, row: int | None = None) -> Document:
    """The document called `number`."""
    words = f"d{number} says so" if text is None else text
    return Document(id=f"{number}", uri=f"{number}.txt", text=words, media_type="text/plain", row=row)


def each_line(documents: Sequence[Document]) -> Steps:
    """A kind: every line of every document is a request; the answers are the summary."""
    lines = [(at, line) for at, each in enumerate(documents) for line in each.text.splitlines()]
    requests = [
        Request(messages=(Message("user", line),), tokens=20, chunk=number, serves=(at,))
        for number, (at, line) in enumerate(lines)
    ]
    outcomes = yield requests
    results = []
    for at in range(len(documents)):
        mine = [outcome for outcome, (of, _) in zip(outcomes, lines, strict=True) if of == at]
        said = [outcome.text for outcome in mine if isinstance(outcome, Completion)]
        failed = next((outcome for outcome in mine if not isinstance(outcome, Completion)), None)
        results.append(
            Result(status="ok", summary=" ".join(said))
            if failed is None
            else Result(status="failed", error_kind=failed.cause, error=failed.message)
        )
    return results


def session(
    folder: Path, steps: Callable[[Sequence[Document]], Steps] = each_line, pack: Pack | None = None
) -> Session:
    """A session of a kind with these steps."""
    path = folder / "job.toml"
    path.write_text('name = "n"\nkind = "summarize"\n[input]\npaths = ["x"]\n', encoding="utf-8")
    work = Work(steps=steps, predict=lambda request, tokens: "", offline=None, pack=pack)
    return replace(open_session(load_job(path)), work=work)


class _Carrying:
    def __init__(self, service: Service) -> None:
        self.carry = service

    async def aclose(self) -> None:
        """Nothing is held."""


@dataclass
class Driven:
    """What a drive did: the rows as they were written, the calls as they were sent (time, words), and its parts."""

    rows: list[DocumentRow] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    sent: list[tuple[float, str]] = field(default_factory=list)
    in_flight: int = 0
    most: int = 0
    seconds: float = 0.0
    desk: Desk = None  # type: ignore[assignment]
    driver: Driver = None  # type: ignore[assignment]
    intake: Intake = None  # type: ignore[assignment]

    @property
    def words(self) -> list[str]:
        """What was asked, in order."""
        return [words for _, words in self.sent]


async def driven(
    reads: Iterable[Read],
    folder: Path,
    service: Service,
    *lines: Line,
    of: Session | None = None,
    begun: Callable[[Driven], None] = lambda _: None,
    write: Callable[[DocumentRow], None] | None = None,
    hear: Listener | None = None,
    **changes: Any,
) -> Driven:
    """Drive `reads` through a new desk in the running loop. `begun` is called before the first document is read."""
    loop, found = asyncio.get_running_loop(), Driven()
    began = loop.time()

    async def carry(ticket: Ticket) -> Reply:
        found.sent.append((loop.time() - began, ticket.request.messages[-1].content))
        found.in_flight += 1
        found.most = max(found.most, found.in_flight)
        try:
            return await service(ticket)
        finally:
            found.in_flight -= 1

    with Ledger.open(folder / "ledger.sqlite") as ledger:
        ledger.begin_run("run", "job", "0", 0.0)
        lines = lines or (line(now=began),)
        found.desk = desk(ledger, *lines, **changes)
        found.intake = Intake(of or session(folder), iter(reads))
        carriers: Mapping[str, Any] = {f"{each.route.endpoint} {each.route.model}": _Carrying(carry) for each in lines}
        found.driver = Driver(
            found.intake, found.desk, carriers, write or found.rows.append, hear or found.events.append, clock=loop.time
        )
        begun(found)
        try:
            await found.driver.run()
        finally:
            found.seconds = loop.time() - began
    return found
