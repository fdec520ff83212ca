"""PDF through pdfium, in a child process: pdfium is fast and not thread-safe, and PDFs are hostile.

Pages are joined by a blank line and marked. Line ends are \\n; the sign pdfium sets for a hyphen at a line's
end (U+FFFE, or U+0002) is a hyphen again.
"""

from __future__ import annotations

import json

from pipeline.config import InputSettings
from pipeline.errors import DocumentError
from pipeline.readers.base import MEGABYTE, FileFormat, Text
from pipeline.readers.sandbox import sandbox
from pipeline.types import Mark

__all__ = ["FORMAT"]

_CLEAN = str.maketrans({"\ufffe": "-", "\x02": "-", "\0": None})


def _read(raw: bytes, settings: InputSettings) -> Text:
    with sandbox(settings) as box:
        box.send(b"P", raw)
        _, payload = box.receive()
    pages = [page.replace("\r\n", "\n").replace("\r", "\n").translate(_CLEAN) for page in json.loads(payload)["pages"]]
    if not any(map(str.strip, pages)):
        message = f"no text on its {len(pages)} pages: a scan, or pictures of text"
        raise DocumentError(message, kind="no_text", hint="Run OCR on it first.")
    marks, start = [], 0
    for number, page in enumerate(pages, 1):
        marks.append(Mark("page", start, str(number)))
        start += len(page) + 2
    text = "\n\n".join(pages)
    if len(text) > settings.max_document_mb * MEGABYTE:
        raise DocumentError(f"more than {settings.max_document_mb} MB of text", kind="too_large")
    return Text(text, tuple(marks))


FORMAT = FileFormat(name="pdf", media_type="application/pdf", extensions=(".pdf",), read=_read)
