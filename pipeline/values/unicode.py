"""Text that UTF-8 can say."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from typing import Any

__all__ = ["printable", "well_formed", "written"]


def written(raw: bytes) -> str:
    """The text of a file that a user wrote: UTF-8, or UTF-16 where its mark says so (Windows PowerShell), no mark left.

    Raises UnicodeDecodeError."""
    wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return raw.decode("utf-16" if wide else "utf-8-sig").replace("\r\n", "\n")


def well_formed(value: Any) -> Any:
    """`value` with surrogate pairs joined and U+FFFD for every lone one, in all strings of its objects and lists.

    A string of another type (a name of an enumeration) becomes a plain one, which orjson wants of keys."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {well_formed(name): well_formed(part) for name, part in value.items()}
    return [well_formed(part) for part in value] if isinstance(value, list | tuple) else value


def printable(text: object) -> str:
    """Text from a document, a file name or a service: control and direction characters shown, never obeyed."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\u{ord(c):04x}" for c in str(text))
