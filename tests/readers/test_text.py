"""Text in any encoding, and what is no text."""

# ruff: noqa: E501 - a case is a line
from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from docreduce.readers import Unread
from docreduce.readers.text import decode
from docreduce.values.errors import DocumentError
from hypothesis import given
from hypothesis import strategies as st

GERMAN = "Grüße aus Köln: schöne Straßen, „weiße“ Häuser und viel Wärme für 5 €.\r\n"
CHINESE = "今天天气很好，我们一起去公园散步吧。晚上回家吃饭。\n"
TRADITIONAL = "滾滾長江東逝水，浪花淘盡英雄。是非成敗轉頭空：青山依舊在\n"
JAPANESE = "これは日本語の文章です。今日は天気がいいですね。\n"
KOREAN = "안녕하세요. 오늘 날씨가 좋습니다. 우리는 함께 갑니다.\n"
RUSSIAN = "Привет, мир. Это обычный русский текст о погоде и о людях.\n"
CZECH = "Příliš žluťoučký kůň úpěl ďábelské ódy. Dnes je hezké počasí a jdeme ven.\n"


@pytest.mark.parametrize("times", [1, 100])
@pytest.mark.parametrize(
    ("text", "encoding"),
    [(GERMAN, "cp1252"), (CHINESE, "gb18030"), (TRADITIONAL, "big5"), (JAPANESE, "cp932"), (JAPANESE, "euc_jp")]
    + [(KOREAN, "cp949"), (RUSSIAN, "cp1251"), (RUSSIAN, "koi8_r"), (CZECH, "cp1250"), ("naïve café", "cp1252")]
    + [(text, wide) for text in (GERMAN, CHINESE) for wide in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")]
    + [(GERMAN, bom) for bom in ("utf-8-sig", "utf-16", "utf-32")],
)
def test_text_is_read_in_the_encoding_it_was_written_in(text: str, encoding: str, times: int) -> None:
    assert decode((text * times).encode(encoding))[0] == text * times


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff"), min_size=1).filter(lambda t: t.isprintable())
)
def test_utf8_comes_back_code_point_for_code_point(text: str) -> None:
    assert decode(text.encode()) == (text, None)


@given(st.binary(min_size=1, max_size=300))
def test_any_bytes_are_text_or_refused_with_a_reason(raw: bytes) -> None:
    try:
        assert isinstance(decode(raw)[0], str)
    except DocumentError as error:
        assert error.kind == "not_text"  # noqa: PT017


# What the languages of a code page are written like: one row a code page, no row cites another's text.
CODE_PAGES = {
    "Warunki płatności: czynsz należy uiścić do dziesiątego dnia każdego miesiąca, źle liczone są też święta.": "cp1250 iso8859_2 cp852",
    "Příliš žluťoučký kůň úpěl ďábelské ódy a nájemce platí každý měsíc včas, jinak hrozí výpověď.": "cp1250 iso8859_2 cp852",
    "A bérlő köteles a bérleti díjat minden hónap ötödik napjáig megfizetni; késés esetén kötbér jár, s őrült űr.": "cp1250 iso8859_2",
    "Срок уведомления составляет девяносто дней, арендатор вносит плату ежемесячно.": "cp1251 koi8_r cp866 iso8859_5 mac_cyrillic",
    "Η προθεσμία καταγγελίας είναι ενενήντα ημέρες και το μίσθωμα καταβάλλεται κάθε μήνα.": "cp1253 iso8859_7 cp737",
    "Kiracı, kira bedelini her ayın beşinci gününe kadar ödeyecektir; aksi hâlde sözleşme feshedilir. Işık, ağaç, çığ.": "cp1254 iso8859_9",
    "תקופת ההודעה המוקדמת היא תשעים ימים, ודמי השכירות ישולמו מדי חודש.": "cp1255 iso8859_8",
    "مدة الإشعار تسعون يوما ويدفع المستأجر الأجرة في بداية كل شهر ميلادي.": "cp1256 iso8859_6",
    "Nuomininkas privalo mokėti nuomos mokestį iki kiekvieno mėnesio penktos dienos; įspėjimo terminas, žiemą šešios savaitės.": "cp1257 iso8859_13",
    "ผู้เช่าต้องชำระค่าเช่าภายในวันที่ห้าของทุกเดือนและแจ้งล่วงหน้าเก้าสิบวัน": "cp874",
    "Der Käufer trägt die Kosten für Übergabe, Prüfung und Rücksendung; für Mängel haftet der Verkäufer ein Jahr gemäß Gesetz.": "cp1252 iso8859_15 cp850 cp437 mac_roman",
    "Le locataire paiera le loyer dès le cinq de chaque mois; après ce délai, une pénalité forcée est due à la société Noël.": "cp1252 iso8859_1 cp850 mac_roman",
    "借主は毎月五日までに賃料を支払うものとし、解約の予告期間は九十日とする。": "cp932 euc_jp iso2022_jp",
    "承租人应当在每月五日之前支付租金，解除合同应当提前九十天书面通知出租人。": "gb18030",
    "承租人應於每月五日前支付租金，終止契約應於九十日前以書面通知出租人。": "big5",
    "임차인은 매월 오일까지 차임을 지급하여야 하며 해지 통지는 구십일 전에 서면으로 한다.": "cp949 iso2022_kr",
}


