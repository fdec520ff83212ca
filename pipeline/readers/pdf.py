"""PDF through pdfium, in a child process: pdfium is fast and not thread-safe, and PDFs are hostile.

Pages are joined by a blank line and marked; line ends are \\n. Where a word is hyphenated at a line's end, pdfium joins
its halves and leaves a sign between them: if the whole word stands elsewhere in the document it is whole again,
otherwise the sign is the hyphen that is printed there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from docreduce.readers.base import FileFormat, Text
from docreduce.values import Mark
from docreduce.values.errors import DocumentError

__all__ = ["FORMAT"]

_HYPHENATED = re.compile(r"(\w*)[\ufffe\x02](\w*)")


def _read(raw: bytes) -> Text:
    pages = _whole_words([re.sub(r"\r\n?", "\n", page).replace("\0", "") for page in _pages(raw)])
    if not any(map(str.strip, pages)):
        message = f"no text on its {len(pages)} pages: a scan, or pictures of text"
        raise DocumentError(message, kind="no_text", hint="Run OCR on it first.")
    marks, start = [], 0
    for number, page in enumerate(pages, 1):
        marks.append(Mark("page", start, str(number)))
        start += len(page) + 2
    return Text("\n\n".join(pages), tuple(marks))


def _pages(raw: bytes) -> Iterator[str]:
    import pypdfium2
    import pypdfium2.raw as pdfium

    try:
        document = pypdfium2.PdfDocument(raw)
    except pypdfium2.PdfiumError as error:
        if pdfium.FPDF_GetLastError() in (pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY):
            raise DocumentError("the PDF is encrypted and needs a password", kind="encrypted") from error
        raise DocumentError(f"the PDF is damaged: {error}") from error
    with document:
        for number in range(len(document)):
            try:
                page = document[number]
                text = page.get_textpage()
            except pypdfium2.PdfiumError as error:  # leaving it out would be a loss that nobody sees
                raise DocumentError(f"page {number + 1} of {len(document)} is damaged: {error}") from error
            yield text.get_text_range()
            text.close()
            page.close()


def _whole_words(pages: Sequence[str]) -> list[str]:
    words = {word for page in pages for word in re.findall(r"\w+", page.lower())}

    def join(match: re.Match[str]) -> str:
        whole = match[1] + match[2]
        return whole if match[1] and match[2] and whole.lower() in words else f"{match[1]}-{match[2]}"

    return [_HYPHENATED.sub(join, page) for page in pages]


FORMAT = FileFormat(name="pdf", media_type="application/pdf", extensions=(".pdf",), read=_read, sandboxed=True)
