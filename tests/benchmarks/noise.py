"""The limiter against a strict account in virtual time: makespan over ideal where services refuse by limit, by chance.

    python tests/benchmarks/noise.py [SEEDS]

Every case is played whole, with no clock and no socket: an account that keeps two token buckets exactly, and a line of
calls that goes on while a refused call waits out its own Retry-After, holding nothing. `ideal` is what no client can
beat on average: (work - burst) / rate + mean latency, or work / slots where only slots are the limit.
"""

from __future__ import annotations

import heapq
import math
import random
import statistics
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from docreduce.desk.limits import Lease, Limiter
from docreduce.values import Answer, Cause, Decision, RateInfo, Rejection, Reply, Usage

UNUSED_TOKENS = 950  # of the output tokens a call is allowed
BACKOFF_S = (0.5, 30.0)  # first and longest, full jitter


@dataclass
class Account:
    """A service that keeps two token buckets exactly, as the fan-out's referee does: full at the start, refilled
    continuously, a refused call costs nothing. `chance`: share of calls refused whatever the limits say, with `cause`
    and `retry_after_s`; `resting`: when all is refused, with what remains of it as Retry-After; `poison`: a size of
    call that is refused for ever."""

    rpm: float = 0.0
    tpm: float = 0.0
    burst_s: float = 1.0
    queue: int = 1 << 30
    latency_s: float = 0.8
    sigma: float = 0.5
    p_5xx: float = 0.0
    p_reset: float = 0.0
    chance: float = 0.0
    cause: Cause = Cause.RATE_LIMITED
    retry_after_s: float | None = None
    hang_at: int = 0
    headers: bool = True
    network_s: float = 0.001
    seed: int = 1
    down: tuple[float, float] = (math.inf, math.inf)
    resting: tuple[float, float] = (math.inf, math.inf)
    poison: int = 0
    accepted: int = 0
    refused: int = 0
    rested: int = 0
    in_flight: int = 0
    busy_s: float = 0.0
    most_in_flight: int = 0
    _at: float = 0.0
    levels: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.levels = [max(1.0, self.rpm * self.burst_s / 60), self.tpm * self.burst_s / 60]

    @property
    def mean_latency_s(self) -> float:
        return self.latency_s * math.exp(self.sigma**2 / 2)

    def ideal_s(self, sizes: Sequence[int], slots: float = math.inf) -> float:
        """Seconds that no client can beat on average."""
        calls = (len(sizes) - self.rpm * self.burst_s / 60) / (self.rpm / 60) if self.rpm else 0.0
        tokens = (sum(sizes) - self.tpm * self.burst_s / 60) / (self.tpm / 60) if self.tpm else 0.0
        held = (len(sizes) / slots - 1) * self.mean_latency_s
        return max(calls, tokens, held, 0.0) + self.mean_latency_s + 2 * self.network_s

    def _refill(self, t: float) -> None:
        d, self._at = t - self._at, t
        for i, per_minute in enumerate((self.rpm, self.tpm)):
            self.levels[i] = min(max(1.0, per_minute * self.burst_s / 60), self.levels[i] + d * per_minute / 60)

    def rate(self, t: float) -> RateInfo | None:
        if not self.headers or not (self.rpm or self.tpm):
            return None
        self._refill(t)
        told: list[tuple[int | None, int | None, float | None]] = []
        for per_minute, level in zip((self.rpm, self.tpm), self.levels, strict=True):
            reset_s = int((per_minute * self.burst_s / 60 - level) / per_minute * 60_000) / 1000 if per_minute else None
            told.append((int(per_minute), int(level), reset_s) if per_minute else (None, None, None))
        (limit, remaining, reset), (limit_tokens, remaining_tokens, reset_tokens) = told
        return RateInfo(
            limit_requests=limit,
            remaining_requests=remaining,
            reset_requests_s=reset,
            limit_tokens=limit_tokens,
            remaining_tokens=remaining_tokens,
            reset_tokens_s=reset_tokens,
        )

    def _refusal(self, tokens: int, t: float) -> Rejection | None:
        """What refuses a call of `tokens` at `t`; None: it is accepted."""
        self._refill(t)
        if self.down[0] <= t < self.down[1]:
            return rejection(Cause.CONNECTION)
        if self.resting[0] <= t < self.resting[1]:
            self.rested += 1
            return rejection(self.cause, retry_after_s=math.ceil(self.resting[1] - t))
        if tokens == self.poison:
            return rejection(Cause.RATE_LIMITED, retry_after_s=self.retry_after_s)
        short = [(1 - self.levels[0]) / self.rpm * 60 if self.rpm else 0.0]
        short.append((tokens - self.levels[1]) / self.tpm * 60 if self.tpm else 0.0)
        if max(short) > 0 or self.in_flight >= self.queue:
            wait_s = max(1, math.ceil(max(short)))
            return rejection(Cause.RATE_LIMITED, retry_after_s=wait_s, rate=self.rate(t))
        if self.chance and self.random.random() < self.chance:
            return rejection(self.cause, retry_after_s=self.retry_after_s)
        return None

    def arrive(self, tokens: int, t: float) -> tuple[float, Callable[[float], Reply]]:
        """(seconds until the answer is written, the answer as written then)."""
        refusal = self._refusal(tokens, t)
        if refusal is not None:
            self.refused += refusal.cause is not Cause.CONNECTION
            return 0.0, lambda _: refusal
        self.levels[0] -= 1
        self.levels[1] -= tokens
        self.accepted += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        u = self.random.random()
        latency = self.latency_s * math.exp(self.sigma * self.random.gauss(0, 1))
        if self.accepted == self.hang_at:
            latency = 60.0
        self.busy_s += latency
        if u < self.p_5xx:
            return latency, lambda _: rejection(Cause.SERVER_ERROR)
        if u < self.p_5xx + self.p_reset:
            return latency, lambda _: rejection(Cause.CONNECTION)
        usage = Usage(input_tokens=tokens - 50, output_tokens=50)
        return latency, lambda at: Answer(text="x", finish_reason="stop", usage=usage, rate=self.rate(at))


