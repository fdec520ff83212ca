"""Items over chunks: what is the same, what wins, and that the order of arrival changes nothing."""

from __future__ import annotations

import random
import time

import pytest
from docreduce.kinds.extract.merge import Found, merge
from docreduce.kinds.extract.names import Groups, near_equal_names, normalize
from docreduce.text.alignment import Quote
from docreduce.values import Span
from hypothesis import given
from hypothesis import strategies as st

FIELDS = ("name", "n")


def found(chunk, ordinal=0, at=None, ambiguous=False, overlap=0, **values):
    """An item of chunk `chunk` (100 code points each, `overlap` more) whose values stand at `at`."""
    quotes = {}
    if at is not None:
        quotes = {field: (Quote(str(v), Span(at, at + 5), "exact", ambiguous),) for field, v in values.items()}
    span = Span(chunk * 100, chunk * 100 + 100 + overlap)
    return Found(chunk=chunk, span=span, ordinal=ordinal, values=values, quotes=quotes)


def merge_one(items, fields, conflict):
    (record,), evidence = merge(items, fields, one=True, conflict=conflict)
    return record, evidence


def merge_many(items, fields, key, conflict):
    return merge(items, fields, one=False, key=key, conflict=conflict)


def names(items, key=(), conflict="majority"):
    return [record["name"] for record in merge_many(items, FIELDS, key, conflict)[0]]


def test_the_majority_of_the_chunks_wins_and_the_conflict_is_told():
    items = [found(0, name="Acme", at=3), found(1, name="ACME ", at=120), found(2, name="Beta", at=210)]
    record, (first, second) = merge_one(items, FIELDS, "majority")
    assert record == {"name": "Acme", "n": None}
    assert (first.support, first.conflict, first.span, second.span) == (2, True, Span(3, 8), Span(120, 125))


@pytest.mark.parametrize(("conflict", "wins"), [("majority", "B"), ("first", "A"), ("longest", "Ccc")])
def test_a_conflict_is_settled_as_the_job_says(conflict, wins):
    items = [
        found(0, name="A", at=1),
        found(1, name="B", at=101),
        found(2, name="B", at=201),
        found(3, name="Ccc", at=301),
    ]
    assert merge_one(items, FIELDS, conflict)[0]["name"] == wins


def test_a_tie_goes_to_the_value_whose_words_were_found():
    items = [found(0, name="Ghost"), found(1, name="Acme", at=120)]
    assert merge_one(items, FIELDS, "majority")[0]["name"] == "Acme"
    assert merge_one(items, FIELDS, "first")[0]["name"] == "Ghost"


def test_true_is_not_one_and_one_is_one_point_zero():
    assert normalize(True) != normalize(1)
    assert normalize(1) == normalize(1.0)
    assert normalize({"a": [" X. ", None]}) == normalize({"a": ["x", None], "b": None})
    assert normalize("...") != normalize("!!!")


def test_items_with_the_same_key_are_one_and_their_evidence_is_united():
    items = [
        found(0, name="Acme, Inc.", n=1, at=10),
        found(5, name="ACME INC", n=1, at=510),
        found(6, name="Beta", at=610),
    ]
    records, evidence = merge_many(items, FIELDS, ["name"], "majority")
    assert records == [{"name": "Acme, Inc.", "n": 1}, {"name": "Beta", "n": None}]
    assert [e.span.start for e in evidence if (e.item, e.field) == (0, "name")] == [10, 510]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Johnson Controls", "Jonson Controls", True),
        ("Nationwide Realty LLC", "Nationwide Reality LLC", True),
        ("Blackstone Fund II", "Blackstone Fund III", False),
        ("Acme Holdings Series A", "Acme Holdings Series B", False),
        ("employer", "employee", False),
        ("lessor", "lessee", False),
        ("Contract 10001", "Contract 10002", False),
        ("北京银行股份有限公司", "南京银行股份有限公司", False),
        ("Item alpha100", "Item alpha101", False),
    ],
)
def test_near_equal_names_differ_by_a_slip_in_one_long_word(one, other, same):
    assert (len(names([found(0, name=one, at=1), found(1, name=other, at=101)], ["name"])) == 1) == same


def test_near_equal_in_one_key_field_needs_the_others_equal():
    items = [found(0, name="Johnson", n=1, at=1), found(1, name="Jonson", n=2, at=101)]
    assert len(names(items, ["name", "n"])) == 2
    assert len(names(items, ["name"])) == 1


