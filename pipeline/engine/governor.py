"""Who of several runs may use how much of one account, anew each second: the governor of shards that run side by side.

Theory of operation. A *share* is so many millionths of every limit (requests and tokens a minute, slots); a *cap* is
what one shard may spend altogether, in pico-dollars. Each shard *exchanges* about once a second: it says how many calls
it has ready and what it has spent or set aside, and gets its share and its cap. Two sums hold at every moment:

    shares held ≤ 1,000,000          caps held ≤ the job's cap

- What a shard holds is the larger of its last two grants, until its next exchange shows that it keeps the newer one. So
  what one is to give up is given to nobody before it has.
- A share that was not renewed for LAPSE_S lapses: the shard is to stop sending by then, and its share is others'. A cap
  does not lapse: the money of a shard that died is spent or unknown, as its ledger says, until it starts again or ends.
- Shares are max-min fair by what each could send in a second: who has few calls left gets what they need, the others
  divide the rest. Everybody has at least `least`, so that no limit of his is nothing.

No clock and no I/O: whoever calls says what time it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["LAPSE_S", "WHOLE", "Governor", "Grant", "Report"]

WHOLE = 1_000_000
LAPSE_S = 5.0
"""Five exchanges that did not come: then a worker is dead or cut off, not late."""
UNKNOWN_PACE = 256.0
"""Calls a second that a shard is taken to be able to send, where no limit says it: a quarter of the connections that a
run may have, which answers of a few seconds keep busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a shard says of itself: calls it has ready, pico-dollars spent or set aside; and for the view documents
    done and failed, calls, refusals by rate limit."""

    ready: int
    spent_pusd: int = 0
    documents: int = 0
    calls: int = 0
    rate_limited: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A shard's share of every limit in millionths (0: nothing yet, ask again), and its cap (None: none). `stop`: the
    run is to end in order."""

    share: int
    cap_pusd: int | None
    stop: bool = False


@dataclass(slots=True)
class _Seat:
    report: Report
    at: float  # of the last exchange
    shares: tuple[int, int] = (0, 0)  # the last two grants
    caps: tuple[int, int] = (0, 0)
    live: bool = True

    @property
    def share(self) -> int:
        return max(self.shares) if self.live else 0

    @property
    def cap(self) -> int:
        return max(self.caps)


@dataclass(slots=True, kw_only=True)
class Governor:
    """Divides one account among shards. `pace`: calls a second of the whole limit, where it is known; `least`: the
    smallest share; `expected`: shards that are to run side by side."""

    cap_pusd: int | None
    pace: float = UNKNOWN_PACE
    least: int = 1
    expected: int = 1
    stopped: bool = False
    _seats: dict[int, _Seat] = field(default_factory=dict)

    def exchange(self, number: int, report: Report, now: float) -> Grant:
        """The grant of shard `number`, which says this of itself."""
        seat = self._seats.get(number)
        if seat is None:
            seat = self._seats[number] = _Seat(report, now)
        lapsed = not seat.live or now - seat.at > LAPSE_S  # it begins again, or had stopped sending
        if lapsed:
            seat.shares, seat.live = (0, 0), True
        seat.report, seat.at = report, now
        # It is here, so it keeps the newer grant; one that died may have died before it came.
        kept = seat.cap if lapsed else seat.caps[1]
        seat.shares, seat.caps = (seat.shares[1],) * 2, (max(kept, report.spent_pusd),) * 2
        self._lapse(now)
        share = self._share(number)
        cap = max(self._cap(number), seat.caps[1] if lapsed else 0)  # what it held it may have spent
        seat.shares, seat.caps = (seat.shares[1], share), (seat.caps[1], cap)
        return Grant(share=share, cap_pusd=None if self.cap_pusd is None else cap, stop=self.stopped)

    def ended(self, number: int, spent_pusd: int | None, report: Report | None = None) -> None:
        """Shard `number` does not run: its share is free, its cap what it spent; None: it died, and keeps its cap."""
        seat = self._seats.setdefault(number, _Seat(report or Report(ready=0, spent_pusd=spent_pusd or 0), 0.0))
        seat.live, seat.shares = False, (0, 0)
        seat.report = report or seat.report
        if spent_pusd is not None:
            seat.caps = (spent_pusd, spent_pusd)

    @property
    def held(self) -> tuple[int, int]:
        """Millionths and pico-dollars that are given out."""
        return sum(seat.share for seat in self._seats.values()), sum(seat.cap for seat in self._seats.values())

    def view(self) -> dict[int, tuple[Report, bool]]:
        """What each shard said last, and whether it is running."""
        return {number: (seat.report, seat.live) for number, seat in self._seats.items()}

    def _lapse(self, now: float) -> None:
        for seat in self._seats.values():
            if seat.live and now - seat.at > LAPSE_S:
                seat.live, seat.shares = False, (0, 0)

    def _share(self, number: int) -> int:
        live = {each: seat for each, seat in self._seats.items() if seat.live}
        places = max(len(live), self.expected)
        spread = max(0, WHOLE - places * self.least)
        wanted = {each: min(1.0, seat.report.ready / self.pace) for each, seat in live.items()}
        for absent in range(places - len(live)):  # they are about to come
            wanted[-1 - absent] = 1.0
        target = self.least + int(spread * fair(wanted)[number])
        free = WHOLE - sum(seat.share for each, seat in live.items() if each != number)
        return max(0, min(target, free))

    def _cap(self, number: int) -> int:
        if self.cap_pusd is None:
            return 0
        seat = self._seats[number]
        spent = seat.report.spent_pusd
        left = self.cap_pusd - sum(each.report.spent_pusd if each.live else each.cap for each in self._seats.values())
        places = max(sum(each.live for each in self._seats.values()), self.expected)
        free = self.cap_pusd - sum(each.cap for other, each in self._seats.items() if other != number)
        return max(spent, min(spent + max(0, left) // places, free))


def fair(wanted: Mapping[int, float]) -> dict[int, float]:
    """Max-min fair parts of 1: nobody has less than another but who wants less. What nobody wants is divided evenly."""
    left, parts = 1.0, {}
    for at, (each, want) in enumerate(sorted(wanted.items(), key=lambda pair: pair[1])):
        parts[each] = min(want, left / (len(wanted) - at))
        left -= parts[each]
    return {each: part + left / len(wanted) for each, part in parts.items()}
