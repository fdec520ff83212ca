"""DOCX: Word's XML written as HTML for the HTML reader, in a child process.

Read by local names from the container itself: strict and transitional documents are one; text boxes, footnotes,
tracked changes, numbering, ticked boxes and formulas keep their place. (python-docx fails on strict documents and has
none of these.) Numbers of lists and headings are counted as Word counts them: they stand in the file only as rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from xml.etree.ElementTree import Element

from docreduce.readers.base import FileFormat, ReadOptions, Text
from docreduce.readers.html import GRID, extract
from docreduce.readers.numbering import Numbering
from docreduce.readers.package import Package, attribute, child, children, descendants, local, tagged
from docreduce.readers.wordml import formula, note, symbol
from docreduce.values.errors import DocumentError

__all__ = ["FORMAT"]

_MAX_DEPTH = 60
_PLAIN = {"tab": " ", "br": "<br>", "cr": "<br>", "noBreakHyphen": "‑", "ptab": " "}
_THROUGH = frozenset(
    [
        "ins",
        "moveTo",
        "smartTag",
        "hyperlink",
        "fldSimple",
        "customXml",
        "sdt",
        "sdtContent",
        "dir",
        "bdo",
        "ruby",
        "rt",
        "rubyBase",
        "AlternateContent",
        "Choice",
    ]
)


@dataclass(slots=True)
class _Word:
    """A document in the making; `boxes` and `notes` follow the paragraph they stand in."""

    package: Package
    numbering: Numbering
    notes: dict[tuple[str, str], Element]
    boxes: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    depth: int = 0

    def blocks(self, parent: Element) -> str:
        """Paragraphs and tables, in order."""
        if self.depth > _MAX_DEPTH:
            return "".join(escape(text.text or "") for text in descendants(parent, "t"))
        self.depth += 1
        parts = []
        for element in parent:
            name = local(element)
            if name == "p":
                parts.append(self.paragraph(element))
            elif name == "tbl":
                parts.append(self.table(element))
            elif name in ("oMathPara", "oMath"):
                parts.append(tagged("p", formulas(element)))
            elif name in ("del", "moveFrom"):
                parts.append(tagged("del", self.blocks(element)))
            elif name == "AlternateContent":
                choice = child(element, "Choice")
                parts.append(self.blocks(choice if choice is not None else element))
            elif name in _THROUGH:
                parts.append(self.blocks(element))
        self.depth -= 1
        return "".join(parts)

    def paragraph(self, element: Element) -> str:
        settings = child(element, "pPr")
        level, label = self.numbering.paragraph(settings)
        content = self.inline(element)
        after = "".join(self.boxes) + "".join(self.pending)
        self.boxes, self.pending = [], []
        if not content.strip():
            return after
        content = f"{escape(label)} {content}" if label else content
        return tagged(f"h{level}" if level else "p", content) + after

    def inline(self, parent: Element) -> str:
        parts = []
        for element in parent:
            name = local(element)
            if name == "r":
                parts.append(self.run(element))
            elif name in ("oMath", "oMathPara"):
                parts.append(formulas(element))
            elif name in ("del", "moveFrom"):
                parts.append(tagged("del", self.inline(element)))
            elif name == "AlternateContent":
                choice = child(element, "Choice")
                parts.append(self.inline(choice if choice is not None else element))
            elif name in _THROUGH:
                parts.append(self.inline(element))
            elif name in ("p", "tbl"):  # blocks where a content control stands in a line
                parts.append(self.blocks(parent))
                break
        return "".join(parts)

    def run(self, run: Element) -> str:
        settings = child(run, "rPr")
        if _on(settings, "vanish") and not _on(settings, "specVanish"):
            return ""
        content = "".join(map(self.piece, run))
        place = attribute(child(settings, "vertAlign"), "val")
        if content.strip() and place in ("superscript", "subscript"):
            content = tagged("sup" if place == "superscript" else "sub", content)
        if _on(settings, "strike") or _on(settings, "dstrike"):
            content = tagged("s", content)
        return content

    def piece(self, element: Element) -> str:  # noqa: PLR0911 - a case a kind of piece
        name = local(element)
        if name in ("t", "delText"):
            return escape(element.text or "")
        if name in _PLAIN:
            return _PLAIN[name]
        if name == "sym":
            return escape(symbol(attribute(element, "font"), attribute(element, "char")))
        if name in ("footnoteReference", "endnoteReference"):
            return self.note(name.removesuffix("Reference"), attribute(element, "id"))
        if name in ("drawing", "pict", "object"):
            self.text_boxes(element)
            return pictured(element)
        if name == "AlternateContent":
            choice = child(element, "Choice")
            return "".join(map(self.piece, choice if choice is not None else element))
        if name == "fldChar":
            return _form_field(child(element, "ffData"))
        if name == "ruby":
            return f"<ruby>{self.inline(element)}</ruby>"
        return ""

    def note(self, kind: str, number: str) -> str:
        element = self.notes.pop((kind, number), None)
        if element is None:
            return ""
        label = number if kind == "footnote" else f"e{number}"
        boxes, pending = self.boxes, self.pending
        self.boxes, self.pending = [], []
        content = "<br>".join(filter(str.strip, map(self.inline, descendants(element, "p"))))
        self.boxes, self.pending = boxes, [*pending, *self.boxes, note(label, content), *self.pending]
        return f"[{escape(label)}]"

    def text_boxes(self, element: Element) -> None:
        for part in drawn(element, "txbxContent", "chart", "relIds"):
            boxes, self.boxes = self.boxes, []
            markup = self.blocks(part) if local(part) == "txbxContent" else "".join(self.related_text(part))
            self.boxes = [*boxes, markup, *self.boxes]

    def related_text(self, part: Element) -> Iterator[str]:
        """The words of a chart or a diagram."""
        target = self.numbering.related.get(attribute(part, "id") or attribute(part, "dm"))
        yield from words_of(self.package, target[1] if target else "")

    def table(self, element: Element) -> str:
        above: dict[int, tuple[int, int]] = {}  # column -> the row and place of the cell that goes on there
        spans: dict[tuple[int, int], int] = {}
        cells: list[list[tuple[str, int, str]]] = []
        for row in _through(element, "tr"):
            settings = child(row, "trPr")
            column = _number(attribute(child(settings, "gridBefore"), "val"), 0)
            line: list[tuple[str, int, str]] = [("", column, "td")] if column else []
            tag = "th" if _on(settings, "tblHeader") else "td"
            gone = child(settings, "del") is not None
            for cell in _through(row, "tc"):
                wanted = child(cell, "tcPr")
                span = _number(attribute(child(wanted, "gridSpan"), "val"), 1)
                merge = child(wanted, "vMerge")
                if merge is not None and attribute(merge, "val", "continue") == "continue" and column in above:
                    spans[above[column]] = spans.get(above[column], 1) + 1
                else:
                    above.pop(column, None)
                    if merge is not None:
                        above[column] = len(cells), len(line)
                    content = self.blocks(cell)
                    line.append((tagged("del", content) if gone else content, span, tag))
                column += span
            cells.append(line)
        rows = (
            "".join(
                f'<{tag} colspan="{span}" rowspan="{spans.get((number, place), 1)}">{content}</{tag}>'
                for place, (content, span, tag) in enumerate(line)
            )
            for number, line in enumerate(cells)
        )
        return f"<table {GRID}>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


def drawn(element: Element, *names: str) -> Iterator[Element]:
    """The outermost elements of these local names in a drawing; of alternatives the first."""
    stack = [element]
    while stack:
        each = stack.pop()
        if local(each) in names:
            yield each
            continue
        choice = child(each, "Choice") if local(each) == "AlternateContent" else None
        stack.extend(reversed(list(each if choice is None else [choice])))


def pictured(element: Element) -> str:
    """The alternative texts of a drawing, as HTML has them; none of one that is marked as decoration."""
    if any(attribute(mark, "val", "1") in ("1", "true") for mark in descendants(element, "decorative")):
        return ""
    parts = drawn(element, "docPr", "cNvPr", "shape", "txbxContent")
    texts = dict.fromkeys(attribute(part, "alt" if local(part) == "shape" else "descr") for part in parts)
    return "".join(f'<img alt="{escape(text)}">' for text in texts if text)


def formulas(element: Element) -> str:
    """The formulas of an element, as MathML."""
    if local(element) == "oMath":
        return f" {formula(element)} "
    return "".join(f" {formula(part)} " for part in children(element, "oMath"))


def words_of(package: Package, part: str) -> Iterator[str]:
    """The words of a chart (its titles, names and cached values) or of a diagram, a paragraph each."""
    root = package.xml(part) if part else None
    if root is None:
        return
    for series in descendants(root, "ser"):
        name = " ".join(value.text or "" for value in children(child(series, "tx", "strRef", "strCache", "pt"), "v"))
        kinds, values = (
            [value.text or "" for each in descendants(series, *names) for value in descendants(each, "v")]
            for names in (("cat", "xVal"), ("val", "yVal"))
        )
        pairs = "; ".join(f"{kind}: {value}" for kind, value in zip(kinds, values, strict=False)) or "; ".join(values)
        yield tagged("p", escape(f"{name}: {pairs}" if name else pairs))
    for paragraph in descendants(root, "p"):
        yield tagged("p", escape("".join(text.text or "" for text in descendants(paragraph, "t"))))


def _through(parent: Element, name: str) -> Iterator[Element]:
    """The rows or cells of a parent, also those inside content controls and tracked changes."""
    for element in parent:
        if local(element) == name:
            yield element
        elif local(element) in _THROUGH:
            yield from _through(element, name)


def _on(settings: Element | None, name: str) -> bool:
    """Whether a property is set: it is there and does not say no."""
    found = child(settings, name)
    return found is not None and attribute(found, "val", "1") not in ("0", "false", "off")


def _number(text: str, default: int) -> int:
    return min(int(text), 1000) if re.fullmatch(r"\d{1,6}", text) else default


def _form_field(data: Element | None) -> str:
    """What a field of a form shows that is not in the text beside it."""
    box, choice = child(data, "checkBox"), child(data, "ddList")
    if box is not None:
        ticked = _on(box, "checked") if child(box, "checked") is not None else _on(box, "default")
        return "[x] " if ticked else "[ ] "
    if choice is not None:
        chosen = _number(attribute(child(choice, "result"), "val"), 0)
        entries = [attribute(entry, "val") for entry in children(choice, "listEntry")]
        return escape(entries[chosen]) if chosen < len(entries) else ""
    return ""


def _read(raw: bytes, options: ReadOptions) -> Text:
    package = Package(raw, options.max_bytes)
    related = package.related("")
    main = next((part for kind, part in related.values() if kind == "officeDocument"), "word/document.xml")
    body = child(package.xml(main), "body")
    if body is None:
        if package.doubt:
            raise DocumentError(f"the DOCX is damaged, and no text of it could be saved: {package.doubt[1]}")
        raise DocumentError("the DOCX holds no document")
    links = package.related(main)
    parts = dict(links.values())
    notes = {
        (kind, attribute(each, "id")): each
        for kind in ("footnote", "endnote")
        for each in children(package.xml(parts.get(f"{kind}s", "")), kind)
        if attribute(each, "type", "normal") == "normal"
    }
    numbering = Numbering(package.xml(parts.get("styles", "")), package.xml(parts.get("numbering", "")), links)
    word = _Word(package, numbering, notes)
    markup = word.blocks(body)
    left = "".join(note(number, word.blocks(each)) for (_, number), each in word.notes.items())
    heads, feet = ("".join(_furniture(word, links, kind, options)) for kind in ("header", "footer"))
    text = extract(heads + markup + left + feet)
    # words of pictures alone are none of the document's: it may be a scan
    if not text.text.strip() or not re.sub("<[^>]*>", "", heads + markup + left + feet).strip():
        raise DocumentError("there is no text in it", kind="no_text")
    return Text(text.text, text.marks, package.doubt)


def _furniture(word: _Word, links: dict[str, tuple[str, str]], kind: str, options: ReadOptions) -> Iterator[str]:
    """Heads or feet of the pages, each once."""
    seen = set()
    for each, part in dict.fromkeys(links.values()):
        root = word.package.xml(part) if each == kind and options.running_heads != "drop" else None
        markup = word.blocks(root) if root is not None else ""
        if markup not in seen and re.search(r"[^\W\d]", re.sub("<[^>]*>", "", markup)):  # more than a page's number
            seen.add(markup)
            yield markup


FORMAT = FileFormat(
    name="docx",
    media_type="application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    extensions=(".docx", ".docm", ".dotx", ".dotm"),
    read=_read,
    version=2,
)
