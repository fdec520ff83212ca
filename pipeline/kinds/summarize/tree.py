"""How partial texts are grouped for one level of a reduce tree."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

__all__ = ["groups"]


def groups(sizes: Sequence[int], limit: int) -> list[range]:
    """Consecutive index ranges whose sizes (tokens, separators included) sum to at most `limit`.

    As few ranges as greedy packing needs, of about equal size, so that no call merges forty parts and the
    next one two. Raises ValueError where two neighbours never fit: a level would not shrink."""
    fewest, least = len(_pack(sizes, limit)), min(max(sizes, default=0), limit)  # what is larger alone stands alone
    # The smallest capacity that still needs no more groups balances them.
    more = bisect_left(range(least, limit), True, key=lambda capacity: len(_pack(sizes, capacity)) <= fewest)
    packed = _pack(sizes, least + more)
    if len(sizes) > 1 and len(packed) == len(sizes):
        raise ValueError(f"no two parts fit into {limit} tokens")
    return packed


def _pack(sizes: Sequence[int], limit: int) -> list[range]:
    packed: list[range] = []
    start = total = 0
    for index, size in enumerate(sizes):
        if index > start and total + size > limit:
            packed.append(range(start, index))
            start, total = index, 0
        total += size
    if start < len(sizes):
        packed.append(range(start, len(sizes)))
    return packed
