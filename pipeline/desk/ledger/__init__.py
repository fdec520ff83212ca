"""What was asked, answered and paid, over all runs of an output folder: one SQLite file, one writer."""

from docreduce.desk.ledger.book import Ledger
from docreduce.desk.ledger.rows import Carried, Sample, Stored

__all__ = ["Carried", "Ledger", "Sample", "Stored"]
