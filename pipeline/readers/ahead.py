"""Several files read at once, their documents in the input's order: while one is worked on, the next are being read.

Bounded: as many files as `workers`, of each at most `_WAITING` documents that nobody has asked for yet."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from docreduce.readers.base import Unread
from docreduce.settings import InputSettings
from docreduce.values import Document

__all__ = ["ahead"]

_WAITING = 2
_PATIENCE_S = 0.2
"""How often one that waits looks whether anybody still wants its documents."""

_Read: TypeAlias = Document | Unread
Reader: TypeAlias = Callable[[str, InputSettings, Counter[str]], Iterator[_Read]]


class _File:
    """A file that is being read by a thread of its own."""

    def __init__(self, read: Reader, source: str, settings: InputSettings, stop: threading.Event) -> None:
        self.skipped: Counter[str] = Counter()
        self._documents: queue.Queue[_Read | BaseException | None] = queue.Queue(_WAITING)
        self._stop = stop
        self.thread = threading.Thread(target=self._work, args=(read, source, settings), daemon=True)
        self.thread.start()

    def __iter__(self) -> Iterator[_Read]:
        while (found := self._documents.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found

    def _work(self, read: Reader, source: str, settings: InputSettings) -> None:
        try:
            documents = read(source, settings, self.skipped)
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
    read: Reader, sources: Iterable[str], settings: InputSettings, skipped: Counter[str], workers: int
) -> Iterator[_Read]:
    """The documents of `sources` as `read` gives them, in order. Raises what it raises, at the document's place.

    Closing it early stops what is being read at its next document; `close_sandboxes` ends what a child is at."""
    stop = threading.Event()
    left = iter(sources)
    files: deque[_File] = deque()
    try:
        while True:
            while len(files) < max(workers, 1) and (source := next(left, None)) is not None:
                files.append(_File(read, source, settings, stop))
            if not files:
                return
            yield from files[0]
            skipped.update(files.popleft().skipped)
    finally:
        stop.set()
