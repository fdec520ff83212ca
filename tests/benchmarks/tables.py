"""How fast tables are read, beside the bare library in the same run, and what memory it takes.

    python tests/benchmarks/tables.py [--rows 100000] [--chars 800]

Prints a line a format: MB of the table's values a CPU second through `read` with and without an id column, with the
peak memory of the process and its child, and through polars and pyarrow as whole frames.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def cpu_s() -> float:
    """CPU seconds of this process and its ended children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def make(folder: Path, rows: int, chars: int) -> dict[str, tuple[Path, float]]:
    """The same table in all formats, with the MB of its values; Avro and XLSX a tenth of it."""
    import polars as pl

    words = "the quick brown fox, jumps over the lazy dog; so it does. "
    frame = pl.DataFrame(
        {
            "id": list(range(rows)),
            "body": [(f"{row} " + words * (chars // len(words) + 1))[:chars] for row in range(rows)],
            "amount": [row * 0.25 for row in range(rows)],
            "tag": [f"tag {row % 50}" for row in range(rows)],
        }
    )
    part = frame.head(rows // 10)
    write: dict[str, Callable[[Path], Any]] = {
        "csv": frame.write_csv,
        "jsonl": frame.write_ndjson,
        "parquet": lambda path: frame.write_parquet(path, row_group_size=20_000),
        "arrow": lambda path: frame.write_ipc(path, compression="zstd", record_batch_size=20_000),
        "avro": part.write_avro,
        "xlsx": part.write_excel,
    }
    paths = {name: folder / f"t.{name}" for name in write}
    for name, path in paths.items():
        write[name](path)
    sizes = {name: (part if name in ("avro", "xlsx") else frame).estimated_size() / 1e6 for name in paths}
    return {name: (path, sizes[name]) for name, path in paths.items()}


def read_once(path: str, settings: dict[str, Any]) -> dict[str, float]:
    """Rows, CPU seconds, peak MB of reading a file."""
    from docreduce.readers import Unread, close_sandboxes, read
    from docreduce.settings import InputSettings

    job = InputSettings(paths=[path], text_column="body", **settings)
    start = cpu_s()
    rows = sum(not isinstance(each, Unread) for each in read(path, job))
    close_sandboxes()
    seconds = cpu_s() - start
    # ru_maxrss of this process is that of the one that started it, if that was larger
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    own = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {"rows": rows, "seconds": seconds, "mb": (own + child) / 1024}


def bare(name: str, path: Path) -> dict[str, float]:
    """CPU seconds of the libraries' own reading, as a whole frame."""
    import polars as pl
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.feather
    import pyarrow.json
    import pyarrow.parquet

    ways: dict[str, dict[str, Callable[[Path], Any]]] = {
        "polars": {
            "csv": lambda path: pl.read_csv(path, infer_schema=False),
            "jsonl": pl.read_ndjson,
            "parquet": pl.read_parquet,
            "arrow": pl.read_ipc,
            "avro": pl.read_avro,
            "xlsx": pl.read_excel,
        },
        "pyarrow": {
            "csv": pa.csv.read_csv,
            "jsonl": pa.json.read_json,
            "parquet": pa.parquet.read_table,
            "arrow": pa.feather.read_table,
        },
    }
    found = {}
    for library, readers in ways.items():
        if name in readers:
            start = cpu_s()
            readers[name](path)
            found[library] = cpu_s() - start
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--chars", type=int, default=800)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(read_once(args.one[0], json.loads(args.one[1]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, (path, size) in make(Path(folder), args.rows, args.chars).items():
            line = [f"{name:8}{size:8.1f} MB"]
            for settings in ({"id_column": "id"}, {}):
                command = [sys.executable, __file__, "--one", str(path), json.dumps(settings)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                took = json.loads(done.stdout)
                pace, rows = size / took["seconds"], took["rows"] / took["seconds"]
                line.append(f"{pace:6.1f} MB/s {rows:7.0f} rows/s {took['mb']:4.0f} MB")
            line += [f"{library} {size / seconds:7.1f} MB/s" for library, seconds in bare(name, path).items()]
            print("  ".join(line), flush=True)


if __name__ == "__main__":
    main()
