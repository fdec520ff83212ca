"""PDF through pdfium, in a child process: pdfium is fast and not thread-safe, and PDFs are hostile.

Pages are joined by a blank line and marked; line ends are \\n. The values of forms and notes stand where the page shows
them, columns follow each other, heads and feet that pages repeat stand once. Where a word is hyphenated at a line's
end, pdfium joins its halves and leaves a sign between them: if the whole word stands elsewhere in the document it is
whole again, otherwise the sign is the hyphen that is printed there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from docreduce.readers.base import Attachment, Doubt, FileFormat, ReadOptions, Text
from docreduce.readers.layout import page_text
from docreduce.readers.ocr import recognized_page
from docreduce.readers.running import without_running_heads
from docreduce.readers.writer import plain_letters
from docreduce.values import Mark
from docreduce.values.errors import DocumentError

__all__ = ["FORMAT"]

_HYPHENATED = re.compile(r"(\w*)[\ufffe\x02](\w*)")
_PICTURE_PAGE_CHARS = 200
_PICTURE_SHARE = 0.25
"""A page of fewer characters whose pictures cover more of it says what it says in them: of 511 pages of 48 real PDFs
three, all of them scans or screenshots; the next has 235 characters and a picture of 23 %."""
_THIN_PAGE_CHARS = 50
"""A text with fewer on average is a stamp or a number on pages that show more. A slide has twice as many."""
_MAX_GARBLED = 0.2
_NO_TEXT_HINT = 'Set input.ocr = "auto" (extra `ocr`), or run OCR on it first.'


def _read(raw: bytes, options: ReadOptions) -> Text:
    import pypdfium2
    import pypdfium2.raw as pdfium

    try:
        document = pypdfium2.PdfDocument(raw, password=options.password)
    except pypdfium2.PdfiumError as error:
        if pdfium.FPDF_GetLastError() in (pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY):
            wrong = "and the password does not fit" if options.password else "and needs a password"
            hint = "Name the variable that holds it in input.password_env."
            raise DocumentError(f"the PDF is encrypted {wrong}", kind="encrypted", hint=hint) from error
        raise DocumentError(f"the PDF is damaged: {error}") from error
    with document:
        document.init_forms()
        pages, thin, broken = _pages(document, options)
        attachments = _attachments(document)
    if broken and not any(map(str.strip, pages)):
        raise DocumentError(f"page {broken[0]} of {len(pages)} is damaged")
    if not any(map(str.strip, pages)):
        message = f"no text on its {len(pages)} pages: a scan, or pictures of text"
        raise DocumentError(message, kind="no_text", hint=_NO_TEXT_HINT if options.ocr == "never" else "")
    pages = _whole_words([plain_letters(page) for page in without_running_heads(pages, options.running_heads)])
    marks, start = [], 0
    for number, page in enumerate(pages, 1):
        marks.append(Mark("page", start, str(number)))
        start += len(page) + 2
    return Text("\n\n".join(pages), tuple(marks), _doubt(pages, thin, broken), attachments)


def _pages(document: Any, options: ReadOptions) -> tuple[list[str], list[int], list[int]]:
    """The text of each page; the numbers of those that show a picture and next to no text, and of damaged ones."""
    import pypdfium2

    pages: list[str] = []
    thin: list[int] = []
    broken: list[int] = []
    for number in range(1, len(document) + 1):
        try:
            page = document[number - 1]
            text = re.sub(r"\r\n?", "\n", page_text(page, document.formenv)).replace("\0", "")
        except pypdfium2.PdfiumError:
            pages.append("")
            broken.append(number)
            continue
        is_picture = len(text.strip()) < _PICTURE_PAGE_CHARS and _is_picture(page)
        if options.ocr == "always" or (options.ocr == "auto" and (is_picture or not text.strip())):
            text = max(recognized_page(page), text, key=len)  # a scan's own few characters are in the picture, too
        elif is_picture:
            thin.append(number)
        pages.append(text)
        page.close()
    return pages, thin, broken


def _is_picture(page: Any) -> bool:
    """Whether pictures cover most of a page."""
    import pypdfium2.raw as pdfium

    width, height = page.get_size()
    covered = 0.0
    for image in page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_IMAGE], max_depth=3):
        left, bottom, right, top = image.get_bounds()
        covered += max(min(right, width) - max(left, 0), 0) * max(min(top, height) - max(bottom, 0), 0)
    return bool(covered > _PICTURE_SHARE * width * height)


def _doubt(pages: Sequence[str], thin: Sequence[int], broken: Sequence[int]) -> Doubt | None:
    text = "".join(pages)
    chars = len(text.strip())
    if broken:
        return "truncated_input", f"{_listed(broken)} of {len(pages)} damaged"
    if thin:
        return (
            "thin_text",
            f"{_listed(thin)} of {len(pages)} {'shows' if len(thin) == 1 else 'show'} a picture and next to no text",
        )
    if len(pages) > 1 and chars < _THIN_PAGE_CHARS * len(pages):
        return "thin_text", f"{chars:,} characters on {len(pages)} pages"
    strange = sum(unicodedata.category(c) in ("Co", "Cn", "Cc") and c not in "\n\t\f" for c in text) + text.count(
        "\ufffd"
    )
    if strange > _MAX_GARBLED * chars:
        return (
            "thin_text",
            f"{strange:,} of {chars:,} characters have no meaning: its fonts do not say which letters they draw",
        )
    return None


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:10])) + (" …" if len(numbers) > 10 else "")
    return f"page {shown}" if len(numbers) == 1 else f"pages {shown}"


def _attachments(document: Any) -> tuple[Attachment, ...]:
    import pypdfium2

    found = []
    for index in range(document.count_attachments()):
        try:
            attachment = document.get_attachment(index)
            found.append(Attachment(attachment.get_name() or f"attachment-{index + 1}", bytes(attachment.get_data())))
        except pypdfium2.PdfiumError:
            found.append(Attachment(f"attachment-{index + 1}", b""))  # a row that says it is empty
    return tuple(found)


def _whole_words(pages: Sequence[str]) -> list[str]:
    words = {word for page in pages for word in re.findall(r"\w+", page.lower())}

    def join(match: re.Match[str]) -> str:
        whole = match[1] + match[2]
        return whole if match[1] and match[2] and whole.lower() in words else f"{match[1]}-{match[2]}"

    return [_HYPHENATED.sub(join, page) for page in pages]


FORMAT = FileFormat(name="pdf", media_type="application/pdf", extensions=(".pdf",), read=_read, version=3)
