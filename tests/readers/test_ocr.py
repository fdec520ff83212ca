"""Pictures of text, where the job asks for OCR and tesseract is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from docreduce.readers import Unread
from docreduce.readers.base import ReadOptions
from docreduce.readers.ocr import available
from docreduce.readers.picture import FORMAT as PICTURE
from docreduce.values import Document
from docreduce.values.errors import DocumentError

needs_tesseract = pytest.mark.skipif(not available(), reason="tesseract is not installed")


def test_without_the_program_the_row_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DocumentError, match="tesseract") as caught:
        PICTURE.read(b"\x89PNG\r\n\x1a\n", ReadOptions(ocr="auto"))
    assert "apt-get install" in caught.value.hint


@pytest.mark.long
@needs_tesseract
@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("formats/pdf_scan_congress_noocr.pdf", ["PRESIDENT OF THE UNITED STATES"]),
        ("formats/pdf_scan_huckfinn_page.pdf", ["the", "and"]),
        ("nested/docubench/documents/7ZhgzAzp.tiff", ["ETHIOPIAN AIRLINES", "1276 0786"]),
        ("nested/docubench/documents/bjBNmyNw.pdf", ["40418819"]),
    ],
)
def test_scans_and_pictures_are_read_where_the_job_says_so(
    data: Path, read_all: Any, file: str, words: list[str]
) -> None:
    (without,) = read_all(data / file)
    assert isinstance(without, Unread) or without.doubt[0] == "thin_text"
    (scan,) = read_all(data / file, ocr="auto")
    assert isinstance(scan, Document)
    assert scan.doubt is None
    assert [word for word in words if word not in scan.text] == []
    assert scan.marks[0].kind == "page"


@needs_tesseract
def test_a_page_that_has_its_text_is_not_recognized_again_and_a_broken_picture_is_a_failed_row(
    data: Path, read_all: Any, tmp_path: Path
) -> None:
    page = data / "formats" / "pdf_faa_handbook_page.pdf"
    assert read_all(page, ocr="auto") == read_all(page)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    (broken,) = read_all(tmp_path, ocr="auto")
    assert broken.error.kind == "unreadable"
