"""HTML: what a reader of the page sees, in blocks, with its headings marked. Parsed in a child process, because
lexbor takes quadratic time over deeply nested markup.

Paragraphs are apart by a blank line, list items begin with "- ", the cells of a table's row are joined by " | ".
Scripts, navigation, form controls and what the page itself hides are left out.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from docreduce.readers.base import FileFormat, Text
from docreduce.readers.text import decode
from docreduce.values import Mark
from docreduce.values.errors import DocumentError

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

__all__ = ["FORMAT", "extract"]

_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_PARAGRAPH_TAGS = "p ul ol dl table pre blockquote figure hr"
_PARAGRAPHS = frozenset((*_HEADINGS, *_PARAGRAPH_TAGS.split()))
_BLOCK_TAGS = (
    "address article aside body br caption center dd details div dt fieldset figcaption footer form header html legend "
    "li main section summary tbody td tfoot th thead tr"
)
_BLOCKS = frozenset(_BLOCK_TAGS.split())
_NOISE = (
    "audio, button, canvas, datalist, dialog, embed, head, iframe, input, map, menu, nav, noscript, object, option, "
    "script, select, style, svg, template, textarea, title, video, [hidden], [role=navigation], "
    "[style*='display:none' i], [style*='display: none' i], [style*='visibility:hidden' i], "
    "[style*='visibility: hidden' i]"
)
_LAYOUT = f"table:has(table, {', '.join(_HEADINGS)})"  # such a table arranges the page and is no table
_SPACE = re.compile(r"[ \t\n\r\f]+")  # HTML's own white space: a no-break space is a character
_META_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?([A-Za-z0-9_:.-]{2,40})""", re.IGNORECASE)
# What these labels mean on the web: https://encoding.spec.whatwg.org/#names-and-labels
_WEB_NAMES = {"iso8859-1": "cp1252", "ascii": "cp1252", "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932"}


def extract(markup: str) -> Text:
    """The readable text of a page and its headings. Slow on purposely deep markup: call it in a child process."""
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(markup)
    root = tree.body or tree.root
    writer = _Writer()
    if root is not None:
        noise, layout = ({node.mem_id for node in root.css(selector)} for selector in (_NOISE, _LAYOUT))
        _render(root, writer, noise, layout)
    return Text("".join(writer.parts), tuple(writer.marks))


class _Writer:
    """Text in the making: white space waits until a word follows it."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.marks: list[Mark] = []
        self._length = 0
        self._gap = ""
        self._bullet = ""
        self._heading: tuple[int, int] | None = None  # where it starts: code point, part
        self._level = 0

    def words(self, text: str) -> None:
        if text[:1] in " \t\n\r\f":
            self._gap = self._gap or " "
        words = _SPACE.sub(" ", text).strip(" ")
        if not words.strip():  # a lone no-break space only keeps things apart
            self._gap = self._gap or (" " if text else "")
        else:
            self.verbatim(words)
            self._gap = " " if text[-1] in " \t\n\r\f" else ""

    def verbatim(self, text: str) -> None:
        lead = (self._gap if self._length else "") + self._bullet
        self._append(lead)
        self._gap = self._bullet = ""
        if self._level and self._heading is None:
            self._heading = self._length, len(self.parts)
        self._append(text)

    def block(self, lines: int) -> None:
        if lines > len(self._gap) or self._gap == " ":
            self._gap = "\n" * lines

    def item(self) -> None:
        self.block(1)
        self._bullet = "- "

    def heading(self, level: int) -> None:
        """A heading of `level` begins; 0: it ends."""
        if not level and self._heading:
            start, part = self._heading
            label = _SPACE.sub(" ", "".join(self.parts[part:])).strip()
            self.marks.append(Mark("heading", start, label, self._level))
        self._level, self._heading = level, None

    def _append(self, text: str) -> None:
        self.parts.append(text)
        self._length += len(text)


def _events(root: LexborNode, noise: set[int]) -> Iterator[tuple[LexborNode, bool]]:
    """(node, entered?) in document order, without recursion. What is noise is left out with all in it."""
    stack = [(root, True)]
    while stack:
        node, entered = stack.pop()
        yield node, entered
        if not entered:
            continue
        stack.append((node, False))
        children = []
        child = node.child
        while child is not None:
            if child.mem_id not in noise:
                children.append((child, True))
            child = child.next
        stack.extend(reversed(children))


def _render(root: LexborNode, writer: _Writer, noise: set[int], layout: set[int]) -> None:
    table: int | None = None  # the table that is written as a whole, whose events are passed over
    pre = 0
    for node, entered in _events(root, noise):
        tag = node.tag or ""
        if table is not None:
            table = None if node.mem_id == table and not entered else table
        elif tag == "-text":
            if entered:
                text = node.text_content or ""
                (writer.verbatim if pre and text else writer.words)(text)
        elif tag == "table" and entered and node.mem_id not in layout and _write_table(node, writer, noise):
            table = node.mem_id
        elif tag in _PARAGRAPHS:
            writer.block(2)
            if tag in _HEADINGS:
                writer.heading(int(tag[1]) if entered else 0)
            pre += (1 if entered else -1) if tag == "pre" else 0
        elif tag == "li" and entered:
            writer.item()
        elif tag in _BLOCKS:
            writer.block(1)


def _write_table(node: LexborNode, writer: _Writer, noise: set[int]) -> bool:
    """Write a table's rows, a line each. False where it has one column and so is a box for running text."""
    rows: list[list[str]] = []
    for inner, entered in _events(node, noise):
        if not entered:
            continue
        if inner.tag in ("tr", "caption"):
            rows.append([])
        if inner.tag in ("td", "th", "caption") and rows:
            cell = _Writer()
            _render(inner, cell, noise, set())
            rows[-1].append(_SPACE.sub(" ", "".join(cell.parts)).strip())
    if max(map(len, rows), default=0) < 2:
        return False
    width = max(map(len, rows))
    if all(len(row) in (width, 0, 1) for row in rows):
        # a grid: an empty cell keeps its place, a column of empty cells does not
        used = [i for i in range(width) if any(row[i] for row in rows if len(row) == width)]
        rows = [[row[i] for i in used] if len(row) == width else row for row in rows]
    else:
        rows = [[cell for cell in row if cell] for row in rows]
    writer.block(2)
    for row in rows:
        if any(row):
            writer.verbatim(" | ".join(row))
            writer.block(1)
    writer.block(2)
    return True


def _decode(raw: bytes) -> str:
    """The page's markup: UTF-8 if it is valid, else as the page says, else as its bytes look."""
    declared = _META_CHARSET.search(raw[:4096])
    if declared and not raw.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        for name in ("utf-8", declared[1].decode("ascii")):
            try:
                return raw.decode(_WEB_NAMES.get(codecs.lookup(name).name, name))
            except (UnicodeDecodeError, LookupError):
                continue
    return decode(raw)


def _read(raw: bytes) -> Text:
    page = extract(_decode(raw))
    if not page.text.strip():
        raise DocumentError("no text on the page", kind="no_text", hint="Is it filled in by a script?")
    return page


FORMAT = FileFormat(
    name="html", media_type="text/html", extensions=(".html", ".htm", ".xhtml"), read=_read, sandboxed=True
)
