"""What a ledger holds, made by hand: reservations, attempts, answers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from docreduce.desk.ledger import Booked, Kept, Ledger, Reserved
from docreduce.values import Attempt, Completion, Usage

__all__ = ["ENDPOINT", "SETTING", "USAGE", "attempt", "book", "booked", "completion", "kept", "key", "pay", "reserve"]

USAGE = Usage(input_tokens=11, output_tokens=7, cached_input_tokens=3, cache_write_tokens=2, reasoning_tokens=1)
ENDPOINT, SETTING = "https://a.example/v1", '["m",10,{}]'


def key(words: object) -> str:
    """A request's key."""
    return f"key of {words}"


def reserve(ledger: Ledger, words: object, *, bound: int = 100, run_id: str = "r1", commit: bool = True) -> Reserved:
    """A call that is about to be made, durably unless not yet to be committed."""
    reserved = Reserved(
        id=ledger.next_id, run_id=run_id, document_id="doc", key=key(words), stage="map", chunk=4, attempt=1,
        started_at=1.5, endpoint=ENDPOINT, model="m", bound_pusd=bound,
    )  # fmt: skip
    ledger.next_id += 1
    if commit:
        ledger.commit([reserved], [])
    return reserved


def attempt(words: object, **changes: Any) -> Attempt:
    """An answered call."""
    given: dict[str, Any] = {
        "key": key(words), "stage": "map", "chunk": 4, "attempt": 1, "started_at": 1.5, "latency_s": 0.25,
        "outcome": "ok", "billing": "charged", "cost_pusd": 5, "model": "m", "endpoint": ENDPOINT, "usage": USAGE,
        "http_status": 200, "finish_reason": "stop", "service_tier": "flex", "request_id": "r-1",
    }  # fmt: skip
    return Attempt(**{**given, **changes})


def kept(words: object, text: str = "an answer", **changes: Any) -> Kept:
    """An answer to be kept."""
    given: dict[str, Any] = {
        "endpoint": ENDPOINT, "setting": SETTING, "key": key(words), "model": "m", "text": text,
        "finish_reason": "stop", "usage": USAGE, "cost_pusd": 5,
    }  # fmt: skip
    return Kept(**{**given, **changes})


def completion(words: object, text: str = "an answer") -> Completion:
    """What a ledger gives for it."""
    return Completion(
        key=key(words), text=text, finish_reason="stop", usage=USAGE, cost_pusd=5, model="m", endpoint=ENDPOINT,
        reused=True,
    )  # fmt: skip


def book(
    ledger: Ledger, words: Iterable[object], *, run_id: str = "r1", cost_pusd: int = 5, text: str = "an answer"
) -> list[str]:
    """Reserve and pay for calls, in two commits; their keys."""
    words = list(words)
    reserved = [reserve(ledger, each, run_id=run_id, commit=False) for each in words]
    ledger.commit(reserved, [])
    done = [
        Booked(reserved=row, attempt=attempt(each, cost_pusd=cost_pusd), kept=kept(each, text))
        for row, each in zip(reserved, words, strict=True)
    ]
    ledger.commit([], done)
    return [row.key for row in reserved]


def pay(ledger: Ledger, words: object, **changes: Any) -> str:
    """Reserve and pay for one call; its key."""
    return book(ledger, [words], **changes)[0]


def booked(path: Path, run_id: str = "r1") -> list[dict[str, Any]]:
    """The attempts of a run as they stand in the file, in the order they were begun."""
    with closing(sqlite3.connect(path)) as plain:
        plain.row_factory = sqlite3.Row
        return [dict(row) for row in plain.execute("SELECT * FROM attempt WHERE run_id = ? ORDER BY id", (run_id,))]
