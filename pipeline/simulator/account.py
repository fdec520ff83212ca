"""The simulated account: its buckets and its books."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from docreduce.simulator.settings import Settings

__all__ = ["Bucket", "Stats"]


class Bucket:
    """A strict token bucket: fills at `per_minute` / 60 a second up to `burst_s` seconds' worth, and lends nothing."""

    def __init__(self, per_minute: float, burst_s: float, start: float, now: float, *, least: float = 0.0) -> None:
        self.per_minute = per_minute
        self.rate = per_minute / 60
        self.capacity = max(self.rate * burst_s, least)
        self.level = self.capacity * start
        self.at = now

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until `amount` can be taken: 0 now, infinite if it never fits."""
        self.level = min(self.capacity, self.level + (now - self.at) * self.rate)
        self.at = now
        if amount > self.capacity or not self.rate:
            return float("inf")
        return max(0.0, (amount - self.level) / self.rate)

    @property
    def full_s(self) -> float:
        """Seconds until it is full."""
        return (self.capacity - self.level) / self.rate if self.rate else 0.0


@dataclass(slots=True)
class Stats:
    """The service's own count. Tokens are those billed; `unseen_…` the part of them whose usage no client was told.

    `refused`: answered 429 by a limit; `rejected`: by code, what else was not accepted. `outcomes`: by fault, "ok" or
    "abandoned", the accepted calls and their tokens. `unique_ok`, `repeated_ok`: whole answers to bodies not answered
    before, and to bodies that were."""

    requests: int = 0
    accepted: int = 0
    refused: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    max_in_flight: int = 0
    billed_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    flex_input_tokens: int = 0
    flex_output_tokens: int = 0
    batches: int = 0
    batch_input_tokens: int = 0
    batch_output_tokens: int = 0
    unseen_calls: int = 0
    unseen_input_tokens: int = 0
    unseen_output_tokens: int = 0
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    unique_ok: int = 0
    repeated_ok: int = 0
    first_request_s: float | None = None
    last_response_s: float | None = None
    answered: set[int] = field(default_factory=set)

    def bill(self, outcome: str, tokens: tuple[int, int, int, int], *, seen: bool) -> None:
        """Charge (input, output, cached, reasoning) tokens for a call that ended as `outcome`."""
        given, made, cached, reasoning = tokens
        self.billed_calls += 1
        self.input_tokens += given
        self.output_tokens += made
        self.cached_input_tokens += cached
        self.reasoning_tokens += reasoning
        if not seen:
            self.unseen_calls += 1
            self.unseen_input_tokens += given
            self.unseen_output_tokens += made
        self.ended(outcome, billed=1, input_tokens=given, output_tokens=made)

    def ended(self, outcome: str, **counts: int) -> None:
        """Count a call that ended as `outcome`."""
        self.outcomes.setdefault(outcome, Counter()).update(calls=1, **counts)

    def whole(self, digest: int) -> None:
        """A whole answer went out to the body with that digest."""
        if digest in self.answered:
            self.repeated_ok += 1
        else:
            self.answered.add(digest)
            self.unique_ok += 1

    def cost_pusd(self, settings: Settings) -> int:
        """What all billed tokens cost at the settings' prices, in pico-dollars: by batch or flex the half."""
        rates = (round(settings.input_usd_per_million * 10**6), round(settings.output_usd_per_million * 10**6))
        batched = (self.batch_input_tokens + self.flex_input_tokens) * rates[0]
        batched += (self.batch_output_tokens + self.flex_output_tokens) * rates[1]
        kept = (self.cache_write_tokens * 25 - self.cached_input_tokens * 90) * rates[0] // 100
        whole = self.input_tokens * rates[0] + self.output_tokens * rates[1]
        return whole - batched // 2 + kept * settings.prompt_cache

    def as_dict(self, settings: Settings) -> dict[str, Any]:
        """The figures of `GET /stats`; times are seconds since the start."""
        values = {name: getattr(self, name) for name in self.__slots__ if name != "answered"}
        return values | {"cost_pusd": self.cost_pusd(settings)}
