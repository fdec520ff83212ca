"""The extractive summary quotes the text, keeps its bounds, repeats nothing and survives any text."""

from __future__ import annotations

import gzip
import re

import pytest
from docreduce.kinds.summarize.offline import summarize
from docreduce.text.sentences import sentences, words
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

SCRIPTS = {
    "hi": ["किराया हर महीने नौ सौ रुपये है।", "नोटिस की अवधि नब्बे दिन है।", "मकान मालिक मरम्मत का खर्च उठाएगा।"],
    "ur": ["کرایہ ہر ماہ نو سو روپے ہے۔", "نوٹس کی مدت نوے دن ہے۔", "کیا مالک مکان مرمت کا خرچ اٹھائے گا؟"],
    "am": ["የቤት ኪራይ በወር ዘጠኝ መቶ ብር ነው።", "የማስታወቂያ ጊዜ ዘጠና ቀን ነው።", "አከራዩ የጥገና ወጪ በሙሉ ይሸፍናል።"],
    "hy": [
        "Վարձավճարը ամսական ինը հարյուր դրամ է։",
        "Ծանուցման ժամկետը իննսուն օր է։",
        "Տանտերը հոգում է բոլոր ծախսերը։",
    ],
    "my": ["အိမ်လခသည် တစ်လလျှင် ကိုးရာဖြစ်သည်။", "အသိပေးကာလသည် ရက်ကိုးဆယ်ဖြစ်သည်။", "အိမ်ရှင်က ပြုပြင်စရိတ်ကို ပေးရမည်။"],
    "th": ["ค่าเช่าเดือนละเก้าร้อยบาทและต้องชำระในวันแรก", "ระยะเวลาแจ้งล่วงหน้าคือเก้าสิบวัน", "เจ้าของบ้านรับผิดชอบค่าซ่อมแซม"],
    "zh": ["租金每月九百元，第一天支付。", "通知期限为九十天，须书面通知。", "房东承担维修费用．"],
}


def digest(text: str, *, max_words: int = 60, max_tokens: int = 1000, shorten: bool = True) -> str:
    return summarize(text, max_words=max_words, max_tokens=max_tokens, count=tokens, shorten=shorten)


def tokens(text: str) -> int:
    return len(re.findall(r"\w+|[^\w\s]", text))


def solid(text: str) -> str:
    return "".join(text.split())


def said(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


def quoted(summary: str, source: str) -> bool:
    """Every sentence of the summary stands in the source, white space aside."""
    return all(solid(sentence) in solid(source) for sentence in said(summary))


def long_text(name: str, start: int, size: int) -> str:
    path = LONG / f"{name}.txt.gz"
    if not path.exists():
        pytest.skip(f"{path.name} is not there")
    return gzip.decompress(path.read_bytes()).decode()[start : start + size]


def test_summary_quotes_whole_sentences_of_the_text_in_order() -> None:
    found = said(digest(REPORT))
    assert len(found) >= 2
    places = [solid(REPORT).find(solid(text)) for text in found]
    assert -1 not in places
    assert places == sorted(places)
    assert all(text[-1] == "." for text in found)


def test_headings_tables_contents_and_page_numbers_are_left_out() -> None:
    summary = digest(REPORT, max_words=500, shorten=False)
    assert summary.startswith("The city supplied")
    assert summary.endswith("in the south.")
    assert not any(mark in summary for mark in ("|", "....", "17", "#", "Findings"))


def test_a_text_of_nothing_but_rows_and_headings_is_quoted_from_all_the_same() -> None:
    summary = digest("# Stock\n\n- bolts, large\n- nuts, small\n- washers", shorten=False)
    assert solid(summary) == "Stockbolts,largenuts,smallwashers"


@pytest.mark.parametrize("language", SCRIPTS)
def test_no_script_is_repeated_or_written_in_other_words(language: str) -> None:
    text = ("" if language == "zh" else " ").join(SCRIPTS[language] * 20)
    summary = digest(text, max_words=100)
    assert said(summary) == SCRIPTS[language]
    short = digest(text, max_words=words(SCRIPTS[language][0]) + 1)
    assert said(short)
    assert set(said(short)) < set(SCRIPTS[language])


def test_lines_that_were_broken_in_print_are_joined_without_a_letter_more_or_less() -> None:
    text = (
        "The well-\nknown bridge\nwas closed\nin May.\n\n曹操大怒，斬郝萌於軍門，小心防\n守，依軍法處治，使人傳諭各寨。"
    )
    summary = digest(text, shorten=False)
    assert summary.startswith("The well-known bridge was closed in May.")
    assert "小心防守" in summary


def test_the_same_sentence_in_another_spelling_or_list_is_said_once() -> None:
    text = (
        "The café closed in May.\n\n- The cafe\u0301 closed in May.\n\n2. THE CAFÉ CLOSED IN MAY.\n\nIt opened in June."
    )
    assert digest(text) == "The café closed in May. It opened in June."


@pytest.mark.parametrize(
    ("name", "start"), [("en_moby_dick", 400_000), ("de_bgb", 200_000), ("zh_sanguoyanyi", 50_000)]
)
def test_digest_of_a_real_text_is_verbatim_bounded_and_long_enough(name: str, start: int) -> None:
    text = long_text(name, start, 30_000)
    summary = digest(text, max_words=200)
    assert quoted(summary, text)
    assert 140 <= words(summary) <= 200
    assert summary == digest(text, max_words=200)


def test_digest_takes_from_every_quarter_of_the_text() -> None:
    text = long_text("de_bgb", 200_000, 40_000)
    places = [solid(text).find(solid(sentence)) for sentence in said(digest(text, max_words=300))]
    assert {4 * place // len(solid(text)) for place in places} == {0, 1, 2, 3}


def test_summary_of_summaries_takes_from_all_and_keeps_their_order() -> None:
    names = ("harbour", "bridge", "library", "tramway", "theatre")
    parts = [f"The council spoke of the {name}. The {name} is open since May." for name in names]
    summary = digest("\n\n".join(parts), max_words=30, shorten=False)
    places = [summary.find(name) for name in names]
    assert -1 not in places
    assert places == sorted(places)


def test_a_digest_is_at_most_a_third_of_its_text_where_that_is_asked_for() -> None:
    text = long_text("en_moby_dick", 400_000, 6_000)
    assert words(digest(text, max_words=900)) <= words(text) / 3 + 1
    assert words(digest(text, max_words=900, shorten=False)) > words(text) / 2


def test_token_limit_drops_sentences_and_then_words() -> None:
    for limit in (1, 2, 7, 30, 80):
        summary = digest(REPORT, max_words=200, max_tokens=limit, shorten=False)
        assert 0 < tokens(summary) <= limit
        assert quoted(summary, REPORT)


def test_a_sentence_longer_than_the_summary_is_quoted_from_its_beginning() -> None:
    text = "The parties agree, " + ", ".join(f"that clause number {n} shall apply" for n in range(200)) + "."
    summary = digest(text)
    assert text.startswith(summary)
    assert 20 <= words(summary) <= 60


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
    assert tokens(summary) <= 400
    assert words(summary) <= 50


@given(text=st.text(max_size=400), limit=st.integers(1, 80), room=st.integers(1, 120))
@settings(max_examples=150, deadline=None)
def test_any_text_keeps_the_bounds_and_is_quoted(text: str, limit: int, room: int) -> None:
    summary = digest(text, max_words=limit, max_tokens=room)
    assert tokens(summary) <= room
    assert words(summary) <= limit
    assert quoted(summary, text)
