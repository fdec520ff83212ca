"""How partial texts are grouped for one level of a reduce tree."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["groups"]


def groups(sizes: Sequence[int], limit: int) -> list[range]:
    """Consecutive index ranges whose sizes (tokens, separators included) sum to at most `limit`.

    As few ranges as greedy packing needs, of about equal size, so that no call merges forty parts and the
    next one two. Raises ValueError where two neighbours never fit: a level would not shrink."""
    fewest = len(_pack(sizes, limit))
    # The smallest capacity that still needs no more groups balances them.
    low, high = max(sizes, default=0), limit
    while low < high:
        middle = (low + high) // 2
        if len(_pack(sizes, middle)) <= fewest:
            high = middle
        else:
            low = middle + 1
    packed = _pack(sizes, max(high, max(sizes, default=0)))
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
