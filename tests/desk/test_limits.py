"""The limiter against a strict account in virtual time: no sleeping, no wall clock."""

from __future__ import annotations

import math
import random
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import noise
import pytest
from docreduce.desk.limits import Lease, Limiter
from docreduce.values import Answer, Cause, RateInfo, Usage
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from noise import Account, Play, rejection

MEAN_LATENCY_S = Account().mean_latency_s


def answer(rate: RateInfo | None = None) -> Answer:
    return Answer(text="x", finish_reason="stop", usage=Usage(input_tokens=900, output_tokens=50), rate=rate)


def _lognormal_sizes() -> list[int]:
    draw = random.Random(7)  # the very bodies of tests/benchmarks/fanout.py
    return [round(min(100_000, max(1_000, 10_000 * math.exp(draw.gauss(0, 1))))) // 4 + 50 for _ in range(200)]


@dataclass(frozen=True)
class Case:
    account: dict[str, float]
    sizes: list[int]
    in_flight: int
    ratio: float  # makespan over ideal, at most


R = Case({"rpm": 1500, "tpm": 4e6, "burst_s": 1}, [1050] * 750, 64, 1.055)
CASES = {
    "R": R,
    "B": Case({"rpm": 1500, "tpm": 8e6, "burst_s": 60}, [1050] * 2250, 256, 1.06),
    "T": Case({"rpm": 1500, "tpm": 1e6, "burst_s": 6}, _lognormal_sizes(), 64, 1.02),
    "F": Case(R.account | {"p_5xx": 0.03, "p_reset": 0.02, "hang_at": 375}, R.sizes, 64, 1.17),
}
HANDS = ("given", "headers", "headers only")


def _fan_out(case: Case, limits: str, seed: int, network_s: float = 0.001) -> tuple[float, Account]:
    headers = limits.startswith("headers")
    account = Account(**case.account, seed=seed, network_s=network_s, headers=headers or limits == "given")  # type: ignore[arg-type]
    limiter = Limiter(
        requests_per_minute=case.account["rpm"] if limits == "given" else None,
        tokens_per_minute=case.account["tpm"] if limits == "given" else None,
        concurrency=None if limits.endswith("only") else case.in_flight,
        now=0.0,
    )
    played = Play(limiter, account, case.sizes).run()
    return played.answered_at[-1] / account.ideal_s(case.sizes), account


@pytest.mark.long
@pytest.mark.parametrize("network_s", [0.001, 0.05])
@pytest.mark.parametrize("limits", HANDS)
@pytest.mark.parametrize("name", CASES)
def test_limits_given_or_told_by_headers_are_used_up_without_one_refusal(
    name: str, limits: str, network_s: float
) -> None:
    for seed in (1, 2, 3):
        ratio, account = _fan_out(CASES[name], limits, seed, network_s)
        assert account.refused == 0
        assert ratio <= CASES[name].ratio


@pytest.mark.long
@pytest.mark.parametrize("limits", ["none", "none only"])
@pytest.mark.parametrize("name", CASES)
def test_limits_that_nobody_tells_are_found(name: str, limits: str) -> None:
    case = CASES[name]
    played = [_fan_out(case, limits, seed) for seed in range(1, 8)]
    assert statistics.median(ratio for ratio, _ in played) <= 1.15
    assert statistics.median(account.refused for _, account in played) <= 0.01 * len(case.sizes)
    assert max(ratio for ratio, _ in played) <= 1.25
    assert max(account.refused for _, account in played) <= 0.02 * len(case.sizes)


@pytest.mark.parametrize("burst_s", [2, 20, 60])
def test_token_limits_of_any_burst_are_found_with_few_refusals(burst_s: int) -> None:
    account = {"rpm": 1500, "tpm": 1e6, "burst_s": burst_s}
    case = Case(account, _lognormal_sizes() * (1 + burst_s // 20), 64, 0.0)
    played = [_fan_out(case, "none", seed) for seed in range(1, 8)]
    assert statistics.median(ratio for ratio, _ in played) <= 1.2
    assert statistics.median(account.refused for _, account in played) <= 0.015 * len(case.sizes)


@pytest.mark.parametrize("retry_after_s", [None, 1.0])
@pytest.mark.parametrize("share", [0.05, 0.3])
def test_refusals_at_random_do_not_slow_a_run_to_a_crawl(share: float, retry_after_s: float | None) -> None:
    """600 calls would go in half a minute; each refusal rests the account besides."""
    working_s = []
    for seed in range(1, 8):
        account = Account(chance=share, retry_after_s=retry_after_s, headers=False, seed=seed)
        played = Play(Limiter(now=0.0), account, [1000] * 600).run()
        working_s.append(played.answered_at[-1] - (retry_after_s or 0.0) * account.refused)
    assert statistics.median(working_s) <= 120
    assert max(working_s) <= 400


def test_a_limit_behind_refusals_at_random_is_not_run_into_again_and_again() -> None:
    refused = []
    for seed in range(1, 8):
        account = Account(rpm=600, burst_s=1, chance=0.05, headers=False, seed=seed)
        Play(Limiter(now=0.0), account, [1000] * 600).run()
        refused.append(account.refused)
    assert statistics.median(refused) <= 0.12 * 600


def test_a_given_rate_is_kept_where_no_header_tells_anything() -> None:
    account = Account(rpm=600, burst_s=1, headers=False)
    played = Play(Limiter(requests_per_minute=600, concurrency=64, now=0.0), account, [1000] * 300).run()
    assert account.refused == 0
    assert played.answered_at[-1] / account.ideal_s([1000] * 300) <= 1.08


def test_a_sliding_minute_never_holds_more_than_the_given_rate() -> None:
    account = Account(headers=False)
    leased = Play(Limiter(requests_per_minute=300, concurrency=64, now=0.0), account, [1000] * 900).run().leased_at
    assert all(leased[i + 300] - leased[i] >= 60 - 1e-6 for i in range(len(leased) - 300))


def test_five_queued_requests_are_kept_busy_and_never_exceeded() -> None:
    account = Account(queue=5)
    played = Play(Limiter(concurrency=5, now=0.0), account, [1000] * 400).run()
    assert account.refused == 0
    assert account.most_in_flight == 5
    assert account.busy_s / (5 * played.answered_at[-1]) >= 0.97


def test_a_queue_of_unknown_length_is_found_and_then_left_in_peace() -> None:
    account = Account(queue=20)
    played = Play(Limiter(now=0.0), account, [1000] * 2000).run()
    assert account.refused <= 0.01 * 2000
    assert account.busy_s / (20 * played.answered_at[-1]) >= 0.85


def test_a_service_that_only_queues_is_not_given_ever_more_calls() -> None:
    """One call at a time is worked on: with n in flight each takes n times as long."""
    limiter = Limiter(now=0.0)
    now, line, deepest = 0.0, deque[Lease](), 0
    for _ in range(600):
        while isinstance(granted := limiter.lease(1000, now), Lease):
            line.append(granted)
        deepest = max(deepest, len(line))
        now += 0.5
        limiter.settle(line.popleft(), now, answer(), 1000)
    assert deepest <= 64


def test_given_less_than_the_account_has_its_burst_is_left_to_others() -> None:
    account = Account(rpm=1500, burst_s=60)
    leased = Play(Limiter(requests_per_minute=300, concurrency=64, now=0.0), account, [1000] * 300).run().leased_at
    assert leased[299] >= 299 / 5 - 1


def test_headers_that_tell_less_than_was_given_are_believed() -> None:
    account = Account(rpm=600, burst_s=1)
    played = Play(Limiter(requests_per_minute=6000, concurrency=64, now=0.0), account, [1000] * 300).run()
    assert account.refused <= 20
    assert played.answered_at[-1] / account.ideal_s([1000] * 300) <= 1.15


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name.startswith("given") else pytest.mark.long) for name in noise.CASES]
)
def test_chance_costs_little_in_the_known_regime_and_a_limit_is_found_in_the_unknown_one(name: str) -> None:
    case = noise.CASES[name]
    played = [case.play(seed) for seed in range(1, 6)]
    assert statistics.median(ratio for ratio, *_ in played) <= case.over
    if case.waste is not None:
        assert statistics.median(refused for _, refused, *_ in played) <= case.waste * case.calls
    if name == "a rest of 20 s that is meant":
        assert max(account.rested for _, _, account, _ in played) <= 3


