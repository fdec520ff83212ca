"""Ids of documents, kept apart over a run in 16 to 32 bytes a document, half as much again while that grows."""

from __future__ import annotations

import hashlib

__all__ = ["UniqueIds"]


class UniqueIds:
    """Makes ids unique over a run: the second document of an id gets `~2`, the third `~3`, in the order asked.

    What was given out is remembered by 64 bits of its hash. Of ten million documents two collide with a probability of
    3 in a million; one of them then has a suffix it does not need. Not safe for threads."""

    def __init__(self) -> None:
        self._given = _Hashes()
        self._counts: dict[str, int] = {}  # of ids that came more than once

    def __call__(self, document_id: str) -> str:
        """`document_id`, or the next free name after it. Ask in the input's order: equal input, equal names."""
        if self._given.add(document_id):
            return document_id
        count = self._counts.get(document_id, 1) + 1
        # a table may hold ids that look like ours; the count stays, so each is met once
        while not self._given.add(f"{document_id}~{count}"):
            count += 1
        self._counts[document_id] = count
        return f"{document_id}~{count}"


class _Hashes:
    """A set of strings by their hashes, in one array with open addressing, at most half full."""

    def __init__(self) -> None:
        self._mask = 2**10 - 1
        self._slots = memoryview(bytearray(8 * 2**10)).cast("Q")
        self._size = 0

    def add(self, text: str) -> bool:
        """Whether it was new."""
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        key = int.from_bytes(digest, "little") or 1  # 0 is a free slot
        slots, at = self._slots, key & self._mask
        while (there := slots[at]) != 0:
            if there == key:
                return False
            at = (at + 1) & self._mask
        slots[at] = key
        self._size += 1
        if 2 * self._size > self._mask:
            self._grow()
        return True

    def _grow(self) -> None:
        old = self._slots
        self._mask = 2 * self._mask + 1
        self._slots = memoryview(bytearray(8 * (self._mask + 1))).cast("Q")
        slots, mask = self._slots, self._mask
        for key in old:
            if key:
                at = key & mask
                while slots[at]:
                    at = (at + 1) & mask
                slots[at] = key
