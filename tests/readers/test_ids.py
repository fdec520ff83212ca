"""Ids are unique over a run, the same each time, at a bounded price."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from docreduce.readers import UniqueIds


def test_ids_that_look_like_ours_take_no_recursion_and_no_quadratic_time() -> None:
    unique = UniqueIds()
    count = 20_000
    names = ["a", *(f"a~{number}" for number in range(2, count)), *["a"] * count]
    given = [unique(name) for name in names]
    assert given[:count] == [*names[: count - 1], f"a~{count}"]
    assert len(set(given)) == len(names)


def test_equal_input_gets_equal_names_whatever_the_ids() -> None:
    chance = random.Random(1)
    names = [f"{chance.choice('ab')}{'~' * chance.randrange(2)}{chance.randrange(4) or ''}" for _ in range(3_000)]
    first, second = UniqueIds(), UniqueIds()
    given = [first(name) for name in names]
    assert given == [second(name) for name in names]
    assert len(set(given)) == len(names)


@pytest.mark.long
def test_what_was_given_out_is_remembered_in_few_bytes() -> None:
    unique = UniqueIds()
    tracemalloc.start()
    for number in range(100_000):
        assert unique(f"document {number}") == f"document {number}"
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 40 * 100_000
    assert unique("document 5") == "document 5~2"
