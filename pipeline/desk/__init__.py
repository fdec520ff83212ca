"""Money, limits and ledger, and every decision that rests on them."""

from docreduce.desk.budget import Budget
from docreduce.desk.desk import Desk, Held
from docreduce.desk.known import known
from docreduce.desk.ledger import (
    SEGMENTS,
    BatchRow,
    Carried,
    Ledger,
    LedgerFault,
    Out,
    Paid,
    RunBook,
    ledger_faults,
    ledgers_of,
    paid,
    run_books,
)
from docreduce.desk.limits import Enqueued, Limiter
from docreduce.desk.lines import Line, Ticket
from docreduce.desk.turns import Ask, Settled, Turn

__all__ = [
    "SEGMENTS",
    "Ask", "BatchRow", "Budget", "Carried", "Desk", "Enqueued", "Held", "Ledger", "LedgerFault", "Limiter", "Line",
    "Out", "Paid", "RunBook", "Settled", "Ticket", "Turn", "known", "ledger_faults", "ledgers_of", "paid", "run_books",
]  # fmt: skip
