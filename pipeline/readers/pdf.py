"""PDF through pdfium, in a child process: pdfium is fast and not thread-safe, and PDFs are hostile.

Pages are joined by a blank line and marked; line ends are \\n. Where a word is hyphenated at a line's end, pdfium joins
its halves and leaves a sign between them: if the whole word stands elsewhere in the document it is whole again,
otherwise the sign is the hyphen that is printed there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from pipeline.config import InputSettings
from pipeline.errors import DocumentError
from pipeline.readers.base import MEGABYTE, FileFormat, Text
from pipeline.readers.sandbox import sandbox
from pipeline.types import Mark

__all__ = ["FORMAT"]

_HYPHENATED = re.compile(r"(\w*)[\ufffe\x02](\w*)")


def _read(raw: bytes, settings: InputSettings) -> Text:
    with sandbox(settings) as box:
        box.send(b"P", raw)
        _, payload = box.receive()
    pages = _whole_words([re.sub(r"\r\n?", "\n", page).replace("\0", "") for page in json.loads(payload)["pages"]])
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


def _whole_words(pages: Sequence[str]) -> list[str]:
    words = {word for page in pages for word in re.findall(r"\w+", page.lower())}

    def join(match: re.Match[str]) -> str:
        whole = match[1] + match[2]
        return whole if match[1] and match[2] and whole.lower() in words else f"{match[1]}-{match[2]}"

    return [_HYPHENATED.sub(join, page) for page in pages]


FORMAT = FileFormat(name="pdf", media_type="application/pdf", extensions=(".pdf",), read=_read)
