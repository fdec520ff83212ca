"""A PDF page's text in reading order: as pdfium has it, which is the order in which the page was drawn, but for

- columns that were drawn line by line across the page: they are read one after the other;
- the values of a form and notes, which lie over the page: each stands by the words it stands beside;
- cells of a table: a tab parts them, so that "12  4 500,00" is no single number.

Boxes are (left, bottom, right, top) in points, from the page's lower left corner."""

from __future__ import annotations

import ctypes
import itertools
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from docreduce.readers.bidi import has_rtl, relaid
from docreduce.readers.fields import Field, fields_of

__all__ = ["Box", "characters", "lines", "page_letters", "page_text"]

Box = tuple[float, float, float, float]

_MIN_COLUMN_LINES = 6
_MIN_LINE_CHARS = 18
"""Lines of running text in a column have more; cells of a table, which must stay in their rows, have fewer."""
_ZIGZAG_SHARE = 0.3
"""Share of the steps between pieces of text that go across the gutter: near 0 where columns were drawn one by one."""
_MAX_CROSSING = 0.2
"""Share of the pieces that may cross a gutter: titles, figures' legends."""
_GAP_HEIGHTS = 1.2
"""White space wider than that many line heights parts two pieces of a line; justified words are less far apart."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Characters `start` up to `end` of the page's text that stand together in a line."""

    start: int
    end: int
    box: Box


@dataclass(frozen=True, slots=True)
class _Inserted:
    """Words of a field, where they stand in the page's text."""

    at: int
    words: str
    box: Box


def page_text(page: Any, forms: Any) -> str:
    """The text of a page, lines apart by \\r\\n or \\n. Raises PdfiumError for a damaged page."""
    textpage = page.get_textpage()
    try:
        fields = list(fields_of(page, forms))
        rects = list(_rects(textpage))
        zigzag = _is_zigzag(rects)
        plain = str(textpage.get_text_range())
        if not fields and not zigzag:
            return relaid(*characters(textpage)) if has_rtl(plain) else _tabbed(plain, textpage, rects)
        text, boxes = characters(textpage)
        pieces = list(_pieces(text, boxes))
        inserted = _placed(fields, pieces, len(text))
        if zigzag and (ordered := _by_columns(pieces)) != pieces:
            return "\n".join(_with(text, piece.start, piece.end, inserted).strip() for piece in ordered)
        if not fields:
            return relaid(text, boxes) if has_rtl(plain) else _tabbed(plain, textpage, rects)
        return _with(text, 0, len(text), inserted) if text else "".join(each.words for each in inserted)
    finally:
        textpage.close()


def page_letters(page: Any, forms: Any) -> Iterator[tuple[str, Box]]:
    """The characters of a page with their boxes, in the order of `page_text`; those of a field have the field's."""
    textpage = page.get_textpage()
    try:
        text, boxes = characters(textpage)
        pieces = list(_pieces(text, boxes))
        inserted = _placed(list(fields_of(page, forms)), pieces, len(text))
        spans = [(0, len(text))]
        if _is_zigzag(list(_rects(textpage))):
            spans = [(piece.start, piece.end) for piece in _by_columns(pieces)]
    finally:
        textpage.close()
    for start, end in spans:
        for part in _parts(start, end, inserted) if text else inserted:
            if isinstance(part, slice):
                yield from zip(text[part], boxes[part], strict=True)
            else:
                yield from ((letter, part.box) for letter in part.words)


def _in_cells(a: Box, b: Box) -> bool:
    """Whether `b` stands right of `a` in the same line, as far off as a cell does."""
    return b[0] - a[2] > _GAP_HEIGHTS * max(a[3] - a[1], 1.0) and _overlap(a, b) > 0