@pytest.mark.parametrize(
    ("text", "page"), [(text, page) for text, pages in CODE_PAGES.items() for page in pages.split()]
)
def test_a_sentence_in_any_code_page_of_its_language_is_read_as_it_was_written(text: str, page: str) -> None:
    assert decode(text.encode(page))[0] == text


@pytest.mark.parametrize("page", ["cp1251", "cp1255", "iso8859_7", "cp874", "cp932"])
def test_a_text_of_which_too_little_speaks_for_an_encoding_carries_a_doubt_and_a_long_one_none(page: str) -> None:
    text = next(text for text, pages in CODE_PAGES.items() if page in pages.split())
    word = text.split()[0][:4]
    _, doubt = decode(word.encode(page))
    assert doubt
    assert doubt[0] == "doubtful_encoding"
    assert decode(text.encode(page)) == (text, None)


def test_english_with_a_few_signs_of_windows_is_no_matter_of_doubt() -> None:
    text = "The “Lessor” shall give ninety days’ notice – in writing – of any change to the terms of this agreement."
    assert decode(text.encode("cp1252")) == (text, None)


def test_the_encoding_that_a_job_names_is_believed_but_for_a_byte_order_mark() -> None:
    assert decode("çay".encode("cp1254"), "cp1254") == ("çay", None)
    assert decode("çay".encode("utf-8-sig"), "cp1254") == ("çay", None)
    text, doubt = decode("çay".encode("cp1254"), "ascii")
    assert text == "\ufffday"
    assert doubt
    assert "1 places" in doubt[1]


def test_a_file_names_its_own_encoding_in_the_first_lines() -> None:
    text = "# -*- coding: iso8859-5 -*-\nда\n"
    assert decode(text.encode("iso8859_5")) == (text, None)


@pytest.mark.parametrize("encoding", ["utf-8", "cp932", "gb18030", "utf-16-le"])
def test_a_text_that_ends_inside_a_character_is_cut(encoding: str) -> None:
    text = (CHINESE if encoding != "cp932" else JAPANESE) * 20 + "天"
    found, doubt = decode(text.encode(encoding)[:-1])
    assert found.startswith(text[:-1])
    assert doubt
    assert doubt[0] == "truncated_input"


def test_line_ends_and_form_feeds_stay_as_they_are() -> None:
    assert decode(b"a\r\nb\rc\n\x0cd\te") == ("a\r\nb\rc\n\x0cd\te", None)


def test_a_broken_byte_in_a_long_utf8_text_is_one_mark_and_no_mojibake() -> None:
    raw = (CHINESE * 50).encode()
    text, doubt = decode(raw + b"\xe4\xbd" + CHINESE.encode())
    assert doubt
    assert doubt[0] == "doubtful_encoding"
    assert text.startswith(CHINESE * 50)
    assert text.count("\ufffd") == 1


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"PK\x03\x04rest", "ZIP"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"{\\rtf1 text}", "RTF"),
        (bytes(range(1, 256)), "binary"),
        (b"text\0text text text", "zero"),
        (b"a" * 300_000 + b"\0", "zero"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Office"),
    ],
)
def test_what_is_not_text_is_named(raw: bytes, word: str) -> None:
    with pytest.raises(DocumentError, match=word) as caught:
        decode(raw)
    assert caught.value.kind == "not_text"


def test_a_gzipped_file_is_the_document_it_holds(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "a.txt").write_bytes(GERMAN.encode())
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(GERMAN.encode()))
    (tmp_path / "c.txt").write_bytes(gzip.compress(GERMAN.encode()))  # the content tells, not the name
    found = read_all(tmp_path)
    assert [d.text for d in found] == [GERMAN] * 3
    assert len({d.id for d in found}) == 1


def test_a_gzip_bomb_is_refused_at_the_limit(tmp_path: Path, read_all: Any) -> None:
    with gzip.open(tmp_path / "bomb.txt.gz", "wb") as file:
        for _ in range(64):
            file.write(b"x" * 2**20)
    (only,) = read_all(tmp_path / "bomb.txt.gz", max_document_mb=3)
    assert isinstance(only, Unread)
    assert only.error.kind == "too_large"


@pytest.mark.parametrize("damage", [lambda raw: raw[:-20], lambda raw: raw[:30] + b"\xff" * 30 + raw[60:]])
def test_a_damaged_gzip_is_a_failed_document(tmp_path: Path, read_all: Any, damage: Any) -> None:
    (tmp_path / "a.txt.gz").write_bytes(damage(gzip.compress(CHINESE.encode() * 100)))
    (only,) = read_all(tmp_path)
    assert only.error.kind == "unreadable"


def test_gzip_in_gzip_is_not_text(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(gzip.compress(b"text")))
    assert read_all(tmp_path)[0].error.kind == "not_text"


def test_equal_content_has_one_id_and_other_content_another(tmp_path: Path, read_all: Any) -> None:
    for name, text in (("a.txt", "x"), ("b.txt", "x"), ("c.txt", "y"), ("d.md", "x")):
        (tmp_path / name).write_text(text)
    a, b, c, d = (document.id for document in read_all(tmp_path))
    assert a == b
    assert len({a, c, d}) == 3
