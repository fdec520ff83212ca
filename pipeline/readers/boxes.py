"""Where words of a document stand on its pages, for highlighting: looked up in the PDF when they are asked for.

Nothing is kept while documents are worked on: only what is quoted at last is looked for, by its letters alone, because
white space, hyphens and ligatures differ between a page and its text."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import orjson
from docreduce.readers.layout import Box, lines, page_letters
from docreduce.readers.sandbox import sandbox
from docreduce.settings import InputSettings
from docreduce.values.errors import DocumentError

__all__ = ["PlacedBox", "Quote", "answer", "asked", "boxes_in_pdf", "quote_boxes", "understood"]

PlacedBox: TypeAlias = tuple[int, float, float, float, float]
"""A page's number, and left, bottom, right, top in points from its lower left corner."""
Quote: TypeAlias = tuple[int, str] | tuple[int, str, str]
"""A page's number, the words, and what stands before them: of words that stand there twice, those are meant before
which most of it stands."""


def quote_boxes(raw: bytes, settings: InputSettings, quotes: Sequence[Quote]) -> list[list[PlacedBox]]:
    """The boxes of each quote of the PDF `raw`, a box a line; none where it is not found. A quote may
    go on on the next page. Raises DocumentError for a file that cannot be read any more."""
    with sandbox(settings) as box:
        (answer,) = box.ask("boxes", asked(raw, settings, quotes))
    return [[_placed(*found) for found in quote] for quote in orjson.loads(answer)]


def asked(raw: bytes, settings: InputSettings, quotes: Sequence[Quote]) -> bytes:
    """What a child process is asked about quotes of a PDF."""
    password = os.environ.get(settings.password_env) if settings.password_env else None
    return orjson.dumps({"password": password, "quotes": quotes}) + b"\n" + raw


def understood(payload: bytes) -> tuple[bytes, str | None, list[Quote]]:
    """The PDF's bytes, the password and the quotes that `asked` has put together."""
    head, _, raw = payload.partition(b"\n")
    stated = orjson.loads(head)
    return raw, stated["password"], stated["quotes"]


def answer(payload: bytes) -> bytes:
    """What a child process answers to `quote_boxes`. Raises DocumentError."""
    return orjson.dumps(list(boxes_in_pdf(*understood(payload))))


def boxes_in_pdf(raw: bytes, password: str | None, quotes: Sequence[Quote]) -> Iterator[list[PlacedBox]]:
    """As `quote_boxes`, of a PDF's bytes; for the child process."""
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(raw, password=password)
    except pypdfium2.PdfiumError as error:
        raise DocumentError(f"the PDF cannot be read: {error}") from error
    pages: dict[int, list[tuple[str, Box]]] = {}
    with document:
        document.init_forms()
        for number, quote, *before in quotes:
            wanted = _letters(quote)
            for page in (number, number + 1):
                if page not in pages and 1 <= page <= len(document):
                    pages[page] = list(_page_letters(document[page - 1], document.formenv))
            yield _found(number, wanted, _letters("".join(before)), pages) if wanted else []


def _found(number: int, wanted: str, before: str, pages: dict[int, list[tuple[str, Box]]]) -> list[PlacedBox]:
    here, there = pages.get(number, []), pages.get(number + 1, [])
    text = "".join(letter for letter, _ in (*here, *there))
    starts = [found.start() for found in re.finditer(f"(?={re.escape(wanted)})", text) if found.start() < len(here)]
    if not starts:
        return []
    at = max(starts, key=lambda start: _agreeing(text[:start], before))
    end = at + len(wanted)
    parts = ((number, here[at:end]), (number + 1, there[: max(end - len(here), 0)]))
    return [_placed(page, *box) for page, letters in parts for box in lines(box for _, box in letters)]


def _agreeing(text: str, before: str) -> int:
    """How many letters two texts have in common at their ends."""
    pairs = enumerate(zip(reversed(text), reversed(before), strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(text), len(before)))


def _placed(page: int, left: float, bottom: float, right: float, top: float) -> PlacedBox:
    return page, round(left, 1), round(bottom, 1), round(right, 1), round(top, 1)


def _letters(text: str) -> str:
    """Letters and figures alone, in the form they have on their own."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


def _page_letters(page: Any, forms: Any) -> Iterator[tuple[str, Box]]:
    for letter, box in page_letters(page, forms):
        for part in _letters(letter):
            yield part, box
    page.close()
