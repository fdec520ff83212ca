"""What was asked, answered and paid, over all runs of an output folder: one SQLite file, one writer."""

from pipeline.ledger.book import Ledger
from pipeline.ledger.rows import Booking, Carried, Sample, Stored

__all__ = ["Booking", "Carried", "Ledger", "Sample", "Stored"]
