"""Awkward real files: a row a file, what comes of it."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from docreduce.readers import Unread
from docreduce.values import Document
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@dataclass(frozen=True, kw_only=True)
class Vector:
    """What a file must give: an error's kind, or its text by length, pages, headings, a doubt, and words in it."""

    file: str
    kind: str = ""
    chars: int = 0
    pages: int = 0
    headings: int = 0
    doubt: str = ""
    says: str = ""
    attached: int = 0


VECTORS = [
    Vector(file="doc_legacy_word97.doc", kind="old_format", says="before 2007"),
    Vector(file="docx_doj_handbook_872p.docx", chars=813_400, headings=294, says="Standing Trustees"),
    Vector(file="docx_equations.docx", chars=2_256, says="A=πr^2"),
    Vector(file="docx_nested_tables.docx", kind="no_text"),  # its cells are empty
    Vector(file="docx_truncated.docx", kind="unreadable", says="damaged"),
    Vector(file="empty.txt", kind="empty"),
    Vector(file="epub_hebrew_rtl.epub", chars=55_544, headings=20, says="הליקון ספרים"),
    Vector(file="epub_winter_sports.epub", chars=340_166, headings=33, says="GUTENBERG LICENSE"),
    Vector(file="html_sec_10k_2.4MB.html", chars=178_546, says="Common stock | GLXZ | OTCQB marketplace"),
    Vector(file="html_wikipedia_duck.html", chars=27_257, headings=20, says="the family Anatidae"),
    Vector(file="odt_encrypted.odt", kind="encrypted", says="encrypted"),
    Vector(file="pdf_arabic_cid_truetype.pdf", chars=83, pages=1, says="انواع الخطوط العربية"),
    Vector(file="pdf_attachment.pdf", chars=593, pages=1, says="Lorem ipsum", attached=1),
    Vector(file="pdf_corrupt_zen_of_python.pdf", chars=922, pages=1, says="Explicit is better"),
    Vector(file="pdf_cyclic_outline.pdf", kind="no_text"),
    Vector(file="pdf_encrypted_aes256r6_pw_usersecret.pdf", kind="encrypted", says="password"),
    Vector(file="pdf_encrypted_libreoffice_pw_openpassword.pdf", kind="encrypted"),
    Vector(file="pdf_encrypted_rc4_40_pw_foo.pdf", kind="encrypted"),
    Vector(file="pdf_enormous_page.pdf", kind="no_text"),
    Vector(file="pdf_faa_handbook_page.pdf", chars=3_760, pages=1, says="the inner race of the bearing"),
    Vector(file="pdf_fuzz_pagetree.pdf", kind="unreadable", says="page 1 of 1"),
    Vector(file="pdf_huge_irs_manual_400p.pdf", chars=295_498, pages=400, says="EFFECTIVE DATE"),
    Vector(file="pdf_japanese_noembed_sjis.pdf", chars=5, pages=1, says="あいうえお"),
    Vector(file="pdf_japanese_vertical.pdf", chars=13, pages=3, doubt="thin_text", says="日本語"),
    Vector(file="pdf_no_contents_blank_page.pdf", kind="no_text"),
    Vector(file="pdf_pages_loop.pdf", chars=6, pages=1, says="Potato"),
    Vector(file="pdf_scan_congress_noocr.pdf", kind="no_text", says="scan"),
    Vector(file="pdf_scan_huckfinn_page.pdf", kind="no_text"),
    Vector(file="pdf_type3_nomapping.pdf", chars=2, pages=1, doubt="thin_text"),
    Vector(file="rtf_corrupt_list_override.rtf", chars=469, says="Ingredient 4"),
    Vector(file="rtf_ms932.rtf", chars=23, says="こんにちは"),
    Vector(file="txt_chinese_utf16le_bom.txt", chars=60_000, says="滾滾長江東逝水"),
    Vector(file="txt_english_utf16be_nobom.txt", chars=60_000, says="The Federalist Papers"),
    Vector(file="txt_japanese_shiftjis_kokoro.txt", chars=188_792, says="夏目漱石"),
    Vector(file="txt_one_line_1MB.txt", chars=1_000_000, says="General Introduction"),
    Vector(file="txt_windows1252.txt", chars=94, says="a “windows” encoding"),
    Vector(file="wrongext_really_docx.doc", chars=1_907, says="Suggested Reportable Symptoms"),
    Vector(file="wrongext_really_pdf.txt", chars=7_056, pages=3, says="Two-Column Document"),
]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.file)
def test_real_files(data: Path, read_all: Any, vector: Vector) -> None:
    only, *attached = read_all(data / "formats" / vector.file)
    assert len(attached) == vector.attached
    if vector.kind:
        assert isinstance(only, Unread)
        assert only.error.kind == vector.kind
        assert vector.says in only.error.message
        return
    kinds = [mark.kind for mark in only.marks]
    assert (len(only.text), kinds.count("page"), kinds.count("heading")) == (
        vector.chars,
        vector.pages,
        vector.headings,
    )
    assert (only.doubt[0] if only.doubt else "") == vector.doubt
    assert vector.says in only.text


