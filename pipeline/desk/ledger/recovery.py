"""Whoever opens a ledger takes it over, and books what an ended process left in flight."""

from __future__ import annotations

import os
import sqlite3

import orjson
from docreduce.values import Cause

__all__ = ["SAMPLES", "recover"]

SAMPLES = 2000
"""The newest calibration samples that are kept, for each model at each endpoint."""

_RECOVER = f"""INSERT INTO attempt (id, run_id, document_id, key, stage, chunk, attempt, started_at, latency_s, outcome,
        billing, cost_pusd, model, endpoint, error)
    SELECT id, run_id, document_id, key, stage, chunk, attempt, started_at, 0.0, '{Cause.STOPPED}', 'unknown',
        bound_pusd, model, endpoint, 'the process ended before the answer was stored'
    FROM reservation WHERE id NOT IN (SELECT value FROM json_each(?))
        AND id NOT IN (SELECT ticket FROM batch_ticket) ORDER BY id"""  # noqa: S608 - our own words
_PRUNE = f"""DELETE FROM sample WHERE id IN (SELECT id FROM (
    SELECT id, row_number() OVER (PARTITION BY endpoint, model ORDER BY id DESC) AS age FROM sample)
    WHERE age > {SAMPLES})"""  # noqa: S608


def recover(writer: sqlite3.Connection, sent: set[int] | None, token: str) -> list[int]:
    """Take the ledger over, and book what an ended process left reserved: unknown, at the bounds that come back.

    `sent`: the attempts it may have sent; None where nobody can say."""
    writer.execute("BEGIN IMMEDIATE")
    out = "(SELECT ticket FROM batch_ticket)"  # what is out in a provider's batch is not lost: it is taken up again
    left = dict(writer.execute(f"SELECT id, bound_pusd FROM reservation WHERE id NOT IN {out}"))  # noqa: S608
    unsent = [] if sent is None else [number for number in left if number not in sent]
    writer.execute(_RECOVER, (orjson.dumps(unsent).decode(),))
    writer.execute(f"DELETE FROM reservation WHERE id NOT IN {out}")  # noqa: S608
    writer.execute("UPDATE attempt SET billing = 'unknown' WHERE billing = 'reserved'")  # saved from an older file
    writer.execute("UPDATE run SET status = 'died' WHERE status = 'running'")
    writer.execute(_PRUNE)
    writer.execute("DELETE FROM owner")
    writer.execute("INSERT INTO owner VALUES (?, ?)", (token, os.getpid()))
    writer.execute("COMMIT")
    return [int(bound) for number, bound in left.items() if number not in unsent]
