"""The governor: what it gives out never sums to more than there is, whoever comes, dies, or comes back."""

from __future__ import annotations

import random

import pytest
from docreduce.engine.governor import LAPSE_S, WHOLE, Governor, Report, fair

CAP = 10**12


@pytest.mark.parametrize(
    ("wanted", "parts"),
    [
        ({1: 1.0}, {1: 1.0}),
        ({1: 1.0, 2: 1.0}, {1: 0.5, 2: 0.5}),
        ({1: 0.1, 2: 1.0}, {1: 0.1, 2: 0.9}),
        ({1: 0.0, 2: 0.3, 3: 1.0}, {1: 0.0, 2: 0.3, 3: 0.7}),
        ({1: 0.1, 2: 0.1}, {1: 0.5, 2: 0.5}),  # what nobody wants is nobody's loss
        ({1: 0.0, 2: 0.0}, {1: 0.5, 2: 0.5}),
    ],
)
def test_who_wants_little_gets_it_and_the_others_divide_the_rest(
    wanted: dict[int, float], parts: dict[int, float]
) -> None:
    assert fair(wanted) == pytest.approx(parts)


def test_a_lone_shard_gets_all_and_gives_half_of_it_to_a_second() -> None:
    governor = Governor(cap_pusd=CAP, pace=100)
    busy = Report(ready=4000)
    assert governor.exchange(1, busy, 0.0).share == WHOLE
    assert governor.exchange(2, busy, 0.1).share == 0  # the first still sends at the whole rate
    assert governor.exchange(1, busy, 1.0).share == WHOLE // 2
    assert governor.exchange(2, busy, 1.1).share == 0  # until it shows that it has heard
    governor.exchange(1, busy, 2.0)
    assert governor.exchange(2, busy, 2.1).share == WHOLE // 2


def test_places_are_kept_for_those_that_are_expected() -> None:
    governor = Governor(cap_pusd=CAP, pace=100, expected=4)
    grants = [governor.exchange(number, Report(ready=4000), 0.0) for number in range(4)]
    assert [grant.share for grant in grants] == pytest.approx([WHOLE // 4] * 4, abs=2)
    assert sum(grant.cap_pusd or 0 for grant in grants) <= CAP


def test_a_share_that_is_not_renewed_lapses_and_its_money_does_not() -> None:
    governor = Governor(cap_pusd=CAP, pace=100, expected=2)
    dead = governor.exchange(1, Report(ready=4000), 0.0)
    governor.expected = 1
    alone = governor.exchange(2, Report(ready=4000), LAPSE_S + 0.1)
    assert alone.share == WHOLE
    for second in range(20):
        alone = governor.exchange(2, Report(ready=4000), LAPSE_S + second)
    assert (alone.cap_pusd or 0) + (dead.cap_pusd or 0) <= CAP
    # It comes back: what it held it may have spent, so it holds no less.
    assert governor.exchange(1, Report(ready=4000), 40.0).cap_pusd == dead.cap_pusd


def test_what_a_shard_did_not_spend_is_the_others_when_it_ends() -> None:
    governor = Governor(cap_pusd=CAP, pace=100, expected=2)
    for number in (1, 2):
        governor.exchange(number, Report(ready=4000), 0.0)
    governor.ended(1, 1000)
    governor.expected = 1
    for second in range(1, 4):
        grant = governor.exchange(2, Report(ready=4000), float(second))
    assert (grant.share, grant.cap_pusd) == (WHOLE, CAP - 1000)


def test_money_of_shards_that_ended_before_is_not_given_out_again() -> None:
    governor = Governor(cap_pusd=CAP, pace=100)
    governor.ended(7, CAP - 5)
    assert governor.exchange(1, Report(ready=4000), 0.0).cap_pusd == 5


def test_a_stop_reaches_whoever_exchanges_next() -> None:
    governor = Governor(cap_pusd=None)
    assert governor.exchange(1, Report(ready=1), 0.0).stop is False
    governor.stopped = True
    grant = governor.exchange(1, Report(ready=1), 1.0)
    assert (grant.stop, grant.cap_pusd) == (True, None)


@pytest.mark.parametrize("seed", range(30))
def test_shares_and_caps_held_never_pass_the_whole(seed: int) -> None:
    """Shards come, spend up to their caps, fall silent, die, end and start again."""
    draw = random.Random(seed)
    least = draw.choice([1, WHOLE // 50, WHOLE // 8])
    governor = Governor(cap_pusd=CAP, pace=draw.choice([10.0, 1000.0]), least=least, expected=draw.randint(1, 8))
    now = 0.0
    spent: dict[int, int] = {}
    caps: dict[int, int] = {}  # what each may spend, as it knows
    shares: dict[int, tuple[int, float]] = {}  # what each sends by, and since when it is renewed
    for _ in range(600):
        now += draw.random()
        number = draw.randrange(8)
        event = draw.random()
        if event < 0.8:
            began = number not in shares
            known = 0 if began else spent.get(number, 0)
            grant = governor.exchange(number, Report(ready=draw.choice([0, 3, 50, 4096]), spent_pusd=known), now)
            assert grant.cap_pusd is not None
            # The grant is on its way: until it is there the shard spends by the one before.
            before = grant.cap_pusd if began else caps[number]
            caps[number] = grant.cap_pusd
            shares[number] = grant.share, now
            room = max(0, draw.choice([before, grant.cap_pusd]) - spent.get(number, 0))
            spent[number] = spent.get(number, 0) + draw.randint(0, room) // draw.choice([1, 10, 100])
        elif event < 0.9 and number in shares:
            del shares[number]
            governor.ended(number, None)  # it died
        elif number in shares:
            del shares[number]
            governor.ended(number, spent.get(number, 0))
        held_shares, held_caps = governor.held
        assert held_shares <= WHOLE
        assert held_caps <= CAP
        assert sum(spent.values()) <= CAP
        assert sum(share for share, at in shares.values() if now - at <= LAPSE_S / 2) <= WHOLE
