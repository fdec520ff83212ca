"""What a run is opened with: its options, the desk's lines, the carriers, and what is to be said of earlier runs."""

from __future__ import annotations

import math
import os
import random
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import orjson
from docreduce.config import Job
from docreduce.desk import Ledger, Limiter, Line
from docreduce.engine.carriers import Carrier, Embedded, Live
from docreduce.engine.intake import Read
from docreduce.engine.session import OFFLINE, Session, open_session
from docreduce.engine.shards import Shard, segments_of
from docreduce.models.meter import Meter
from docreduce.providers import open_provider
from docreduce.readers import Discovered, discover
from docreduce.settings import DELTA, EndpointSettings
from docreduce.storage import check_delta, is_address, machine_errors, parse_address, publish, write_delta
from docreduce.values import Document
from docreduce.values.errors import JobError, MachineError
from docreduce.values.money import money

__all__ = [
    "RunOptions", "carrier_key", "carrier_of", "check_places", "connections", "inputs_of", "line_of", "mark_committed",
    "open_ledger", "opening_notes", "published", "spread",
]  # fmt: skip

MAX_IN_FLIGHT = 1024
OTHER_FILES = 40
"""What is open beside connections: the ledger, the tables, what is being read."""
TIMEOUT_S = 120.0
"""Of a call, where the job states none and none was learned."""
FLEX_TIMEOUT_S = 900.0
"""The same of the flex tier: what its guide recommends (15 minutes)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What a caller adds to a job. `limit`: documents at most. `sample`: ask for so many of them only, spread over the
    input, and write no results: their answers are in the ledger. `deadline_s`: end in order after so long.
    `max_in_flight`: connections there may be. `shard`: what the job is a part of; `ledger`: where that
    of the run lies, beside its results if None (else it is copied there). `wait`: until provider batches have ended."""

    fresh: bool = False
    retry_failed: bool = False
    limit: int | None = None
    sample: int | None = None
    deadline_s: float | None = None
    max_in_flight: int = MAX_IN_FLIGHT
    cores: int = 1
    shard: Shard | None = None
    ledger: Path | None = None
    wait: bool = False


def line_of(meter: Meter, session: Session, options: RunOptions, now: float) -> Line:
    """The desk's line of a route, with the limits that were given for it or that its service is known for."""
    limits, offline = meter.route.limits, meter.route.endpoint == OFFLINE
    info = session.infos[session.meters.index(meter)]
    concurrency = limits.concurrency or info.concurrency or (options.cores if offline else None)
    timeout_s = limits.timeout_s or (FLEX_TIMEOUT_S if meter.route.flex else TIMEOUT_S)
    return Line(
        route=meter.route,
        meter=meter,
        limiter=Limiter(
            requests_per_minute=limits.requests_per_minute,
            tokens_per_minute=limits.tokens_per_minute,
            # The embedded answers are made on this machine: more at once would only wait for each other.
            concurrency=concurrency and min(concurrency, options.max_in_flight),
            max_concurrency=min(MAX_IN_FLIGHT, options.max_in_flight),
            timeout_s=math.inf if offline else timeout_s,
            timeout_stated=limits.timeout_s is not None or meter.route.flex,
            now=now,
        ),
        give_up_s=limits.give_up_s,
        timeout_s=timeout_s,
        concurrency=info.concurrency or (options.cores if offline else None),
    )


def carrier_key(meter: Meter) -> str:
    """Under which name a route's carrier is found."""
    return f"{meter.route.endpoint} {meter.route.model}"


def carrier_of(session: Session, meter: Meter, settings: EndpointSettings, note: Callable[[str], None]) -> Carrier:
    """What carries the calls of a route: the embedded answers or HTTP. `note` hears what is to be told."""
    if meter.route.endpoint == OFFLINE:
        offline = session.work.offline
        assert offline is not None
        return Embedded(offline, session.plan.tokenizer)
    return Live(open_provider(meter.route, settings), note)


def opening_notes(ledger: Ledger, session: Session) -> Iterator[str]:
    """What is to be told before anything is sent."""
    yield from ledger.notes
    if ledger.recovered:
        most = money(sum(ledger.recovered))
        yield (
            f"{len(ledger.recovered):,} calls were in flight when an earlier run died; up to {most} of that may "
            "have been charged and is booked as unknown"
        )
    yield from session.work.notes


