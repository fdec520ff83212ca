"""What samples teach: ratios, lengths and shares, and what they never do to a reservation's bound."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from docreduce.config import load_job
from docreduce.desk.ledger import Ledger, Sample
from docreduce.engine.session import BOUND_RATIO, Session, open_session
from docreduce.models.calibration import Calibration, learn, sample, text_kind
from docreduce.models.pricing import UNKNOWN, Ratio
from docreduce.values import Attempt, Message, Request, Usage
from hypothesis import given
from hypothesis import strategies as st

PROSE = "The bridge over the Sauer was closed on a Monday because of cracks in its northern bearing. " * 20
ANY = Ratio(1.0, 1.0, 1.0)


def request(text: str = PROSE, **changes: Any) -> Request:
    fields: dict[str, Any] = {"max_words": 100, "input_tokens": 1000, **changes}
    return Request(
        provider="openai", model="m", messages=(Message("user", text),),
        max_output_tokens=400, temperature=0.0, top_p=1.0, **fields,
    )  # fmt: skip


def attempt(given: int = 1200, made: int = 80, **changes: Any) -> Attempt:
    fields: dict[str, Any] = {
        "outcome": "ok", "billing": "charged", "finish_reason": "stop",
        "usage": Usage(input_tokens=given, output_tokens=made), **changes,
    }  # fmt: skip
    return Attempt(key="k", stage="map", chunk=0, attempt=1, started_at=0.0, latency_s=0.1, cost_pusd=1, **fields)


def taught(*attempts: Attempt, asked: Request | None = None) -> Calibration:
    samples = [sample(asked or request(), each) for each in attempts]
    return learn([each for each in samples if each is not None], UNKNOWN)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (PROSE, "prose"),
        ("Größe und Übermaß der Brücken; § 12 Abs. 3 gilt. " * 30, "prose"),
        ("玄德曰：此人乃吾故人也，何故至此？" * 40, "nonlatin"),
        ("Мост через реку закрыт из-за трещин. " * 30, "nonlatin"),
        ("2021-05-03,17.25,1839,0.0042\n" * 50, "digits"),
        ("for (int i = 0; i < n; ++i) { sum += a[i] * b[i]; }\n" * 30, "code"),
        ("", "prose"),
    ],
)
def test_kinds_of_text_are_told_apart(text: str, kind: str) -> None:
    assert text_kind(text) == kind


@given(st.text())
def test_every_text_is_of_a_kind_that_has_a_prior(text: str) -> None:
    assert text_kind(text) in UNKNOWN


def test_without_answers_the_catalogue_speaks() -> None:
    assert learn([], UNKNOWN).ratios == dict(UNKNOWN)


def test_a_few_answers_outweigh_the_prior_and_narrow_its_interval() -> None:
    learned = taught(*[attempt(given=940)] * 10).ratios["prose"]
    assert learned.expected == pytest.approx(0.94, rel=0.003)
    assert learned.high - learned.low < (UNKNOWN["prose"].high - UNKNOWN["prose"].low) / 5


def test_the_ratio_is_one_of_sums_so_that_totals_come_out() -> None:
    draw = random.Random(1)
    pairs = [(size := draw.randrange(100, 9000), round(size * draw.gauss(1.3, 0.05)) + 30) for _ in range(80)]
    samples = [Sample(model="m", text_kind="prose w100 -", stage="map", counted_tokens=ours, input_tokens=theirs,
                      output_tokens=9) for ours, theirs in pairs]  # fmt: skip
    expected = learn(samples, UNKNOWN).ratios["prose"].expected * sum(ours for ours, _ in pairs)
    assert expected == pytest.approx(sum(theirs for _, theirs in pairs), rel=0.003)


def test_outliers_teach_nothing() -> None:
    honest = [attempt(given=1200)] * 30
    wild = [attempt(given=90_000), attempt(given=3)]
    assert taught(*honest, *wild).ratios["prose"].expected == pytest.approx(1.2, rel=0.01)


def test_lengths_are_learned_for_what_was_asked() -> None:
    calibration = taught(*[attempt(made=made) for made in (70, 80, 90) * 5])
    answers = calibration.output(request(), ANY)
    assert answers.mean.expected == pytest.approx(80, rel=0.02)
    assert answers.sd == pytest.approx(10, rel=0.3)
    # Twice the words were never asked for: the fill tells of them, in a wider interval.
    longer = calibration.output(request(max_words=200), ANY).mean
    assert longer.expected == pytest.approx(160, rel=0.02)
    assert longer.high - longer.low > 2 * (answers.mean.high - answers.mean.low)


def test_no_answer_is_expected_above_its_limit() -> None:
    assert learn([], UNKNOWN).output(request(max_words=5000), ANY).mean == Ratio(400, 400, 400)


def test_cut_answers_and_charged_failures_are_shares_and_no_lengths() -> None:
    calibration = taught(
        *[attempt(made=80)] * 90, *[attempt(made=400, finish_reason="length")] * 10,
        *[attempt(made=400, outcome="empty")] * 20,
    )  # fmt: skip
    assert calibration.output(request(), ANY).mean.expected == pytest.approx(80, rel=0.02)
    assert calibration.cut(request()).expected == pytest.approx(0.1, rel=0.1)
    assert calibration.again.expected == pytest.approx(0.2, rel=0.1)
    assert calibration.again_output == 400
    assert calibration.cut(request(max_words=7)).expected < 0.02  # what is asked for is another thing


def test_what_nobody_counted_is_no_sample() -> None:
    assert sample(request(), attempt(billing="unknown")) is None
    assert sample(request(), attempt(usage=None, outcome="timeout", billing="unknown")) is None


def session(folder: Path, ledger: Ledger | None, name: str = "night") -> Session:
    path = folder / f"{name}.toml"
    path.write_text(
        f'name = "{name}"\nkind = "summarize"\n[input]\npaths = ["{folder}"]\n[model]\nprovider = "openai"\n'
        f'name = "m"\nbase_url = "http://127.0.0.1:1/v1"\ncontext_window = 20000\n'
        f"[pricing]\ninput_usd_per_million = 1.0\noutput_usd_per_million = 1.0\n"
    )
    return open_session(load_job(path), ledger)


def teach(ledger: Ledger, attempts: list[Attempt]) -> None:
    async def write() -> None:
        for each in attempts:
            place = await ledger.reserve("run", "doc", request(), 1, 1, 0.0)
            await ledger.settle(place, each, None, sample(request(), each))

    asyncio.run(write())


def test_what_is_learned_cuts_new_plans_and_leaves_begun_ones(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        before = session(tmp_path, ledger).plan.input_tokens
        teach(ledger, [attempt(given=1000)] * 40)
        assert session(tmp_path, ledger).plan.input_tokens == before
        assert session(tmp_path, ledger, "other").plan.input_tokens > 1.3 * before
        teach(ledger, [attempt(usage=None, outcome="context_overflow", billing="free")])
        assert session(tmp_path, ledger, "third").plan.input_tokens == 900  # nine tenths of what was refused


def test_a_reservation_is_never_lowered_by_what_was_learned_and_raised_by_worse(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        teach(ledger, [attempt(given=800)] * 40)
        assert session(tmp_path, ledger).ratio(request()).high == BOUND_RATIO["prose"]
        teach(ledger, [attempt(given=90_000)])  # one miscounted call must not make all others unaffordable
        assert session(tmp_path, ledger).ratio(request()).high == BOUND_RATIO["prose"]
        teach(ledger, [attempt(given=2400)] * 60)
        assert session(tmp_path, ledger).ratio(request()).high == pytest.approx(3.0)


def test_the_rate_sets_aside_the_whole_answer_until_such_answers_were_seen(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        assert session(tmp_path, ledger).answer_tokens(request()) == 400
        teach(ledger, [attempt(made=50)] * 40)
        assert 50 <= session(tmp_path, ledger).answer_tokens(request()) < 80
        assert session(tmp_path, ledger).answer_tokens(request(stage="reduce")) == 400
