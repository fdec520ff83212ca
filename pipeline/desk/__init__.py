"""Money, limits and ledger, and every decision that rests on them."""

from docreduce.desk.budget import Budget
from docreduce.desk.desk import Ask, Desk, Settled, Turn
from docreduce.desk.known import known
from docreduce.desk.ledger import Carried, Ledger
from docreduce.desk.limits import Limiter
from docreduce.desk.lines import Line, Ticket

__all__ = ["Ask", "Budget", "Carried", "Desk", "Ledger", "Limiter", "Line", "Settled", "Ticket", "Turn", "known"]