@pytest.mark.parametrize(
    ("file", "password"),
    [
        ("pdf_encrypted_aes256r6_pw_usersecret.pdf", "usersecret"),
        ("pdf_encrypted_libreoffice_pw_openpassword.pdf", "openpassword"),
        ("pdf_encrypted_rc4_40_pw_foo.pdf", "foo"),
    ],
)
def test_an_encrypted_pdf_is_read_with_its_password_and_says_so_of_a_wrong_one(
    data: Path, read_all: Any, monkeypatch: pytest.MonkeyPatch, file: str, password: str
) -> None:
    monkeypatch.setenv("DOC_PASSWORD", password)
    (opened,) = read_all(data / "formats" / file, password_env="DOC_PASSWORD")
    assert isinstance(opened, Document)
    assert opened.text.strip()
    monkeypatch.setenv("DOC_PASSWORD", "wrong")
    (closed,) = read_all(data / "formats" / file, password_env="DOC_PASSWORD")
    assert closed.error.kind == "encrypted"
    assert "does not fit" in closed.error.message


@pytest.mark.parametrize(
    ("name", "chars"),
    [("de_bgb", 1_530_365), ("en_postgresql15_manual", 7_314_232), ("zh_sanguoyanyi", 622_005)],
)
def test_long_texts_come_whole_out_of_gzip(data: Path, read_all: Any, name: str, chars: int) -> None:
    (only,) = read_all(data / "long" / f"{name}.txt.gz")
    assert len(only.text) == chars


SAMPLES = ["formats/wrongext_really_docx.doc", "formats/epub_hebrew_rtl.epub", "formats/rtf_corrupt_list_override.rtf"]
SAMPLES += [
    "formats/pdf_attachment.pdf",
    "formats/html_wikipedia_duck.html",
    "formats/txt_japanese_shiftjis_kokoro.txt",
]
SAMPLES += [
    "tables/bad_data/data__lz4_raw_compressed.parquet",
    "tables/bad_data/manifest.csv",
    "contracts/docs.parquet",
]


@pytest.mark.long
@pytest.mark.parametrize("sample", SAMPLES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cut=st.floats(0, 1),
    blows=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), max_size=6),
    packed=st.booleans(),
)
def test_a_file_damaged_anywhere_is_read_or_a_failed_document(
    data: Path, tmp_path: Path, read_all: Any, sample: str, cut: float, blows: list[tuple[float, bytes]], packed: bool
) -> None:
    raw = bytearray((data / sample).read_bytes()[:60_000])
    raw = bytearray(gzip.compress(raw)) if packed else raw
    for where, blow in blows:
        at = int(where * len(raw))
        raw[at : at + len(blow)] = blow
    path = tmp_path / Path(sample).name
    path.write_bytes(raw[: int((0.5 + cut) * len(raw)) + 1])
    found = read_all(path, text_column="title", reader_timeout_s=20.0)
    assert found
    for document in found:
        assert isinstance(document, Document | Unread)
        assert document.id
        if isinstance(document, Unread):
            assert document.error.kind != "crashed"
            assert document.error.message
