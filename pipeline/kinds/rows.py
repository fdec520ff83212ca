"""Rows of a table that share a request, and the way back from its answer to each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from docreduce.kinds.steps import Asking, InvalidAnswerError, is_cut, overflows
from docreduce.values import Completion, Failure, Request

__all__ = ["Apart", "over_rows"]

T = TypeVar("T")


@dataclass(slots=True)
class Apart(Generic[T]):
    """Packed rows' answers taken apart: by the row's place in the unit. `alone` are to be asked one by one."""

    answered: dict[int, tuple[T, Completion]] = field(default_factory=dict)
    failed: dict[int, Failure] = field(default_factory=dict)
    alone: list[int] = field(default_factory=list)


def over_rows(
    rows: Sequence[int],
    ask: Callable[[Sequence[int]], Request],
    take_apart: Callable[[Sequence[int], str], Mapping[int, T]],
) -> Asking[Apart[T]]:
    """Ask for all rows in one request, in halves where the answer was cut, too long or no answer at all.

    `take_apart` gives what is valid by row and leaves the others out; they are to be asked alone, as is a single
    row. It raises InvalidAnswerError where there is nothing to take apart."""
    apart: Apart[T] = Apart()
    todo = [list(rows)]
    while todo:
        groups, todo = todo, []
        outcomes = yield [ask(group) for group in groups]
        for group, outcome in zip(groups, outcomes, strict=True):
            missing = group
            if isinstance(outcome, Failure) and not overflows(outcome):
                apart.failed |= dict.fromkeys(group, outcome)
                continue
            if isinstance(outcome, Completion) and not is_cut(outcome):
                try:
                    found = take_apart(group, outcome.text)
                except InvalidAnswerError:
                    found = {}
                apart.answered |= {row: (value, outcome) for row, value in found.items()}
                missing = [row for row in group if row not in found]
            if missing == group:
                half = (len(group) + 1) // 2
                halves = [group[:half], group[half:]]
                todo += [part for part in halves if len(part) > 1]
                apart.alone += [part[0] for part in halves if len(part) == 1]
            else:
                apart.alone += missing
    apart.alone.sort()
    return apart