def open_ledger(job: Job, options: RunOptions) -> Ledger:
    """The ledger of the run. One that does not lie in the output is copied there, in segments."""
    output = job.output.folder
    if options.ledger is not None:
        return Ledger.open(options.ledger, segments_of(output))
    if job.output.ledger is not None:
        _link(output / "ledger.sqlite", job.output.ledger_path)
    return Ledger.open(job.output.ledger_path)


def _link(usual: Path, place: Path) -> None:
    """Let the `usual` place of a ledger lead to `place`, for commands that know the output alone. Raises JobError where
    there is another ledger: what that holds would be paid for again."""
    with machine_errors(usual):
        if os.path.lexists(usual) and usual.resolve() != place.resolve():
            hint = f"Move it to {place} while no run goes on, or leave output.ledger out."
            raise JobError(f"output.ledger: {usual} is the ledger until now", hint=hint)
        if not os.path.lexists(usual) and usual.absolute() != place.absolute():
            usual.parent.mkdir(parents=True, exist_ok=True)
            usual.symlink_to(place.absolute())


def mark_committed(ledger: Ledger, job: Job) -> None:
    """A run that died between its commit and its mark is as complete as its manifest says."""
    for run_id in ledger.unmarked(job.name):
        with suppress(OSError, ValueError, KeyError):
            manifest = orjson.loads((job.output.folder / job.name / run_id / "run.json").read_bytes())
            ledger.end_run(run_id, "limited" if manifest.get("limited") else str(manifest["status"]), time.time())


def connections() -> int:
    """Connections there may be, by this process's limit on open files as it is."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_IN_FLIGHT if soft == resource.RLIM_INFINITY else max(1, min(MAX_IN_FLIGHT, soft - OTHER_FILES))


def inputs_of(job: Job, *outputs: str) -> Discovered:
    """What the job's input names, as `discover` finds it, once a session could be opened. Raises one JobError of all
    that is wrong with input and models."""
    problems: list[JobError] = []
    found = Discovered((), {})
    try:
        found = discover(job.input, *outputs)
    except JobError as error:
        problems.append(error)
    try:
        open_session(job)
    except JobError as error:
        problems.append(error)
    if problems:
        hint = " ".join(dict.fromkeys(each.hint for each in problems if each.hint))
        raise JobError("\n".join(each.message for each in problems), hint=hint) from problems[0]
    return found


def check_places(job: Job) -> None:
    """Raises JobError where results cannot go where the job says, as far as asking tells."""
    if is_address(job.output.path):
        parse_address(job.output.path).check()
    for path in job.output.deltas:
        check_delta(DELTA + path)


def published(manifest: dict[str, Any], job: Job, names: Sequence[str]) -> dict[str, Any]:
    """The manifest once all committed runs of the job are at its address, and the tables `names` of one that `latest`
    names in its Delta tables; `dropped` says where they are not."""
    dropped = list(manifest.get("dropped", ()))
    if is_address(job.output.path):
        try:
            publish(job.output.folder / job.name, job.output.path)
        except MachineError as error:
            told = f"{error.message} (the results stand here; the same command uploads them)"
            dropped.append({"format": job.output.path, "error": told})
    for path in job.output.deltas if manifest.get("run_dir") and manifest.get("promoted") else ():
        try:
            write_delta(Path(manifest["run_dir"]), names, path)
        except MachineError as error:
            dropped.append({"format": DELTA + path, "error": error.message})
    return {**manifest, "dropped": dropped} if dropped else manifest


def spread(reads: Iterator[Read], number: int, seed: str) -> list[Read]:
    """`number` of the documents with text, each as likely as any other, in order (Vitter's reservoir, algorithm R)."""
    draw = random.Random(seed)  # noqa: S311 - the same job takes the same sample
    kept: list[tuple[int, Read]] = []
    for at, found in enumerate(each for each in reads if isinstance(each, Document) and each.text.strip()):
        place = at if at < number else draw.randrange(at + 1)
        if place < number:
            kept[place : place + 1] = [(at, found)]
    return [found for _, found in sorted(kept, key=itemgetter(0))]
