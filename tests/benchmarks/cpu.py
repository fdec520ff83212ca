"""What a call costs this process: CPU with everything on, beside the provider alone, in the same run, alternating.

    python tests/benchmarks/cpu.py [--calls 2000] [--rounds 3]

4 KB bodies at 200 ms latency with 16, 64, 256 and 1,024 calls in flight, then 400 KB bodies with 64. `ours` is
dispatch with ledger, limits, retries and accounting over the HTTP provider; `provider` is the HTTP provider alone.
CPU is user and system time of the whole process, threads included, net of imports; the median of the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fanout import Case, body_request, fan_out, provider_for
from referee import Referee

CASES = {f"{size // 1000} KB × {slots}": (size, slots) for size, slots in
         ((4_000, 16), (4_000, 64), (4_000, 256), (4_000, 1024), (400_000, 64))}  # fmt: skip


async def alone(url: str, case: Case) -> None:
    """The same calls through the HTTP provider and nothing else."""
    provider, _ = provider_for(url)
    numbers = iter(range(len(case.bodies)))

    async def lane() -> None:
        for number in numbers:
            await provider.send(body_request(number, case.bodies[number]), timeout_s=60)

    await asyncio.gather(*(lane() for _ in range(case.in_flight)))
    await provider.aclose()


def child(url: str, client: str, size: int, slots: int, calls: int) -> None:
    """Run one case and print its CPU milliseconds a call."""
    import docreduce.desk
    import docreduce.providers.http
    import docreduce.providers.openai  # noqa: F401
    import uvloop

    case = Case(config={}, bodies=(size,) * calls, in_flight=slots)
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        before = time.process_time()
        runner.run(alone(url, case) if client == "provider" else fan_out(url, case, "given", Path(folder)))
        print(json.dumps((time.process_time() - before) * 1000 / calls))


def main() -> None:
    """Run the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        url, client, size, slots, calls = options.child
        child(url, client, int(size), int(slots), int(calls))
        return
    print(f"{'case':14} {'ours ms':>8} {'provider ms':>12} {'ratio':>6}")
    with tempfile.TemporaryDirectory() as folder, Referee(Path(folder)) as referee:
        for name, (size, slots) in CASES.items():
            spent: dict[str, list[float]] = {"ours": [], "provider": []}
            for _ in range(options.rounds):
                for client, costs in spent.items():
                    referee.config(lat=200, sigma=0, ctok=50)
                    calls = options.calls if size < 100_000 else options.calls // 4
                    command = [
                        sys.executable,
                        __file__,
                        "--child",
                        referee.url,
                        client,
                        str(size),
                        str(slots),
                        str(calls),
                    ]
                    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                    costs.append(float(ran.stdout))
            ours, bare = (statistics.median(costs) for costs in spent.values())
            print(f"{name:14} {ours:8.2f} {bare:12.2f} {ours / bare:6.2f}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except FileNotFoundError as missing:
        print(f"skipped: {missing}")