def rejection(cause: Cause, retry_after_s: float | None = None, rate: RateInfo | None = None) -> Rejection:
    return Rejection(cause=cause, decision=Decision.RETRY, message=cause.value, retry_after_s=retry_after_s, rate=rate)


@dataclass
class Played:
    """What came of a fan-out: times of leases and answers, in virtual seconds; seconds calls were waiting out."""

    answered_at: list[float] = field(default_factory=list)
    leased_at: list[float] = field(default_factory=list)
    unanswered: int = 0


class Play:
    """Sends every call of `sizes` (tokens) as soon as the limiter lets it. A failed one waits out its own
    Retry-After, else a back-off with full jitter, while the line goes on, and then stands first in line; after
    `attempts` it is left unanswered."""

    def __init__(self, limiter: Limiter, account: Account, sizes: Sequence[int], attempts: int = 1 << 30) -> None:
        self.limiter, self.account, self.sizes, self.attempts = limiter, account, sizes, attempts
        self.line = deque((item, 1) for item in range(len(sizes)))
        self.random = random.Random(account.seed)
        self.events: list[tuple[float, int, Callable[[float], None]]] = []
        self.order = 0
        self.pump_at = math.inf
        self.played = Played()

    def run(self, until_s: float = 2_000.0) -> Played:
        self._pump(0.0)
        while self.events:
            now, _, act = heapq.heappop(self.events)
            assert now < until_s, "the limiter stands still"
            act(now)
        assert len(self.played.answered_at) + self.played.unanswered == len(self.sizes), "calls were lost"
        return self.played

    def _at(self, t: float, act: Callable[[float], None]) -> None:
        self.order += 1
        heapq.heappush(self.events, (t, self.order, act))

    def _pump(self, now: float) -> None:
        if now >= self.pump_at:
            self.pump_at = math.inf
        while self.line:
            item, attempt = self.line[0]
            granted = self.limiter.lease(self.sizes[item] + UNUSED_TOKENS, now)
            if not isinstance(granted, Lease):
                if now + granted < self.pump_at:
                    self.pump_at = now + granted
                    self._at(self.pump_at, self._pump)
                return
            self.line.popleft()
            self.played.leased_at.append(now)
            self._send(granted, item, attempt, now)

    def _send(self, lease: Lease, item: int, attempt: int, now: float) -> None:
        network_s = self.account.network_s
        timeout_s = self.limiter.timeout_s(now, tokens=lease.tokens, attempt=attempt)

        def arrive(at: float) -> None:
            latency_s, write = self.account.arrive(self.sizes[item], at)
            if latency_s > timeout_s:
                self._at(now + timeout_s, lambda t: receive(t, rejection(Cause.TIMEOUT), True))
            else:
                self._at(at + latency_s, lambda t: written(t, write(t), latency_s > 0))

        def written(at: float, reply: Reply, held: bool) -> None:
            self._at(at + network_s, lambda t: receive(t, reply, held))

        def receive(at: float, reply: Reply, held: bool) -> None:
            self.account.in_flight -= held
            self.limiter.settle(lease, at, reply, self.sizes[item] if isinstance(reply, Answer) else None)
            if isinstance(reply, Answer):
                self.played.answered_at.append(at)
            elif attempt < self.attempts:
                self._at(at + self._backoff_s(reply, attempt), back)
            else:
                self.played.unanswered += 1
            self._pump(at)

        def back(at: float) -> None:
            self.line.appendleft((item, attempt + 1))
            self._pump(at)

        self._at(now + network_s, arrive)

    def _backoff_s(self, failed: Rejection, attempt: int) -> float:
        if failed.retry_after_s is not None:
            return failed.retry_after_s
        first_s, longest_s = BACKOFF_S
        return self.random.uniform(0.0, min(longest_s, first_s * 2.0 ** min(attempt - 1, 10)))