def _tabbed(plain: str, textpage: Any, rects: Sequence[Box]) -> str:
    """A page's text with a tab for the space between the cells of a line."""
    import pypdfium2.raw as pdfium

    starts = set()
    for one, cell in itertools.pairwise(rects):
        if _in_cells(one, cell):
            middle = (cell[1] + cell[3]) / 2
            at = pdfium.FPDFText_GetCharIndexAtPos(textpage, cell[0] + 0.1, middle, 1.0, 1.0)
            at = pdfium.FPDFText_GetTextIndexFromCharIndex(textpage, at) if at >= 0 else -1
            if at > 0 and plain[at - 1 : at] == " ":
                starts.add(at)
    cuts = [0, *sorted(starts), len(plain)]
    cells = [plain[start:end] for start, end in itertools.pairwise(cuts)]
    return "\t".join([*(cell.rstrip(" ") for cell in cells[:-1]), cells[-1]])


def _rects(textpage: Any) -> Iterator[Box]:
    for index in range(textpage.count_rects()):
        yield textpage.get_rect(index)


def characters(textpage: Any) -> tuple[str, list[Box]]:
    """The page's text and the box of each character; those that pdfium adds have an empty one."""
    import pypdfium2.raw as pdfium

    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    places = [ctypes.byref(value) for value in (left, right, bottom, top)]
    letters, boxes = [], []
    for index in range(textpage.count_chars()):
        code = pdfium.FPDFText_GetUnicode(textpage, index)
        letters.append(chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else "\ufffd")
        known = pdfium.FPDFText_GetCharBox(textpage, index, *places)
        boxes.append((left.value, bottom.value, right.value, top.value) if known else (0.0, 0.0, 0.0, 0.0))
    return "".join(letters), boxes


def _pieces(text: str, boxes: Sequence[Box]) -> Iterator[_Piece]:
    start, box = 0, None
    for at, letter in enumerate(text):
        here = boxes[at]
        if letter in "\r\n" or (box and not letter.isspace() and _apart(box, here)):
            if box:
                yield _Piece(start, at, box)
            start, box = at + (letter in "\r\n"), None
        if letter.isspace() or here[2] <= here[0]:
            continue
        if box is None:
            start, box = at, here
        else:
            box = min(box[0], here[0]), min(box[1], here[1]), max(box[2], here[2]), max(box[3], here[3])
    if box:
        yield _Piece(start, len(text), box)


def lines(boxes: Iterable[Box]) -> list[Box]:
    """The boxes of characters in their order as boxes of the lines they stand in."""
    found: list[Box] = []
    for box in boxes:
        if box[2] <= box[0]:
            continue
        if found and not _apart(found[-1], box):
            line = found[-1]
            found[-1] = min(line[0], box[0]), min(line[1], box[1]), max(line[2], box[2]), max(line[3], box[3])
        else:
            found.append(box)
    return found


def _apart(line: Box, letter: Box) -> bool:
    height = max(line[3] - line[1], 1.0)
    return letter[0] - line[2] > _GAP_HEIGHTS * height or letter[2] < line[0] - height or _overlap(line, letter) <= 0


def _overlap(a: Box, b: Box) -> float:
    """How much of the lower one's height two boxes share."""
    shared = min(a[3], b[3]) - max(a[1], b[1])
    return shared / max(min(a[3] - a[1], b[3] - b[1]), 0.1)


def _gutter(boxes: Sequence[Box]) -> float | None:
    """The middle of white space from top to bottom that has lines on either side; None where there is none."""
    if len(boxes) < 2 * _MIN_COLUMN_LINES:
        return None
    left, right = min(box[0] for box in boxes), max(box[2] for box in boxes)
    steps = 60
    best: tuple[int, float] | None = None
    run: list[float] = []
    crossing = [
        sum(box[0] < x < box[2] for box in boxes)
        for x in (left + (right - left) * (0.2 + 0.6 * i / steps) for i in range(steps + 1))
    ]
    least = min(crossing)
    if least > _MAX_CROSSING * len(boxes):
        return None
    for i, count in enumerate([*crossing, len(boxes)]):
        if count == least:
            run.append(left + (right - left) * (0.2 + 0.6 * i / steps))
        elif run:
            if best is None or len(run) > best[0]:
                best = len(run), (run[0] + run[-1]) / 2
            run = []
    return best[1] if best else None


