"""PPTX: slides written as HTML for the HTML reader, a page mark each, in a child process.

A slide's shapes come in their own order, titles as headings, with tables, charts, diagrams and the speaker's notes.
Read by local names from the container itself, as DOCX is."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from xml.etree.ElementTree import Element

from docreduce.readers.base import FileFormat, ReadOptions, Text
from docreduce.readers.docx import drawn, formulas, words_of
from docreduce.readers.html import GRID, PAGE, extract
from docreduce.readers.lists import NUMBERS
from docreduce.readers.package import Package, attribute, child, children, descendants, local, tagged
from docreduce.values.errors import DocumentError

__all__ = ["FORMAT"]

_TITLES = ("title", "ctrTitle")
_FURNITURE = ("sldNum", "dt", "ftr", "hdr")
_MAX_DEPTH = 40
_FORMS = {"alphaLc": "a", "alphaUc": "A", "romanLc": "i", "romanUc": "I", "arabic": "1"}


def _read(raw: bytes, options: ReadOptions) -> Text:
    package = Package(raw, options.max_bytes)
    main = next(
        (part for kind, part in package.related("").values() if kind == "officeDocument"), "ppt/presentation.xml"
    )
    root, links = package.xml(main), package.related(main)
    listed = [attribute(slide, "id") for slide in children(child(root, "sldIdLst"), "sldId")]
    relations = [_relation(slide) for slide in children(child(root, "sldIdLst"), "sldId")]
    names = [links[each][1] for each in relations if each in links]
    if len(names) < len(listed) or root is None:  # what can be saved of a cut file
        names = sorted(
            (name for name in package.names if name.startswith("ppt/slides/slide")), key=lambda name: (len(name), name)
        )
    pages = []
    for number, name in enumerate(names, 1):
        markup = "".join(_slide(package, name, options))
        pages.append(f'<{PAGE} label="{number}"></{PAGE}><div>{markup}</div>')
    text = extract("<hr>".join(pages))
    if not text.text.strip():
        problem = package.doubt[1] if package.doubt else f"no text on its {len(names)} slides"
        raise DocumentError(problem, kind="unreadable" if package.doubt else "no_text")
    return Text(text.text, text.marks, package.doubt)


def _relation(slide: Element) -> str:
    """The relation's id, not the slide's own, which goes by the same local name."""
    return next((value for key, value in slide.attrib.items() if key.endswith("}id")), "")


def _slide(package: Package, name: str, options: ReadOptions) -> Iterator[str]:
    root, links = package.xml(name), package.related(name)
    if root is None:
        return
    yield from _shapes(package, child(root, "cSld", "spTree"), links, options)
    notes = next((part for kind, part in links.values() if kind == "notesSlide"), "")
    page = package.xml(notes) if notes else None
    if page is not None:
        for shape in descendants(page, "sp"):
            if _placeholder(shape) == "body":
                yield "".join(_paragraphs(child(shape, "txBody"), is_list=False))


def _shapes(
    package: Package, parent: Element | None, links: dict[str, tuple[str, str]], options: ReadOptions, depth: int = 0
) -> Iterator[str]:
    for shape in children(parent):
        name = local(shape)
        if name == "AlternateContent":
            choice = child(shape, "Choice")
            yield from _shapes(
                package, choice if choice is not None else child(shape, "Fallback"), links, options, depth
            )
        elif name == "grpSp" and depth < _MAX_DEPTH:
            yield from _shapes(package, shape, links, options, depth + 1)
        elif name in ("sp", "cxnSp"):
            kind = _placeholder(shape)
            if kind in _FURNITURE and options.running_heads != "keep":
                continue
            body = child(shape, "txBody")
            if kind in _TITLES:
                yield tagged("h1", "<br>".join(map(_line, children(body, "p"))).strip("<br>"))
            else:
                yield "".join(_paragraphs(body, is_list=kind in ("body", "obj", "") and _is_placeholder(shape)))
        elif name == "graphicFrame":
            for part in drawn(shape, "tbl", "chart", "relIds"):
                if local(part) == "tbl":
                    yield _table(part)
                else:
                    target = links.get(attribute(part, "dm") or _relation(part))
                    yield "".join(words_of(package, target[1] if target else ""))


def _is_placeholder(shape: Element) -> bool:
    return child(shape, "nvSpPr", "nvPr", "ph") is not None


def _placeholder(shape: Element) -> str:
    return attribute(child(shape, "nvSpPr", "nvPr", "ph"), "type")


def _paragraphs(body: Element | None, *, is_list: bool) -> Iterator[str]:
    """A text body's paragraphs; those with a bullet or a number (in a placeholder: all but those without) as such."""
    counts: dict[int, int] = {}
    for paragraph in children(body, "p"):
        settings = child(paragraph, "pPr")
        line = _line(paragraph)
        depth = int(attribute(settings, "lvl", "0") or 0) if attribute(settings, "lvl", "0").isdigit() else 0
        numbered = child(settings, "buAutoNum")
        bullet = child(settings, "buChar") is not None or (is_list and child(settings, "buNone") is None)
        if not line.strip():
            continue
        counts = {level: count for level, count in counts.items() if level <= depth}
        if numbered is not None:
            form = attribute(numbered, "type", "arabicPeriod")
            start = attribute(numbered, "startAt", "1")
            counts[depth] = counts.get(depth, (int(start) if start.isdigit() else 1) - 1) + 1
            number = next(
                (NUMBERS[kind](counts[depth]) for name, kind in _FORMS.items() if form.startswith(name)),
                str(counts[depth]),
            )
            yield f"<div>{'&nbsp;&nbsp;' * depth}{number}. {line}</div>"
        elif bullet and len(list(children(body, "p"))) > 1:
            yield f"<div>{'&nbsp;&nbsp;' * depth}- {line}</div>"
        else:
            yield f"<p>{line}</p>"


def _line(paragraph: Element) -> str:
    parts = []
    for piece in paragraph:
        name = local(piece)
        if name in ("r", "fld"):
            content = escape(child_text(piece))
            settings = child(piece, "rPr")
            raised = attribute(settings, "baseline", "0")
            if raised not in ("0", "") and content.strip():
                content = tagged("sub" if raised.startswith("-") else "sup", content)
            parts.append(tagged("s", content) if attribute(settings, "strike", "noStrike") != "noStrike" else content)
        elif name == "br":
            parts.append("<br>")
        elif name in ("m", "AlternateContent", "oMath", "oMathPara"):
            parts.extend(map(formulas, drawn(piece, "oMath")))
    return "".join(parts)


def child_text(run: Element) -> str:
    """The text of a run."""
    text = child(run, "t")
    return (text.text if text is not None else "") or ""


def _table(table: Element) -> str:
    rows = []
    for row in children(table, "tr"):
        cells = []
        for cell in children(row, "tc"):
            if attribute(cell, "hMerge") in ("1", "true") or attribute(cell, "vMerge") in ("1", "true"):
                continue
            content = "".join(f"<p>{_line(paragraph)}</p>" for paragraph in children(child(cell, "txBody"), "p"))
            spans = "".join(
                f' {name.lower()}="{attribute(cell, short)}"'
                for name, short in (("colspan", "gridSpan"), ("rowspan", "rowSpan"))
                if attribute(cell, short).isdigit()
            )
            cells.append(f"<td{spans}>{content}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table {GRID}>{''.join(rows)}</table>"


FORMAT = FileFormat(
    name="pptx",
    media_type="application/vnd.openxmlformats-officedocument.presentationml.presentation",
    extensions=(".pptx", ".pptm", ".potx", ".ppsx", ".ppsm"),
    read=_read,
)
