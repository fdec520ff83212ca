"""Limits and cap that a person changes while a run goes on, and what the run says held it back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from desks import BOUND, COST, answer, line
from docreduce.desk import Desk, Ticket
from docreduce.engine.bounds import Bounds
from docreduce.settings import LimitSettings
from docreduce.values import Reply
from drives import Driven, document, driven
from virtual import run_virtual

SLOW, FAST = LimitSettings(requests_per_minute=60), LimitSettings(requests_per_minute=6000)


async def at_once(ticket: Ticket) -> Reply:
    await asyncio.sleep(0.1)
    return answer(ticket.request.messages[-1].content)


def changed(folder: Path, first: LimitSettings, at: dict[float, Callable[[Desk, float], None]], cap: int | None = None) -> Driven:  # noqa: E501  # fmt: skip
    """Two hundred documents, with what is done to the desk at these seconds."""

    def begun(found: Driven) -> None:
        loop = asyncio.get_running_loop()

        def act(change: Callable[[Desk, float], None]) -> None:
            change(found.desk, loop.time())
            found.driver.wake()

        for seconds, change in at.items():
            loop.call_later(seconds, act, change)

    limits = {"requests_per_minute": first.requests_per_minute, "concurrency": 8}
    return run_virtual(
        lambda: driven((document(n) for n in range(200)), folder, at_once, line(**limits), begun=begun, cap=cap)
    )


def test_a_run_goes_faster_and_slower_as_it_is_told(tmp_path: Path) -> None:
    slow = lambda desk, now: desk.retune([SLOW], None, now)  # noqa: E731
    fast = lambda desk, now: desk.retune([FAST], None, now)  # noqa: E731
    found = changed(tmp_path, SLOW, {60.0: fast, 60.5: slow})
    minute = [at for at, _ in found.sent if at < 60]
    burst = [at for at, _ in found.sent if 60 <= at < 60.5]
    assert 55 <= len(minute) <= 65
    assert 20 <= len(burst) <= 60
    after = [at for at, _ in found.sent if 61 <= at < 111]
    assert 45 <= len(after) <= 52
    assert [row.result.status for row in found.rows] == ["ok"] * 200


def test_a_pause_sends_nothing_and_loses_nothing(tmp_path: Path) -> None:
    pause = lambda desk, now: desk.retune([FAST], None, now, paused=True)  # noqa: E731
    go_on = lambda desk, now: desk.retune([FAST], None, now)  # noqa: E731
    found = changed(tmp_path, FAST, {0.55: pause, 1000.0: go_on})
    assert not [at for at, _ in found.sent if 0.551 < at < 1000]
    assert [row.result.status for row in found.rows] == ["ok"] * 200
    assert found.seconds > 1000
    assert found.driver.bounds.as_dict()["pause"] == pytest.approx(999.45, abs=1.5)


def test_a_pause_hears_the_end(tmp_path: Path) -> None:
    from docreduce.values import Cause

    pause = lambda desk, now: desk.retune([FAST], None, now, paused=True)  # noqa: E731
    found = changed(tmp_path, FAST, {0.55: pause, 5.0: lambda desk, _: desk.halt(Cause.STOPPED, "interrupted")})
    assert found.seconds == pytest.approx(5.0, abs=0.1)
    assert len(found.rows) == 200


def test_more_money_in_time_and_the_run_does_not_stop_at_the_old_cap(tmp_path: Path) -> None:
    cap = 50 * COST + BOUND
    stopped = changed(tmp_path / "a", SLOW, {}, cap=cap) if (tmp_path / "a").mkdir() is None else None
    (tmp_path / "b").mkdir()
    richer = changed(tmp_path / "b", SLOW, {10.0: lambda desk, now: desk.retune([SLOW], 1000 * BOUND, now)}, cap=cap)
    assert stopped is not None
    assert 40 <= sum(row.result.status == "ok" for row in stopped.rows) <= 51
    assert [row.result.status for row in richer.rows] == ["ok"] * 200


def test_less_money_ends_the_run_at_the_cap_that_holds_now(tmp_path: Path) -> None:
    cap = 20 * COST + BOUND
    found = changed(tmp_path, SLOW, {10.0: lambda desk, now: desk.retune([SLOW], cap, now)}, cap=1000 * BOUND)
    assert found.desk.budget.charged <= cap
    assert {row.result.error_kind for row in found.rows} == {None, "budget"}


def test_limits_that_are_told_anew_and_are_the_same_leave_what_was_found(tmp_path: Path) -> None:
    same = lambda desk, now: desk.retune([desk.lines[0].route.limits], None, now)  # noqa: E731
    before = changed(tmp_path / "a", FAST, {}) if (tmp_path / "a").mkdir() is None else None
    (tmp_path / "b").mkdir()
    after = changed(tmp_path / "b", FAST, {0.3: same, 0.6: same})
    assert before is not None
    assert after.words == before.words
    assert [at for at, _ in after.sent] == pytest.approx([at for at, _ in before.sent], abs=0.01)


def test_what_held_a_run_back_is_told_in_seconds(tmp_path: Path) -> None:
    by = changed(tmp_path, SLOW, {}).driver.bounds.as_dict()
    assert next(iter(by)) == "requests"
    assert by["requests"] == pytest.approx(200, abs=10)


def test_a_stretch_that_the_process_computed_through_is_the_machines() -> None:
    bounds = Bounds()
    for second in range(11):  # computing for the first five seconds
        bounds.holds("latency", float(second), min(5.0, second))
    assert bounds.as_dict() == {"cpu": 5.0, "latency": 5.0}
