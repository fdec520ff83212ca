"""Office documents, books and mails written by hand: only what a reader looks at."""

# ruff: noqa: E501 - a case is a line
from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

__all__ = ["docx", "epub", "odt", "packed", "pptx"]

_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def packed(parts: Mapping[str, str | bytes]) -> bytes:
    """A ZIP container of these parts, in order."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            method = zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED
            archive.writestr(name, content, method)
    return file.getvalue()


def _relations(targets: Mapping[str, str], kinds: str = _RELATIONS) -> str:
    """Relations by id: "kind part"."""
    each = "".join(
        f'<Relationship Id="{name}" Type="{kinds}/{target.split()[0]}" Target="{target.split()[1]}"/>'
        for name, target in targets.items()
    )
    return f'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{each}</Relationships>'


def docx(body: str, *, strict: bool = False, **parts: str) -> bytes:
    """A Word document of a body; `parts`: footnotes, numbering, styles, header1 … by their names, without their root."""
    word = (
        "http://purl.oclc.org/ooxml/wordprocessingml/main"
        if strict
        else "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    )
    kinds = "http://purl.oclc.org/ooxml/officeDocument/relationships" if strict else _RELATIONS
    spaces = (
        f'xmlns:w="{word}" xmlns:r="{kinds}" xmlns:m="urn:math" xmlns:mc="urn:mc" xmlns:wps="urn:wps" xmlns:v="urn:v"'
    )
    roots = {"footnotes": "footnotes", "numbering": "numbering", "styles": "styles", "header1": "hdr", "footer1": "ftr"}
    files = {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": _relations({"r1": "officeDocument word/document.xml"}, kinds),
        "word/document.xml": f"<w:document {spaces}><w:body>{body}</w:body></w:document>",
        "word/_rels/document.xml.rels": _relations({name: f"{name.rstrip('1')} {name}.xml" for name in parts}, kinds),
    }
    files |= {
        f"word/{name}.xml": f"<w:{roots[name]} {spaces}>{content}</w:{roots[name]}>" for name, content in parts.items()
    }
    return packed(files)


def pptx(*slides: str, notes: str = "") -> bytes:
    """Slides of these shapes; `notes` of the first one."""
    spaces = f'xmlns:p="urn:p" xmlns:a="urn:a" xmlns:r="{_RELATIONS}"'
    ids = "".join(f'<p:sldId id="{256 + i}" r:id="s{i}"/>' for i in range(len(slides)))
    files = {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": _relations({"r1": "officeDocument ppt/presentation.xml"}),
        "ppt/presentation.xml": f"<p:presentation {spaces}><p:sldIdLst>{ids}</p:sldIdLst></p:presentation>",
        "ppt/_rels/presentation.xml.rels": _relations(
            {f"s{i}": f"slide slides/slide{len(slides) - i}.xml" for i in range(len(slides))}
        ),
    }
    for i, slide in enumerate(slides):
        files[f"ppt/slides/slide{len(slides) - i}.xml"] = (
            f"<p:sld {spaces}><p:cSld><p:spTree>{slide}</p:spTree></p:cSld></p:sld>"
        )
    if notes:
        files[f"ppt/slides/_rels/slide{len(slides)}.xml.rels"] = _relations(
            {"n": "notesSlide ../notesSlides/notes1.xml"}
        )
        files["ppt/notesSlides/notes1.xml"] = (
            f"<p:notes {spaces}><p:cSld><p:spTree>{notes}</p:spTree></p:cSld></p:notes>"
        )
    return packed(files)


def odt(body: str, styles: str = "", kind: str = "text", master: str = "") -> bytes:
    """An OpenDocument file of a body and its automatic styles."""
    names = "office text table style fo draw xlink presentation dc"
    spaces = " ".join(f'xmlns:{name}="urn:{name}"' for name in names.split())
    return packed(
        {
            "mimetype": f"application/vnd.oasis.opendocument.{kind}",
            "content.xml": f"<office:document-content {spaces}><office:automatic-styles>{styles}</office:automatic-styles>"
            f"<office:body><office:{kind}>{body}</office:{kind}></office:body></office:document-content>",
            "styles.xml": f"<office:document-styles {spaces}><office:master-styles>{master}</office:master-styles></office:document-styles>",
        }
    )


def epub(*chapters: str, spine: str | None = None) -> bytes:
    """A book whose chapters are these bodies; `spine`: their numbers in reading order."""
    order = [int(number) for number in (spine or " ".join(map(str, range(len(chapters))))).split()]
    items = "".join(
        f'<item id="c{i}" href="text/c%20{i}.xhtml" media-type="application/xhtml+xml"/>'
        for i in range(len(chapters) + 1)
    )
    refs = "".join(f'<itemref idref="c{i}"/>' for i in order)
    page = '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title/></head><body>{}</body></html>'
    files = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container><rootfiles><rootfile full-path="OPS/book.opf"/></rootfiles></container>',
        "OPS/book.opf": f"<package><manifest>{items}</manifest><spine>{refs}</spine></package>",
    }
    return packed(files | {f"OPS/text/c {i}.xhtml": page.format(chapter) for i, chapter in enumerate(chapters)})
