"""EPUB: the chapters of a book in the order of its spine, each read as XHTML. EPUB 3.3, section 5."""

from __future__ import annotations

import re
from dataclasses import replace

from docreduce.readers.base import Doubt, FileFormat, ReadOptions, Text
from docreduce.readers.html import extract
from docreduce.readers.package import Package, attribute, child, children, descendants, resolved
from docreduce.readers.xhtml import expanded
from docreduce.readers.xml import decode_xml
from docreduce.values import Mark
from docreduce.values.errors import DocumentError

__all__ = ["FORMAT"]

_CHAPTERS = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml", "text/x-oeb1-document")
_FONTS_ONLY = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")


def _read(raw: bytes, options: ReadOptions) -> Text:
    package = Package(raw, options.max_bytes)
    _refuse_protected(package)
    chapters = _spine(package)
    parts: list[str] = []
    marks: list[Mark] = []
    length, missing = 0, 0
    for name in chapters:
        page = package.read(name)
        if not page:
            missing += 1
            continue
        text = extract(expanded(decode_xml(page, None)[0]))
        if not text.text.strip():
            continue
        length += 2 if parts else 0
        shifted = (replace(mark, start=mark.start + length, end=mark.end and mark.end + length) for mark in text.marks)
        marks.extend(shifted)
        parts.append(text.text)
        length += len(text.text)
    if not parts:
        raise DocumentError(
            package.doubt[1] if package.doubt else "no chapter of the book holds text",
            kind="unreadable" if package.doubt else "no_text",
        )
    lost: Doubt | None = (
        ("truncated_input", f"{missing} of {len(chapters)} chapters are not in the file") if missing else None
    )
    return Text("\n\n".join(parts), tuple(marks), package.doubt or lost)


def _refuse_protected(package: Package) -> None:
    protection = package.xml("META-INF/encryption.xml")
    if protection is None:
        return
    methods = {attribute(method, "Algorithm") for method in descendants(protection, "EncryptionMethod")}
    if methods - set(_FONTS_ONLY):
        raise DocumentError(
            "the book is encrypted (DRM)", kind="encrypted", hint="Only a copy without protection can be read."
        )


def _spine(package: Package) -> list[str]:
    """The chapters' parts in reading order; of a book without a package document all pages by name."""
    container = package.xml("META-INF/container.xml")
    root = next(descendants(container, "rootfile"), None) if container is not None else None
    name = attribute(root, "full-path")
    book = package.xml(name)
    items = {
        attribute(item, "id"): (resolved(name, attribute(item, "href")), attribute(item, "media-type"))
        for item in children(child(book, "manifest"), "item")
    }
    listed = [
        items[each] for ref in children(child(book, "spine"), "itemref") if (each := attribute(ref, "idref")) in items
    ]
    chapters = [part for part, kind in listed if kind in _CHAPTERS or re.search(r"\.x?html?$", part)]
    return chapters or sorted(part for part in package.names if re.search(r"\.x?html?$", part.lower()))


FORMAT = FileFormat(name="epub", media_type="application/epub+zip", extensions=(".epub",), read=_read, version=2)
