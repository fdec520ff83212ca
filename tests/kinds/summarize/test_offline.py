"""The extractive summary quotes the text, keeps its bounds and survives any text."""

from __future__ import annotations

import gzip
import re

import pytest
from docreduce.kinds.extract.offline_prose import CUT_MARK, sentences, word_weight
from docreduce.kinds.summarize.offline import summarize
from hypothesis import given, settings
from hypothesis import strategies as st
from places import DATA

LONG = DATA / "long"

REPORT = """# Annual water report

1. Introduction .......... 3
2. Findings .............. 7

The city supplied 41 million cubic metres of drinking water in 2023. Demand for drinking water rose by
four percent, mostly because the summer was dry and the new district was connected to the network.
The city plans to repair 120 kilometres of pipes by 2027.

17

## Findings

Losses in the pipes of the network fell to nine percent of the drinking water supplied. The laboratory
tested 8,200 samples of drinking water and found twelve samples above the limit for nitrate. All of them
came from two wells in the north, which were closed within a day. See Dr. Weber's note on p. 12.

| well | nitrate | date |
| N1   | 61      | May  |

Repairs of the pipes cost the city 14.2 million euros, and the price of water will stay the same until
2025. The report recommends a second pipe to the new district and a reserve well in the south.
"""

GERMAN = """# § 12 Aufgaben

(1) Der Verein wird nach § 26 Abs. 2 Satz 1 durch den Vorstand vertreten, z. B. durch Dr. Müller. Er ist
am 3. Oktober 1990 im Sinne von Art. 5 Nr. 7 gegründet worden. (2) Die Mitglieder des Vereins wählen
den Vorstand für die Dauer von drei Jahren, d. h. bis zum Ende der Wahlperiode.
"""


def digest(text: str, *, max_words: int = 60, max_tokens: int = 1000, shorten: bool = True) -> str:
    return summarize(text, max_words=max_words, max_tokens=max_tokens, count=word_count, shorten=shorten)


def word_count(text: str) -> int:
    return len(re.findall(r"\w+|[^\w\s]", text))


def solid(text: str) -> str:
    return re.sub(r"\s+", "", text)


def quoted(summary: str, source: str) -> bool:
    """Every sentence of the summary stands in the source, white space aside."""
    within = solid(source)
    parts = [part.removesuffix(CUT_MARK) for part in (s.text for s in sentences(summary))] or [summary]
    return all(solid(part) in within for part in parts)


def long_text(name: str, start: int, size: int) -> str:
    path = LONG / f"{name}.txt.gz"
    if not path.exists():
        pytest.skip(f"{path.name} is not there")
    return gzip.decompress(path.read_bytes()).decode()[start : start + size]


def test_summary_quotes_whole_sentences_of_the_text_in_order() -> None:
    summary = digest(REPORT)
    found = [s.text for s in sentences(summary)]
    assert len(found) >= 2
    places = [solid(REPORT).find(solid(text)) for text in found]
    assert -1 not in places
    assert places == sorted(places)
    assert all(text[-1] == "." for text in found)


def test_headings_tables_contents_and_page_numbers_are_left_out() -> None:
    texts = [s.text for s in sentences(REPORT)]
    assert texts[0].startswith("The city supplied")
    assert not any("|" in text or "....." in text or text == "17" or text.startswith("#") for text in texts)


def test_running_heads_and_footnote_numbers_are_left_out() -> None:
    pages = [
        f"Report of the Council\n\nThe council of the city spoke of the {name} for an hour.{n}7 It was in favour of\n"
        f"the {name}, and the mayor was not.\n{n}\n"
        for n, name in enumerate(("harbour", "bridge", "library", "tramway", "theatre", "market", "airport"))
    ]
    texts = [s.text for s in sentences("".join(pages))]
    assert texts[:2] == [
        "The council of the city spoke of the harbour for an hour.",
        "It was in favour of the harbour, and the mayor was not.",
    ]
    assert len(texts) == 14


def test_german_abbreviations_and_ordinals_do_not_end_a_sentence() -> None:
    assert [s.text for s in sentences(GERMAN)] == [
        "Der Verein wird nach § 26 Abs. 2 Satz 1 durch den Vorstand vertreten, z. B. durch Dr. Müller.",
        "Er ist am 3. Oktober 1990 im Sinne von Art. 5 Nr. 7 gegründet worden.",
        "Die Mitglieder des Vereins wählen den Vorstand für die Dauer von drei Jahren, d. h. bis zum Ende der "
        "Wahlperiode.",
    ]


