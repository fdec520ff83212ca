"""The results of a run as Parquet tables: written aside, visible all at once."""

from docreduce.results.runs import RunInfo, list_runs
from docreduce.results.schema import arrow_fields, coerce
from docreduce.results.writer import DatasetWriter, DocumentRow

__all__ = ["DatasetWriter", "DocumentRow", "RunInfo", "arrow_fields", "coerce", "list_runs"]
