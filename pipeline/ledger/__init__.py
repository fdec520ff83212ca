"""What was asked, answered and paid, over all runs of an output folder: one SQLite file, one writer."""

from pipeline.ledger.book import Ledger
from pipeline.ledger.rows import Carried, Sample, Stored

__all__ = ["Carried", "Ledger", "Sample", "Stored"]
