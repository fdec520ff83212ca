"""ODT and ODP: OpenDocument's XML written as HTML for the HTML reader, in a child process.

OpenDocument 1.3 part 3; read by local names from the container itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html import escape
from xml.etree.ElementTree import Element

from docreduce.readers.base import FileFormat, ReadOptions, Text
from docreduce.readers.html import GRID, PAGE, extract
from docreduce.readers.odt_names import THROUGH
from docreduce.readers.package import Package, attribute, child, children, descendants, local, tagged
from docreduce.readers.wordml import note
from docreduce.values.errors import DocumentError

__all__ = ["FORMAT", "SLIDES"]

_MAX_DEPTH = 60
_MAX_REPEAT = 1000


@dataclass(frozen=True, slots=True)
class _Style:
    place: str
    struck: bool
    hidden: bool
    list_name: str
    parent: str
    outline: int


@dataclass(slots=True)
class _Open:
    """A document in the making; `pending` follows the paragraph it stands in."""

    package: Package
    styles: dict[str, _Style]
    lists: dict[str, dict[int, Element]]
    deleted: dict[str, Element] = field(default_factory=dict)
    pending: list[str] = field(default_factory=list)
    depth: int = 0

    def blocks(self, parent: Element, style: str = "", level: int = 0) -> str:
        if self.depth > _MAX_DEPTH:
            return escape("".join(parent.itertext()))
        self.depth += 1
        parts = [self.block(element, style, level) for element in parent]
        self.depth -= 1
        return "".join(parts)

    def block(self, element: Element, style: str, level: int) -> str:  # noqa: PLR0911 - a case a kind of block
        name = local(element)
        if name in ("p", "h"):
            content = self.inline(element)
            after, self.pending = "".join(self.pending), []
            if not content.strip():
                return after
            outline = attribute(element, "outline-level") or str(self.outline(attribute(element, "style-name")) or "")
            heading = name == "h" or outline
            tag = f"h{min(int(outline), 6) if outline.isdigit() and int(outline) else 1}" if heading else "p"
            return tagged(tag, content) + after
        if name == "list":
            return self.list(element, style, level)
        if name == "table":
            return self.table(element)
        if name == "tracked-changes":
            self.deleted = {
                attribute(region, "id"): deletion
                for region in children(element, "changed-region")
                if (deletion := child(region, "deletion")) is not None
            }
            return ""
        if name == "change" and attribute(element, "change-id") in self.deleted:
            return tagged("del", self.blocks(self.deleted.pop(attribute(element, "change-id"))))
        if name in ("frame", "custom-shape", "rect", "ellipse", "g", "line"):
            return self.shape(element)
        if name in THROUGH:
            return self.blocks(element, style, level)
        return ""

    def outline(self, style: str) -> int:
        """The heading level that a paragraph has by its style alone."""
        for _ in range(_MAX_DEPTH):
            if style not in self.styles or self.styles[style].outline:
                break
            style = self.styles[style].parent
        return self.styles[style].outline if style in self.styles else 0

    def inline(self, parent: Element) -> str:
        parts = [escape(parent.text or "")]
        for element in parent:
            parts.append(self.piece(element))
            parts.append(escape(element.tail or ""))
        return "".join(parts)

    def piece(self, element: Element) -> str:  # noqa: PLR0911, C901 - a case a kind of piece
        name = local(element)
        if name == "s":
            return " "
        if name == "tab":
            return " "
        if name == "line-break":
            return "<br>"
        if name == "span":
            return self.signs(attribute(element, "style-name"), self.inline(element))
        if name == "note":
            label = "".join(child_text(element, "note-citation"))
            body = child(element, "note-body")
            content = (
                "<br>".join(self.inline(paragraph) for paragraph in children(body, "p")) if body is not None else ""
            )
            self.pending.append(note(label, content))
            return f"[{escape(label)}]"
        if name == "change" and attribute(element, "change-id") in self.deleted:
            gone = self.deleted.pop(attribute(element, "change-id"))
            return tagged("del", "<br>".join(self.inline(paragraph) for paragraph in children(gone, "p", "h")))
        if name in ("frame", "custom-shape", "rect", "ellipse", "g", "line"):
            formula = next((self.formula(each) for each in children(element, "object")), "")
            if formula:
                return formula
            self.pending.append(self.shape(element))
            return ""
        if name == "ruby-text":
            return tagged("rt", self.inline(element))
        if name == "ruby":
            return tagged("ruby", self.inline(element))
        return self.inline(element) if name in THROUGH else ""

    def signs(self, style: str, content: str) -> str:
        for _ in range(_MAX_DEPTH):
            known = self.styles.get(style)
            if known is None or not content.strip():
                break
            if known.hidden:
                return ""
            content = tagged(known.place, content) if known.place else content
            content = tagged("s", content) if known.struck else content
            style = known.parent
        return content

    def shape(self, element: Element) -> str:
        self.depth += 1
        pending, self.pending = self.pending, []
        formula = next((self.formula(each) for each in children(element, "object")), "")
        markup = formula or ("" if self.depth > _MAX_DEPTH else self.blocks(element))
        kind = attribute(element, "class")
        if kind == "title":
            markup = markup.replace("<p>", "<h1>").replace("</p>", "</h1>")
        markup += "".join(self.pending) + ("" if formula else _pictured(element))
        self.pending = pending
        self.depth -= 1
        return markup

    def formula(self, element: Element) -> str:
        """An embedded formula, which is MathML in a part of its own or in place."""
        inside = next(descendants(element, "math"), None)
        if inside is None:
            href = attribute(element, "href").removeprefix("./").rstrip("/")
            root = self.package.xml(f"{href}/content.xml") if href else None
            inside = root if root is not None and local(root) == "math" else None
        return "" if inside is None else f" {_plain(inside)} "

    def list(self, element: Element, style: str, level: int) -> str:
        style = attribute(element, "style-name") or style
        form = self.lists.get(style, {}).get(level + 1)
        numbered = form is not None and local(form) == "list-level-style-number" and attribute(form, "num-format")
        start = attribute(form, "start-value", "1")
        items = []
        for item in children(element, "list-header", "list-item"):
            value = attribute(item, "start-value")
            given = f' value="{value}"' if value.isdigit() else ""
            content = self.blocks(item, style, level + 1)
            items.append(f"<li{given}>{_unwrapped(content)}</li>" if local(item) == "list-item" else content)
        return (
            f'<ol type="{escape(str(numbered))}" start="{escape(start)}">{"".join(items)}</ol>'
            if numbered
            else tagged("ul", "".join(items))
        )

    def table(self, element: Element) -> str:
        rows: list[str] = []
        for row, tag in _rows(element):
            cells = []
            for cell in children(row, "table-cell", "covered-table-cell"):
                repeat = min(_integer(attribute(cell, "number-columns-repeated"), 1), _MAX_REPEAT)
                if local(cell) == "covered-table-cell":
                    continue
                wide, tall = (_integer(attribute(cell, f"number-{each}-spanned"), 1) for each in ("columns", "rows"))
                content = self.blocks(cell)
                cells.append(f'<{tag} colspan="{wide}" rowspan="{tall}">{content}</{tag}>' * repeat)
            rows.append(f"<tr>{''.join(cells)}</tr>")
        return f"<table {GRID}>{''.join(rows)}</table>"


def _rows(table: Element, tag: str = "td") -> Iterator[tuple[Element, str]]:
    for element in table:
        name = local(element)
        if name == "table-row":
            yield element, tag
        elif name in ("table-header-rows", "table-rows", "table-row-group"):
            yield from _rows(element, "th" if name == "table-header-rows" else tag)


def _plain(element: Element) -> str:
    """MathML without prefixes, as the HTML reader wants it."""
    inner = escape(element.text or "") + "".join(_plain(each) + escape(each.tail or "") for each in element)
    given = f' encoding="{escape(attribute(element, "encoding"))}"' if local(element) == "annotation" else ""
    return f"<{local(element)}{given}>{inner}</{local(element)}>"


def _unwrapped(content: str) -> str:
    """An item's content, whose first paragraph stands behind its label."""
    return content.replace("<p>", "<div>").replace("</p>", "</div>")


