"""Where a quote stands."""

from __future__ import annotations

import unicodedata

import pytest
from docreduce.text.alignment import Aligner, page_at
from docreduce.values import Mark, Span
from hypothesis import given
from hypothesis import strategies as st
from quotations import altered, harmless


@pytest.mark.parametrize(
    ("text", "quote", "alignment", "words"),
    [
        ("Signed by Acme.", "Acme", "exact", "Acme"),
        ("the agree-\nment is", "agreement", "normalized", "agree-\nment"),
        ("a non-\ncompete clause", "non-compete", "normalized", "non-\ncompete"),
        ("“Hello”  World", '"hello" world', "normalized", "“Hello”  World"),
        ("it’s 2019—2020", "it's 2019-2020", "normalized", "it’s 2019—2020"),
        ("ＡＢＣ　１２３", "ABC 123", "normalized", "ＡＢＣ　１２３"),
        ("office ﬁnance", "finance", "normalized", "ﬁnance"),
        ("STRASSE 5", "Straße 5", "normalized", "STRASSE 5"),
        ("le cafe\u0301!", "café", "normalized", "cafe\u0301"),
        ("합의서".join(["", "!"]), unicodedata.normalize("NFD", "합의서"), "normalized", "합의서"),
        (unicodedata.normalize("NFD", "이 합의서는"), "합의서", "normalized", unicodedata.normalize("NFD", "합의서")),
        ("中\n文字", "中文", "normalized", "中\n文"),
        ("甲方：北京公司", "甲方:北京公司", "normalized", "甲方：北京公司"),
        ("co\u200bop a\u00add", "coop", "normalized", "co\u200bop"),
        ("a 👨‍👩‍👧 family", "👨‍👩‍👧", "exact", "👨‍👩‍👧"),
        ("I ❤️ it", "I ❤ it", "normalized", "I ❤️ it"),
        ("So the quick brown fox clambered over it", "the quick brown fox clamberred over it", "fuzzy", None),
        ("Then they agre-\ned to the arrangement here", "they agreed to the arangement here", "fuzzy", None),
        ("The quick brown fox jumped over it", "the quick brown fox jumped under it", "none", None),
        ("تنص على أن قَيمة العقد ٩٠ ديناراً", "قيمة العقد 90 دينارا", "normalized", None),
        ("המחיר תִּשְׁעִים שקלים", "תשעים שקלים", "normalized", "תִּשְׁעִים שקלים"),
        ("an area of 10² metres", "102 metres", "none", None),
        ("he is unable to pay", "able to pay", "none", None),
        ("a fee of $15,000 net", "5,000 net", "none", None),
        ("a fee of $1,250,000", "1,250", "none", None),
        ("a rate of 12.50 net", "12", "none", None),
        ("it fell to -5 degrees", "5 degrees", "none", None),
        ("within 3-5 days", "5 days", "exact", "5 days"),
        ("2021-03-05,Acme,12,40", "12", "exact", "12"),
        ("on 05.03.2021 at", "2021", "exact", "2021"),
        ("The fee is $5,000 within 30 days.", "The fee is $6,000 within 30 days.", "none", None),
        ("The fee is due.", "Nothing like that stands here", "none", None),
        ("abc", "", "none", None),
        ("abc", "  ", "none", None),
        ("", "abc", "none", None),
        ("short", "a quote that is longer than its whole text", "none", None),
    ],
)
def test_a_quote_is_found_in_its_spelling(text, quote, alignment, words):
    found = Aligner(text, 100).find(quote)
    assert found.alignment == alignment
    assert found.text == quote
    assert (found.span is None) == (alignment == "none")
    if words is not None and found.span:
        assert text[found.span.start - 100 : found.span.end - 100] == words


def test_whole_words_go_before_parts_of_words_and_words_that_are_glued_together_come_apart():
    assert Aligner("shall all").find("all").span == Span(6, 9)
    assert Aligner("dated1 August").find("1 August").span == Span(5, 13)


def test_the_nth_mention_is_the_nth_place_and_the_last_one_stays():
    aligner = Aligner("Ann, ann, Ann, Bob")
    assert [aligner.find("Ann", n).span.start for n in range(4)] == [0, 10, 10, 10]
    assert [aligner.find("Ann", n).ambiguous for n in range(3)] == [True, False, False]
    assert [aligner.find("ANN", n).span.start for n in range(3)] == [0, 5, 10]


def test_words_nobody_quoted_are_taken_only_where_they_stand_once():
    assert Aligner("Acme and Beta").only("Beta").alignment == "fuzzy"
    assert Aligner("Acme and Acme").only("Acme") is None
    assert Aligner("Acmeville").only("Acme") is None
    assert Aligner("Acme").only(" ") is None


@given(
    st.lists(
        st.sampled_from(["aA", "é", "-", "“”", "'’", "ﬁß", "Łe\u0301", "中文", "한글", "\u200b", "👩‍👧", "1２", "."])
    ),
    st.data(),
)
def test_any_words_are_found_and_what_is_called_exact_is(words, data):
    text = " ".join(words)
    start = data.draw(st.integers(0, len(words)))
    end = data.draw(st.integers(start, len(words)))
    start, end = len(" ".join(words[:start])), len(" ".join(words[:end]))
    found = Aligner(text).find(text[start:end])
    if text[start:end].strip():
        assert found.alignment == "exact"
        assert text[found.span.start : found.span.end] == text[start:end]


@given(st.text(max_size=80), st.text(max_size=40))
def test_spans_lie_in_the_text(text, quote):
    span = Aligner(text).find(quote).span
    assert span is None or 0 <= span.start < span.end <= len(text)


def test_fifty_absent_quotes_in_a_long_chunk_are_looked_for_and_reported_absent():
    aligner = Aligner("The parties agree to share the costs of the joint venture equally. " * 6_000)
    for n in range(50):
        assert aligner.find(f"no such words, not even nearly: {n} zebras quarrelled").alignment == "none"
    assert Aligner("a " * 200_000).find("a").alignment == "exact"


def test_a_position_has_the_number_of_the_last_page_begun():
    pages = [Mark("page", 0, "1"), Mark("page", 10, "2"), Mark("page", 10, "3")]
    assert [page_at(pages, at) for at in (0, 9, 10, 99)] == [1, 1, 3, 3]
    assert page_at([], 5) is None
    assert page_at([Mark("page", 7, "1")], 5) is None


@pytest.mark.long
def test_a_quote_that_says_something_else_is_found_nowhere():
    cases = list(altered())
    taken = [(how, text, quote) for text, quote, how in cases if Aligner(text).find(quote).span]
    print(f"{len(cases)} altered quotes, {len(taken)} taken: {taken[:10]}")
    assert len(cases) >= 400
    assert len(taken) <= 0.01 * len(cases)


@pytest.mark.long
def test_a_quote_in_another_spelling_is_found_where_it_stands():
    cases = list(harmless())
    lost = []
    for text, quote, how in cases:
        span = Aligner(text).find(quote).span
        if span is None or not (
            text[:15] == text[: span.start].strip() and text[span.end :].strip() == "After that: y."
        ):
            lost.append((how, text, quote))
    print(f"{len(cases)} quotes in another spelling, {len(lost)} lost: {lost[:10]}")
    assert len(cases) >= 400
    assert len(lost) <= 0.01 * len(cases)
