"""What samples teach: kinds of text, ratios, lengths and shares; and what that does to new plans."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from desks import route
from docreduce.config import load_job
from docreduce.desk import Ledger
from docreduce.desk.ledger import Booked, Reserved
from docreduce.engine.session import Session, open_session
from docreduce.models.calibration import Calibration, Sample, Top, counted_sample, learn, sample
from docreduce.models.catalogue import UNKNOWN, Ratio
from docreduce.models.text_kinds import prior_kind, text_kind
from docreduce.values import Attempt, Cause, Message, Request, Usage
from hypothesis import given
from hypothesis import strategies as st

PROSE = "The bridge over the Sauer was closed on a Monday because of cracks in its northern bearing. " * 20
ANY = Ratio(1.0, 1.0, 1.0)
LIMIT = 400
ENDPOINT = "http://127.0.0.1:1/v1"


def request(text: str = PROSE, **changes: Any) -> Request:
    return Request(**{"messages": (Message("user", text),), "max_words": 100, "tokens": 1000, **changes})


def attempt(given: int = 1200, made: int = 80, **changes: Any) -> Attempt:
    fields: dict[str, Any] = {
        "outcome": "ok", "billing": "charged", "finish_reason": "stop",
        "usage": Usage(input_tokens=given, output_tokens=made), **changes,
    }  # fmt: skip
    return Attempt(key="k", stage="map", chunk=0, attempt=1, started_at=0.0, latency_s=0.1, cost_pusd=1, **fields)


def taken(each: Attempt, asked: Request | None = None) -> Sample | None:
    return sample(asked or request(), each, route("m"), cut=each.finish_reason == "length")


def taught(*attempts: Attempt, asked: Request | None = None) -> Calibration:
    samples = [taken(each, asked) for each in attempts]
    return learn([each for each in samples if each is not None], UNKNOWN)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (PROSE, "latin0-en"),
        (
            "Die Brücke über die Sauer wurde am Montag gesperrt, weil ihr Lager im Norden Risse hatte. " * 30,
            "latin1-de",
        ),
        ("Cây cầu bắc qua sông đã bị đóng vào thứ Hai vì các vết nứt ở gối cầu phía bắc. " * 30, "latin2-vi"),
        ("玄德曰：此人乃吾故人也，何故至此？" * 40, "cjk"),
        ("Мост через реку закрыт из-за трещин. " * 30, "cyrillic"),
        ("सोमवार को दरारों के कारण पुल बंद कर दिया गया था। " * 30, "devanagari"),
        ("2021-05-03,17.25,1839,0.0042\n" * 50, "digits"),
        ("for (int i = 0; i < n; ++i) { sum += a[i] * b[i]; }\n" * 30, "code"),
        ("", "latin0"),
    ],
)
def test_kinds_of_text_are_told_apart(text: str, kind: str) -> None:
    assert text_kind(text) == kind


@given(st.text())
def test_every_text_is_of_a_kind_that_has_a_prior(text: str) -> None:
    assert prior_kind(text_kind(text)) in UNKNOWN


def test_kinds_that_tokenizers_see_apart_share_a_prior_until_they_are_counted() -> None:
    assert learn([], UNKNOWN).ratio("latin2") == learn([], UNKNOWN).ratio("latin0-en") == UNKNOWN["prose"]
    learned = taught(*[attempt(given=3000)] * 20)
    assert learned.ratio("latin0-en").expected == pytest.approx(3.0, rel=0.01)
    assert learned.ratio("latin2") == UNKNOWN["prose"]


def test_without_answers_the_catalogue_speaks() -> None:
    assert learn([], UNKNOWN).ratios == {}
    assert learn([], UNKNOWN).ratio("digits") == UNKNOWN["digits"]
    assert learn([], UNKNOWN).ratio("cjk") == UNKNOWN["nonlatin"]


def test_a_few_answers_outweigh_the_prior_and_narrow_its_interval() -> None:
    learned = taught(*[attempt(given=940)] * 10).ratio("latin0-en")
    assert learned.expected == pytest.approx(0.94, rel=0.003)
    assert learned.high - learned.low < (UNKNOWN["prose"].high - UNKNOWN["prose"].low) / 5


def test_the_ratio_is_one_of_sums_so_that_totals_come_out() -> None:
    draw = random.Random(1)
    pairs = [(size := draw.randrange(100, 9000), round(size * draw.gauss(1.3, 0.05)) + 30) for _ in range(80)]
    samples = [Sample("e", "m", "latin0-en", "map", "", 100, "", ours, theirs, 9) for ours, theirs in pairs]
    expected = learn(samples, UNKNOWN).ratio("latin0-en").expected * sum(ours for ours, _ in pairs)
    assert expected == pytest.approx(sum(theirs for _, theirs in pairs), rel=0.003)


def test_outliers_teach_nothing() -> None:
    honest = [attempt(given=1200)] * 30
    wild = [attempt(given=90_000), attempt(given=3)]
    assert taught(*honest, *wild).ratio("latin0-en").expected == pytest.approx(1.2, rel=0.01)


def test_the_worst_of_each_kind_and_the_smallest_text_refused_are_kept() -> None:
    overflow = attempt(outcome=Cause.CONTEXT_OVERFLOW, billing="free", usage=None)
    learned = taught(*[attempt(given=1200)] * 30, attempt(given=90_000), overflow)
    assert learned.tops == {"latin0-en": Top(90.0, 1000, 1000)}
    assert learned.fit_tokens == 1000
    assert learned.fit_ratio == pytest.approx(1.05 * 1.2, rel=0.01)
    assert taught(*[attempt()] * 19).fit_ratio is None


def test_lengths_are_learned_for_what_was_asked() -> None:
    calibration = taught(*[attempt(made=made) for made in (70, 80, 90) * 5])
    answers = calibration.output(request(), ANY, LIMIT)
    assert answers.mean.expected == pytest.approx(80, rel=0.02)
    assert answers.sd == pytest.approx(10, rel=0.3)
    # Twice the words were never asked for: the fill tells of them, in a wider interval.
    longer = calibration.output(request(max_words=200), ANY, LIMIT).mean
    assert longer.expected == pytest.approx(160, rel=0.02)
    assert longer.high - longer.low > 2 * (answers.mean.high - answers.mean.low)


def test_no_answer_is_expected_above_its_limit() -> None:
    assert learn([], UNKNOWN).output(request(max_words=5000), ANY, LIMIT).mean == Ratio(400, 400, 400)


def test_cut_answers_and_charged_failures_are_shares_and_no_lengths() -> None:
    calibration = taught(
        *[attempt(made=80)] * 90, *[attempt(made=400, finish_reason="length")] * 10,
        *[attempt(made=400, outcome="empty")] * 20,
    )  # fmt: skip
    assert calibration.output(request(), ANY, LIMIT).mean.expected == pytest.approx(80, rel=0.02)
    assert calibration.cut(request()).expected == pytest.approx(0.1, rel=0.1)
    assert calibration.again.expected == pytest.approx(0.2, rel=0.1)
    assert calibration.again_output == 400
    assert calibration.cut(request(max_words=7)).expected < 0.02  # what is asked for is another thing


def test_what_nobody_counted_is_no_sample() -> None:
    assert taken(attempt(billing="unknown")) is None
    assert taken(attempt(usage=None, outcome="timeout", billing="unknown")) is None


def test_answers_of_one_schema_say_nothing_of_another() -> None:
    calibration = taught(*[attempt(made=200)] * 20, asked=request(max_words=None, schema='{"a": 1}'))
    assert calibration.knows(request(max_words=None, schema='{"a": 1}'))
    assert not calibration.knows(request(max_words=None, schema='{"b": 1}'))
    other = calibration.output(request(max_words=None, schema='{"b": 1}'), ANY, 4_000).mean
    assert other.high > 2 * 200


def test_a_repair_is_an_invalid_answer_of_what_it_repairs() -> None:
    asked = request(max_words=None, schema="{}")
    told = [taken(attempt(), asked)] * 18 + [taken(attempt(), request(max_words=None, schema="{}", stage="repair"))] * 2
    learned = learn([each for each in told if each], UNKNOWN)
    assert learned.invalid(asked).expected == pytest.approx(0.1, rel=0.3)
    assert learned.invalid(request()) == Ratio(0, 0, 0)


def session(folder: Path, ledger: Ledger | None, port: int = 1) -> Session:
    path = folder / "job.toml"
    path.write_text(
        f'name = "night"\nkind = "summarize"\n[input]\npaths = ["{folder}"]\n[model]\nprovider = "openai"\n'
        f'name = "m"\nbase_url = "http://127.0.0.1:{port}/v1"\ncontext_window = 20000\n'
        f"[pricing]\ninput_usd_per_million = 1.0\noutput_usd_per_million = 1.0\n"
    )
    return open_session(load_job(path), ledger)


def teach(ledger: Ledger, attempts: list[Attempt], *, cut: bool = False) -> None:
    for each in attempts:
        row = Reserved(
            id=ledger.next_id, run_id="run", document_id="doc", key="k", stage="map", chunk=0, attempt=1,
            started_at=0.0, endpoint=ENDPOINT, model="m", bound_pusd=1,
        )  # fmt: skip
        ledger.next_id += 1
        told = sample(request(), each, replace(route("m"), endpoint=ENDPOINT), cut=cut)
        assert told is not None
        ledger.commit([row], [Booked(reserved=row, attempt=each, sample=told)])


def test_what_is_learned_cuts_new_plans_and_leaves_begun_ones(tmp_path: Path) -> None:
    """A plan is begun where a job has once been planned for a model at its address."""
    with Ledger.open(tmp_path / "begun.sqlite") as ledger:
        before = session(tmp_path, ledger).plan.input_tokens
        teach(ledger, [attempt(given=1000)] * 40)
        assert session(tmp_path, ledger).plan.input_tokens == before
        assert session(tmp_path, ledger, port=2).plan.input_tokens == before  # nothing is known of that one
    with Ledger.open(tmp_path / "new.sqlite") as ledger:
        teach(ledger, [attempt(given=1000)] * 40)
        assert session(tmp_path, ledger).plan.input_tokens > 1.3 * before
    with Ledger.open(tmp_path / "overflown.sqlite") as ledger:
        teach(ledger, [attempt(usage=None, outcome="context_overflow", billing="free")])
        assert session(tmp_path, ledger).plan.input_tokens == 900  # nine tenths of what was refused
    with Ledger.open(tmp_path / "cut.sqlite") as ledger:
        teach(ledger, [attempt(given=1000)] * 40, cut=True)
        with Ledger.open(tmp_path / "whole.sqlite") as whole:
            teach(whole, [attempt(given=1000)] * 40)
            most = session(tmp_path, whole).plan.input_tokens
        assert session(tmp_path, ledger).plan.input_tokens == most // 2  # answers broke off


def test_a_session_without_a_ledger_rests_on_the_catalogue(tmp_path: Path) -> None:
    assert session(tmp_path, None).calibration.seen == 0


def test_cached_input_is_expected_as_it_was_seen_and_none_before() -> None:
    assert learn([], UNKNOWN).cached == Ratio(0, 0, 0)
    cached = Usage(input_tokens=1200, output_tokens=80, cached_input_tokens=400)
    share = taught(*[attempt(usage=cached)] * 40).cached
    assert share.expected == pytest.approx(1 / 3)
    assert 0 < share.low < share.expected < share.high < 1


def test_thought_is_paid_for_and_not_read_by_the_next_step() -> None:
    thought = Usage(input_tokens=1200, output_tokens=400, reasoning_tokens=300)
    learned = taught(*[attempt(usage=thought)] * 20)
    assert learned.output(request(), ANY, 4_000).mean.expected == pytest.approx(400, rel=0.02)
    assert learned.said(request()) == pytest.approx(0.25)
    assert learned.said(request(stage="reduce")) == pytest.approx(0.25)  # never seen: as the others


@pytest.mark.parametrize(("power", "expected"), [(0.0, 80), (1.0, 320), (0.5, 160)])
def test_a_model_that_ignores_the_words_asked_for_is_known_by_its_answers(power: float, expected: int) -> None:
    lengths = {50: 80, 100: round(80 * 2**power)}
    told = [taken(attempt(made=made), request(max_words=words)) for words, made in lengths.items() for _ in range(20)]
    learned = learn([each for each in told if each], UNKNOWN)
    assert learned.output(request(max_words=200), ANY, 4_000).mean.expected == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Le pont sur la Sauer a été fermé lundi à cause de fissures dans les appuis du nord et des piles. ", "fr"),
        ("El puente sobre el río fue cerrado por las grietas que los ingenieros encontraron en la obra. ", "es"),
        ("De brug over de rivier is gesloten omdat het lager in het noorden van de pijler niet meer goed was. ", "nl"),
    ],
)
def test_languages_of_one_script_are_kinds_of_their_own(text: str, language: str) -> None:
    assert text_kind(text * 20).endswith(f"-{language}")
    learned = taught(*[attempt(given=3000)] * 20)
    assert learned.ratio(text_kind(text * 20)) == UNKNOWN["prose"]


def test_what_a_service_only_counted_teaches_its_ratio_and_no_answer() -> None:
    counted = [counted_sample(request(), route("m"), 1300) for _ in range(20)]
    learned = learn(counted, UNKNOWN)
    assert learned.ratio("latin0-en").expected == pytest.approx(1.3, rel=0.01)
    assert (learned.seen, learned.knows(request())) == (0, False)
    assert learned.cut(request()) == learn([], UNKNOWN).cut(request())