def test_one_refusal_within_a_kept_limit_is_that_calls_own_and_three_in_a_row_rest_the_account() -> None:
    limiter = Limiter(requests_per_minute=6000, concurrency=8, now=0.0)
    now = _answer_after(limiter, [0.5] * 20)
    leases = [lease for _ in range(8) if isinstance(lease := limiter.lease(10, now), Lease)]
    limiter.settle(leases[0], now + 0.1, rejection(Cause.RATE_LIMITED, retry_after_s=7.0))
    assert limiter.paused_until(now + 0.1) is None
    assert isinstance(limiter.lease(10, now + 0.1), Lease)
    limiter.settle(leases[1], now + 0.2, rejection(Cause.RATE_LIMITED, retry_after_s=7.0))
    limiter.settle(leases[2], now + 0.3, rejection(Cause.RATE_LIMITED, retry_after_s=9.0))
    assert limiter.paused_until(now + 0.3) == pytest.approx(now + 9.3)
    assert limiter.lease(10, now + 1.3) == pytest.approx(8.0)
    assert limiter.bounded_by == "rest"
    assert limiter.paused_until(now + 9.3) is None


@pytest.mark.parametrize("told", [{"requests_per_minute": 3000}, {}], ids=["given", "not told"])
def test_others_keep_nine_tenths_of_their_pace_where_one_call_alone_is_refused_for_ever(told: dict[str, int]) -> None:
    def last_s(poisoned: int) -> float:
        sizes = [1000] * 1500
        for at in (100, 101, 700)[:poisoned]:
            sizes[at] = 3000
        account = Account(rpm=3000, latency_s=0.3, headers=False, retry_after_s=1.0, poison=3000)
        played = Play(Limiter(**told, now=0.0), account, sizes, attempts=6).run()  # type: ignore[arg-type]
        assert played.unanswered == poisoned
        return played.answered_at[-1]

    assert last_s(3) <= last_s(0) / 0.9


