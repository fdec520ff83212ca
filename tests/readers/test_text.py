"""Text in any encoding, and what is no text."""

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
    assert decode((text * times).encode(encoding)) == text * times


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff"), min_size=1).filter(lambda t: t.isprintable())
)
def test_utf8_comes_back_code_point_for_code_point(text: str) -> None:
    assert decode(text.encode()) == text


@given(st.binary(min_size=1, max_size=300))
def test_any_bytes_are_text_or_refused_with_a_reason(raw: bytes) -> None:
    try:
        assert isinstance(decode(raw), str)
    except DocumentError as error:
        assert error.kind == "not_text"  # noqa: PT017


def test_line_ends_and_form_feeds_stay_as_they_are() -> None:
    assert decode(b"a\r\nb\rc\n\x0cd\te") == "a\r\nb\rc\n\x0cd\te"


def test_a_broken_byte_in_a_long_utf8_text_is_one_mark_and_no_mojibake() -> None:
    raw = (CHINESE * 50).encode()
    text = decode(raw + b"\xe4\xbd")
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
