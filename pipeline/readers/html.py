"""HTML and XHTML: what a reader of the page sees, in blocks, with its headings and tables marked.

Scripts, navigation, buttons and what the page itself hides are left out. Signs that carry meaning stay: struck words
stand between ~~, raised ones after ^ and lowered ones after _, list items have their numbers, boxes are [x] or [ ],
formulas are written in a line, pictures are their alternative text in brackets. A table in a cell is a line there: its
cells are apart by commas, its rows by semicolons. Other readers write their documents as HTML and leave tables, lists
and signs to this one; `PAGE` is their element that begins a page, `GRID` their attribute of a table that is one
whatever it holds.
Parsed in a child process, because lexbor takes quadratic time over deeply nested markup.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from docreduce.readers.base import Doubt, FileFormat, ReadOptions, Text
from docreduce.readers.formula import linear
from docreduce.readers.grid import Cell, headers_of, lay
from docreduce.readers.lists import List, integer
from docreduce.readers.nested import has_rows
from docreduce.readers.pictures import PICTURES, described
from docreduce.readers.text import decode, decode_as, known_encoding
from docreduce.readers.writer import Writer, collapsed
from docreduce.values.errors import DocumentError

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

__all__ = ["FORMAT", "GRID", "PAGE", "decode_page", "extract", "page_of"]

PAGE = "x-docreduce-page"
GRID = "x-docreduce-grid"

_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_PARAGRAPHS = frozenset((*_HEADINGS, *["p", "ul", "ol", "dl", "table", "pre", "blockquote", "figure", "hr"]))
_BLOCKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "body",
        "br",
        "caption",
        "center",
        "dd",
        "details",
        "div",
        "dt",
        "fieldset",
        "figcaption",
        "footer",
        "form",
        "header",
        "html",
        "legend",
        "li",
        "main",
        "section",
        "summary",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
    ]
)
_NOISE = (
    "audio, canvas, datalist, dialog, embed, head, iframe, map, menu, nav, noscript, object, rp, script, style, "
    "svg:not([aria-label]), template, title, video, [hidden], [role=navigation], [style*='display:none' i], "
    "[style*='display: none' i], [style*='visibility:hidden' i], [style*='visibility: hidden' i]"
)
_ARRANGED = f"table:has({', '.join(_HEADINGS)})"  # such a table arranges the page and is no table
_STRUCK = "del, s, strike, [style*='line-through' i]"
_RAISED = "sup, [style*='vertical-align:super' i], [style*='vertical-align: super' i]"
_LOWERED = "sub, [style*='vertical-align:sub' i], [style*='vertical-align: sub' i]"
_REFERENCES = r"[epub\:type], [role=doc-noteref]"
_SILENT_INPUTS = ("hidden", "password", "submit", "reset", "button", "image", "file", "color", "range")
_META_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?([A-Za-z0-9_:.-]{2,40})""", re.IGNORECASE)
_MAX_DEPTH = 10
"""Tables in cells of tables, written as tables; Word's own pages nest them two or three deep."""


def extract(markup: str) -> Text:
    """The readable text of a page with its marks. Slow on purposely deep markup: call it in a child process."""
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(markup)
    root = tree.body or tree.root
    writer = Writer()
    if root is not None:
        _Page(root).render(root, writer)
    return Text(writer.text, tuple(sorted(writer.marks, key=lambda mark: mark.start)))