def test_one_call_a_minute_goes_at_once_and_the_second_after_a_minute() -> None:
    account = Account(rpm=1, burst_s=60, headers=False)
    leased = Play(Limiter(requests_per_minute=1, now=0.0), account, [1000] * 5).run().leased_at
    assert account.refused == 0
    assert leased == pytest.approx([0.0, 60.0, 120.0, 180.0, 240.0], abs=1.0)


@pytest.mark.parametrize("rpm", [10, 30])
def test_a_low_limit_that_nobody_tells_is_found(rpm: int) -> None:
    account = Account(rpm=rpm, headers=False, seed=1)
    played = Play(Limiter(now=0.0), account, [1000] * 100).run()
    assert played.answered_at[-1] <= 1.3 * account.ideal_s([1000] * 100)
    assert account.refused <= 15


def test_a_limit_of_requests_is_found_among_calls_of_all_sizes() -> None:
    sizes = _lognormal_sizes() * 3
    account = Account(rpm=600, headers=False)
    played = Play(Limiter(now=0.0), account, sizes).run()
    assert played.answered_at[-1] <= 1.4 * account.ideal_s(sizes)
    assert account.refused <= 0.05 * len(sizes)


# --- windows longer than a minute, new limits ------------------------------------------------------------------------


def test_a_window_of_hours_is_never_taken_for_a_minute() -> None:
    limiter = Limiter(concurrency=64, now=0.0)
    _answered_with(limiter, 0.0, RateInfo(limit_requests=1000, remaining_requests=3, reset_requests_s=36_000.0))
    leased = [lease for _ in range(20) if isinstance(lease := limiter.lease(10, 1.0), Lease)]
    assert len(leased) <= 3
    limiter.settle(
        leased[0], 1.5, answer(RateInfo(limit_requests=1000, remaining_requests=0, reset_requests_s=35_998.5))
    )
    assert limiter.paused_until(2.0) == pytest.approx(36_000.0)
    assert limiter.lease(10, 2.0) == pytest.approx(35_998.0)