@dataclass(frozen=True, kw_only=True)
class Case:
    """`told`: what the limiter is given. `over`: makespan over ideal at the most, the median of the seeds; `waste`:
    share of the calls refused beyond those of chance, likewise (None: not looked at)."""

    account: Account
    calls: int = 1500
    told: dict[str, int] = field(default_factory=dict)
    slots: float = math.inf
    over: float
    waste: float | None = None

    def play(self, seed: int) -> tuple[float, int, Account, Played]:
        """Makespan over ideal, calls refused, the account, the play."""
        account = replace(self.account, seed=seed, levels=[])
        sizes = [1000] * self.calls
        limiter = Limiter(**self.told, now=0.0)  # type: ignore[arg-type]
        played = Play(limiter, account, sizes).run(20_000.0)
        rest_s = account.resting[1] - account.resting[0] if account.resting[1] < math.inf else 0.0
        ideal_s = account.ideal_s(sizes, self.slots) + rest_s
        return played.answered_at[-1] / ideal_s, account.refused, account, played


QUICK = Account(rpm=3000, latency_s=0.3, retry_after_s=1.0, headers=False)
GIVEN = {"requests_per_minute": 3000}
ANY = replace(QUICK, rpm=0.0)


def _chance(account: Account, share: float, cause: Cause = Cause.RATE_LIMITED) -> Account:
    return replace(account, chance=share, cause=cause)


CASES: dict[str, Case] = {
    **{
        f"given, {share:.0%} {cause.value}": Case(account=_chance(QUICK, share, cause), told=GIVEN, over=over)
        for cause in (Cause.RATE_LIMITED, Cause.SERVER_ERROR, Cause.OVERLOADED)
        for share, over in ((0.0, 1.05), (0.01, 1.05), (0.05, 1.12), (0.3, 1.6))
    },
    "told by headers, 5%": Case(account=_chance(replace(QUICK, headers=True), 0.05), over=1.12),
    "nothing told, 64 slots, 5%": Case(
        account=_chance(ANY, 0.05), told={"concurrency": 64}, calls=3000, slots=64, over=1.25
    ),
    "nothing told, 64 slots, 0%": Case(account=ANY, told={"concurrency": 64}, calls=3000, slots=64, over=1.15),
    "nothing told, no limit, 0%": Case(account=ANY, slots=64, over=1.0),
    "nothing told, no limit, 5%": Case(account=_chance(ANY, 0.05), slots=64, over=1.25),
    "nothing told, no limit, 30%": Case(account=_chance(ANY, 0.3), calls=3000, slots=64, over=1.6),
    "limit, nothing told, 0%": Case(account=QUICK, over=1.15, waste=0.01),
    "limit, nothing told, 1%": Case(account=_chance(QUICK, 0.01), over=1.3),
    "limit, nothing told, 5%": Case(account=_chance(QUICK, 0.05), over=1.3),
    "limit, nothing told, 30%": Case(account=_chance(QUICK, 0.3), over=1.6),
    "given twice too high": Case(account=replace(QUICK, rpm=1500), told=GIVEN, over=1.15, waste=0.02),
    "given twice too high, 5%": Case(account=_chance(replace(QUICK, rpm=1500), 0.05), told=GIVEN, over=1.3),
    "a rest of 20 s that is meant": Case(account=replace(QUICK, resting=(8.0, 28.0)), told=GIVEN, over=1.05),
    "a rest of 20 s, nothing told": Case(account=replace(QUICK, resting=(8.0, 28.0)), over=1.25),
    "five slots, 5%": Case(account=_chance(ANY, 0.05), told={"concurrency": 5}, calls=300, slots=5, over=1.12),
    "five slots, 20%": Case(
        account=replace(_chance(ANY, 0.2), retry_after_s=2.0), told={"concurrency": 5}, calls=300, slots=5, over=1.11
    ),
    "60 a minute, answers of 10 s": Case(
        account=Account(rpm=60, latency_s=10, sigma=0.2, headers=False),
        told={"requests_per_minute": 60},
        calls=600,
        over=1.03,
    ),
    "60 a minute, answers of 30 s": Case(
        account=Account(rpm=60, latency_s=30, sigma=0.2, headers=False),
        told={"requests_per_minute": 60},
        calls=600,
        over=1.03,
    ),
}


def main() -> None:
    seeds = range(1, 1 + int(sys.argv[1] if len(sys.argv) > 1 else 5))
    print(f"{'case':34} {'goal':>5} {'median':>7}  by seed; refused")
    for name, case in CASES.items():
        try:
            rows = [case.play(seed) for seed in seeds]
        except AssertionError as error:
            print(f"{name:34} {case.over:5.2f}  {error}")
            continue
        over = [row[0] for row in rows]
        marks = " ".join(f"{ratio:.3f}" for ratio in over)
        late = "" if statistics.median(over) <= case.over else " *"
        rested = f" rested {[row[2].rested for row in rows]}" if any(row[2].rested for row in rows) else ""
        figures = f"{case.over:5.2f} {statistics.median(over):7.3f}{late}"
        print(f"{name:34} {figures}  {marks}; {[row[1] for row in rows]}{rested}")


if __name__ == "__main__":
    main()
