"""What was asked, answered and paid, over all runs of an output folder: one SQLite file, one writer."""

from docreduce.desk.ledger.batches import Batches, BatchRow, Out
from docreduce.desk.ledger.book import Carried, Ledger
from docreduce.desk.ledger.reading import (
    SEGMENTS,
    LedgerFault,
    Paid,
    RunBook,
    ledger_faults,
    ledgers_of,
    paid,
    run_books,
)
from docreduce.desk.ledger.rows import Booked, Kept, Reserved

__all__ = [
    "SEGMENTS",
    "BatchRow", "Batches", "Booked", "Carried", "Kept", "Ledger", "LedgerFault", "Out", "Paid", "Reserved", "RunBook",
    "ledger_faults", "ledgers_of", "paid", "run_books",
]  # fmt: skip