def test_new_limits_hold_from_now_on_and_calls_that_are_out_stay_booked() -> None:
    limiter = Limiter(requests_per_minute=6000, concurrency=16, now=0.0)
    now = _answer_after(limiter, [0.5] * 40)
    out = [lease for _ in range(16) if isinstance(lease := limiter.lease(10, now), Lease)]
    assert len(out) == 16
    limiter.retune(now, requests_per_minute=60, concurrency=4)
    assert limiter.lease(10, now) == math.inf, "more are out than may be"
    assert limiter.bounded_by == "slots"
    for lease in out:
        limiter.settle(lease, now + 1, answer(), 10)
    leased = 0
    for tenth in range(10, 300):
        while isinstance(lease := limiter.lease(10, now + tenth / 10), Lease):
            leased += 1
            limiter.settle(lease, now + tenth / 10, answer(), 10)
    assert 26 <= leased <= 30
    assert limiter.bounded_by == "requests"
    limiter.retune(now + 30, requests_per_minute=6000, concurrency=64)
    faster = 0
    for tenth in range(300, 400):
        while isinstance(lease := limiter.lease(10, now + tenth / 10), Lease):
            faster += 1
            limiter.settle(lease, now + tenth / 10, answer(), 10)
    assert faster >= 900


def test_refusals_of_one_episode_shrink_once() -> None:
    def found(refusals: int) -> int:
        limiter = Limiter(concurrency=40, now=0.0)
        now = 0.0
        for _ in range(30):  # grow
            now += 1.0
            leases = []
            while isinstance(granted := limiter.lease(100, now), Lease):
                leases.append(granted)
            for lease in leases:
                limiter.settle(lease, now + 0.5, answer(), 100)
        now += 1.0
        leases = []
        while isinstance(granted := limiter.lease(100, now), Lease):
            leases.append(granted)
        assert len(leases) == 40
        for position, lease in enumerate(reversed(leases)):
            limiter.settle(lease, now + 0.01, rejection(Cause.RATE_LIMITED) if position < refusals else None)
        return limiter.window

    assert found(30) == found(1)


def test_an_overload_now_and_then_does_not_slow_down_but_many_do() -> None:
    def window_after(every: int) -> int:
        limiter = Limiter(concurrency=64, now=0.0)
        now = 0.0
        for turn in range(60):
            leases = []
            while isinstance(granted := limiter.lease(100, now), Lease):
                leases.append(granted)
            for position, lease in enumerate(leases):
                bad = (turn + position) % every == 0
                limiter.settle(lease, now + 0.5, rejection(Cause.OVERLOADED) if bad else answer(), 100)
            now += 1.0
        return limiter.window

    assert window_after(20) == 64
    assert window_after(2) < 64


def test_three_overloads_close_together_rest_the_account_for_a_moment_and_narrow_nothing() -> None:
    limiter = Limiter(requests_per_minute=6000, concurrency=64, now=0.0)  # a known rate: the window is wide at once
    now, wide = 0.0, limiter.window
    for call in range(400):
        lease = limiter.lease(100, now)
        while not isinstance(lease, Lease):
            assert lease <= 2.01
            now += lease
            lease = limiter.lease(100, now)
        now += 0.1
        limiter.settle(lease, now, rejection(Cause.OVERLOADED) if call in {300, 301, 302} else answer(), 100)
    assert limiter.window >= wide
    assert now <= 400 * 0.1 + 4


def test_one_failure_is_no_trouble_and_three_in_a_row_are() -> None:
    limiter = Limiter(concurrency=8, now=0.0)
    seen = []
    for now in range(3):
        lease = limiter.lease(10, float(now))
        assert isinstance(lease, Lease)
        limiter.settle(lease, now + 0.5, rejection(Cause.CONNECTION))
        seen.append(limiter.troubled)
    assert seen == [False, False, True]


