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
    """What a file must give: an error's kind, or its text by length, marks and words that stand in it."""

    file: str
    kind: str = ""
    chars: int = 0
    marks: int = 0
    media_type: str = "text/plain"
    says: str = ""


PDF, HTML = "application/pdf", "text/html"
VECTORS = [
    Vector(file="doc_legacy_word97.doc", kind="not_text", says="old Office"),
    Vector(file="docx_truncated.docx", kind="not_text", says="ZIP"),
    Vector(file="empty.txt", kind="empty"),
    Vector(file="epub_winter_sports.epub", kind="not_text", says="EPUB"),
    Vector(
        file="html_sec_10k_2.4MB.html", chars=174_778, media_type=HTML, says="Common stock | GLXZ | OTCQB marketplace"
    ),
    Vector(file="html_wikipedia_duck.html", chars=26_989, marks=20, media_type=HTML, says="the family Anatidae"),
    Vector(file="odt_encrypted.odt", kind="not_text", says="ODT"),
    Vector(file="pdf_arabic_cid_truetype.pdf", chars=83, marks=1, media_type=PDF, says="انواع الخطوط العربية"),
    Vector(file="pdf_attachment.pdf", chars=593, marks=1, media_type=PDF, says="Lorem ipsum"),
    Vector(file="pdf_corrupt_zen_of_python.pdf", chars=922, marks=1, media_type=PDF, says="Explicit is better"),
    Vector(file="pdf_cyclic_outline.pdf", kind="no_text"),
    Vector(file="pdf_encrypted_aes256r6_pw_usersecret.pdf", kind="encrypted", says="password"),
    Vector(file="pdf_encrypted_libreoffice_pw_openpassword.pdf", kind="encrypted"),
    Vector(file="pdf_encrypted_rc4_40_pw_foo.pdf", kind="encrypted"),
    Vector(file="pdf_enormous_page.pdf", kind="no_text"),
    Vector(
        file="pdf_faa_handbook_page.pdf", chars=3_760, marks=1, media_type=PDF, says="the inner race of the bearing"
    ),
    Vector(file="pdf_fuzz_pagetree.pdf", kind="unreadable", says="page 1 of 1"),
    Vector(file="pdf_huge_irs_manual_400p.pdf", chars=337_402, marks=400, media_type=PDF, says="EFFECTIVE DATE"),
    Vector(file="pdf_japanese_noembed_sjis.pdf", chars=5, marks=1, media_type=PDF, says="あいうえお"),
    Vector(file="pdf_japanese_vertical.pdf", chars=13, marks=3, media_type=PDF, says="日本語"),
    Vector(file="pdf_no_contents_blank_page.pdf", kind="no_text"),
    Vector(file="pdf_pages_loop.pdf", chars=6, marks=1, media_type=PDF, says="Potato"),
    Vector(file="pdf_scan_congress_noocr.pdf", kind="no_text", says="scan"),
    Vector(file="pdf_scan_huckfinn_page.pdf", kind="no_text"),
    Vector(file="rtf_ms932.rtf", kind="not_text", says="RTF"),
    Vector(file="txt_chinese_utf16le_bom.txt", chars=60_000, says="滾滾長江東逝水"),
    Vector(file="txt_english_utf16be_nobom.txt", chars=60_000, says="The Federalist Papers"),
    Vector(file="txt_japanese_shiftjis_kokoro.txt", chars=188_792, says="夏目漱石"),
    Vector(file="txt_one_line_1MB.txt", chars=1_000_000, says="General Introduction"),
    Vector(file="txt_windows1252.txt", chars=94, says="smart quotes"),
    Vector(file="wrongext_really_docx.doc", kind="not_text", says="DOCX"),
    Vector(file="wrongext_really_pdf.txt", chars=7_062, marks=3, media_type=PDF, says="Two-Column Document"),
]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.file)
def test_real_files(data: Path, read_all: Any, vector: Vector) -> None:
    (only,) = read_all(data / "formats" / vector.file)
    if vector.kind:
        assert isinstance(only, Unread)
        assert only.error.kind == vector.kind
        assert vector.says in only.error.message
    else:
        assert (len(only.text), len(only.marks), only.media_type) == (vector.chars, vector.marks, vector.media_type)
        assert vector.says in only.text


@pytest.mark.parametrize(
    ("name", "chars"),
    [("de_bgb", 1_530_365), ("en_postgresql15_manual", 7_314_232), ("zh_sanguoyanyi", 622_005)],
)
def test_long_texts_come_whole_out_of_gzip(data: Path, read_all: Any, name: str, chars: int) -> None:
    (only,) = read_all(data / "long" / f"{name}.txt.gz")
    assert len(only.text) == chars


SAMPLES = ["formats/pdf_attachment.pdf", "formats/html_wikipedia_duck.html", "formats/txt_japanese_shiftjis_kokoro.txt"]
SAMPLES += [
    "tables/bad_data/data__lz4_raw_compressed.parquet",
    "tables/bad_data/manifest.csv",
    "contracts/docs.parquet",
]


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
    raw = bytearray((data / sample).read_bytes()[:20_000])
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