def child_text(element: Element, name: str) -> Iterator[str]:
    """The text of a child."""
    found = child(element, name)
    if found is not None:
        yield from found.itertext()


def _integer(text: str, default: int) -> int:
    return int(text) if text.isdigit() and len(text) < 7 else default


def _styles(*roots: Element | None) -> tuple[dict[str, _Style], dict[str, dict[int, Element]]]:
    styles: dict[str, _Style] = {}
    lists: dict[str, dict[int, Element]] = {}
    for root in roots:
        for style in descendants(root, "style") if root is not None else ():
            letters = child(style, "text-properties")
            position = attribute(letters, "text-position")
            place = (
                ""
                if not position or position.startswith("0%")
                else "sub"
                if position.startswith(("sub", "-"))
                else "sup"
            )
            styles[attribute(style, "name")] = _Style(
                place,
                attribute(letters, "text-line-through-style", "none") != "none"
                or attribute(letters, "text-line-through-type", "none") != "none",
                attribute(letters, "display") == "none",
                attribute(style, "list-style-name"),
                attribute(style, "parent-style-name"),
                _integer(attribute(style, "default-outline-level"), 0),
            )
        for style in descendants(root, "list-style") if root is not None else ():
            lists[attribute(style, "name")] = {_integer(attribute(level, "level"), 1): level for level in style}
    return styles, lists


