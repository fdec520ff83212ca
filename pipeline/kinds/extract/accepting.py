"""Which records are accepted: those whose values are surely right often enough, by the labelled documents of the run.

Theory. The unit is the document, since the values of one document go wrong together: of a class of grounding, a
labelled document counts as right only if every value of that class in it is. Over these documents stands the one-sided
lower bound of a share by Clopper and Pearson (1934, "The use of confidence or fiducial limits", Biometrika 26), exact
at any number of them. A record is wrong only if a value of one of its classes is; so, whatever the classes have to do
with each other, it is right at least as often as 1 - Σ (1 - bound), summed over its classes (the union bound). For the
sum to hold at 95 %, the bounds have to hold together: each of k classes has its own at 1 - 0.05 / k (Bonferroni).
A record is accepted where this reaches `accept`. All of it errs on the side of not accepting.

With one class it takes 59 labelled documents without an error for 0.95; where labelled documents have two classes, 146
for a record with both.

A record of many in a document has its document's bound. The bound rests on labelled documents that are drawn as the
others are, and on a class being no less right in records that hold other classes besides. It says of the values that
are there that they are right, nothing of those that are missing; a record without a value is not accepted, nor is one
with a class that no labelled document has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import exp, floor, lgamma, log, log1p
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

__all__ = [
    "ACCEPTED",
    "GROUNDING",
    "Acceptance",
    "Share",
    "acceptance",
    "classes_in",
    "counted_as",
    "exact_lower_bound",
    "grounding",
    "rounded_down",
    "settled",
]

ERROR = 0.05
"""How often, at most, some bound of a run is higher than the truth."""
GROUNDING, ACCEPTED = "grounding", "accepted"
"""The columns."""
_RECORDS = "records/"
_AND = " + "

Share: TypeAlias = tuple[int, int]
"""Documents that are right, and documents."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What is accepted at `accept`: `shares` and `bounds` by class of grounding, `records` by the classes they have."""

    accept: float
    shares: Mapping[str, Share]
    bounds: Mapping[str, float]
    records: Mapping[str, int]

    def at_least(self, classes: Iterable[str]) -> float:
        """How often, surely, a record with values of these classes has only right ones; 0 for no classes."""
        lost = [1 - self.bounds.get(each, 0.0) for each in classes]
        return max(0.0, 1 - sum(lost)) if lost else 0.0

    @property
    def accepted(self) -> list[str]:
        """The groundings whose records are accepted."""
        return [each for each in self.records if self.at_least(classes_in(each)) >= self.accept]

    def as_dict(self) -> dict[str, Any]:
        """For the manifest; bounds are rounded down."""
        accepted = set(self.accepted)
        return {
            "at_least": self.accept,
            "confidence": 1 - ERROR,
            "rule": "1 - the sum over a record's classes of 1 - at_least (union bound); at_least: Clopper-Pearson over "
            "labelled documents, right where all their values of the class are; all classes together at the confidence",
            "classes": {
                name: {"documents": documents, "right": right, "at_least": rounded_down(self.bounds[name])}
                for name, (right, documents) in self.shares.items()
            },
            "groundings": {
                name: {
                    "records": number,
                    "at_least": rounded_down(self.at_least(classes_in(name))),
                    ACCEPTED: name in accepted,
                }
                for name, number in self.records.items()
            },
            "records": sum(self.records.values()),
            ACCEPTED: sum(number for name, number in self.records.items() if name in accepted),
        }


def acceptance(accept: float, shares: Mapping[str, Share], counts: Mapping[str, int]) -> Acceptance:
    """By the labelled documents' `shares` and the sums of all documents' counts."""
    alpha = ERROR / max(1, len(shares))
    return Acceptance(
        accept=accept,
        shares=shares,
        bounds={name: exact_lower_bound(right, documents, alpha) for name, (right, documents) in shares.items()},
        records={
            name.removeprefix(_RECORDS): number for name, number in sorted(counts.items()) if name.startswith(_RECORDS)
        },
    )


def grounding(classes: Iterable[str]) -> str | None:
    """The classes of a record's values in one word; None where it has no value."""
    return _AND.join(sorted(set(classes))) or None


def classes_in(grounding: str) -> list[str]:
    """The classes that `grounding` was made of."""
    return grounding.split(_AND)


def counted_as(grounding: str) -> str:
    """The name under which a document counts its records of this grounding."""
    return _RECORDS + grounding


def settled(accepted: Iterable[str]) -> Callable[[pa.Table], pa.Table]:
    """What fills in the column `accepted` of a table of records: true for these groundings, else false."""
    words = pa.array(sorted(accepted), pa.string())

    def settle(records: pa.Table) -> pa.Table:
        is_in: Any = pc.is_in(records[GROUNDING].cast(pa.string()), words)
        at = records.schema.get_field_index(ACCEPTED)
        return records.set_column(at, records.schema.field(at), is_in)

    return settle


@lru_cache(maxsize=4096)
def exact_lower_bound(right: int, of: int, alpha: float = ERROR) -> float:
    """The share at which so many right ones and more come up with a chance of `alpha`: with one of 1 - `alpha` at
    least, the true share is no lower. 0 where none is right."""
    if right <= 0:
        return 0.0
    if right == of:
        return float(alpha ** (1 / of))
    low, high = 0.0, right / of
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if _chance(right, of, middle) < alpha else (low, middle)
    return low


def _chance(right: int, of: int, share: float) -> float:
    """Of `right` right ones or more."""
    whole, yes, no = lgamma(of + 1), log(share), log1p(-share)
    return sum(
        exp(whole - lgamma(each + 1) - lgamma(of - each + 1) + each * yes + (of - each) * no)
        for each in range(right, of + 1)
    )


def rounded_down(share: float) -> float:
    """`share` to four places, never above itself."""
    return floor(share * 10_000) / 10_000