def test_without_a_key_equal_items_at_different_places_stay_apart_and_at_the_same_place_are_one():
    assert names([found(0, name="$5", at=10), found(0, 1, name="$5", at=50)]) == ["$5", "$5"]
    assert names([found(0, name="$5", at=98, overlap=20), found(1, name="$5", at=98)]) == ["$5"]
    assert names([found(0, name="$5"), found(3, name="$5")]) == ["$5"]


def test_what_overlapping_chunks_both_name_once_and_stands_in_many_places_is_one():
    items = [found(0, name="Lender", at=3, ambiguous=True, overlap=20), found(1, name="Lender", at=104, ambiguous=True)]
    assert names(items) == ["Lender"]
    apart = [found(0, name="Lender", at=3, ambiguous=True), found(1, name="Lender", at=104, ambiguous=True)]
    assert names(apart) == ["Lender", "Lender"]


def test_what_one_chunk_saw_in_part_joins_what_the_next_saw_in_full():
    items = [found(0, name="Acme", at=98, overlap=20), found(1, name="Acme", n=3, at=98)]
    assert merge_many(items, FIELDS, [], "majority")[0] == [{"name": "Acme", "n": 3}]
    two = [*items, found(1, 1, name="Acme", n=4, at=98)]
    assert [record["n"] for record in merge_many(two, FIELDS, [], "majority")[0]] == [3, 4]


def test_forty_fields_worth_of_mentions_at_one_place_all_find_their_double():
    items = [found(c, n, name="same words", n=n, at=98, overlap=20) for c in (0, 1) for n in range(40)]
    assert len(merge_many(items, FIELDS, [], "majority")[0]) == 40


ITEMS = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.sampled_from(["Acme", "ACME", "Johnson", "Jonson", "Beta", "Jonsson"]),
        st.none() | st.integers(0, 2),
        st.none() | st.integers(0, 40),
        st.booleans(),
    ),
    max_size=14,
)


@given(ITEMS, st.randoms(use_true_random=False), st.sampled_from([(), ("name",), ("name", "n")]))
def test_the_order_of_arrival_changes_nothing(drawn, rng, key):
    items = [
        found(
            chunk,
            ordinal,
            None if at is None else chunk * 100 + at * 3,
            ambiguous,
            overlap=30,
            **({"name": name} if n is None else {"name": name, "n": n}),
        )
        for ordinal, (chunk, name, n, at, ambiguous) in enumerate(drawn)
    ]
    shuffled = items[:]
    rng.shuffle(shuffled)
    for conflict in ("majority", "first", "longest"):
        assert merge_one(items, FIELDS, conflict) == merge_one(shuffled, FIELDS, conflict)
        assert merge_many(items, FIELDS, key, conflict) == merge_many(shuffled, FIELDS, key, conflict)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9))), st.randoms(use_true_random=False))
def test_groups_are_the_same_whatever_order_they_are_united_in(pairs, rng):
    one, other = Groups(10), Groups(10)
    for left, right in pairs:
        one.unite(left, right)
    rng.shuffle(pairs)
    for left, right in pairs:
        other.unite(right, left)
    assert one.members() == other.members()


def test_a_hundred_thousand_items_merge_in_seconds():
    rng = random.Random(7)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(4, 10))) for _ in range(3_000)]
    clean = [" ".join(rng.sample(words, 2)) for _ in range(25_000)]
    items = [found(n // 1000, n % 1000, n * 10 % 100_000, name=clean[n % 25_000].title()) for n in range(100_000)]
    began = time.perf_counter()
    records, evidence = merge_many(items, FIELDS, ["name"], "majority")
    print(
        f"100,000 items: {time.perf_counter() - began:.1f} s, {len(records):,} records, {len(evidence):,} evidence rows"
    )
    assert len(records) == len(set(clean)) - len(_slips(clean))


def _slips(clean):
    """Members beyond the first of every group of near-equal names."""
    distinct = sorted(set(clean))
    place = {name: n for n, name in enumerate(distinct)}
    groups = Groups(len(distinct))
    for left, right in near_equal_names(distinct):
        groups.unite(place[left], place[right])
    return [n for members in groups.members() for n in members[1:]]
