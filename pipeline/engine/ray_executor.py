"""Shards on a Ray cluster: a pool of workers that run them, a governor that divides the account among them.

Theory. An executor only places shards. Each worker is an actor, tied to a node, that runs one shard at a time, as
`docreduce run --shard` would. Ray restarts a worker that dies (`max_restarts=-1`) and repeats nothing by itself
(`max_task_retries=0`): the driver decides. A shard whose worker died starts again on the node where its ledger is, or,
where none of that node's workers came back, on another one from the ledger's segments, and goes on from there: what was
in flight (or not copied, where the node is gone) is asked again, nothing else. A Ray error may follow success; starting
a shard twice is harmless, for its ledger answers.

Nothing large passes through the driver or the object store: workers read the input and write their tables themselves,
and what comes back is a number. The head's or the driver's death ends the job, as does the governor's; the same command
goes on, and shards that are complete are not run again."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from docreduce.config import Job
from docreduce.engine.governor import LAPSE_S, UNKNOWN_PACE, WHOLE, Report
from docreduce.engine.merging import Merged, merge_shards, spent_before
from docreduce.engine.ray_worker import EXCHANGE_S, GovernorActor, Order, Worker, limits_of, smallest
from docreduce.engine.run import RunOptions
from docreduce.engine.shards import sharded
from docreduce.values.errors import DocreduceError, JobError, MachineError
from docreduce.values.money import pusd

__all__ = ["Cluster", "Progress", "run_on_ray"]

STARTS = 5
"""Times a shard is started: a document that kills the process kills it each time."""
RESTART_S = 120.0
"""A worker that is not back within this is given up: starting a process and importing takes some 5 to 15 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Where and how: `address` of a cluster that is there (None: one on this machine), shards, workers (None: as many
    as the cluster has CPUs). `scratch`: a folder on each node's local disk for the ledgers, where the output is on a
    network file system."""

    shards: int
    workers: int | None = None
    address: str | None = None
    scratch: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far all shards are. `running`: shards at work; `restarts`: of shards whose worker died."""

    shards: int
    done: int
    running: int
    restarts: int
    documents: int
    calls: int
    failed: int
    rate_limited: int
    spent_pusd: int


def run_on_ray(
    job: Job,
    cluster: Cluster,
    options: RunOptions,
    listen: Callable[[Progress | str], None] = lambda _: None,
) -> Merged:
    """Run all shards of `job` and merge them. `listen` hears about once a second how far they are, and what went wrong.

    Raises JobError where Ray is not installed, the job cannot be divided, or a limit cannot be among the workers."""
    sharded(job, 1, cluster.shards, at_once=1)  # refused here rather than by every worker
    ray = _ray()
    started_here = not ray.is_initialized()
    if started_here:
        _connect(ray, cluster)
    try:
        _Pool(ray, job, cluster, options, listen).run()
    except ray.exceptions.RayError as error:
        words = f"Ray lost its governor or a node of its own: {type(error).__name__}"
        raise MachineError(
            words, hint="The same command goes on; shards that are complete are not run again."
        ) from error
    finally:
        if started_here:
            ray.shutdown()
    return merge_shards(job.output.folder, job.name)


def _ray() -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
    except ImportError as error:
        raise JobError("--executor ray: Ray is not installed", hint="pip install 'docreduce[ray]'") from error
    return ray