def _is_zigzag(rects: Sequence[Box]) -> bool:
    """Whether a page's text goes to and fro across a gutter, as two columns do that were drawn line by line."""
    gutter = _gutter(rects)
    if gutter is None:
        return False
    sides = [box[0] > gutter for box in rects if not box[0] < gutter < box[2]]
    steps = sum(a != b for a, b in itertools.pairwise(sides))
    return steps > _ZIGZAG_SHARE * len(sides) and min(sum(sides), len(sides) - sum(sides)) >= _MIN_COLUMN_LINES


def _by_columns(pieces: Sequence[_Piece]) -> list[_Piece]:
    """Pieces in reading order: what crosses the gutter parts the page into bands, whose columns follow each other."""
    gutter = _gutter([piece.box for piece in pieces])
    if gutter is None:
        return list(pieces)
    sides = [
        [piece for piece in pieces if piece.box[2] <= gutter],
        [piece for piece in pieces if piece.box[0] >= gutter],
    ]
    running = all(
        len(side) >= _MIN_COLUMN_LINES
        and statistics.median(piece.end - piece.start for piece in side) >= _MIN_LINE_CHARS
        for side in sides
    )
    if not running:
        return list(pieces)
    across = sorted(
        (piece for piece in pieces if piece.box[0] < gutter < piece.box[2]), key=lambda piece: -piece.box[3]
    )
    ordered: list[_Piece] = []
    above = float("inf")
    for bar in [*across, None]:
        below = bar.box[3] if bar else float("-inf")
        for side in sides:
            band = [piece for piece in side if below <= (piece.box[1] + piece.box[3]) / 2 < above]
            ordered += _by_columns(sorted(band, key=lambda piece: (-round(piece.box[3]), piece.box[0])))
        if bar:
            ordered.append(bar)
        above = below
    return ordered


def _placed(fields: Sequence[Field], pieces: Sequence[_Piece], length: int) -> list[_Inserted]:
    """The words of each field: after what stands left of it in its line, before what stands right of
    a box, else on a line of its own below what stands above it."""
    found: list[tuple[int, bool, float, str, Box]] = []
    for field in sorted(fields, key=lambda field: (-field.box[3], field.box[0])):
        line = [piece for piece in pieces if _overlap(piece.box, field.box) > 0.5]
        lefts = [
            (field.box[0] - piece.box[2], piece) for piece in line if (piece.box[0] + piece.box[2]) / 2 < field.box[0]
        ]
        rights = [
            (piece.box[0] - field.box[2], piece) for piece in line if (piece.box[0] + piece.box[2]) / 2 > field.box[2]
        ]
        left, right = (min(side, key=lambda pair: pair[0], default=None) for side in (lefts, rights))
        if right and field.is_box and (not left or right[0] <= left[0]):
            found.append((right[1].start, False, field.box[0], f"{field.text} ", field.box))
        elif left:
            found.append((left[1].end, False, field.box[0], f" {field.text}", field.box))
        else:
            above = [piece for piece in pieces if piece.box[1] >= field.box[3] - 1]
            below = min(above, key=lambda piece: piece.box[1], default=None)
            at = below.end if below else (length if not pieces else pieces[0].start)
            words = f"\n{field.text}" if below or not pieces else f"{field.text}\n"
            found.append((at, True, -field.box[3], words, field.box))
    return [_Inserted(at, words, box) for at, *_, words, box in sorted(found, key=lambda each: each[:3])]


def _with(text: str, start: int, end: int, inserted: Sequence[_Inserted]) -> str:
    """Characters `start` up to `end` of the text with the words inserted there."""
    parts = _parts(start, end, inserted)
    return "".join(text[part] if isinstance(part, slice) else part.words for part in parts)


def _parts(start: int, end: int, inserted: Sequence[_Inserted]) -> Iterator[slice | _Inserted]:
    """Characters `start` up to `end` and the words inserted there, in order: those that begin with white space stand
    after a piece, the others before one."""
    at = start
    for each in inserted:
        if start < each.at <= end if each.words[0] in " \n" else start <= each.at < end:
            yield slice(at, each.at)
            yield each
            at = each.at
    yield slice(at, end)
