"""How close the fan-out comes to the ideal makespan under a strict account, and what it provokes and loses.

    python tests/benchmarks/fanout.py [--cases R,B,T,F,Q] [--modes floor,given,headers,none] [--seeds 1,2,3]
                                      [--peers] [--peers-python PYTHON]

Cases (latency lognormal, median 800 ms, sigma 0.5; ideal = what the limits leave + the mean latency):
R 1,500 requests/min, burst 1 s, 750 calls of 4 KB; B the same rate, burst a whole minute, 2,250 calls; T 1M
tokens/min, burst 6 s, 200 bodies of 1 to 100 KB; F is R with 3% 5xx, 2% resets and one hang of 60 s; Q no rates, five
calls in flight, each 800 ms. Modes: limits given in the job, read from headers, or none (headers withheld).
Every run is the product's own path, Dispatch with limiter, ledger and provider, in a process of its own.
`floor` is a bare client that knows the account and the cost of every call, and sends each at the earliest moment it
is let: the answers' own latencies, drawn in the order of the calls, make the rest of its makespan, and of ours.
Columns: `late s` the last call accepted after the earliest moment the limits let it; `util` what was accepted less the
burst, over what the limit let through meanwhile, from the first call to the last; `steady` the same for requests in
the second half, when a limit that nobody told has been found.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from referee import Referee

MEAN_LATENCY_S = 0.8 * math.exp(0.5**2 / 2)
MAX_OUTPUT_TOKENS = 1000
COMPLETION_TOKENS = 50
FRAME_BYTES = 150  # of a body around its text


@dataclass(frozen=True, kw_only=True)
class Case:
    config: dict[str, float]
    bodies: tuple[int, ...]  # bytes
    in_flight: int

    def last_s(self) -> float:
        """What the ideal allows for the last call itself."""
        return MEAN_LATENCY_S if "rpm" in self.config else self.config["lat"] / 1000

    def costs(self) -> list[tuple[float, int]]:
        """(requests, tokens) of every call, as the account charges them."""
        return [(1.0, size // 4 + COMPLETION_TOKENS) for size in self.bodies]

    def rates(self) -> tuple[float, float]:
        """Requests and tokens a second."""
        return self.config["rpm"] / 60, self.config["tpm"] / 60

    def ideal_s(self) -> float:
        """(work - burst) / rate + mean latency."""
        if "rpm" not in self.config:
            return len(self.bodies) * self.config["lat"] / 1000 / self.in_flight
        work = (sum(cost) for cost in zip(*self.costs(), strict=True))
        sending_s = (done / rate - self.config["burst"] for done, rate in zip(work, self.rates(), strict=True))
        return max(*sending_s, 0.0) + MEAN_LATENCY_S


def _lognormal_bodies(count: int) -> tuple[int, ...]:
    draw = random.Random(7)
    return tuple(round(min(100_000, max(1_000, 10_000 * math.exp(draw.gauss(0, 1))))) for _ in range(count))


LATENCY = {"lat": 800, "sigma": 0.5}
R = Case(config={**LATENCY, "rpm": 1500, "tpm": 4e6, "burst": 1}, bodies=(4_000,) * 750, in_flight=64)
CASES = {
    "R": R,
    "B": Case(config={**LATENCY, "rpm": 1500, "tpm": 8e6, "burst": 60}, bodies=(4_000,) * 2250, in_flight=256),
    "T": Case(config={**LATENCY, "rpm": 1500, "tpm": 1e6, "burst": 6}, bodies=_lognormal_bodies(200), in_flight=64),
    "F": replace(R, config={**R.config, "p500": 0.02, "p503": 0.01, "preset": 0.02, "hang_at": 375, "hang_ms": 60_000}),
    "Q": Case(config={"lat": 800, "sigma": 0}, bodies=(4_000,) * 150, in_flight=5),
}


# --- the floor: what no client can beat ---------------------------------------------------------------------------

NETWORK_S = 0.03
"""All but the first calls are sent this much after their moment, as the first ones take that long to connect."""


def moments(case: Case) -> list[float]:
    """When each call may go at the earliest, in seconds after the first one."""
    now, levels = 0.0, [rate * case.config["burst"] for rate in case.rates()]
    full, found = tuple(levels), []
    for costs in case.costs():
        short = zip(costs, levels, case.rates(), strict=True)
        wait_s = max(0.0, *((cost - level) / rate for cost, level, rate in short))
        now += wait_s
        for kind, rate in enumerate(case.rates()):
            levels[kind] = min(full[kind], levels[kind] + rate * wait_s) - costs[kind]
        found.append(now)
    return found


async def send_at_once(url: str, case: Case) -> int:
    """Send every body at its moment; how many were not answered."""
    import aiohttp

    slots, begin = asyncio.Semaphore(case.in_flight), asyncio.get_running_loop().time()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session, asyncio.TaskGroup() as group:

        async def send(index: int, size: int, at: float) -> int:
            body = f'{{"model":"m","messages":"ITEM-{index:08d} '.encode()
            await asyncio.sleep(begin + at + (NETWORK_S if at else 0.0) - asyncio.get_running_loop().time())
            async with slots:
                for _ in range(100):
                    async with session.post(f"{url}/v1/chat/completions", data=body.ljust(size, b"x")) as answer:
                        await answer.read()
                        if answer.status == 200:
                            return 0
                    await asyncio.sleep(0.005)
            return 1

        plan = enumerate(zip(case.bodies, moments(case), strict=True))
        sending = [group.create_task(send(index, size, at)) for index, (size, at) in plan]
    return sum(task.result() for task in sending)


# --- the child: one run of the product, measured from inside ------------------------------------------------------


def provider_for(url: str) -> Any:
    """The product's own provider at `url`, and its route."""
    from docreduce.models.prices import stated
    from docreduce.models.routes import Route
    from docreduce.providers import open_provider
    from docreduce.settings import EndpointSettings, PricingSettings

    route = Route(
        endpoint=f"{url}/v1",
        dialect="openai",
        model="gpt-4o-mini",
        window=120_000,
        max_output_tokens=MAX_OUTPUT_TOKENS,
        pricing=stated(PricingSettings(input_usd_per_million=0.07, output_usd_per_million=0.28), "job"),
    )
    return open_provider(route, EndpointSettings(provider="openai", name="gpt-4o-mini", base_url=f"{url}/v1")), route


