"""Provider batches in the ledger: what is out, and where.

A batch is `submitting` from before its POST, under a token of our own that goes with it, until the service's id is
known (`out`). Its tickets keep their reservations until their answers are booked: no opening of the ledger takes them
for lost, and nobody asks them again meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

from docreduce.values import Stage

__all__ = ["BatchRow", "Batches", "Out"]

State = Literal["submitting", "out"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRow:
    """A batch with tickets that are not booked yet. `asked`: the endpoint's settings in JSON, without a key;
    `submitted_at`: seconds since the epoch, before it was sent; `calls`: those it was sent with."""

    token: str
    endpoint: str
    model: str
    setting: str
    asked: str
    service_id: str | None
    state: State
    submitted_at: float
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Out:
    """A ticket that is out in the batch `token`; `tokens` is our count of its request, `bytes` the size it was sent
    with."""

    id: int
    document_id: str
    key: str
    stage: Stage
    chunk: int | None
    attempt: int
    started_at: float
    endpoint: str
    model: str
    bound_pusd: int
    token: str
    setting: str
    tokens: int
    bytes: int


_OUT = """SELECT r.id, r.document_id, r.key, r.stage, r.chunk, r.attempt, r.started_at, r.endpoint, r.model,
    r.bound_pusd, b.token, b.setting, t.tokens, t.bytes
    FROM batch_ticket t JOIN batch b USING (token) JOIN reservation r ON r.id = t.ticket ORDER BY r.id"""
_BATCHES = """SELECT token, endpoint, model, setting, asked, service_id, state, submitted_at, calls FROM batch
    WHERE token IN (SELECT token FROM batch_ticket) ORDER BY submitted_at"""


class Batches:
    """The ledger's batches. Writes block until durable; any thread may call them."""

    def __init__(
        self, writing: Callable[[], AbstractContextManager[Any]], read: Callable[[str], list[tuple[Any, ...]]]
    ) -> None:
        self._writing, self._read = writing, read

    def begin(self, row: BatchRow, tickets: Sequence[tuple[int, int, int]]) -> None:
        """Keep that `tickets` (id, tokens, bytes) are about to be sent as the batch `row`."""
        with self._writing() as writer:
            values = (
                *(row.token, row.endpoint, row.model, row.setting, row.asked),
                *(row.service_id, row.state, row.submitted_at, row.calls),
            )
            writer.execute("INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
            rows = [(number, row.token, tokens, size) for number, tokens, size in tickets]
            writer.executemany("INSERT INTO batch_ticket VALUES (?, ?, ?, ?)", rows)

    def sent(self, token: str, service_id: str) -> None:
        """The service knows the batch as `service_id`."""
        with self._writing() as writer:
            writer.execute("UPDATE batch SET service_id = ?, state = 'out' WHERE token = ?", (service_id, token))

    def never_sent(self, token: str) -> None:
        """The service has no such batch; its tickets are still to be booked."""
        with self._writing() as writer:
            writer.execute("DELETE FROM batch_ticket WHERE token = ?", (token,))
            writer.execute("DELETE FROM batch WHERE token = ?", (token,))

    def known_ids(self) -> set[str]:
        """The service ids of all batches there ever were."""
        return {name for (name,) in self._read("SELECT service_id FROM batch WHERE service_id IS NOT NULL")}

    def rows(self) -> list[BatchRow]:
        """Batches that are out, the oldest first."""
        names = BatchRow.__dataclass_fields__
        return [BatchRow(**dict(zip(names, row, strict=True))) for row in self._read(_BATCHES)]

    def out(self) -> list[Out]:
        """Tickets that are out."""
        names = Out.__dataclass_fields__
        return [Out(**dict(zip(names, row, strict=True))) for row in self._read(_OUT)]
