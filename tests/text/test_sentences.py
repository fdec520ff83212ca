"""Sentences end and words are counted as each script writes them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from docreduce.text.sentences import sentences, words
from hypothesis import given, settings
from hypothesis import strategies as st

SCRIPTS = {  # sentences, and the words of all of them together
    "English": (["Dr. Weber, of Foo Inc. in the U.S., left at 5 p.m. on 3 May.", "Did she?", "“Yes!” he said."], 19),
    "German": (["Er ist am 3. Oktober 1990 nach § 26 Abs. 2 gekommen.", "Das gilt, d. h. immer."], 16),
    "French": (["M. Dupont est arrivé le 3 mars.", "Pourquoi ?", "Il a dit « oui. »", "Puis il est parti !"], 18),
    "Russian": (["Договор заключён 3 марта 2024 г. в Москве.", "Цена — 5 тыс. руб. в месяц."], 15),
    "Greek": (["Η σύμβαση υπογράφηκε.", "Τέλος!"], 4),
    "Arabic": (["هل يدفع المالك؟", "يدفع المستأجر الفاتورة."], 6),
    "Urdu": (["نوٹس کی مدت نوے دن ہے۔", "کیا مالک خرچ اٹھائے گا؟", "جی ہاں۔"], 13),
    "Hindi": (["किराया नौ सौ रुपये है।", "नोटिस की अवधि नब्बे दिन है।"], 11),
    "Bengali": (["ভাড়া মাসে নয়শো টাকা।", "মেয়াদ নব্বই দিন।"], 7),
    "Armenian": (["Ծանուցման ժամկետը իննսուն օր է։", "Տանտերը հոգում է ծախսերը։"], 9),
    "Amharic": (["የቤት ኪራይ በወር ዘጠኝ መቶ ብር ነው።", "አከራዩ የጥገና ወጪ ይሸፍናል።"], 11),
    "Korean": (["임대료는 매달 구백이다.", "통지 기간은 구십 일이다."], 7),
    "Chinese": (["租金每月九百元。", "通知期为九十天。", "他说：「好！」", "完了．"], 12),
    "Japanese": (["家賃は月九百円です。", "通知期間は九十日です。"], 12),
    "Thai": (["ระยะเวลาแจ้งล่วงหน้าคือเก้าสิบวัน", "เจ้าของบ้านรับผิดชอบค่าซ่อมแซม"], 15),
    "Lao": (["ພາສາລາວເປັນພາສາທາງການ", "ລາວເປັນປະເທດ"], 8),
    "Khmer": (["ភាសាខ្មែរជាភាសាផ្លូវការ។", "ភ្នំពេញជារាជធានី។"], 6),
    "Burmese": (["အသိပေးကာလသည် ရက်ကိုးဆယ်ဖြစ်သည်။", "အိမ်ရှင်က ပြုပြင်စရိတ်ကို ပေးရမည်။"], 17),
}
UNSPACED_BY_HABIT = {"Chinese", "Japanese"}


@pytest.mark.parametrize("script", SCRIPTS)
def test_sentences_end_where_the_script_ends_them(script: str) -> None:
    expected, _ = SCRIPTS[script]
    text = ("" if script in UNSPACED_BY_HABIT else " ").join(expected)
    assert [text[start:end] for start, end in sentences(text)] == expected


@pytest.mark.parametrize("script", SCRIPTS)
def test_words_are_those_a_reader_of_the_script_sees(script: str) -> None:
    expected, count = SCRIPTS[script]
    assert abs(words(" ".join(expected)) - count) <= 0.2 * count


def test_marks_that_need_no_space_end_a_sentence_without_one() -> None:
    assert len(sentences("है।क्या है۔ነው።է։好。完")) == 6


def test_a_blank_line_a_heading_an_item_and_a_row_end_a_sentence() -> None:
    text = "Results\nThe committee of the city met and\nspoke of the harbour\n\n# Next\n- one\n- two\n| a | b |\nEnd"
    assert [text[start:end] for start, end in sentences(text)] == [
        "Results",
        "The committee of the city met and\nspoke of the harbour",
        "# Next",
        "- one",
        "- two",
        "| a | b |",
        "End",
    ]


def test_no_text_has_no_sentences_and_no_words() -> None:
    assert sentences("") == sentences(" \n\t ") == []
    assert words("") == words(" \n\t ") == 0


@given(st.text(alphabet=st.sampled_from("aB1 .!?。．।។။\n\t#-|«»\"')ค字é\u0301😀"), max_size=200))
@settings(max_examples=200, deadline=None)
def test_spans_are_in_order_and_leave_out_white_space_alone(text: str) -> None:
    found = sentences(text)
    assert all(start < end and text[start:end] == text[start:end].strip() for start, end in found)
    assert all(left[1] <= right[0] for left, right in pairwise(found))
    assert "".join("".join(text[start:end].split()) for start, end in found) == "".join(text.split())


@pytest.mark.long
@pytest.mark.parametrize(
    "piece", ["a b. ", "x", "字", "字。", "ค ", "。", ". ", "\n", "a\n", "- ", '"', "Mr. ", "am 3. ", "# "]
)
def test_a_long_text_of_one_piece_is_read(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    assert words(text) >= 0
    assert all(end <= len(text) for _, end in sentences(text))
