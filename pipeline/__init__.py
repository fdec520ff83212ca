"""docreduce: long documents to summaries and typed records, with every token and cent accounted for."""

__version__ = "0.1.0"

__all__ = ["__version__"]
