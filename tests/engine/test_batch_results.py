"""Rows of a batch's result file: whose they are, and which of two is believed."""

from __future__ import annotations

import itertools

from docreduce.engine.batched import own_results
from docreduce.providers.dialect import HttpResponse
from docreduce.values import Cause, Decision, Rejection

PAID = HttpResponse(status=200, headers={}, body=b"the answer", received_at=0.0)
LATER = HttpResponse(status=200, headers={}, body=b"another", received_at=0.0)
FAILED = HttpResponse(status=500, headers={}, body=b"no", received_at=0.0)
EXPIRED = Rejection(cause=Cause.TIMEOUT, decision=Decision.RETRY, message="expired", billing="free")


def test_an_answer_is_displaced_by_no_other_row_in_any_order() -> None:
    for rows in itertools.permutations([PAID, FAILED, EXPIRED]):
        own, others = own_results("b", [("b-7", row) for row in rows])
        assert (own, others) == ({7: PAID}, 2)


def test_the_first_of_two_answers_counts() -> None:
    assert own_results("b", [("b-7", PAID), ("b-7", LATER), ("b-8", FAILED)]) == ({7: PAID, 8: FAILED}, 1)


def test_rows_of_others_are_left_aside_and_counted() -> None:
    rows = [("c-7", PAID), ("b-x", PAID), ("b-²", PAID), ("", PAID), ("b-8", EXPIRED)]
    assert own_results("b", rows) == ({8: EXPIRED}, 4)