def _opened(raw: bytes, options: ReadOptions) -> tuple[_Open, Element, list[Element]]:
    package = Package(raw, options.max_bytes)
    manifest = package.xml("META-INF/manifest.xml")
    if manifest is not None and next(descendants(manifest, "encryption-data"), None) is not None:
        raise DocumentError("the document is encrypted", kind="encrypted", hint="Save it without a password.")
    content, shared = package.xml("content.xml"), package.xml("styles.xml")
    body = child(content, "body")
    if content is None or body is None or not len(body):
        raise DocumentError(package.doubt[1] if package.doubt else "the OpenDocument file holds no content")
    open_document = _Open(package, *_styles(shared, content))
    pages = list(descendants(shared, "master-page")) if shared is not None else []
    return open_document, body[0], pages


def _read(raw: bytes, options: ReadOptions) -> Text:
    document, body, pages = _opened(raw, options)
    markup = document.blocks(body)
    furniture = ("header", "footer") if options.running_heads != "drop" else ()
    around = {
        name: "".join(dict.fromkeys(document.blocks(each) for page in pages for each in children(page, name)))
        for name in furniture
    }
    return _checked(around.get("header", "") + markup + around.get("footer", ""), document)


def _read_slides(raw: bytes, options: ReadOptions) -> Text:
    document, body, _ = _opened(raw, options)
    slides = [
        f'<{PAGE} label="{number}"></{PAGE}><div>{"".join(map(document.shape, page))}</div>'
        for number, page in enumerate(children(body, "page"), 1)
    ]
    return _checked("<hr>".join(slides), document)


def _checked(markup: str, document: _Open) -> Text:
    text = extract(markup)
    if not text.text.strip():
        raise DocumentError("there is no text in it", kind="no_text")
    return Text(text.text, text.marks, document.package.doubt)


def _pictured(frame: Element) -> str:
    """The alternative text of a frame's picture, as HTML has it."""
    if child(frame, "image") is None or attribute(frame, "decorative") == "true":
        return ""
    texts = ("".join(each.itertext()) for name in ("desc", "title") for each in children(frame, name))
    text = next(filter(str.strip, texts), "")
    return f'<p><img alt="{escape(text)}"></p>' if text else ""


def _format(name: str, extensions: tuple[str, ...], read: Callable[[bytes, ReadOptions], Text]) -> FileFormat:
    kind = {"odt": "text", "odp": "presentation"}[name]
    return FileFormat(
        name=name, media_type=f"application/vnd.oasis.opendocument.{kind}", extensions=extensions, read=read, version=2
    )


FORMAT = _format("odt", (".odt", ".ott"), _read)
SLIDES = _format("odp", (".odp", ".otp"), _read_slides)
