"""Files read ahead, their documents in the input's order: while one is worked on, the next are being read.

Only those that are read apart from this process, or come from elsewhere: for a text a thread costs more than it saves.
Bounded: as many files as `workers`, of each at most `_WAITING` documents that nobody has asked for yet."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Generic, TypeAlias, TypeVar

from docreduce.readers.base import Unread
from docreduce.values import Document

__all__ = ["ahead"]

_WAITING = 2
_FURTHEST = 64
"""Sources that are looked at before their turn: between them may be many texts."""
_PATIENCE_S = 0.2
"""How often one that waits looks whether anybody still wants its documents."""

_Read: TypeAlias = Document | Unread
S = TypeVar("S")
Reader: TypeAlias = Callable[[S, Counter[str]], Iterator[_Read]]
"""Gives the documents of a source, and counts what it leaves out of it by reason."""


class _File(Generic[S]):
    """A file that is being read by a thread of its own."""

    def __init__(self, read: Reader[S], source: S, stop: threading.Event) -> None:
        self.skipped: Counter[str] = Counter()
        self._documents: queue.Queue[_Read | BaseException | None] = queue.Queue(_WAITING)
        self._stop = stop
        self.thread = threading.Thread(target=self._work, args=(read, source), daemon=True)
        self.thread.start()

    def __iter__(self) -> Iterator[_Read]:
        while (found := self._documents.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found

    def _work(self, read: Reader[S], source: S) -> None:
        try:
            documents = read(source, self.skipped)
            for document in documents:
                if not self._put(document):
                    break
            if hasattr(documents, "close"):
                documents.close()
        except BaseException as error:  # noqa: BLE001 - it is raised where the documents are asked for
            self._put(error)
        else:
            self._put(None)

    def _put(self, found: _Read | BaseException | None) -> bool:
        while not self._stop.is_set():
            with contextlib.suppress(queue.Full):
                self._documents.put(found, timeout=_PATIENCE_S)
                return True
        return False


def ahead(
    read: Reader[S], sources: Sequence[S], skipped: Counter[str], apart: Callable[[S], bool], workers: int
) -> Generator[Iterator[_Read], None, None]:
    """For each of `sources`, in order, its documents as `read` gives them; those that are `apart` are read ahead,
    `workers` at once. Raises what it raises, at the document's place.

    What is left out is counted in `skipped` once a source's documents have all been taken. Closing it early stops what
    is being read at its next document; `close_sandboxes` ends what a child is at."""
    stop = threading.Event()
    begun: deque[_File[S] | None] = deque()  # None: nothing is read before its turn
    following = running = 0
    try:
        for source in sources:
            while following < len(sources) and running < workers and len(begun) < _FURTHEST:
                is_apart = apart(sources[following])
                begun.append(_File(read, sources[following], stop) if is_apart else None)
                running += is_apart
                following += 1
            file = begun.popleft()
            if file is None:
                yield read(source, skipped)
            else:
                yield iter(file)
                skipped.update(file.skipped)
                running -= 1
    finally:
        stop.set()
