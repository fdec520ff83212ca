"""Pictures of text: read by OCR where the job says so, else a failed row that says how to get at it."""

from __future__ import annotations

from docreduce.readers.base import FileFormat, ReadOptions, Text
from docreduce.readers.ocr import recognized
from docreduce.values import Mark
from docreduce.values.errors import DocumentError

__all__ = ["FORMAT"]


def _read(raw: bytes, options: ReadOptions) -> Text:
    if options.ocr == "never":
        hint = 'Set input.ocr = "auto" (extra `ocr`), or exclude it.'
        raise DocumentError("a picture: there is no text in it without OCR", kind="no_text", hint=hint)
    pages = recognized(raw).split("\f")
    if not any(map(str.strip, pages)):
        raise DocumentError("OCR finds no words in the picture", kind="no_text")
    marks, start = [], 0
    for number, page in enumerate(pages, 1):
        marks.append(Mark("page", start, str(number)))
        start += len(page) + 2
    return Text("\n\n".join(pages), tuple(marks))


FORMAT = FileFormat(
    name="picture",
    media_type="image/*",
    extensions=(".png", ".jpg", ".jpeg", ".tif", ".tiff"),
    read=_read,
)