def test_in_an_outage_single_probes_go_out_and_then_all_resumes() -> None:
    account = Account(down=(10.0, 130.0))
    played = Play(Limiter(concurrency=32, now=0.0), account, [1000] * 1200).run()
    during = [t for t in played.leased_at if 11 <= t < 130]
    assert len(during) <= 10
    assert len(played.answered_at) == 1200
    assert played.answered_at[-1] <= 130 + 60 + 1200 * MEAN_LATENCY_S / 32 * 1.2


def test_an_outage_is_seen_as_a_pause_that_single_probes_end() -> None:
    limiter = Limiter(concurrency=16, now=0.0)
    leases = [limiter.lease(10, 0.0) for _ in range(5)]
    now = 0.0
    while limiter.paused_until(now) is None:
        now += 0.1
        for lease in leases:
            assert isinstance(lease, Lease)
            limiter.settle(lease, now, rejection(Cause.CONNECTION))
        leases = [lease for _ in range(5) if isinstance(lease := limiter.lease(10, now), Lease)]
        assert now < 5
    until = limiter.paused_until(now)
    assert until is not None
    assert len(leases) < 16, "calls from before that hang do not stand in the probe's way"
    probe = limiter.lease(10, until)
    assert isinstance(probe, Lease)
    assert not isinstance(limiter.lease(10, until), Lease)
    limiter.settle(probe, until + 0.01, rejection(Cause.CONNECTION))
    again = limiter.paused_until(until + 0.01)
    assert again is not None
    assert again - until > 1.9, "the next rest is twice as long"
    probe = limiter.lease(10, again)
    assert isinstance(probe, Lease)
    limiter.settle(probe, again + 1, answer(), 10)
    assert isinstance(limiter.lease(10, again + 1), Lease)
    assert isinstance(limiter.lease(10, again + 1), Lease)


def test_since_when_nothing_but_failure_came_back_is_known() -> None:
    limiter = Limiter(concurrency=8, now=0.0)
    now = _answer_after(limiter, [0.5] * 3)
    assert limiter.failing_since is None
    for wait_s in (1.0, 100.0, 100.0):
        lease = limiter.lease(10, now + wait_s)
        assert isinstance(lease, Lease)
        limiter.settle(lease, now + wait_s, rejection(Cause.SERVER_ERROR))
        now += wait_s
    assert limiter.failing_since == pytest.approx(2.5)
    lease = limiter.lease(10, now + 100)
    assert isinstance(lease, Lease)
    limiter.settle(lease, now + 101, rejection(Cause.BAD_REQUEST))  # it answers, if only to refuse this text
    assert limiter.failing_since is None


# --- time-outs ------------------------------------------------------------------------------------------------------


def _answered_with(limiter: Limiter, now: float, rate: RateInfo) -> None:
    lease = limiter.lease(1000, now)
    assert isinstance(lease, Lease)
    limiter.settle(lease, now + 0.5, answer(rate), 1000)


def _answer_after(limiter: Limiter, latencies: Sequence[float], now: float = 0.0, tokens: int = 1000) -> float:
    for latency_s in latencies:
        lease = limiter.lease(tokens, now)
        assert isinstance(lease, Lease)
        now += latency_s
        limiter.settle(lease, now, answer(), tokens)
    return now


def test_the_time_out_is_the_configured_one_until_enough_answers_are_seen() -> None:
    limiter = Limiter(concurrency=1, timeout_s=90.0, now=0.0)
    now = _answer_after(limiter, [0.5] * 7)
    assert limiter.timeout_s(now) == 90.0


def test_the_time_out_follows_the_latency_and_never_passes_the_configured_one() -> None:
    limiter = Limiter(concurrency=1, timeout_s=90.0, now=0.0)
    now = _answer_after(limiter, [1.5] * 50)
    assert 5.0 <= limiter.timeout_s(now, tokens=1000) <= 10.0
    assert limiter.timeout_s(now, tokens=4000) == pytest.approx(4 * limiter.timeout_s(now, tokens=1000))
    assert limiter.timeout_s(now, tokens=1000, attempt=2) == 2 * limiter.timeout_s(now, tokens=1000)
    assert limiter.timeout_s(now, tokens=10**6) == 90.0


