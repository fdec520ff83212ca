"""What was asked, answered and paid, over all runs of an output folder: one SQLite file, one writer."""

from docreduce.desk.ledger.book import Carried, Ledger
from docreduce.desk.ledger.rows import Booked, Kept, Reserved

__all__ = ["Booked", "Carried", "Kept", "Ledger", "Reserved"]
