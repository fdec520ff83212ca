"""Money, limits and ledger, and every decision that rests on them."""

from docreduce.desk.booking import Answered, Forms
from docreduce.desk.call import Dispatch
from docreduce.desk.gate import Gate

__all__ = ["Answered", "Dispatch", "Forms", "Gate"]