@given(st.lists(st.floats(0.05, 100), min_size=8, max_size=200))
@settings(max_examples=50, deadline=None)
def test_no_answer_as_slow_as_those_seen_is_cut_off(latencies: list[float]) -> None:
    limiter = Limiter(concurrency=1, timeout_s=120.0, now=0.0)
    now = _answer_after(limiter, latencies)
    recent = latencies[-120:][: -8 or None]
    assert limiter.timeout_s(now, tokens=1000) >= max(recent, default=0.0)


def test_a_service_that_got_slow_is_not_cut_off_for_ever() -> None:
    limiter = Limiter(concurrency=1, timeout_s=120.0, now=0.0)
    now = _answer_after(limiter, [0.5] * 128)
    cut = 0
    while limiter.timeout_s(now, tokens=1000) < 40.0:  # every call takes 40 s from here on
        now += 61  # whatever the outage pause
        lease = limiter.lease(1000, now)
        assert isinstance(lease, Lease)
        now += limiter.timeout_s(now, tokens=1000)
        limiter.settle(lease, now, rejection(Cause.TIMEOUT))
        cut += 1
    assert cut <= 40


def test_a_stated_time_out_is_meant() -> None:
    limiter = Limiter(concurrency=1, timeout_s=120.0, timeout_stated=True, now=0.0)
    now = _answer_after(limiter, [0.5] * 50)
    assert limiter.timeout_s(now, tokens=1000, attempt=1) == 120.0
    assert limiter.timeout_s(now, tokens=10**6, attempt=3) == 120.0


def test_an_endless_time_out_stays_endless() -> None:
    limiter = Limiter(concurrency=1, timeout_s=math.inf, now=0.0)
    assert limiter.timeout_s(_answer_after(limiter, [0.5] * 50)) == math.inf


# --- what fits, slots -----------------------------------------------------------------------------------------------


def test_a_call_larger_than_the_token_limit_can_ever_admit_does_not_fit() -> None:
    limiter = Limiter(tokens_per_minute=10_000, now=0.0)
    assert limiter.fits(10_000)
    assert not limiter.fits(10_001)
    assert Limiter(now=0.0).fits(10**9)


def test_a_bucket_smaller_than_the_minute_refuses_what_is_larger_than_itself() -> None:
    limiter = Limiter(now=0.0)
    lease = limiter.lease(1000, 0.0)
    assert isinstance(lease, Lease)
    rate = RateInfo(limit_tokens=60_000, remaining_tokens=4_000, reset_tokens_s=1.0)
    limiter.settle(lease, 1.0, answer(rate), 1000)
    assert limiter.fits(5_000)
    assert not limiter.fits(5_001)


def test_a_header_without_a_reset_does_not_shrink_what_fits() -> None:
    limiter = Limiter(now=0.0)
    lease = limiter.lease(1000, 0.0)
    assert isinstance(lease, Lease)
    limiter.settle(lease, 1.0, answer(RateInfo(limit_tokens=60_000, remaining_tokens=4_000)), 1000)
    assert limiter.fits(60_000)


def test_slots_are_few_where_the_rate_is_low_and_never_many_more_than_the_window() -> None:
    slow = Limiter(requests_per_minute=6, concurrency=100, now=0.0)
    assert 1 <= slow.slots(0.0) <= 20
    assert Limiter(concurrency=5, now=0.0).slots(0.0) == 10
    assert Limiter(concurrency=64, now=0.0).slots(0.0) <= 2 * 64


def test_settling_twice_and_cancelling_change_nothing_else() -> None:
    limiter = Limiter(concurrency=1, now=0.0)
    lease = limiter.lease(10, 0.0)
    assert isinstance(lease, Lease)
    limiter.settle(lease, 1.0, None)
    limiter.settle(lease, 1.0, answer(), 10)
    assert isinstance(limiter.lease(10, 1.0), Lease)
    assert limiter.lease(10, 1.0) == math.inf


