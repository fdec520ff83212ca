"""Office documents and books are XML files in a ZIP container: their parts, within bounds, also of a broken one.

A part's elements are known by their local names, so that strict and transitional Office XML are one."""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from html import escape
from urllib.parse import unquote
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

from docreduce.readers.base import Doubt
from docreduce.values.errors import DocumentError

__all__ = ["Package", "attribute", "children", "descendants", "local", "tagged"]

_LOCAL_HEADER = re.compile(rb"PK\x03\x04")


def local(element: Element) -> str:
    """The element's name without its namespace."""
    return str(element.tag).rpartition("}")[2]


def attribute(element: Element | None, name: str, default: str = "") -> str:
    """The attribute of that local name."""
    if element is None:
        return default
    return next((value for key, value in element.attrib.items() if key.rpartition("}")[2] == name), default)


def children(element: Element | None, *names: str) -> Iterator[Element]:
    """The child elements of these local names, or all."""
    if element is not None:
        yield from (child for child in element if not names or local(child) in names)


def child(element: Element | None, *path: str) -> Element | None:
    """The first element down a path of local names."""
    for name in path:
        element = next(children(element, name), None)
    return element


def descendants(element: Element, *names: str) -> Iterator[Element]:
    """The elements of these local names anywhere below, in document order."""
    yield from (inner for inner in element.iter() if local(inner) in names)


def tagged(tag: str, content: str, **given: object) -> str:
    """Markup for the HTML reader; empty for an empty content."""
    attributes = "".join(f' {name}="{escape(str(value))}"' for name, value in given.items())
    return f"<{tag}{attributes}>{content}</{tag}>" if content else ""


class Package:
    """The parts of a container, all of them together at most `max_bytes` unpacked. `doubt` says what is missing."""

    def __init__(self, raw: bytes, max_bytes: int) -> None:
        self._left = max_bytes
        self.doubt: Doubt | None = None
        self._saved: Mapping[str, bytes] = {}
        self._zip: zipfile.ZipFile | None = None
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(raw))
            self.names = tuple(self._zip.namelist())
        except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
            self._saved = _salvaged(raw, max_bytes)
            self.names = tuple(self._saved)
            self.doubt = "truncated_input", f"the file is cut or damaged ({error}); what could be saved was read"

    def read(self, name: str) -> bytes:
        """A part's bytes; empty where there is none. Raises DocumentError too_large, encrypted, unreadable."""
        if self._zip is None:
            return self._saved.get(name, b"")
        if name not in self.names:
            return b""
        content = b""
        try:
            with self._zip.open(name) as part:
                content = part.read(self._left + 1)
        except RuntimeError as error:  # zipfile's word for a password it was not given
            raise DocumentError(
                "the file is encrypted", kind="encrypted", hint="Save it without a password."
            ) from error
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
            self.doubt = "truncated_input", f"{name} in it is damaged ({error}); what could be saved was read"
            return self._start_of(name)
        self._left -= len(content)
        if self._left < 0:
            raise DocumentError("more unpacked than input.max_document_mb allows", kind="too_large")
        return content

    def _start_of(self, name: str) -> bytes:
        """As much of a damaged part as comes out."""
        assert self._zip is not None
        content = bytearray()
        try:
            with self._zip.open(name) as part:
                part._expected_crc = None  # type: ignore[attr-defined]
                while piece := part.read(min(4096, self._left + 1)):
                    content += piece
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError):
            pass  # the damage itself, which is in the doubt
        self._left -= len(content)
        return bytes(content)

    def xml(self, name: str) -> Element | None:
        """A part's root; None where there is no such part. Of one that breaks off, what came before."""
        raw = self.read(name)
        if not raw:
            return None
        found = _Root()
        # expat stops entities that multiply, and no external one is ever fetched
        parser = XMLParser(target=found)  # noqa: S314
        try:
            parser.feed(raw)
            parser.close()
        except (ParseError, ValueError) as error:
            self.doubt = self.doubt or ("truncated_input", f"{name} in it is no complete XML ({error})")
        return found.element

    def related(self, part: str) -> dict[str, tuple[str, str]]:
        """What a part refers to: id -> (the last word of the kind, the part's name)."""
        folder, _, name = part.rpartition("/")
        found = {}
        for relation in children(self.xml(f"{folder}/_rels/{name}.rels" if folder else f"_rels/{name}.rels")):
            target = attribute(relation, "Target")
            if attribute(relation, "TargetMode") != "External":
                kind = attribute(relation, "Type").rpartition("/")[2]
                found[attribute(relation, "Id")] = kind, resolved(part, target)
        return found


def resolved(part: str, target: str) -> str:
    """The name of the part that `target`, written in `part`, means."""
    target = unquote(target.partition("#")[0])
    return posixpath.normpath(
        posixpath.join("" if target.startswith("/") else posixpath.dirname(part), target.lstrip("/"))
    )


class _Root(TreeBuilder):
    """Builds a tree and remembers its root: of XML that breaks off it has what came before."""

    element: Element | None = None

    def start(self, tag: str, attrs: dict[str, str], /) -> Element:
        """The element that begins."""
        element = super().start(tag, attrs)
        self.element = element if self.element is None else self.element
        return element


def _salvaged(raw: bytes, max_bytes: int) -> dict[str, bytes]:
    """The parts of a container without a directory, from their own headers on, as far as each goes.

    APPNOTE.TXT 6.3.10, section 4.3.7."""
    parts: dict[str, bytes] = {}
    for match in _LOCAL_HEADER.finditer(raw):
        header = raw[match.start() : match.start() + 30]
        if len(header) < 30:
            break
        method, name_length, extra_length = (
            int.from_bytes(header[a:b], "little") for a, b in ((8, 10), (26, 28), (28, 30))
        )
        packed_length = int.from_bytes(header[18:22], "little")
        start = match.end() + 26 + name_length + extra_length
        name = raw[match.end() + 26 : match.end() + 26 + name_length].decode("utf-8", "replace")
        content = bytearray()
        if method == 0:
            content += raw[start : start + packed_length]
        elif method == 8:
            unpacker = zlib.decompressobj(-15)
            try:
                for at in range(start, len(raw), 4096):
                    content += unpacker.decompress(raw[at : at + 4096], max(max_bytes, 1))
                    if unpacker.eof or len(content) > max_bytes:
                        break
            except zlib.error:
                pass  # where the damage begins; what came before is kept
        max_bytes -= len(content)
        if max_bytes < 0:
            raise DocumentError("more unpacked than input.max_document_mb allows", kind="too_large")
        if content:
            parts.setdefault(name, bytes(content))
    return parts
