"""The results of a run as Parquet tables: written aside, visible all at once."""

from docreduce.results.dataset import Dataset
from docreduce.results.previous import Unchanged
from docreduce.results.runs import RunInfo, list_runs
from docreduce.results.schema import arrow_fields, coerce
from docreduce.results.writer import DatasetWriter, DocumentRow

__all__ = ["Dataset", "DatasetWriter", "DocumentRow", "RunInfo", "Unchanged", "arrow_fields", "coerce", "list_runs"]
