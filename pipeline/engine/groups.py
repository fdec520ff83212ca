"""What `[reduce]` adds to a run: one more result over all documents, or for each value of a kept column.

Groups are gathered as documents are written, in the input's order, so that equal input makes equal requests; of a
document only its summary is held. Once all documents are finished, a group is a unit like any other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from docreduce.engine.intake import BATCH, NOT_DONE, Batch, Read
from docreduce.engine.session import Session
from docreduce.engine.unit import Unit, row_of
from docreduce.readers import Unread
from docreduce.results import DocumentRow
from docreduce.results.schema import text_of
from docreduce.settings import ReduceSettings
from docreduce.values import Cause, Document, Failure, Result, Steps
from docreduce.values.errors import JobError

__all__ = ["ALL", "Groups", "group_of", "light", "with_column"]

ALL = "all"
"""The group of all documents, and what the job file says for it."""


def group_of(by: str, columns: Mapping[str, Any]) -> str:
    """The name of the group that a document with these kept columns belongs to; "" where it has no value."""
    if by == ALL:
        return ALL
    value = columns.get(by)
    return "" if value is None else text_of(value)


def light(result: Result) -> Result:
    """The result with nothing but what a group is made of."""
    return Result(status=result.status, error_kind=result.error_kind, error=result.error, summary=result.summary)


def with_column(reads: Iterator[Read], reduce: ReduceSettings | None) -> Iterator[Read]:
    """`reads` as they are. Raises JobError before the first row if that lacks the kept column to group by."""
    by = ALL if reduce is None else reduce.by
    looked = by == ALL
    for found in reads:
        if not looked and isinstance(found, Document) and found.row is not None:
            looked = True
            if by not in found.columns:
                there = ", ".join(sorted(found.columns)) or "none"
                raise JobError(f"reduce.by: {by!r} is no kept column of {found.uri}", hint=f"Kept columns: {there}.")
        yield found


@dataclass(slots=True)
class _Group:
    """Documents that belong together. `unfinished`: the result of one that the run did not come to."""

    name: str
    document: Document
    results: list[Result] = field(default_factory=list)
    unfinished: Result | None = None
    size: int = 0


@dataclass(slots=True)
class Groups:
    """The groups of a run, and their intake, as `intake.Source`: first `add` every document, then `begin`, then pull.

    A document without text belongs to its group and adds nothing; one that the run did not come to keeps its group from
    being made, since that would be paid again once it is there."""

    session: Session
    by: str
    listing: Failure | None = None
    statuses: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    _groups: dict[str, _Group] = field(default_factory=dict)
    _order: list[_Group] = field(default_factory=list)
    _by_id: dict[str, _Group] = field(default_factory=dict)
    _next: int = 0
    _pulled: int = 0  # the first one of the present pull

    def add(self, done: DocumentRow) -> None:
        """Take a finished document into its group."""
        name = group_of(self.by, done.columns)
        group = self._groups.get(name)
        if group is None:
            id_ = f"group:{name}"
            document = Document(id=id_, uri=id_, text="", place=len(self._groups), media_type="text/plain")
            group = self._groups[name] = _Group(name, document)
        result = done.result
        if result.status == "skipped" and result.error_kind == Cause.EMPTY:
            return
        group.size += 1
        if result.status == "skipped":
            group.unfinished = group.unfinished or light(result)
        group.results.append(light(result))

    def begin(self, unique: Callable[[str], str]) -> None:
        """All documents are finished. `unique`: makes an id that no document has."""
        self._order = list(self._groups.values())
        for group in self._order:
            group.document = replace(group.document, id=unique(group.document.id))
            self._by_id[group.document.id] = group

    @property
    def exhausted(self) -> bool:
        """Whether every group was pulled."""
        return self._next >= len(self._order)

    def pull(self, requests: int) -> Batch:
        """The next groups, until they make `requests` requests."""
        batch = Batch()
        self._pulled = self._next
        wanted = 0
        while not self.exhausted and wanted < requests and self._next - self._pulled < BATCH:
            group = self._order[self._next]
            self._next += 1
            why = self._why_not(group)
            if why is not None:
                batch.rows.append((group.document.place, row_of(group.document, why)))
                continue
            unit = Unit([group.document], self._steps(group))
            unit.step()
            batch.units.append(unit)
            wanted += len(unit.requests)
        return batch

    def left_unread(self, rest: Sequence[Unread]) -> list[tuple[int, DocumentRow]]:
        """Rows for the groups of the present pull and those after it; of `rest` there is nothing here."""
        left = self._order[self._pulled :]
        self._next = len(self._order)
        return [(group.document.place, row_of(group.document, NOT_DONE)) for group in left]

    def finished(self, row: DocumentRow) -> None:
        """Count a group that is finished."""
        self.statuses[row.result.status] += 1
        if row.result.error_kind:
            self.errors[row.result.error_kind] += 1

    def whole(self, done: DocumentRow) -> DocumentRow:
        """The group's row as it is written: one in the table of groups, whatever became of it."""
        if done.result.tables.get("groups"):
            return done
        group = self._by_id[done.document_id]
        row = {"group": group.name, "documents": group.size}
        return replace(done, result=replace(done.result, tables={**done.result.tables, "groups": [row]}))

    def as_dict(self) -> dict[str, Any]:
        """For the manifest."""
        statuses = {status: self.statuses[status] for status in ("ok", "partial", "failed", "skipped")}
        errors = dict(sorted(self.errors.items()))
        return {"by": self.by, "groups": self.statuses.total(), **statuses, "errors": errors}

    def _why_not(self, group: _Group) -> Result | None:
        if self.listing is not None:
            return Result(status="skipped", error_kind=self.listing.cause.value, error=self.listing.message)
        if group.unfinished is not None:
            words = f"not all of its documents are done: {group.unfinished.error}"
            return Result(status="skipped", error_kind=group.unfinished.error_kind, error=words)
        return None

    def _steps(self, group: _Group) -> Steps:
        assert self.session.work.reduce is not None  # a session without it is not opened
        results, group.results = group.results, []
        return self.session.work.reduce(group.name, results)