class _Page:
    """A parsed page: which of its nodes are what, asked once for all of them."""

    def __init__(self, root: LexborNode) -> None:
        def found(selector: str) -> set[int]:
            return {node.mem_id for node in root.css(selector)}

        # a note that a reading system hides until it is asked for is a part of the text
        self._noise = {node.mem_id for node in root.css(_NOISE) if "note" not in _semantics(node)}
        self._references = {node.mem_id for node in root.css(_REFERENCES) if "noteref" in _semantics(node)}
        deep = found("table:has(table table)")
        around = [node for node in root.css("table:has(table)") if not has_rows(node, is_deep=node.mem_id in deep)]
        self._layout = found(_ARRANGED) | {node.mem_id for node in around}
        self._pictures = found(PICTURES)
        self._struck, self._raised, self._lowered = found(_STRUCK), found(_RAISED), found(_LOWERED)
        self._roles = found("[role=heading], [role=checkbox], [role=radio], [role=switch], [aria-checked]")

    def render(self, root: LexborNode, writer: Writer, depth: int = 0) -> None:
        passed: int | None = None  # the node that is written as a whole, whose events are passed over
        lists: list[List] = []
        pre = 0
        for node, entered in _events(root, self._noise):
            tag, node_id = node.tag or "", node.mem_id
            if passed is not None:
                passed = None if node_id == passed and not entered else passed
            elif tag == "-text":
                if entered:
                    text = node.text_content or ""
                    (writer.verbatim if pre and text else writer.words)(text)
            elif entered and self._whole(node, tag, writer, depth):
                passed = node_id
            else:
                if tag in ("ul", "ol"):
                    lists = [*lists, List(node)] if entered else lists[:-1]
                elif tag == "pre":
                    pre += 1 if entered else -1
                self._signs(node, tag, entered, writer, lists)

    def _whole(self, node: LexborNode, tag: str, writer: Writer, depth: int) -> bool:
        """Write the node with all in it; False where its parts are to be written one by one."""
        if tag == "table":
            is_grid = depth > 0 or node.mem_id not in self._layout or GRID in node.attributes
            return is_grid and depth < _MAX_DEPTH and self._table(node, writer, depth)
        if tag == "math":
            writer.words(linear(node))
        elif node.mem_id in self._pictures:
            writer.words(described(node))
        elif node.mem_id in self._raised:
            writer.words(_raised(self._inner(node, depth), writer.last, is_link=node.css_first("a") is not None))
        elif node.mem_id in self._lowered:
            lowered = self._inner(node, depth)
            writer.words(lowered and f"_{_operand(lowered)}")
        elif node.mem_id in self._references:
            writer.words(_raised(self._inner(node, depth), writer.last, is_link=True))
        elif tag in ("input", "select", "textarea"):
            writer.words(_filled_in(node, tag))
        else:
            return tag == "button" and not _is_disclosure(node)
        return True

    def _inner(self, node: LexborNode, depth: int) -> str:
        """What stands inside a node, in one line."""
        if depth >= _MAX_DEPTH:
            return collapsed(node.text() or "")
        inner = Writer()
        child = node.child
        while child is not None:
            if child.mem_id not in self._noise:
                if child.tag == "-text":
                    inner.words(child.text_content or "")
                elif not self._whole(child, child.tag or "", inner, depth + 1):
                    self.render(child, inner, depth + 1)
            child = child.next
        return collapsed(inner.text)

    def _signs(self, node: LexborNode, tag: str, entered: bool, writer: Writer, lists: list[List]) -> None:
        """The gaps, labels and signs of a node that begins or ends."""
        if node.mem_id in self._struck:
            (writer.open if entered else writer.close)("~~")
        level = int(tag[1]) if tag in _HEADINGS else self._role(node, entered, writer)
        if level:
            writer.block(2)
            writer.heading(level if entered else 0)
        elif tag in _PARAGRAPHS:
            # a list in a list goes on in the next line
            writer.block(1 if tag in ("ul", "ol") and len(lists) > entered else 2)
        elif tag == "li" and entered:
            writer.item(lists[-1].label(node, len(lists)) if lists else "- ")
        elif tag in _BLOCKS or tag == "button":
            writer.block(1)
        elif tag == "rt":
            writer.words("(" if entered else ")")
        elif tag == PAGE and entered:
            writer.page(node.attributes.get("label") or "")

    def _role(self, node: LexborNode, entered: bool, writer: Writer) -> int:
        """The level of what is a heading by its role alone, else 0; writes the box of what can be ticked."""
        if node.mem_id not in self._roles:
            return 0
        role, checked = node.attributes.get("role"), node.attributes.get("aria-checked")
        if role == "heading":
            level = node.attributes.get("aria-level") or ""
            return int(level) if level in "123456" and level else 2
        if entered:
            writer.words(_box(checked == "true", "()" if role == "radio" else "[]"))
        return 0

    def _table(self, node: LexborNode, writer: Writer, depth: int) -> bool:
        """Write a table's rows, a line each. False where it has one column and so is a box for running text."""
        rows: list[list[Cell]] = []
        marked: list[bool] = []
        captions: list[str] = []
        passed: int | None = None
        for inner, entered in _events(node, self._noise):
            if passed is not None:
                passed = None if inner.mem_id == passed and not entered else passed
            elif entered and inner.tag == "tr":
                rows.append([])
                marked.append(True)
            elif entered and inner.tag in ("td", "th", "caption"):
                cell = Writer()
                self.render_inside(inner, cell, depth + 1)
                text, passed = collapsed(cell.text), inner.mem_id
                if inner.tag == "caption" or not rows:
                    captions.append(text)
                    continue
                marked[-1] = marked[-1] and inner.tag == "th"
                rows[-1].append((text, _span(inner, "rowspan"), _span(inner, "colspan")))
        marked = [mark for mark, row in zip(marked, rows, strict=True) if any(text for text, *_ in row)]
        grid = lay(rows)
        if max(map(len, grid), default=0) < 2 and (not depth or len(grid) < 2):
            return False
        for caption in filter(None, captions):
            writer.block(2)
            writer.verbatim(caption)
        if depth:  # in a cell: one line, whose signs are not those of the table around it
            inside = "; ".join(", ".join(row) for row in grid)
            writer.block(1)
            writer.words(f"({inside})" if depth > 1 else inside)
            writer.block(1)
        else:
            writer.table(grid, headers_of(grid, marked))
        return True

    def render_inside(self, node: LexborNode, writer: Writer, depth: int) -> None:
        """What stands in a cell. The cell itself is no sign."""
        struck = node.mem_id in self._struck
        if struck:
            self._struck.discard(node.mem_id)
            writer.open("~~")
        self.render(node, writer, depth)
        if struck:
            writer.close("~~")


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


