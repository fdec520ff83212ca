"""When a run is good: conditions over shares and counts of its documents, refused when they are wrong."""

from __future__ import annotations

import pytest
from docreduce.values.condition import holds, parse_condition

RUN = {"ok": 97, "partial": 1, "failed": 2, "skipped": 0}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("ok >= 0.97", True),
        ("ok >= 0.98", False),
        ("ok + partial >= 0.98", True),
        ("0.97 <= ok", True),
        ("ok >= 97", True),
        ("ok > 97", False),
        ("failed <= 2 and skipped == 0", True),
        ("failed == 0 or ok >= 0.5", True),
        ("failed == 0 and ok >= 0.5", False),
        ("(failed == 0 or partial == 1) and ok != 0", True),
        ("failed <= 0.02", True),
        ("failed < 0.02", False),
        ("ok >= 1", True),
        ("ok >= 1.0", False),
    ],
)
def test_a_number_with_a_point_is_a_share_and_a_whole_one_a_count(condition: str, expected: bool) -> None:
    assert holds(condition, RUN) is expected


def test_of_no_documents_at_all_every_share_is_nothing() -> None:
    assert not holds("ok >= 0.99", {})
    assert holds("failed == 0", {})


@pytest.mark.parametrize(
    "condition",
    [
        "", "ok", "0.99", "ok >=", "okay >= 0.99", "ok >= 1.5", "ok >= -1", "ok >= True", "ok >= 'x'", "ok > failed",
        "ok - failed >= 1", "0.1 <= ok <= 0.9", "not ok >= 1", "__import__('os').system('true') == 0", "ok in (1, 2)",
        "1 == 1", "ok >= 0.99; ok", "ok() >= 1", "ok.real >= 1", "(" * 300 + "ok >= 1" + ")" * 300, "ok >= 1 or " * 90,
        "ok >= 1j", "ok >= 1e400",
    ],
)  # fmt: skip
def test_what_is_no_condition_is_refused_with_an_example(condition: str) -> None:
    with pytest.raises(ValueError, match=r"such as"):
        parse_condition(condition)