class Sending:
    """A carrier of bodies: the product's own, or with its rate headers withheld."""

    def __init__(self, provider: Any, *, mute: bool) -> None:
        self._provider, self._mute = provider, mute

    async def carry(self, ticket: Any) -> Any:
        reply = await self._provider.send(ticket.request, timeout_s=ticket.timeout_s)
        return replace(reply, rate=None) if self._mute else reply

    async def aclose(self) -> None:
        await self._provider.aclose()


def each_body(documents: Any) -> Any:
    """A kind: the document is its request."""
    from docreduce.values import Completion, Result

    outcomes = yield [body_request(int(each.id), int(each.text)) for each in documents]
    return [Result(status="ok" if isinstance(outcome, Completion) else "failed") for outcome in outcomes]


async def fan_out(url: str, case: Case, mode: str, folder: Path) -> int:
    """Send every body of `case` through the driver and its desk; the number of calls that ended without an answer."""
    from docreduce.config import parse_job
    from docreduce.desk import Budget, Desk, Ledger, Limiter, Line
    from docreduce.engine.drive import Driver
    from docreduce.engine.intake import Intake
    from docreduce.engine.session import open_session
    from docreduce.kinds.kind import Work
    from docreduce.models.calibration import learn
    from docreduce.models.catalogue import UNKNOWN
    from docreduce.models.meter import Meter
    from docreduce.values import Document

    given = mode == "given"
    provider, route = provider_for(url)
    limiter = Limiter(
        requests_per_minute=int(case.config.get("rpm", 0)) or None if given else None,
        tokens_per_minute=int(case.config.get("tpm", 0)) or None if given else None,
        concurrency=None if mode == "alone" else case.in_flight,
        now=time.monotonic(),
    )
    session = open_session(parse_job({"name": "bench", "kind": "summarize", "input": {"paths": ["x"]}}))
    session = replace(session, work=Work(steps=each_body, predict=lambda *_: ""))
    bodies = (
        Document(id=f"{index}", uri="bench", text=f"{size}", media_type="text/plain")
        for index, size in enumerate(case.bodies)
    )
    rows: list[Any] = []
    with Ledger.open(folder / "ledger.sqlite") as ledger:
        ledger.begin_run("bench", "bench", "0" * 64, time.time())
        line = Line(
            route=route,
            meter=Meter(route, learn((), UNKNOWN), exact=False),
            limiter=limiter,
            give_up_s=900.0,
            timeout_s=120.0,
        )
        desk = Desk(run_id="bench", lines=[line], ledger=ledger, budget=Budget(None))
        carrier = Sending(provider, mute=mode in ("none", "alone"))
        carriers = {f"{route.endpoint} {route.model}": carrier}
        await Driver(Intake(session, bodies), desk, carriers, rows.append, lambda _: None).run()
    await carrier.aclose()
    return sum(row.result.status != "ok" for row in rows)


def body_request(index: int, size: int) -> Any:
    """A request whose HTTP body has about `size` bytes and names its work, as the referee wants it."""
    from docreduce.values import Message, Request

    text = f"ITEM-{index:08d} " + "x" * (size - FRAME_BYTES - 14)
    return Request(messages=(Message("user", text),), tokens=size // 4)


def child(url: str, name: str, mode: str) -> None:
    """Run one case and print what it cost this process, as JSON."""
    import docreduce.desk
    import docreduce.providers.http
    import docreduce.providers.openai  # noqa: F401
    import uvloop

    before = time.process_time()
    if mode == "floor":
        lost = uvloop.run(send_at_once(url, CASES[name]))
        print(json.dumps({"lost": lost, "cpu_s": time.process_time() - before, "peak_mb": 0}))
        return
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        lost = runner.run(fan_out(url, CASES[name], mode, Path(folder)))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"lost": lost, "cpu_s": time.process_time() - before, "peak_mb": peak_mb}))


