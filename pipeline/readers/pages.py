"""The pages of a PDF that bear evidence, as pictures with the places of the words on them, for people to look at.

A stranger's PDF is drawn where it is read: in a child process, whose time and memory are limited. Pictures are PNG,
which zlib alone can write: a library for pictures would be one more dependency, for these twenty lines."""

from __future__ import annotations

import ctypes
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from docreduce.readers.base import MEGABYTE
from docreduce.readers.boxes import PlacedBox, Quote, asked, boxes_in_pdf, understood
from docreduce.readers.sandbox import sandbox
from docreduce.settings import InputSettings
from docreduce.values.errors import DocumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MOST_PAGES", "Page", "Spot", "answers", "evidence_pages"]

MOST_PAGES = 20
"""Pictures for a document at most: a page that a browser opens at once."""
_MOST_BYTES = 12 * MEGABYTE
"""Of all its pictures together; a page of text has 0.1 MB, a photograph 2 MB."""
_WIDTH, _PIXELS = 1200, 2_000_000
_UNITS = 1_000_000


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a line of the quote with this index stands, in percent of the page's picture from its upper left corner."""

    quote: int
    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Page:
    """A page that bears words, and where on it: its number, and its picture as PNG with its size in pixels; None where
    it had no place any more among the pictures."""

    number: int
    spots: tuple[Spot, ...]
    width: int
    height: int
    png: bytes | None


def evidence_pages(raw: bytes, settings: InputSettings, quotes: Sequence[Quote]) -> list[Page]:
    """The pages of the PDF `raw` on which quotes stand, in their order; of words that are in a picture there, or drawn
    in another order, without a spot. From the one after MOST_PAGES on, or where pictures together have more than 12 MB,
    they come without a picture. Raises DocumentError for a file that cannot be read or drawn any more."""
    with sandbox(settings) as box:
        parts = list(box.ask("pages", asked(raw, settings, quotes)))
    heads = map(orjson.loads, parts[::2])
    return [
        Page(head["number"], tuple(Spot(*spot) for spot in head["spots"]), head["width"], head["height"], png or None)
        for head, png in zip(heads, parts[1::2], strict=True)
    ]


def answers(payload: bytes) -> Iterator[bytes]:
    """What a child process answers to `evidence_pages`: of each page what is known of it, then its picture or nothing.
    Raises DocumentError."""
    import pypdfium2

    raw, password, quotes = understood(payload)
    boxes: dict[int, list[tuple[int, PlacedBox]]] = {}
    for index, found in enumerate(boxes_in_pdf(raw, password, quotes)):
        boxes.setdefault(quotes[index][0], [])
        for box in found:
            boxes.setdefault(box[0], []).append((index, box))
    left = _MOST_BYTES
    try:
        with pypdfium2.PdfDocument(raw, password=password) as document:
            document.init_forms()
            for at, number in enumerate(sorted(each for each in boxes if 1 <= each <= len(document))):
                page = document[number - 1]
                picture, size = _drawn(page) if at < MOST_PAGES and left > 0 else (b"", (0, 0))
                picture = picture if len(picture) <= left else b""
                left -= len(picture)
                spots = [[index, *_percent(page, box)] for index, box in boxes[number]]
                yield orjson.dumps({"number": number, "spots": spots, "width": size[0], "height": size[1]})
                yield picture
                page.close()
    except pypdfium2.PdfiumError as error:
        raise DocumentError(f"the PDF cannot be drawn: {error}") from error


def _drawn(page: Any) -> tuple[bytes, tuple[int, int]]:
    """A page's picture, and its pixels across and down."""
    width, height = page.get_size()
    # A strip or a poster has as many pixels as a sheet, and no page more across than a screen shows.
    scale = min(_WIDTH / max(width, 1.0), (_PIXELS / max(width * height, 1.0)) ** 0.5)
    bitmap = page.render(scale=scale, rev_byteorder=True)
    pixels = bitmap.to_numpy()
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels[:, :, :3]
    return _png(pixels), (pixels.shape[1], pixels.shape[0])


def _png(pixels: NDArray[Any]) -> bytes:
    """PNG of rows of pixels of one (grey) or three (red, green, blue) bytes, each row as what differs from the last."""
    import numpy as np

    height, width, channels = pixels.shape
    rows = np.empty((height, 1 + width * channels), np.uint8)
    rows[:, 0] = 2  # the filter "up"
    rows[:, 1:] = pixels.reshape(height, -1)
    rows[1:, 1:] -= pixels.reshape(height, -1)[:-1]
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def _percent(page: Any, box: PlacedBox) -> tuple[float, float, float, float]:
    """Left, top, width and height of a box in percent of the page as it is shown: turned, and cut to its crop box."""
    import pypdfium2.raw as pdfium

    _, left, bottom, right, top = box
    x, y = ctypes.c_int(), ctypes.c_int()
    across, down = [], []
    for corner in ((left, top), (right, bottom)):
        pdfium.FPDF_PageToDevice(page, 0, 0, _UNITS, _UNITS, 0, *corner, ctypes.byref(x), ctypes.byref(y))
        across.append(100 * x.value / _UNITS)
        down.append(100 * y.value / _UNITS)
    return min(across), min(down), abs(across[1] - across[0]), abs(down[1] - down[0])
