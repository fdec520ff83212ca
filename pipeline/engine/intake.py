"""What comes in: documents read, numbered, put into units, and opened as far as they are wanted.

Pulled from one thread at a time, since readers are generators. Everything here is bounded, however many documents
there are and whatever they hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeAlias

import pyarrow as pa
from docreduce.engine.session import PACK_SPAN, Session, packed_tokens
from docreduce.engine.takeover import Takeover, digest_of
from docreduce.engine.unit import Unit, row_of
from docreduce.readers import Slice, UniqueIds, Unread, left_out, read_ahead
from docreduce.results import DocumentRow, Unchanged
from docreduce.settings import InputSettings
from docreduce.values import Cause, Document, Failure, Result, Status
from docreduce.values.errors import DocumentError

__all__ = ["BATCH", "NOT_DONE", "Batch", "Intake", "Read", "Reads", "Source"]

BATCH = 64
"""Documents that are read in one pull, at most."""
BATCH_UNCHANGED = 2_048
"""The same with those whose results are taken over, which are no work."""
BATCH_CHARS = 2**24
"""Characters of them, or so: a pull is not to hold more than this."""

NOT_DONE = Result(status="skipped", error_kind=Cause.STOPPED.value, error="not done before the run was interrupted")
"""What becomes of a document that was at work when nothing more was waited for."""

Read: TypeAlias = Document | Unread


@dataclass(slots=True)
class Reads:
    """The documents of all sources, in order. Once `given_up` is set, a source is a row that nobody read, and so is
    the rest of a table. `pinned`: kept columns with the types they had in earlier runs; `at`: the source being read;
    `told` hears where each document comes from, in order."""

    sources: Sequence[Slice]
    settings: InputSettings
    pinned: pa.Schema | None = None
    skipped: Counter[str] = field(default_factory=Counter)  # inside archives and mails, by reason
    given_up: DocumentError | None = None
    at: int = 0
    told: Callable[[Slice, Read], None] = lambda *_: None

    def __iter__(self) -> Generator[Read, None, None]:
        for each in self._all():
            self.told(self.sources[self.at], each)
            yield each

    def _all(self) -> Generator[Read, None, None]:
        with closing(read_ahead(self.sources, self.settings, self.skipped, self.pinned)) as files:
            for at, each in enumerate(self.sources):
                self.at = at
                if self.given_up is not None:
                    files.close()
                    yield left_out(each.source, self.given_up)
                    continue
                for found in next(files):
                    if self.given_up is not None:
                        yield self._not_wanted(found, self.given_up)
                        break
                    yield found

    @staticmethod
    def _not_wanted(found: Read, why: DocumentError) -> Unread:
        """The row of a document that was read too late, and of the rows after it."""
        rest = "" if found.row is None else ", nor were the rows after it"
        return Unread(
            id=found.id,
            uri=found.uri,
            row=found.row,
            media_type=found.media_type,
            columns=found.columns,
            error=DocumentError(f"{why.message}{rest}", kind=Cause.STOPPED),
        )

    def rest(self) -> list[Unread]:
        """Rows of the sources that nobody will open any more, where a reader hangs in the present one."""
        error = self.given_up or DocumentError("not read before the run was interrupted", kind=Cause.STOPPED)
        rest = [left_out(each.source, error) for each in self.sources[self.at :]]
        for each, found in zip(self.sources[self.at :], rest, strict=True):
            self.told(each, found)
        return rest


@dataclass(slots=True)
class Batch:
    """What one pull brought: units with their first requests, and by place documents that are finished already and
    stretches of those whose results are taken over."""

    units: list[Unit] = field(default_factory=list)
    rows: list[tuple[int, DocumentRow]] = field(default_factory=list)
    stretches: list[tuple[int, Unchanged]] = field(default_factory=list)


class Source(Protocol):
    """What a driver takes its units from. `listing`: only say what is there; every further one is a skipped row with
    that reason."""

    listing: Failure | None

    @property
    def exhausted(self) -> bool: ...

    def pull(self, requests: int) -> Batch: ...

    def left_unread(self, rest: Sequence[Unread]) -> list[tuple[int, DocumentRow]]: ...


@dataclass(slots=True)
class Intake:
    """Turns what the readers bring into units and rows. `listing`: only say what is there; every further document is a
    skipped row with that reason."""

    session: Session
    reads: Iterator[Read]
    takeover: Takeover = field(default_factory=Takeover)
    listing: Failure | None = None
    exhausted: bool = False
    places: int = 0  # documents that came so far
    _pulled: list[tuple[int, Read]] = field(default_factory=list)  # in the present pull
    _unique: UniqueIds = field(default_factory=UniqueIds)
    _packed: list[Document] = field(default_factory=list)
    _tokens: int = 0

    def unique(self, name: str) -> str:
        """`name`, or the next free one after it: none that a document has."""
        return self._unique(name)

    def pull(self, requests: int) -> Batch:
        """Read until there are `requests` requests or the pull has its share of documents."""
        batch = Batch()
        waiting = [*self._packed, *self.takeover.pending]
        self._pulled = [(document.place, document) for document in waiting]
        taken = read = chars = wanted = 0
        while wanted < requests and taken < BATCH and read < BATCH_UNCHANGED and chars < BATCH_CHARS:
            found = next(self.reads, None)
            if found is None:
                self.exhausted = True
                for document in self.takeover.flush():
                    self._put(document, batch)
                self._flush(batch)
                break
            read += 1
            before = len(batch.units)
            accepted = self._accept(found, batch)
            if accepted is None:
                taken += 1
            else:
                chars += len(accepted.text)
                unfit = self.takeover.offer(accepted)
                taken += len(unfit)
                for document in unfit:
                    self._put(document, batch)
                if self.takeover.pending:  # what is packed is not to reach over what is taken over
                    self._flush(batch)
            wanted += sum(len(unit.requests) for unit in batch.units[before:])
        batch.stretches = self.takeover.stretches()
        return batch

    def left_unread(self, rest: Sequence[Unread]) -> list[tuple[int, DocumentRow]]:
        """Rows for what will not be read any more, where a reader hangs: what it brought before, too."""
        batch = Batch()
        batch.rows += [(place, row_of(found, NOT_DONE)) for place, found in self._pulled]
        for found in rest:
            self._accept(found, batch)
        self.exhausted = True
        return batch.rows

    def _accept(self, found: Read, batch: Batch) -> Document | None:
        """The document if there is work on it; else its row goes into the batch."""
        place, self.places = self.places, self.places + 1
        name = self._unique(found.id)
        if isinstance(found, Document):
            digest = digest_of(found) if found.text else ""
            change = self.takeover.compare(name, digest or None, found.row, found.uri)
            found = replace(found, id=name, place=place, digest=digest, change=change)
        else:
            found = replace(found, id=name)
            change = self.takeover.compare(name, None, found.row, found.uri)
        self._pulled.append((place, found))
        if self._packed and place - self._packed[0].place >= PACK_SPAN:
            self._flush(batch)
        if isinstance(found, Unread):
            status: Status = "skipped" if found.error.kind == Cause.STOPPED else "failed"
            result = Result(status=status, error_kind=found.error.kind, error=found.error.message)
        elif self.listing is not None:
            result = Result(status="skipped", error_kind=self.listing.cause.value, error=self.listing.message)
        elif not found.text.strip():
            result = Result(status="skipped", error_kind="empty", error="there is no text in it")
        else:
            return found
        batch.rows.append((place, row_of(found, result, change)))
        return None

    def _put(self, document: Document, batch: Batch) -> None:
        """Open the document's unit, or add it to the one that is being packed."""
        pack, plan = self.session.work.pack, self.session.plan
        tokens = None if pack is None else packed_tokens(document, plan, pack)
        if pack is None or tokens is None:
            self._flush(batch)
            self._open([document], batch)
            return
        if len(self._packed) == pack.max_rows or self._tokens + tokens > pack.room_tokens:
            self._flush(batch)
        self._packed.append(document)
        self._tokens += tokens

    def _flush(self, batch: Batch) -> None:
        if self._packed:
            packed, self._packed, self._tokens = self._packed, [], 0
            self._open(packed, batch)

    def _open(self, documents: list[Document], batch: Batch) -> None:
        unit = Unit(documents, self.session.work.steps(documents))
        unit.step()
        batch.units.append(unit)
