"""How many tokens of a model a request takes: what is expected, and the bound that no call passes."""

from __future__ import annotations

from typing import Any

import pytest
from desks import PRICE, route
from docreduce.models.calibration import Sample, learn
from docreduce.models.catalogue import UNKNOWN
from docreduce.models.meter import LEAST_SAMPLE, Meter, kind_of
from docreduce.models.prices import bound
from docreduce.text.tokens import tokenizer
from docreduce.values import Message, Request, Usage
from hypothesis import given, settings
from hypothesis import strategies as st

TEXT = "The bridge over the Sauer was closed because of cracks. " * 20


def request(text: str = TEXT, **changes: Any) -> Request:
    return Request(**{"messages": (Message("system", "Be brief."), Message("user", text)), "tokens": 250, **changes})


def meter(*samples: Sample, **changes: Any) -> Meter:
    return Meter(route(), learn(samples, UNKNOWN), **{"exact": False, **changes})


def usage(tokens: int) -> Usage:
    return Usage(input_tokens=tokens, output_tokens=5)


def seen(ratio: float, kind: str = "latin0-en", made: int = 20, ours: int = 250) -> Sample:
    return Sample("https://m.example/v1", "m", kind, "map", "", 0, "", ours, round(ours * ratio), made)


@settings(deadline=None)  # a vocabulary is read first
@given(text=st.text(max_size=300), name=st.sampled_from(["o200k_base", "cl100k_base"]))
def test_before_any_answer_no_tokenizer_makes_more_of_a_request_than_its_bound(text: str, name: Any) -> None:
    """The bound is in bytes, whatever the text is."""
    asked = request(text)
    made = sum(tokenizer(name).count(message.content) for message in asked.messages) + 4 * len(asked.messages)
    assert made <= meter().input_bound(asked, kind_of(asked))


def test_an_answer_narrows_the_bound_of_its_kind_of_text_alone() -> None:
    measured, other = meter(), request("玄德曰：此人乃吾故人也，何故至此？" * 40)
    wide = measured.input_bound(request(), "latin0-en")
    assert not measured.known("latin0-en")
    measured.learn(request(), "latin0-en", usage(300))
    assert measured.known("latin0-en")
    assert measured.input_bound(request(), "latin0-en") == 300 * 1.25 + 200 < wide
    assert not measured.known(kind_of(other))
    assert measured.input_bound(other, kind_of(other)) == meter().input_bound(other, kind_of(other))


def test_a_bound_is_never_lowered_by_what_was_learned_and_raised_by_worse() -> None:
    measured = meter()
    for tokens, bounds in ((300, 575), (260, 575), (500, 825), (300, 825)):
        measured.learn(request(), "latin0-en", usage(tokens))
        assert measured.input_bound(request(), "latin0-en") == bounds


def test_what_earlier_runs_saw_bounds_from_the_first_call_on() -> None:
    measured = meter(seen(1.2), seen(2.0))
    assert measured.known("latin0-en")
    assert measured.input_bound(request(), "latin0-en") == 250 * 2.0 * 1.25 + 200


TAMIL = "பழைய வீடு ஆற்றின் கரையில் நிற்கிறது, மழை இரவு முழுவதும் அதன் கூரை மீது விழுகிறது. "


@pytest.mark.parametrize("first", [1, 2, 8, 40])
@pytest.mark.parametrize("then", [1, 3, 20, 60])
def test_a_ratio_learned_of_another_length_bounds_what_instructions_in_another_language_hide(
    first: int, then: int
) -> None:
    """The service counts bytes in Tamil and as we do in English: the longer the text, the higher the ratio of all."""
    told = "You summarize documents. Write plain sentences, in the language of the text, and name what matters. " * 5
    ours = tokenizer("o200k_base")

    def made(times: int) -> tuple[Request, int]:
        messages = (Message("system", told), Message("user", TAMIL * times))
        tokens = ours.count(told) + ours.count(TAMIL * times) + 8
        return Request(messages=messages, tokens=tokens), ours.count(told) + len((TAMIL * times).encode()) + 8

    measured = meter()
    learned, counted = made(first)
    measured.learn(learned, "tamil", usage(counted))
    asked, truly = made(then)
    assert truly <= measured.input_bound(asked, "tamil") <= meter().input_bound(asked, "tamil")


def test_no_bound_is_above_that_in_bytes() -> None:
    measured = meter(seen(90.0))
    assert measured.input_bound(request(), "latin0-en") == meter().input_bound(request(), "latin0-en")


def test_short_requests_teach_nothing_since_their_frame_hides_the_text() -> None:
    measured = meter()
    measured.learn(request("so", tokens=LEAST_SAMPLE - 1), "latin0-en", usage(400))
    measured.learn(request(), "latin0-en", usage(0))
    assert not measured.known("latin0-en")


def test_where_the_tokenizer_is_the_models_own_the_bound_is_narrow_at_once() -> None:
    assert meter(exact=True).known("cjk")
    assert meter(exact=True).input_bound(request(), "latin0-en") == pytest.approx(250 * 1.25 + 200, abs=1)


def test_embedded_answers_take_what_we_count() -> None:
    assert meter(embedded=True).input_bound(request(), "latin0-en") == 250


def test_a_bound_in_money_is_that_of_the_tokens_and_a_whole_answer() -> None:
    measured = meter(exact=True)
    tokens = measured.input_bound(request(), "latin0-en")
    assert measured.cost_bound(request(), "latin0-en") == bound(PRICE, tokens, 50)


def test_a_schema_is_part_of_the_bound() -> None:
    schema = '{"type": "object"}' * 10
    assert meter().input_bound(request(schema=schema), "latin0-en") == meter().input_bound(request(), "latin0-en") + 180


def test_the_rate_sets_aside_the_whole_answer_until_such_answers_were_seen() -> None:
    cold = meter()
    ratio = cold.ratio("latin0-en").expected
    assert cold.expected_tokens(request(), "latin0-en") == pytest.approx(250 * ratio + 50, abs=1)
    warm = meter(*[seen(1.2, made=20)] * 40)
    assert 250 * 1.2 + 20 <= warm.expected_tokens(request(), "latin0-en") < 250 * 1.2 + 32
    assert warm.expected_tokens(request(stage="reduce"), "latin0-en") > 250 * 1.2 + 48