# --- any order of events --------------------------------------------------------------------------------------------


class Anything(RuleBasedStateMachine):
    """Leases, answers, failures, cancellations and passing time in any order, with all limits given."""

    rpm, tpm, concurrency, largest = 120, 60_000, 6, 4_000

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.limiter = Limiter(
            requests_per_minute=self.rpm, tokens_per_minute=self.tpm, concurrency=self.concurrency, now=0.0
        )
        self.open: list[Lease] = []
        self.leased: list[float] = []  # when
        self.reserved: list[int] = []  # tokens, by lease
        self.refunds: list[tuple[float, int, int]] = []  # when, and tokens and calls that were not needed
        self.leases: list[Lease] = []

    def _granted(self, lease: Lease) -> None:
        self.open.append(lease)
        self.leases.append(lease)
        self.leased.append(self.now)
        self.reserved.append(lease.tokens)

    @rule(tokens=st.integers(0, largest))
    def lease(self, tokens: int) -> None:
        granted = self.limiter.lease(tokens, self.now)
        if isinstance(granted, Lease):
            self._granted(granted)
        else:
            assert granted > 0
            assert granted < math.inf or self.open, "nothing in flight, and yet only an answer could help"

    @rule(tokens=st.integers(0, largest))
    def wait_as_told(self, tokens: int) -> None:
        """A finite wait, kept, ends in a lease before long, or only an open call can help."""
        for _ in range(100):
            granted = self.limiter.lease(tokens, self.now)
            if isinstance(granted, Lease):
                self._granted(granted)
                return
            if granted == math.inf:
                assert self.open
                return
            self.now += granted
        raise AssertionError("starved")

    @rule(seconds=st.floats(0, 30))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(data=st.data(), share=st.floats(0.1, 1.0))
    def answered(self, data: st.DataObject, share: float) -> None:
        if self.open:
            lease = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
            used = round(share * lease.tokens)
            self.refunds.append((self.now, lease.tokens - used, 0))
            self.limiter.settle(lease, self.now, answer(), used)

    @rule(
        data=st.data(),
        cause=st.sampled_from([None, Cause.CONNECTION, Cause.TIMEOUT, Cause.SERVER_ERROR, Cause.BAD_REQUEST]),
        retry_after_s=st.none() | st.floats(0.01, 20),
    )
    def failed(self, data: st.DataObject, cause: Cause | None, retry_after_s: float | None) -> None:
        if self.open:
            lease = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
            if cause is Cause.SERVER_ERROR and retry_after_s is not None:  # turned away: it took nothing
                at = self.leases.index(lease)
                self.refunds.append((self.now, self.reserved[at], 1))
            self.limiter.settle(lease, self.now, rejection(cause, retry_after_s) if cause else None)
            until = self.limiter.paused_until(self.now)
            if until is not None:
                assert self.limiter.lease(0, self.now) == pytest.approx(until - self.now, abs=2e-3)

    @invariant()
    def never_more_than_the_known_concurrency(self) -> None:
        assert len(self.open) <= self.concurrency
        assert self.limiter.slots(self.now) >= 1

    @invariant()
    def never_more_than_the_buckets_ever_held(self) -> None:
        for i, start in enumerate(self.leased):
            passed_s = self.leased[-1] - start
            calls = len(self.leased) - i - sum(refund for at, _, refund in self.refunds if at >= start)
            tokens = sum(self.reserved[i:]) - sum(refund for at, refund, _ in self.refunds if at >= start)
            assert calls <= self.rpm / 60 * passed_s + max(1.0, self.rpm / 60 * 0.25) + 1e-6
            # A call larger than the burst goes when the bucket is full, and leaves a debt.
            assert tokens <= self.tpm / 60 * passed_s + self.tpm / 60 * 0.25 + self.largest + 1e-6


TestAnything = Anything.TestCase
TestAnything.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