def test_chinese_sentences_end_at_full_width_marks_and_lines_join_without_a_space() -> None:
    text = (
        "曹操大怒，斬郝萌於軍門，使人傳諭各寨，小心防\n守，如有走透呂布者，依軍法處治。"
        "各寨的將士都悚然聽命。術曰：「今又來相問，何也？」玄德回營。"
    )
    assert [s.text for s in sentences(text)] == [
        "曹操大怒，斬郝萌於軍門，使人傳諭各寨，小心防守，如有走透呂布者，依軍法處治。",
        "各寨的將士都悚然聽命。",
        "術曰：「今又來相問，何也？」",
    ]


@pytest.mark.parametrize(
    ("name", "start"), [("en_moby_dick", 400_000), ("de_bgb", 200_000), ("zh_sanguoyanyi", 50_000)]
)
def test_digest_of_a_real_text_is_verbatim_bounded_and_long_enough(name: str, start: int) -> None:
    text = long_text(name, start, 30_000)
    summary = digest(text, max_words=200)
    assert quoted(summary, text)
    assert 140 <= word_weight(summary.replace(CUT_MARK, "")) <= 200
    assert summary == digest(text, max_words=200)


def test_digest_takes_from_every_quarter_of_the_text() -> None:
    text = long_text("de_bgb", 200_000, 40_000)
    places = [solid(text).find(solid(s.text.removesuffix(CUT_MARK))) for s in sentences(digest(text, max_words=300))]
    assert {4 * place // len(solid(text)) for place in places} == {0, 1, 2, 3}


def test_summary_of_summaries_keeps_their_order_and_cut_sentences() -> None:
    part = " ".join(f"The committee number {n} discussed the budget of the year {2000 + n}." for n in range(9))
    parts = f"{part} The long sentence of the report went on and on about the budget{CUT_MARK}\n\n{part.upper()}"
    summary = digest(parts, max_words=60, shorten=False)
    assert quoted(summary, parts)
    assert sentences(parts)[9].text.endswith(CUT_MARK)


def test_a_digest_is_shorter_than_its_text_unless_told_otherwise() -> None:
    text = long_text("en_moby_dick", 400_000, 6_000)
    assert word_weight(digest(text, max_words=900)) <= word_weight(text) / 3 + 1
    assert word_weight(digest(text, max_words=900, shorten=False)) > word_weight(text) / 2


def test_token_limit_drops_sentences_and_then_words() -> None:
    for limit in (1, 2, 7, 30, 80):
        summary = digest(REPORT, max_words=200, max_tokens=limit, shorten=False)
        assert 0 < word_count(summary) <= limit
        assert quoted(summary, REPORT)


def test_a_sentence_without_end_is_cut_at_a_clause_and_marked() -> None:
    text = "The parties agree, " + ", ".join(f"that clause number {n} shall apply" for n in range(200)) + "."
    (only,) = sentences(text)
    assert only.text.endswith(CUT_MARK)
    assert only.words <= 62
    assert only.text.removesuffix(CUT_MARK) in text


def test_white_space_gives_an_empty_summary_and_junk_its_beginning() -> None:
    assert digest("") == digest(" \n\t ") == ""
    assert digest("4711 0815") == "4711 0815"
    assert digest("| a | b |\n| c | d |") != ""


@pytest.mark.parametrize(
    "text",
    [
        "a" * 300_000,
        "x. " * 30_000,
        "字" * 100_000,
        " " * 300_000,
        "\n" * 100_000,
        "\ud800 \udfff" * 9_000,
        "。" * 9_000,
        "a b\t" * 30_000,
        "| " * 50_000,
        "(1) " * 50_000,
        "😀 " * 30_000,
        "<|endoftext|>" * 900,
        "A\u0301 " * 30_000,
    ],
    ids=lambda text: ascii(text[:6]),
)
def test_hostile_text_gives_a_bounded_summary(text: str) -> None:
    summary = digest(text, max_words=50, max_tokens=400)
    assert word_count(summary) <= 400
    assert word_weight(summary) <= 52


@given(text=st.text(max_size=400), words=st.integers(1, 80), tokens=st.integers(1, 120))
@settings(max_examples=150, deadline=None)
def test_any_text_keeps_the_bounds(text: str, words: int, tokens: int) -> None:
    summary = digest(text, max_words=words, max_tokens=tokens)
    assert word_count(summary) <= tokens
    assert word_weight(summary.replace(CUT_MARK, "")) <= words
    assert bool(summary) == bool(text.split()) or word_count(text) == 0 or tokens < 3 or words < 3
