"""The results of a run as Parquet tables: written aside, visible all at once."""

from pipeline.dataset.runs import RunInfo, list_runs
from pipeline.dataset.schema import arrow_fields, coerce
from pipeline.dataset.writer import DatasetWriter, DocumentRow

__all__ = ["DatasetWriter", "DocumentRow", "RunInfo", "arrow_fields", "coerce", "list_runs"]
