"""What is new since the last complete run, and whose results are taken over from it.

A document is known by its id and what it says by its digest. A unit whose documents all stood there, one after another
and unchanged, under the same settings, is not opened: its rows are copied. The way round the kinds, the ledger and the
desk is only ever a short cut: what does not fit goes the normal way and comes to the same."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, TypeAlias

import orjson
from docreduce.config import BESIDE
from docreduce.engine.session import Session
from docreduce.kinds.registry import kind_version
from docreduce.results.previous import Head, Previous, Unchanged, last_complete
from docreduce.values import Document

__all__ = ["Change", "Takeover", "digest_of", "open_takeover", "settings_sha256", "versions"]

Change: TypeAlias = Literal["new", "changed", "same"]

LIBRARIES = ("polars", "pyarrow", "tiktoken", "genai-prices", "httpx", "aiohttp")
GONE_NAMES = 1_000
"""Ids of documents that are gone which the manifest lists, at most."""
_NO_MATTER = {"name", "input", "output", "limits", "budget"}
"""Tables of a job that change no result: what is read shows in the documents' digests."""


def digest_of(document: Document) -> str:
    """A hash of all that a result can depend on in a document: its text, pages, headings and doubt."""
    digest = hashlib.sha256(document.text.encode())
    if document.marks or document.doubt:
        marks = [[mark.kind, mark.start, mark.label, mark.level] for mark in document.marks]
        digest.update(b"\0" + orjson.dumps([marks, document.doubt]))
    return digest.hexdigest()[:32]


@cache
def versions() -> dict[str, str]:
    """Of this program and the libraries that results can depend on."""
    return {name: metadata.version(name) for name in ("docreduce", *LIBRARIES)}


def settings_sha256(session: Session) -> str:
    """A hash of all that results depend on beside the documents: settings, files they name, plan, kind and versions."""
    job, plan = session.job, session.plan
    said = job.model_dump(by_alias=True, exclude=_NO_MATTER)
    beside = [table[key] for table in said.values() if isinstance(table, dict) for key in BESIDE if key in table]
    files = [hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in beside if isinstance(name, str)]
    room = [plan.input_tokens, plan.tokenizer.name]  # both engines count alike
    whole = [said, files, room, kind_version(job.kind), versions()]
    return hashlib.sha256(orjson.dumps(whole, option=orjson.OPT_SORT_KEYS)).hexdigest()


def open_takeover(session: Session, *, reuse: bool, answered_only: bool) -> Takeover:
    """Against the last complete run of the session's job. `reuse`: results may be taken over; `answered_only`: not of
    documents that are partial."""
    found = last_complete(session.job.output.folder / session.job.name)
    previous = None if found is None else Previous.open(*found)
    if previous is None:
        return Takeover()
    reuse = reuse and previous.manifest.get("settings_sha256") == settings_sha256(session)
    if answered_only:
        previous.fits &= [previous.statuses[code] == "ok" for code in previous.status]
    return Takeover(previous=previous, reuse=reuse, _seen=bytearray(len(previous)))


@dataclass(slots=True)
class Takeover:
    """Compares documents, in their order, with those of `previous` (None: there was none), and puts those whose results
    are taken over into stretches. Not safe for threads."""

    previous: Previous | None = None
    reuse: bool = False
    changes: Counter[Change] = field(default_factory=Counter)
    taken: int = 0
    _seen: bytearray = field(default_factory=bytearray)
    _next: int = 0  # the number there that comes next in order
    _unit: range = range(0)
    pending: list[Document] = field(default_factory=list)
    """Unchanged documents of a unit that is not whole yet."""
    _heads: list[Head] = field(default_factory=list)
    _first: tuple[int, int] = (0, 0)  # place and number of the first of them
    _stretches: list[tuple[int, Unchanged]] = field(default_factory=list)

    def compare(self, document_id: str, digest: str | None, row: int | None, uri: str) -> Change:
        """What a document is since then. A file's id is its content, so that one of another id at the same place was
        changed; under the same id it was only read or not."""
        number = None if self.previous is None else self.previous.find(document_id, self._next)
        change: Change = "new"
        if number is not None and self.previous is not None:
            self._seen[number] = 1
            self._next = number + 1
            change = "same" if row is None or self.previous.same(number, digest) else "changed"
        elif self.previous is not None and row is None and (before := self.previous.at(uri)) is not None:
            self._seen[before] = 1
            change = "changed"
        self.changes[change] += 1
        return change

    def offer(self, document: Document) -> list[Document]:
        """Take the document over if it fits; the documents that are to go the normal way now."""
        previous, number = self.previous, self._next - 1
        if previous is None or not self.reuse:
            return [document]
        fits = document.change == "same" and previous.fits[number] and previous.same(number, document.digest)
        rest: list[Document] = []
        if self.pending and not (fits and number == self._unit[len(self.pending)]):
            rest = self.flush()
        if fits and not self.pending:
            end = self._first[1] + len(self._heads)
            fits = number >= end and previous.units[number] == number
            self._unit = previous.unit(number) if fits else range(0)
        if not fits:
            return [*rest, document]
        self.pending.append(document)
        if len(self.pending) == len(self._unit):
            self._take()
        return rest

    def flush(self) -> list[Document]:
        """The documents that wait for the rest of their unit: it does not come."""
        pending, self.pending = self.pending, []
        return pending

    def stretches(self) -> list[tuple[int, Unchanged]]:
        """What was taken over since the last time, with the place of its first document."""
        self._close()
        stretches, self._stretches = self._stretches, []
        return stretches

    def gone(self) -> dict[str, Any]:
        """How many documents of then did not come, and the first of their ids."""
        if self.previous is None:
            return {"count": 0, "first": []}
        gone = [number for number, seen in enumerate(self._seen) if not seen]
        return {"count": len(gone), "first": self.previous.names(gone[:GONE_NAMES])}

    def as_dict(self, *, whole: bool) -> Mapping[str, Any]:
        """For the manifest. `whole`: all of the input was read."""
        return {
            "since": None if self.previous is None else self.previous.manifest["run_id"],
            **{change: self.changes[change] for change in ("new", "changed", "same")},
            "taken_over": self.taken,
            "gone": self.gone() if whole else None,
        }

    def close(self) -> None:
        """Let the files of then go."""
        if self.previous is not None:
            self.previous.close()

    def _take(self) -> None:
        place, number = self.pending[0].place, self._unit[0]
        at = len(self._heads)
        if at and (place, number) != (self._first[0] + at, self._first[1] + at):
            self._close()
        if not self._heads:
            self._first = place, number
        for each in self.pending:
            head = Head(id=each.id, uri=each.uri, row=each.row, media_type=each.media_type, columns=each.columns)
            self._heads.append(head)
        self.taken += len(self.pending)
        self.pending = []

    def _close(self) -> None:
        if self._heads and self.previous is not None:
            place, number = self._first
            stretch = Unchanged(previous=self.previous, first=number, heads=self._heads, at=time.time())
            self._stretches.append((place, stretch))
            self._first = place + len(self._heads), number + len(self._heads)
            self._heads = []
