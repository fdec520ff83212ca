"""The formats there are, and which of them a file is in: by content where it is telling, else by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import PurePath

from docreduce.readers import (
    archive,
    arrow,
    avro,
    delimited,
    docx,
    epub,
    html,
    json,
    jsonlines,
    legacy,
    mail,
    markdown,
    odt,
    parquet,
    pdf,
    picture,
    pptx,
    rtf,
    sheets,
    text,
    xhtml,
    xml,
)
from docreduce.readers.base import Format

__all__ = ["FORMATS", "format_of", "is_known"]

FORMATS: tuple[Format, ...] = (
    text.FORMAT,
    markdown.FORMAT,
    html.FORMAT,
    xhtml.FORMAT,
    xml.FORMAT,
    json.FORMAT,
    pdf.FORMAT,
    docx.FORMAT,
    pptx.FORMAT,
    odt.FORMAT,
    odt.SLIDES,
    epub.FORMAT,
    rtf.FORMAT,
    mail.FORMAT,
    legacy.FORMAT,
    picture.FORMAT,
    archive.ZIP,
    archive.TAR,
    delimited.CSV,
    jsonlines.JSONL,
    parquet.FORMAT,
    arrow.FORMAT,
    avro.FORMAT,
    sheets.XLSX,
    sheets.ODS,
)

_BY_EXTENSION = {extension: known for known in FORMATS for extension in known.extensions}
_PACKED = (".gz", ".zst", ".bz2", ".xz")
_SHORT = {".tgz": ".tar", ".tbz2": ".tar", ".tbz": ".tar", ".txz": ".tar", ".tzst": ".tar"}

# What a file begins with, where that says more than its name.
_MAGIC: tuple[tuple[bytes, Format], ...] = (
    (b"PAR1", parquet.FORMAT),
    (b"PARE", parquet.FORMAT),
    (arrow.MAGIC, arrow.FORMAT),
    (avro.MAGIC, avro.FORMAT),
    (b"{\\rtf", rtf.FORMAT),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", legacy.FORMAT),
    (b"\x89PNG\r\n\x1a\n", picture.FORMAT),
    (b"\xff\xd8\xff", picture.FORMAT),
    (b"II*\0", picture.FORMAT),
    (b"MM\0*", picture.FORMAT),
)
# What lies in a ZIP container, by a member that only it has.
_CONTAINERS: tuple[tuple[re.Pattern[str], Format], ...] = (
    (re.compile(r"word/document\d*\.xml"), docx.FORMAT),
    (re.compile(r"ppt/presentation\.xml"), pptx.FORMAT),
    (re.compile(r"META-INF/container\.xml"), epub.FORMAT),
    (re.compile(r"xl/workbook\.(xml|bin)"), sheets.XLSX),
)
_DECLARED: dict[bytes, Format] = {
    b"application/epub+zip": epub.FORMAT,
    b"application/vnd.oasis.opendocument.text": odt.FORMAT,
    b"application/vnd.oasis.opendocument.spreadsheet": sheets.ODS,
    b"application/vnd.oasis.opendocument.presentation": odt.SLIDES,
}
_XML = re.compile(
    rb"\s*(?:<\?xml[^>]*\?>|<!--.*?-->|<!DOCTYPE[^>\[]*(?:\[[^\]]*\]\s*)?>|\s)*<(?:\w+:)?([\w.-]+)", re.DOTALL
)


def extension_of(path: str) -> str:
    """The file name's last extension in lower case, that of a packed file (`.gz`, `.zst` …) taken off."""
    name = PurePath(path.lower())
    suffix = (name.with_suffix("") if name.suffix in _PACKED else name).suffix
    return _SHORT.get(suffix, suffix)


def is_known(path: str) -> bool:
    """Whether a file of this name in a folder is taken for a document."""
    return extension_of(path) in _BY_EXTENSION


def format_of(path: str, head: bytes, members: Callable[[], Sequence[str]]) -> Format:
    """The format of a file whose content, unpacked, begins with `head`; `members` lists what a ZIP container holds.
    What is unknown is tried as text."""
    named = _BY_EXTENSION.get(extension_of(path))
    for magic, known in _MAGIC:
        if head.startswith(magic):
            return known
    if head.startswith(b"PK\x03\x04"):
        return _container(named, head, members)
    if head[257:262] == b"ustar":
        return archive.TAR
    if b"%PDF-" in head[:1024]:  # junk before it is common, and viewers take it; an archive may begin with one
        return pdf.FORMAT
    if named:
        return xhtml.FORMAT if named is html.FORMAT and xhtml.is_xhtml(head) else named
    return _by_text(head)


def _container(named: Format | None, head: bytes, members: Callable[[], Sequence[str]]) -> Format:
    declared = re.match(
        rb"PK\x03\x04.{26}mimetype(?:.{0,64}?)(application/[\w.+-]+?)(?:-template)?PK", head[:300], re.DOTALL
    )
    if declared and declared[1] in _DECLARED:
        return _DECLARED[declared[1]]
    names = members()
    for pattern, known in _CONTAINERS:
        if any(map(pattern.fullmatch, names)):
            return known
    if "content.xml" in names:
        return named if named in (odt.SLIDES, sheets.ODS) else odt.FORMAT
    if named is not None and named is not archive.ZIP and (not names or "[Content_Types].xml" in names or declared):
        return named  # a container whose own reader says what it lacks
    return archive.ZIP


def _by_text(head: bytes) -> Format:
    start = head[:4096].removeprefix(b"\xef\xbb\xbf")
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return xhtml.FORMAT if xhtml.is_xhtml(head) else html.FORMAT
    if start.lstrip().startswith(b"<?xml"):
        root = _XML.match(start)
        return xhtml.FORMAT if root and root[1].lower() == b"html" else xml.FORMAT
    return mail.FORMAT if mail.is_mail(head) else text.FORMAT
