"""Delta tables (delta-rs) that hold what `latest` names, a version a run.

Theory. A table's rows are replaced whole by those of a newer run: readers see one run or the other, and earlier ones
under earlier versions. Each version carries the time of its run as an application transaction (Delta protocol,
"Transaction Identifiers"), so that a run is written once, and none over a newer one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from docreduce.storage.local import machine_errors
from docreduce.storage.remote import is_address, is_plain, one_line
from docreduce.values.columns import text_of, values_of
from docreduce.values.errors import JobError, MachineError

if TYPE_CHECKING:
    import pyarrow.parquet as pq

__all__ = ["check_delta", "write_delta"]


def check_delta(said: str) -> None:
    """Raises JobError where Delta tables, as the job has `said` them, cannot be written for want of a package."""
    try:
        import deltalake  # noqa: F401 - asked for before anything is paid
    except ImportError as error:
        hint = "Install the extra: pip install 'docreduce[delta]'."
        raise JobError(f"output.also: {said}: deltalake is not installed", hint=hint) from error


def write_delta(run_dir: Path, names: Sequence[str], path: str) -> None:
    """Write the tables `names` of a committed run to Delta tables below `path`, in the folder of the job's name; those
    that hold this run or a newer one stay. Columns of types that Delta lacks are written as text.

    Raises MachineError where the store or the disk refuses; what was replaced by then stays so."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from deltalake.exceptions import DeltaError

    place = f"{path.rstrip('/')}/{run_dir.parent.name}"
    try:
        with machine_errors(run_dir):
            finished = orjson.loads((run_dir / "run.json").read_bytes())["finished_at"]
            time = round(datetime.fromisoformat(finished).timestamp() * 1e6)
            for name in names:
                with pq.ParquetFile(run_dir / f"{name}.parquet") as source:
                    _replace(f"{place}/{name}", source, run_dir.name, time)
    except (DeltaError, ValueError, pa.ArrowException) as error:
        raise MachineError(f"{place}: {one_line(error)}") from error


def _replace(place: str, source: pq.ParquetFile, run_id: str, time: int) -> None:
    """`time`: when the run ended, in microseconds since the epoch."""
    import pyarrow as pa
    from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

    options = {"AWS_ALLOW_HTTP": "true"} if is_plain(place) else None
    if not is_address(place):
        Path(place).parent.mkdir(parents=True, exist_ok=True)
    if DeltaTable.is_deltatable(place, options):
        written = DeltaTable(place, storage_options=options).transaction_version("docreduce")
        if written is not None and written >= time:
            return
    held = pa.schema([field.with_type(_type(field)) for field in source.schema_arrow])
    rows = pa.RecordBatchReader.from_batches(held, (_as_held(batch, held) for batch in source.iter_batches()))
    write_deltalake(
        place,
        rows,
        mode="overwrite",
        schema_mode="overwrite",
        storage_options=options,
        commit_properties=CommitProperties(
            custom_metadata={"run_id": run_id}, app_transactions=[Transaction("docreduce", time)]
        ),
    )


def _type(field: Any) -> Any:
    """The column's type in the table: its own where Delta has it, else a wider one, or text."""
    import pyarrow as pa
    from deltalake import Schema

    # Its integers have a sign; delta-rs takes those of the same width, which do not hold the upper half.
    signed = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64(), pa.uint64(): pa.decimal128(20)}
    if field.type in signed:
        return signed[field.type]
    try:
        Schema.from_arrow(pa.schema([field]))
    except Exception:  # noqa: BLE001 - delta-rs raises Exception itself
        return pa.string()
    return field.type


def _as_held(batch: Any, held: Any) -> Any:
    import pyarrow as pa

    columns = list(batch.columns)
    for at, (column, field) in enumerate(zip(columns, held, strict=True)):
        if column.type == field.type:
            continue
        if pa.types.is_integer(column.type):
            columns[at] = column.cast(field.type)
        else:
            texts = [None if value is None else text_of(value) for value in values_of(column)]
            columns[at] = pa.array(texts, pa.string())
    return pa.record_batch(columns, schema=held)