def _connect(ray: Any, cluster: Cluster) -> None:
    try:
        ray.init(address=cluster.address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = cluster.address or "this machine"
        raise MachineError(f"no Ray cluster at {where}: {error}", hint="ray start --head starts one.") from error


# --- the driver ---------------------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class _Seat:
    """A worker, the node it is on, and when it died, if it is not back."""

    actor: Any
    node: str
    died_at: float | None = None


@dataclass(slots=True)
class _Pool:
    """Gives shards to workers until all are done, or cannot be."""

    ray: Any
    job: Job
    cluster: Cluster
    options: RunOptions
    listen: Callable[[Progress | str], None]
    pending: deque[int] = field(default_factory=deque)
    homes: dict[int, str] = field(default_factory=dict)  # the node where a shard's ledger is
    starts: dict[int, int] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)
    tasks: dict[Any, tuple[_Seat, int | None]] = field(default_factory=dict)  # None: is it back?
    restarts: int = 0
    inhabited: Counter[str] = field(default_factory=Counter)  # workers by node

    def run(self) -> None:
        """Until nothing is left to do."""
        of = self.cluster.shards
        self.done, spent = spent_before(self.job.output.folder, self.job, of)
        self.pending.extend(number for number in range(1, of + 1) if number not in self.done)
        if not self.pending:
            return
        seats = self._place(min(self._workers(), len(self.pending)))
        self.inhabited.update(seat.node for seat in seats)
        governor = self._governor(len(seats))
        for number, amount in spent.items():
            governor.ended.remote(number, amount)
        idle = deque(seats)
        seen_at = 0.0
        try:
            while self.tasks or (self.pending and idle):
                self._assign(idle, governor)
                if not self.tasks:
                    self.listen(f"shards {list(self.pending)}: no node has a worker any more")
                    break
                ready, _ = self.ray.wait(list(self.tasks), timeout=EXCHANGE_S / 2)
                for task in ready:
                    self._came(task, idle, governor)
                if time.monotonic() - seen_at >= EXCHANGE_S:
                    seen_at = time.monotonic()
                    self._tell(governor)
        except KeyboardInterrupt:
            self.ray.get(governor.stop.remote())
            self.listen("stopping: calls in flight have their grace")
            self.ray.wait(list(self.tasks), num_returns=len(self.tasks), timeout=self.job.limits.grace_s + LAPSE_S)
            raise
        self._tell(governor)

    def _workers(self) -> int:
        if self.cluster.workers is not None:
            return self.cluster.workers
        return max(1, int(self.ray.cluster_resources().get("CPU", 1)))

    def _place(self, count: int) -> list[_Seat]:
        """So many workers, spread evenly over the nodes."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        nodes = sorted(node["NodeID"] for node in self.ray.nodes() if node["Alive"])
        actor = self.ray.remote(Worker)
        seats = []
        for at in range(count):
            node = nodes[at % len(nodes)]
            there = NodeAffinitySchedulingStrategy(node, soft=False)
            made = actor.options(scheduling_strategy=there, max_restarts=-1, max_task_retries=0, num_cpus=0).remote()
            seats.append(_Seat(made, node))
        return seats

    def _governor(self, workers: int) -> Any:
        least = smallest(limits_of(self.job))
        if least < workers:
            raise JobError(f"a limit of {least} cannot be divided among {workers} workers", hint=f"--workers {least}")
        per_minute = self.job.limits.requests_per_minute
        cap = self.job.budget.max_cost_usd
        return (
            self.ray.remote(GovernorActor)
            .options(num_cpus=0, max_concurrency=1)
            .remote(
                cap_pusd=None if cap is None else pusd(cap),
                pace=per_minute / 60 if per_minute else UNKNOWN_PACE,
                least=-(-WHOLE // least),
                expected=workers,
            )
        )

    def _assign(self, idle: deque[_Seat], governor: Any) -> None:
        for _ in range(len(idle)):
            seat = idle.popleft()
            number = next((each for each in self.pending if self._may(each, seat)), None)
            if number is None:
                idle.append(seat)
                continue
            self.pending.remove(number)
            self.homes[number] = seat.node
            self.starts[number] = self.starts.get(number, 0) + 1
            order = Order(
                stated=self.job.model_dump(by_alias=True, exclude_unset=True),
                folder=os.getcwd(),  # noqa: PTH109 - paths in the job are taken from here
                number=number,
                of=self.cluster.shards,
                scratch=self.cluster.scratch,
                options=self.options,
            )
            self.tasks[seat.actor.run.remote(order, governor)] = seat, number
        running = sum(number is not None for _, number in self.tasks.values())
        governor.expect.remote(max(1, running))

    def _may(self, number: int, seat: _Seat) -> bool:
        """Whether the shard may run there: on the node that has its ledger, while that has workers; else anywhere, for
        the ledger lies in the output, or has segments there."""
        home = self.homes.get(number, seat.node)
        return home == seat.node or home not in self.inhabited

    def _came(self, task: Any, idle: deque[_Seat], governor: Any) -> None:
        from ray.exceptions import RayError, RayTaskError

        seat, number = self.tasks.pop(task)
        try:
            spent = self.ray.get(task)
        except RayTaskError as error:
            if number is None:
                raise
            cause = error.cause if isinstance(error.cause, DocreduceError) else error
            self.listen(f"shard {number}: {getattr(cause, 'message', cause)}")
            governor.ended.remote(number, None)
            self._again(number, deaths=not isinstance(cause, JobError))
            time.sleep(EXCHANGE_S)  # a ledger may be held for a moment by a process that is dying
            idle.append(seat)
        except RayError as error:
            self._died(seat, number, governor, error)
        else:
            seat.died_at = None
            idle.append(seat)
            if number is not None:
                self.done.add(number)
                governor.ended.remote(number, spent)

    def _died(self, seat: _Seat, number: int | None, governor: Any, error: Exception) -> None:
        """The worker is gone: its shard waits, and it is asked whether it is back."""
        now = time.monotonic()
        if number is not None:
            self.restarts += 1
            seat.died_at = now
            self.listen(f"shard {number}: its worker died ({type(error).__name__}); it starts again")
            governor.ended.remote(number, None)
            self._again(number, deaths=True)
        if seat.died_at is not None and now - seat.died_at > RESTART_S:
            self.listen(f"a worker on node {seat.node[:8]} did not come back")
            self.inhabited -= Counter([seat.node])  # a node without one is in it no more
            return
        time.sleep(0.2)  # the restart takes seconds, and asking is refused at once meanwhile
        self.tasks[seat.actor.ready.remote()] = seat, None

    def _again(self, number: int, *, deaths: bool) -> None:
        if deaths and self.starts[number] < STARTS:
            self.pending.appendleft(number)
        else:
            self.listen(f"shard {number}: given up after {self.starts[number]} starts")

    def _tell(self, governor: Any) -> None:
        view: dict[int, tuple[Report, bool]] = self.ray.get(governor.view.remote())
        reports = [report for report, _ in view.values()]
        self.listen(
            Progress(
                shards=self.cluster.shards,
                done=len(self.done),
                running=sum(live for _, live in view.values()),
                restarts=self.restarts,
                documents=sum(each.documents for each in reports),
                calls=sum(each.calls for each in reports),
                failed=sum(each.failed for each in reports),
                rate_limited=sum(each.rate_limited for each in reports),
                spent_pusd=sum(each.spent_pusd for each in reports),
            )
        )