def _semantics(node: LexborNode) -> str:
    """What an element is by EPUB's or ARIA's word."""
    return f"{node.attributes.get('epub:type') or ''} {node.attributes.get('role') or ''}"


def _operand(text: str) -> str:
    return text if text.isalnum() else f"({text})"


def _raised(text: str, before: str, *, is_link: bool) -> str:
    """Raised words as they are read: 10^6, but 1st and Acme™, and [2] for what leads to a note."""
    if not text or (not text[0].isalnum() and text[0] not in "+-−("):
        return text  # *, †, ™, [2]
    if is_link:
        return f"[{text}]"
    if text.isalpha() and (before.isdigit() or text in ("TM", "SM", "MC", "MD")):
        return text
    return f"^{_operand(text)}"


def _box(ticked: bool, frame: str) -> str:
    return f" {frame[0]}{'x' if ticked else ' '}{frame[-1]} "


def _filled_in(node: LexborNode, tag: str) -> str:
    """What stands in a field of a form: its value, the chosen option, a box that is ticked or not."""
    given = node.attributes
    if tag == "textarea":
        return f" {node.text() or ''} "
    if tag == "select":
        return f" {', '.join(collapsed(option.text() or '') for option in node.css('option[selected]'))} "
    kind = (given.get("type") or "text").lower()
    if kind in ("checkbox", "radio"):
        return _box("checked" in given, "()" if kind == "radio" else "[]")
    return "" if kind in _SILENT_INPUTS else f" {given.get('value') or ''} "


def _is_disclosure(button: LexborNode) -> bool:
    """Whether a button is a heading that opens a section, and no button to press."""
    if "aria-expanded" in button.attributes or "aria-controls" in button.attributes:
        return True
    above = button.parent
    while above is not None and above.tag in ("span", "div", "strong", "b", "em", "i", "a"):
        above = above.parent
    return above is not None and (
        above.tag in (*_HEADINGS, "summary", "dt") or above.attributes.get("role") == "heading"
    )


def _span(node: LexborNode, name: str) -> int:
    return max(integer(node.attributes.get(name), 1), 0)


def decode_page(raw: bytes, encoding: str | None) -> tuple[str, Doubt | None]:
    """The page's markup: UTF-8 if it is valid, else as the page says, else as its bytes look."""
    declared = _META_CHARSET.search(raw[:4096])
    if declared and not encoding and not raw.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        for name in ("utf-8", known_encoding(declared[1])):
            if name and (found := decode_as(raw, name))[1] is None:
                return found
    return decode(raw, encoding)


def page_of(markup: str, doubt: Doubt | None) -> Text:
    page = extract(markup)
    if not page.text.strip():
        raise DocumentError("no text on the page", kind="no_text", hint="Is it filled in by a script?")
    return Text(page.text, page.marks, doubt)


def _read(raw: bytes, options: ReadOptions) -> Text:
    return page_of(*decode_page(raw, options.encoding))


FORMAT = FileFormat(name="html", media_type="text/html", extensions=(".html", ".htm"), read=_read, version=3)
