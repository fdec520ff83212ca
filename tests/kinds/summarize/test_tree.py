"""Grouping for one level of a reduce tree."""

from __future__ import annotations

import itertools

import pytest
from docreduce.kinds.summarize.tree import groups
from hypothesis import given
from hypothesis import strategies as st

SIZES = st.lists(st.integers(1, 50), min_size=1, max_size=60)


@given(SIZES, st.integers(100, 400))
def test_groups_cover_all_parts_in_order_within_the_limit(sizes: list[int], limit: int) -> None:
    level = groups(sizes, limit)
    assert [i for group in level for i in group] == list(range(len(sizes)))
    assert all(sum(sizes[i] for i in group) <= limit for group in level)


@given(SIZES, st.integers(100, 400))
def test_a_level_shrinks_and_has_no_more_groups_than_greedy_packing(sizes: list[int], limit: int) -> None:
    level = groups(sizes, limit)
    greedy, total = 1, 0
    for size in sizes:
        if total + size > limit:
            greedy, total = greedy + 1, 0
        total += size
    assert len(level) <= greedy
    assert len(sizes) == 1 or len(level) < len(sizes)


def test_groups_are_balanced() -> None:
    assert [len(group) for group in groups([10] * 12, 110)] == [6, 6]


def test_parts_of_which_no_two_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="no two parts fit"):
        groups([60, 60, 60], 100)


@given(st.lists(st.integers(1, 500), min_size=2, max_size=30), st.integers(50, 400))
def test_a_part_that_is_larger_than_the_limit_stands_alone_and_stretches_no_group(sizes: list[int], limit: int) -> None:
    try:
        level = groups(sizes, limit)
    except ValueError:
        assert all(one + other > limit for one, other in itertools.pairwise(sizes))
        return
    assert all(len(group) == 1 or sum(sizes[i] for i in group) <= limit for group in level)
