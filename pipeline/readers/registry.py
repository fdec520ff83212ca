"""The formats there are, and which of them a file is in: by content where it is telling, else by name."""

from __future__ import annotations

from pathlib import PurePath

from docreduce.readers import html, markdown, parquet, pdf, tables, text
from docreduce.readers.base import Format

__all__ = ["FORMATS", "format_of", "is_known"]

FORMATS: tuple[Format, ...] = (
    text.FORMAT,
    markdown.FORMAT,
    html.FORMAT,
    pdf.FORMAT,
    tables.CSV,
    tables.JSONL,
    parquet.FORMAT,
)

_BY_EXTENSION = {extension: known for known in FORMATS for extension in known.extensions}


def extension_of(path: str) -> str:
    """The file name's last extension in lower case, a `.gz` after it taken off."""
    name = PurePath(path.lower())
    return (name.with_suffix("") if name.suffix == ".gz" else name).suffix


def is_known(path: str) -> bool:
    """Whether a file of this name in a folder is taken for a document."""
    return extension_of(path) in _BY_EXTENSION


def format_of(path: str, head: bytes) -> Format:
    """The format of a file whose content, unpacked, begins with `head`. What is unknown is tried as text."""
    if head.startswith(b"%PDF-"):
        return pdf.FORMAT
    if head.startswith((b"PAR1", b"PARE")):
        return parquet.FORMAT
    known = _BY_EXTENSION.get(extension_of(path))
    if known:
        return known
    if head[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html")):
        return html.FORMAT
    return text.FORMAT
