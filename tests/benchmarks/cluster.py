"""Shards side by side under one account: how close to the ideal makespan, what is refused, lost and paid twice.

    python tests/benchmarks/cluster.py [--mode ray|shard|local] [--calls 100000] [--per-minute 60000] [--shards 8]
                                   [--workers 4] [--address HOST:PORT] [--kill SECONDS] [--cap USD]

Calls go to `docreduce simulate` with a limit of requests that no one run knows whole: `ray` has the governor divide
it, `shard` gives each of so many processes a static share (--shard I/N), `local` is one run. `--kill` ends one worker
of ray with SIGKILL so many seconds after the first call. Ideal is calls over the limit, and an answer's mean latency.
Two nodes on one machine need a network namespace with only `lo`: `unshare -n -p --fork --kill-child --mount-proc bash`,
then `ip link set lo up`, `ray start --head --node-ip-address=127.0.0.1 --port=6399`,
`ray start --address=127.0.0.1:6399 --node-ip-address=127.0.0.2`."""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import polars as pl

LATENCY_S = 0.2
DOCREDUCE = (sys.executable, "-m", "docreduce.cli")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=["ray", "shard", "local"], default="ray")
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--per-minute", type=int, default=60_000)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--address")
    parser.add_argument("--kill", type=float)
    parser.add_argument("--cap", type=float, default=100.0)
    args = parser.parse_args()
    simulate = [*DOCREDUCE, "simulate", "--requests-per-minute", str(args.per_minute), "--latency-s", str(LATENCY_S)]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen([*simulate, "--tokenizer", "bytes"], stdout=subprocess.PIPE, text=True) as server,
    ):
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            print(json.dumps(measure(args, Path(folder), url), indent=2))
        finally:
            server.kill()


def measure(args: argparse.Namespace, folder: Path, url: str) -> dict[str, Any]:
    """The figures of one run."""
    job = write_job(args, folder, url)
    began, cpu = time.monotonic(), cpu_s()
    if args.kill is not None:
        threading.Thread(target=kill_a_worker, args=(url, args.kill, folder), daemon=True).start()
    commands = {
        "ray": [["--executor", "ray", "--shards", str(args.shards), "--workers", str(args.workers)]],
        "shard": [["--shard", f"{number}/{args.shards}"] for number in range(1, args.shards + 1)],
        "local": [[]],
    }[args.mode]
    if args.mode == "ray" and args.address:
        commands[0] += ["--ray-address", args.address]
    running = [subprocess.Popen([*DOCREDUCE, "run", str(job), *command], cwd=folder) for command in commands]
    codes = [process.wait() for process in running]
    ended = time.monotonic()
    if args.mode == "shard":
        codes.append(subprocess.run([*DOCREDUCE, "merge", str(folder / "out")], check=False).returncode)
    merged_s = time.monotonic() - began
    with urllib.request.urlopen(f"{url}/stats") as answer:
        stats = json.loads(answer.read())
    run_dir = folder / "out" / "calls" / "latest"
    manifest = json.loads((run_dir / "run.json").read_text())
    documents = pl.read_parquet(run_dir / "documents.parquet", columns=["document_id", "status"])
    calls = pl.read_parquet(run_dir / "calls.parquet", columns=["started_at", "latency_s", "billing"])
    made = calls.filter(pl.col("billing") != "reused")
    sent_s = (made["started_at"].max() - made["started_at"].min()).total_seconds()  # type: ignore[union-attr, operator]
    ideal_s = args.calls / (args.per_minute / 60) + LATENCY_S
    return {
        "mode": args.mode,
        "exit codes": codes,
        "makespan s": round(merged_s, 1),
        "first to last call s": round(sent_s, 1),
        "ideal s": round(ideal_s, 1),
        "first to last over ideal": round(sent_s / ideal_s, 3),
        "makespan over ideal": round((ended - began) / ideal_s, 3),
        "lost": args.calls - documents.filter(pl.col("status") == "ok")["document_id"].n_unique(),
        "paid twice or unknown": stats["accepted"] - args.calls if "accepted" in stats else None,
        "charged usd": manifest["cost"]["charged_usd"],
        "cap usd": args.cap,
        "cpu ms a call": None if args.mode == "ray" else round(1000 * (cpu_s() - cpu) / args.calls, 2),
        "service": {name: value for name, value in stats.items() if isinstance(value, int | float | dict)},
    }


def write_job(args: argparse.Namespace, folder: Path, url: str) -> Path:
    """A job of so many rows, a call each."""
    per_file = max(1, args.calls // 200)  # so that a hash divides them fairly evenly
    (folder / "in").mkdir()
    for number in range(0, args.calls, per_file):
        rows = range(number, min(number + per_file, args.calls))
        lines = [json.dumps({"id": f"r{row}", "body": f"Row {row}: the pilots asked for new lights."}) for row in rows]
        (folder / "in" / f"{number:09}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    path = folder / "job.toml"
    path.write_text(
        f"""name = "calls"
kind = "map"
[input]
paths = ["{folder}/in"]
text_column = "body"
id_column = "id"
[map]
prompt = "Say it again."
[model]
provider = "openai"
name = "m"
base_url = "{url}"
context_window = 8000
max_output_tokens = 100
[pricing]
input_usd_per_million = 1.0
output_usd_per_million = 3.0
[limits]
requests_per_minute = {args.per_minute}
[budget]
max_cost_usd = {args.cap}
[output]
path = "{folder}/out"
""",
        encoding="utf-8",
    )
    return path


def kill_a_worker(url: str, after_s: float, folder: Path) -> None:
    """Kill the first Ray worker process that runs a shard in `folder`, so long after the service's first call."""
    while True:
        with urllib.request.urlopen(f"{url}/stats") as answer:
            if json.loads(answer.read())["accepted"]:
                break
        time.sleep(0.2)
    time.sleep(after_s)
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            try:
                title = (place / "cmdline").read_bytes()
                there = (place / "cwd").readlink()
            except OSError:  # it has just ended, or is another's
                continue
            if b"Worker.run" in title and there == folder:
                print(f"killing {place.name}: {title.decode(errors='replace')[:60]}", file=sys.stderr)
                os.kill(int(place.name), signal.SIGKILL)
                return
    print("no worker to kill", file=sys.stderr)


def cpu_s() -> float:
    """CPU seconds of the processes that were waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