# --- the parent: referee, children, table --------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Measured:
    ratio: float
    late_s: float  # the last call accepted, after the earliest moment that the limits let it
    refused: int
    lost: int
    utilization: float
    steady: float
    cpu_s_per_1000: float
    peak_mb: float
    max_in_flight: int
    repeated: int

    def row(self) -> str:
        return (
            f"{self.ratio:8.3f} {self.late_s:6.2f} {self.refused:5d} {self.lost:5d} {self.repeated:5d} "
            f"{self.utilization:7.3f} {self.steady:7.3f} {self.cpu_s_per_1000:8.2f} "
            f"{self.peak_mb:8.0f} {self.max_in_flight:6d}"
        )


HEADER = f"{'case':5}{'client':16}{'seed':>4} makespan/ideal late s  429s  lost again " + (
    "   util  steady CPU/1000 peak MB flight"
)


def measure(referee: Referee, name: str, seed: int, command: list[str]) -> Measured:
    """Run `command` (it prints lost, cpu_s, peak_mb as JSON) against a fresh account of the case."""
    case = CASES[name]
    referee.config(**case.config, seed=seed, ctok=COMPLETION_TOKENS)
    trace: list[dict[str, Any]] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.25):
            trace.append(referee.stats())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=600)
    finally:
        ended.set()
        watcher.join()
    told = json.loads(ran.stdout.splitlines()[-1])
    stats = referee.stats()
    return Measured(
        ratio=(stats["last_resp"] - stats["first_req"]) / case.ideal_s(),
        late_s=stats["last_accept"] - stats["first_req"] - (case.ideal_s() - case.last_s()),
        refused=stats["r429"],
        lost=len(case.bodies) - stats["unique_ok"],
        repeated=stats["dup_ok"],
        utilization=_utilization(case, stats),
        steady=_steady(case, trace, stats),
        cpu_s_per_1000=told["cpu_s"] / len(case.bodies) * 1000,
        peak_mb=told["peak_mb"],
        max_in_flight=stats["max_inflight"],
    )


def _utilization(case: Case, end: dict[str, Any]) -> float:
    """Accepted work less the burst over what the limit let through; without rates: the share of time that the slots
    are busy."""
    if "rpm" not in case.config:
        busy_s = end["ok"] * case.config["lat"] / 1000
        return float(busy_s / ((end["last_resp"] - end["first_req"]) * case.in_flight))
    passed_s = end["last_accept"] - end["first_req"]
    done = zip((end["accepted"], end["acc_tokens"]), case.rates(), strict=True)
    return float(max(work / rate - case.config["burst"] for work, rate in done) / passed_s)


def _steady(case: Case, trace: list[dict[str, Any]], end: dict[str, Any]) -> float:
    """Accepted requests over what the limit let through in the second half of the sending, bursts being spent."""
    begin, last = end["first_accept"], end["last_accept"]
    steady = [at for at in trace if begin + 0.5 * (last - begin) <= at["t_now"] <= begin + 0.95 * (last - begin)]
    if "rpm" not in case.config or len(steady) < 2:
        return math.nan
    first, final = steady[0], steady[-1]
    return float((final["accepted"] - first["accepted"]) / (case.rates()[0] * (final["t_now"] - first["t_now"])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default="R,B,T,F,Q")
    parser.add_argument("--modes", default="floor,given,headers,none")
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--peers", action="store_true", help="alternate with other clients")
    parser.add_argument("--peers-python", default=sys.executable, help="an interpreter that has them installed")
    parser.add_argument("--child", nargs=3, metavar=("URL", "CASE", "MODE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            referee = Referee(Path(folder))
        except FileNotFoundError as error:
            print(f"skipped: {error}")
            return
        with referee:
            print(HEADER, flush=True)
            for name in options.cases.split(","):
                for seed in map(int, options.seeds.split(",")):
                    for label, command in _commands(options, referee.url, name):
                        measured = measure(referee, name, seed, command)
                        print(f"{name:5}{label:16}{seed:4d}       {measured.row()}", flush=True)


def _commands(options: argparse.Namespace, url: str, name: str) -> list[tuple[str, list[str]]]:
    modes = ["given"] if name == "Q" else options.modes.split(",")
    if name not in {"R", "T"}:  # where slots or faults hold calls up too, the floor is not so simple
        modes = [mode for mode in modes if mode != "floor"]
    commands = [(mode, [sys.executable, __file__, "--child", url, name, mode]) for mode in modes]
    if options.peers:
        peers = Path(__file__).with_name("peers.py")
        case = CASES[name]
        limits = [str(case.in_flight), *(str(int(case.config.get(key, 1_000_000))) for key in ("rpm", "tpm"))]
        sizes = json.dumps(case.bodies)
        listed = subprocess.run([options.peers_python, peers], stdout=subprocess.PIPE, text=True, check=True)
        commands += [
            (peer, [options.peers_python, str(peers), peer, url, *limits, sizes]) for peer in listed.stdout.split()
        ]
    return commands


if __name__ == "__main__":
    main()
