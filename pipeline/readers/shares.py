"""A share of the input: whole files by a hash of their address, large tables by blocks of their rows.

Theory. N shares are the input, each row in exactly one of them, and every share says so on its own: nothing is counted,
kept or agreed on beforehand. Block b of a large table belongs to share (b + hash of the address) mod N. Of Parquet the
blocks are the row groups, of which foreign ones are not read; of other tables 1,000 rows each, and foreign rows are
passed over as they stream, so that whoever has the file at all reads it through."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from docreduce.readers.base import Blocks, TableFormat, read_sample
from docreduce.readers.registry import format_of
from docreduce.settings import InputSettings
from docreduce.values.errors import DocumentError

__all__ = ["Share", "Slice", "slices"]

DIVIDED_BYTES = 2**22
"""Tables from this size on are divided: below, one is read in less time than a process takes to start."""


@dataclass(frozen=True, slots=True)
class Share:
    """The share `number` (from 1) `of` so many."""

    number: int
    of: int


@dataclass(frozen=True, slots=True)
class Slice:
    """What is read of a file: all of it, or some blocks of its rows."""

    source: str
    blocks: Blocks | None = None


def slices(sources: Sequence[str], settings: InputSettings, share: Share | None) -> list[Slice]:
    """What there is to read, in order: all sources; of a share, its files and its blocks of large tables."""
    if share is None or share.of == 1:
        return [Slice(source) for source in sources]
    found = []
    for source in sources:
        digest = hashlib.blake2b(source.encode("utf-8", "surrogateescape"), digest_size=8).digest()
        place = (share.number - 1 - int.from_bytes(digest, "little")) % share.of
        if _divided(source, settings):
            found.append(Slice(source, Blocks(place, share.of)))
        elif place == 0:
            found.append(Slice(source))
    return found


def _divided(source: str, settings: InputSettings) -> bool:
    """Whether the file is a table whose rows are documents, large enough to be divided."""
    path = Path(source)
    try:
        if settings.text_column is None or path.stat().st_size < DIVIDED_BYTES:
            return False
        head = read_sample(path)
        known = None if head.startswith(b"PK") else format_of(source, head, list)  # a ZIP is no table of one kind
    except (DocumentError, OSError):  # one share has the file, and its row says what is wrong with it
        return False
    return isinstance(known, TableFormat) and known.divides
