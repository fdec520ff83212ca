"""Items over chunks: what is the same, what wins, and that the order of arrival changes nothing."""

from __future__ import annotations

import json
import random
import time

import pytest
from docreduce.kinds.extract.answers import read_items
from docreduce.kinds.extract.found import Found
from docreduce.kinds.extract.merge import merge
from docreduce.kinds.extract.names import Groups, near_equal_names, normalize
from docreduce.kinds.extract.placing import place
from docreduce.text.alignment import Quote
from docreduce.values import Mark, Span
from driving_extract import settings
from hypothesis import given
from hypothesis import strategies as st
from lookalikes import distinct, same

FLAT = {"type": "object", "properties": {"name": {}, "n": {"type": "integer"}}}


def found(chunk, ordinal=0, at=None, ambiguous=False, overlap=0, **values):
    """An item of chunk `chunk` (100 code points each, `overlap` more) whose values stand at `at`."""
    quotes = {}
    if at is not None:
        quotes = {field: (Quote(str(v), Span(at, at + 5), "exact", ambiguous),) for field, v in values.items()}
    span = Span(chunk * 100, chunk * 100 + 100 + overlap)
    return Found(chunk=chunk, span=span, ordinal=ordinal, values=values, quotes=quotes)


def merge_one(items, conflict="majority", schema=FLAT):
    merged = merge(items, settings(schema, conflict=conflict))
    (record,) = merged.records
    return record, merged.evidence


def merge_many(items, key=(), conflict="majority", schema=FLAT):
    merged = merge(items, settings(schema, cardinality="many", key=list(key), conflict=conflict))
    return merged.records, merged.evidence


def names(items, key=(), conflict="majority"):
    return [record["name"] for record in merge_many(items, key, conflict)[0]]


def read_in_chunks(text, chunks, schema, answers, **more):
    """The merged records of `answers`, one a chunk (start, end), read as a model would give them."""
    asked = settings(schema, **more)
    items = []
    for at, (start, end) in enumerate(chunks):
        read = read_items(json.dumps({"items": answers[at]}, ensure_ascii=False), asked.schema)
        items += place(read, text, chunk=at, span=Span(start, end))
    return merge(items, asked)


def test_the_majority_of_the_chunks_wins_and_the_conflict_is_told():
    items = [found(0, name="Acme", at=3), found(1, name="ACME ", at=120), found(2, name="Beta", at=210)]
    record, rows = merge_one(items)
    assert record == {"name": "Acme", "n": None}
    told = [(row["chosen"], row["support"], row["conflict"], row["char_start"], row["char_end"]) for row in rows]
    assert told == [(True, 2, True, 3, 8), (True, 2, True, 120, 125), (False, 1, True, 210, 215)]
    assert "2 chunks" in rows[2]["reason"]


@pytest.mark.parametrize(("conflict", "wins"), [("majority", "B"), ("first", "A"), ("longest", "Ccc")])
def test_a_conflict_is_settled_as_the_job_says(conflict, wins):
    items = [
        found(0, name="A", at=1),
        found(1, name="B", at=101),
        found(2, name="B", at=201),
        found(3, name="Ccc", at=301),
    ]
    assert merge_one(items, conflict)[0]["name"] == wins


def test_a_tie_goes_to_the_value_whose_words_were_found():
    items = [found(0, name="Ghost"), found(1, name="Acme", at=120)]
    assert merge_one(items)[0]["name"] == "Acme"
    assert merge_one(items, "first")[0]["name"] == "Ghost"


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
    records, evidence = merge_many(items, ["name"])
    assert records == [{"name": "Acme, Inc.", "n": 1}, {"name": "Beta", "n": None}]
    rows = [row for row in evidence if (row["item"], row["field"]) == (0, "name")]
    assert [(row["char_start"], row["chosen"], row["conflict"]) for row in rows] == [
        (10, True, False),
        (510, True, False),
    ]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Johnson Controls", "Jonson Controls", True),
        ("Nationwide Relaty LLC", "Nationwide Realty LLC", True),
        ("Nationwide Realty LLC", "Nationwide Reality LLC", False),
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
    items = [found(0, name="Johnson", n=1, at=1), found(1, name="Jonson", n=1, at=101)]
    assert len(names(items, ["name", "n"])) == len(names(items, ["name"])) == 1


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
    assert merge_many(items)[0] == [{"name": "Acme", "n": 3}]
    two = [*items, found(1, 1, name="Acme", n=4, at=98)]
    assert [record["n"] for record in merge_many(two)[0]] == [3, 4]


def test_forty_fields_worth_of_mentions_at_one_place_all_find_their_double():
    items = [found(c, n, name="same words", n=n, at=98, overlap=20) for c in (0, 1) for n in range(40)]
    assert len(merge_many(items)[0]) == 40


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
        assert merge_one(items, conflict) == merge_one(shuffled, conflict)
        assert merge_many(items, key, conflict) == merge_many(shuffled, key, conflict)


# --- one or two ------------------------------------------------------------------------------------------------------


def test_what_looks_alike_stays_two_and_what_is_written_in_two_ways_is_one():
    def is_one(pair):
        return len(names([found(0, name=pair[0], at=1), found(5, name=pair[1], at=501)], ["name"])) == 1

    two, one = distinct(), same()
    wrong, missed = [pair for pair in two if is_one(pair)], [pair for pair in one if not is_one(pair)]
    print(
        f"{len(two)} look-alikes, {len(wrong)} united: {wrong}; "
        f"{len(one)} pairs that are one, {len(missed)} missed: {missed}"
    )
    assert len(two) >= 400
    assert len(one) >= 300
    assert len(wrong) <= 0.01 * len(two)
    assert len(missed) <= 0.25 * len(one)


def test_no_conflict_is_hidden_by_what_looks_alike():
    for one, other in distinct():
        record, rows = merge_one([found(0, name=one, at=1), found(5, name=other, at=501)])
        assert record["name"] == one
        assert [(row["chosen"], row["conflict"]) for row in rows] == [(True, True), (False, True)], (one, other)


def test_a_slip_unites_only_what_agrees_in_all_other_fields():
    items = [found(0, name="Johnson Controls", n=1, at=1), found(5, name="Jonson Controls", n=2, at=501)]
    assert len(names(items, ["name"])) == 2
    assert len(names([items[0], found(5, name="Jonson Controls", at=501)], ["name"])) == 1


def test_an_alias_is_proposed_and_not_applied():
    asked = settings(FLAT, cardinality="many", key=["name"])
    merged = merge(
        [found(0, name="Acme", at=1), found(1, name="Acme Holdings", at=101), found(2, name="Beta", at=201)], asked
    )
    assert [record["name"] for record in merged.records] == ["Acme", "Acme Holdings", "Beta"]
    assert merged.aliases == [(0, 1)]


# --- level by level --------------------------------------------------------------------------------------------------

ROW = {
    "type": "object",
    "properties": {"day": {"type": "string"}, "what": {"type": "string"}, "sum": {"type": "number"}},
}
NESTED = {
    "type": "object",
    "required": ["bank", "holder", "rows"],
    "properties": {
        "bank": {"type": "string"},
        "holder": {
            "type": "object",
            "required": ["name", "city"],
            "properties": {"name": {"type": "string"}, "city": {"type": "string"}, "vat": {"type": ["string", "null"]}},
        },
        "rows": {"type": "array", "items": ROW, "minItems": 1},
        "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True, "maxItems": 3},
        "groups": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"title": {"type": "string"}, "rows": {"type": "array", "items": ROW}},
            },
        },
    },
}
LINES = [
    ("03 May", "Coffee", 3.5),
    ("03 May", "Rent", 900.0),
    ("04 May", "Coffee", 3.5),
    ("04 May", "Coffee", 3.5),
    ("05 May", "Books", 41.0),
]


def line(row, *fields):
    """A row as an answer has it, its words as evidence."""
    whole = dict(zip(("day", "what", "sum"), row, strict=True))
    return {name: whole[name] for name in fields or whole}


def statement():
    rows = [f"{day} | {what} | {amount:.2f}\n" for day, what, amount in LINES]
    return "Bank: Halden\nHolder: Ida Moss, Oslo\n" + "".join(rows), rows


def quoted(rows):
    return {
        "rows": rows,
        "evidence": {"rows": [" | ".join(f"{v:.2f}" if isinstance(v, float) else v for v in r.values()) for r in rows]},
    }


@pytest.mark.parametrize("cut", range(30, 150))
@pytest.mark.parametrize("overlap", [0, 25, 60])
def test_wherever_a_border_falls_the_rows_are_those_of_the_table(cut, overlap):
    text, rows = statement()

    def answer(start, end):
        seen, at = [], len(text) - sum(map(len, rows))
        for row, line_ in zip(LINES, rows, strict=True):
            part, begin = {}, at
            for name, words, value in zip(("day", "what", "sum"), line_.strip().split(" | "), row, strict=True):
                begin = text.index(words, begin)
                if start <= begin and begin + len(words) <= end:
                    part[name] = value
                begin += len(words)
            seen += [part] if part else []
            at += len(line_)
        return [quoted(seen)] if seen else []

    chunks = [(0, min(cut + overlap, len(text))), (cut, len(text))]
    merged = read_in_chunks(text, chunks, NESTED, [answer(*chunk) for chunk in chunks])
    told = {name for start, end in chunks for item in answer(start, end) for row in item["rows"] for name in row}
    assert told == {"day", "what", "sum"}
    whole = [line(row) for row in LINES]
    got = merged.records[0]["rows"]
    # Words that the border itself divides are told by no chunk.
    lost = sum(map(len, whole)) - sum(len(row) for row in got)
    assert lost <= (1 if overlap == 0 else 0)
    assert len(got) == len(whole)
    assert all(mine.items() <= row.items() for mine, row in zip(got, whole, strict=True))


def test_objects_merge_field_by_field_and_what_is_missing_is_named():
    text = "Bank: Halden. Holder: Ida Moss. Later: of Oslo. 3 May: tea."
    answers = [
        [{"bank": "Halden", "holder": {"name": "Ida Moss", "city": None, "vat": ""}, "tags": ["a", "b"]}],
        [{"holder": {"name": None, "city": "Oslo"}, "tags": ["b", "c", "d"]}],
    ]
    merged = read_in_chunks(text, [(0, 32), (32, len(text))], NESTED, answers)
    assert merged.records[0]["holder"] == {"name": "Ida Moss", "city": "Oslo"}
    assert merged.records[0]["tags"] == ["a", "b", "c"]
    assert [(row["value"], row["reason"]) for row in merged.evidence if not row["chosen"]] == [('"d"', "maxItems: 3")]
    assert merged.missing == {0: [said for said in merged.missing[0] if said.startswith("rows: ")]}
    half = read_in_chunks(
        text, [(0, len(text))], NESTED, [[{"bank": "Halden", "holder": {"name": "Ida"}, "rows": [{"day": "3"}]}]]
    )
    assert half.missing == {0: ["holder.city: missing"]}
    full = {"bank": "Halden", "holder": {"name": "Ida", "city": "Oslo"}, "rows": [{"day": "3"}]}
    assert read_in_chunks(text, [(0, len(text))], NESTED, [[full]]).missing == {}


def test_equal_local_ids_under_different_parents_stay_apart_and_a_parent_over_a_border_is_one():
    text = "A\n1 Coffee 3.50\n2 Tea 2.00\n" + "B\n1 Coffee 3.50\n" + "2 Tea 2.00\n3 Milk 1.00\n"
    border = text.index("2 Tea", 30)

    def group(title, *rows):
        held = {"rows": [dict(zip(("day", "what", "sum"), row, strict=True)) for row in rows]}
        return held | ({"title": title} if title else {})

    coffee, tea, milk = ("1", "Coffee", 3.5), ("2", "Tea", 2.0), ("3", "Milk", 1.0)
    answers = [
        [
            {
                "groups": [group("A", coffee, tea), group("B", coffee)],
                "evidence": {"groups": [text[:27], text[27:border]]},
            }
        ],
        [{"groups": [group(None, tea, milk)], "evidence": {"groups": [text[border:]]}}],
    ]
    merged = read_in_chunks(text, [(0, border), (border, len(text))], NESTED, answers, key=["groups.rows.day"])
    assert merged.records[0]["groups"] == [group("A", coffee, tea), group("B", coffee, tea, milk)]
    paths = {row["field"] for row in merged.evidence}
    assert {"groups[0].title", "groups[1].rows[2].sum"} <= paths


def test_a_section_whose_title_is_repeated_behind_a_border_goes_on_and_another_of_that_title_does_not():
    text = "B\n1 Coffee 3.50\nB (continued)\n2 Tea 2.00\nC\n3 Milk 1.00\n" + "x" * 50 + "\nB\n4 Rent 9.00\n"
    first, second = text.index("B (c"), text.index("xx")

    def answer(*groups):
        return [
            {"groups": [{"title": t, "rows": [{"day": n}]} for t, n in groups], "evidence": {"groups": quotes[groups]}}
        ]

    parts = [(("B", "1"),), (("B", "2"), ("C", "3")), (("B", "4"),)]
    quotes = {parts[0]: ["B\n1 Coffee"], parts[1]: ["B (continued)\n2 Tea", "C\n3 Milk"], parts[2]: ["B\n4 Rent"]}
    merged = read_in_chunks(
        text, [(0, first), (first, second), (second, len(text))], NESTED, [answer(*part) for part in parts]
    )
    got = [(g["title"], [row["day"] for row in g["rows"]]) for g in merged.records[0]["groups"]]
    assert got == [("B", ["1", "2"]), ("C", ["3"]), ("B", ["4"])]


def test_a_nested_key_makes_distant_elements_one_and_other_keys_two():
    text = "INV-1 open. " + "x" * 600 + " INV-1 of May, INV-2 of June."
    answers = [
        [{"rows": [{"day": "INV-1", "what": "open"}]}],
        [{"rows": [{"day": "INV-1", "sum": 5}, {"day": "INV-2", "sum": 6}]}],
    ]
    chunks = [(0, 300), (300, len(text))]
    keyed = read_in_chunks(text, chunks, NESTED, answers, key=["rows.day"]).records[0]["rows"]
    assert keyed == [{"day": "INV-1", "what": "open", "sum": 5}, {"day": "INV-2", "sum": 6}]
    assert len(read_in_chunks(text, chunks, NESTED, answers).records[0]["rows"]) == 3


def test_a_group_over_a_border_takes_in_what_belongs_to_it_and_the_next_group_begins_anew():
    text = "90-94\n1 Ida 44.01\n2 Per 46.80\n85-89\n1 Ann 33.74\n2 Liv 35.00\n80-84\n1 Bo 30.10\n"
    cuts = (text.index("2 Per"), text.index("2 Liv"))
    chunks = [(0, cuts[0]), cuts, (cuts[1], len(text))]
    parts = [
        [{"title": "90-94", "rows": [{"day": "1", "what": "Ida"}]}],
        [{"rows": [{"day": "2", "what": "Per"}]}, {"title": "85-89", "rows": [{"day": "1", "what": "Ann"}]}],
        [{"rows": [{"day": "2", "what": "Liv"}]}, {"title": "80-84", "rows": [{"day": "1", "what": "Bo"}]}],
    ]
    merged = read_in_chunks(text, chunks, NESTED, [[{"groups": part}] for part in parts])
    got = {group["title"]: [row["what"] for row in group["rows"]] for group in merged.records[0]["groups"]}
    assert got == {"90-94": ["Ida", "Per"], "85-89": ["Ann", "Liv"], "80-84": ["Bo"]}


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        ([{"day": "1", "what": "tea"}, {"day": "2"}], [{"day": "3", "sum": 5}]),  # a field with two values
        ([{"day": "1"}, {"what": "a"}, {"what": "b"}], [{"sum": 5}, {"sum": 6}, {"day": "7"}]),  # one of several kinds
    ],
)
def test_neighbours_at_a_border_that_are_whole_in_themselves_stay_two(before, behind):
    text = " ".join(str(value) for row in (*before, *behind) for value in row.values())
    cut = len(" ".join(str(value) for row in before for value in row.values())) + 1
    answers = [[{"rows": before}], [{"rows": behind}]]
    merged = read_in_chunks(text, [(0, cut), (cut, len(text))], NESTED, answers)
    assert merged.records[0]["rows"] == [*before, *behind]


def test_an_empty_answer_never_outvotes_a_value():
    text = "Bank: Halden." + " More." * 40
    chunks = [(at, at + 50) for at in range(0, 200, 50)]
    answers = [[{"bank": "Halden"}], [{"bank": None}], [{"bank": ""}], [{"bank": " "}]]
    record = read_in_chunks(text, chunks, NESTED, answers).records[0]
    assert record["bank"] == "Halden"


def test_what_breaks_off_at_a_border_is_no_conflict_to_what_another_chunk_saw_whole():
    text = "Holder is Acme Holdings Limited here."
    answers = [
        [{"bank": "Acme Hol"}],
        [{"bank": "Acme Holdings Limited", "evidence": {"bank": "Acme Holdings Limited"}}],
    ]
    answers[0][0]["evidence"] = {"bank": "Acme Hol"}
    cut = text.index("dings")
    merged = read_in_chunks(text, [(0, cut), (7, len(text))], NESTED, answers)
    assert merged.records[0]["bank"] == "Acme Holdings Limited"
    assert [(row["chosen"], row["conflict"]) for row in merged.evidence] == [(True, False), (False, False)]
    assert "cut" in merged.evidence[1]["reason"]


# --- words and places ------------------------------------------------------------------------------------------------

STATES = {
    "type": "object",
    "properties": {"no": {"type": "string"}, "state": {"type": "string"}, "sum": {"type": "number"}},
}


def test_words_in_several_places_are_placed_beside_what_is_unambiguous():
    text = "Nothing was paid late, most is open.\nA-1 | open\nA-2 | paid\nA-3 | open\nA-4 | paid\n"
    items = [
        {"no": f"A-{n}", "state": s, "evidence": {"no": f"A-{n}", "state": s}}
        for n, s in enumerate(("open", "paid") * 2, 1)
    ]
    merged = read_in_chunks(text, [(0, len(text))], STATES, [items], cardinality="many")
    states = [row for row in merged.evidence if row["field"] == "state"]
    assert [text.count("\n", 0, row["char_start"]) for row in states] == [1, 2, 3, 4]
    assert all(row["ambiguous"] and "also at" in row["reason"] for row in states)


def test_a_value_that_its_quote_does_not_have_is_flagged_and_a_category_is_not():
    schema = {
        "type": "object",
        "properties": {
            "fee": {"type": "number"},
            "day": {"type": "string", "format": "date"},
            "party": {"type": "string"},
            "late": {"type": "boolean"},
            "kind": {"enum": ["lease", "loan"]},
        },
    }
    text = "A fee of $1,250,000 is due to Acme on 3 May 2021, never late, as for all loans."
    values = {"fee": 2e6, "day": "2021-06-03", "party": "Beta", "late": False, "kind": "lease"}
    right = {"fee": 1.25e6, "day": "2021-05-03", "party": "ACME", "late": False, "kind": "lease"}
    quotes = {"fee": "a fee of $1,250,000", "day": "3 May 2021", "party": "Acme", "late": "never late", "kind": "loans"}
    for stated, expected in ((values, [False, True, False, None, None]), (right, [True, True, True, None, None])):
        (merged,) = [read_in_chunks(text, [(0, len(text))], schema, [[{**stated, "evidence": quotes}]])]
        assert [row["value_in_quote"] for row in merged.evidence] == expected


def test_what_was_coerced_stands_in_the_evidence_with_page_and_place():
    text = "Fee: 1,250.50 net"
    asked = settings(STATES)
    read = read_items(json.dumps({"items": [{"sum": "1,250.50", "evidence": {"sum": "1,250.50"}}]}), asked.schema)
    merged = merge(place(read, text, chunk=0, span=Span(0, len(text))), asked, marks=[Mark("page", 0, "7")])
    (row,) = merged.evidence
    assert (row["value"], row["coerced"], row["page"], row["char_start"]) == ("1250.5", "from '1,250.50'", 7, 5)


def test_elements_that_say_nothing_leave_the_others_their_words():
    text = "A-1 is open, A-2 is paid"
    items = [{"rows": [None, {"day": None}, {"day": "A-1"}, {"what": ""}, {"day": "A-2", "sum": "1,000"}]}]
    items[0]["evidence"] = {"rows[2].day": "A-1 is", "rows[4].day": "A-2 is"}
    merged = read_in_chunks(text, [(0, len(text))], NESTED, [items])
    assert merged.records[0]["rows"] == [{"day": "A-1"}, {"day": "A-2", "sum": 1000}]
    told = {row["field"]: (row["quote"], row["coerced"]) for row in merged.evidence}
    assert told["rows[0].day"][0] == "A-1 is"
    assert told["rows[1].day"][0] == "A-2 is"
    assert told["rows[1].sum"][1] == "from '1,000'; its separator could divide thousands or decimals"


def test_a_second_answer_about_the_same_chunk_adds_what_is_new_and_doubles_nothing():
    text = "3 May tea 1.00\n3 May tea 1.00\n4 May rent 9.00\n"
    asked = settings(NESTED)
    rows = [{"day": "3 May", "what": "tea"}, {"day": "3 May", "what": "tea"}, {"day": "4 May", "what": "rent"}]
    quotes = [text[0:9], text[15:24], text[30:40]]
    items = []
    for answer, take in enumerate(([0, 1], [0, 1, 2])):
        item = {"rows": [rows[at] for at in take], "evidence": {"rows": [quotes[at] for at in take]}}
        read = read_items(json.dumps({"items": [item]}), asked.schema)
        items += place(read, text, chunk=0, span=Span(0, len(text)), answer=answer)
    assert merge(items, asked).records[0]["rows"] == rows


def test_two_equal_rows_of_one_table_stay_two_whether_or_not_a_border_is_between_them():
    text = "tea 1.00\n" * 12
    for cut in (27, 36, 54):
        answers = [
            [quoted([{"what": "tea", "sum": 1.0}] * text[start:end].count("tea"))]
            for start, end in ((0, cut), (cut, 108))
        ]
        for item in (answers[0][0], answers[1][0]):
            item["evidence"]["rows"] = ["tea 1.00"] * len(item["rows"])
        merged = read_in_chunks(text, [(0, cut), (cut, 108)], NESTED, answers)
        assert len(merged.records[0]["rows"]) == 12


def test_rows_that_an_overlap_shows_twice_are_there_once_though_all_are_equal():
    text = "tea 1.00\n" * 12
    chunks = [(0, 63), (36, 108)]
    answers = [[quoted([{"what": "tea", "sum": 1.0}] * text[start:end].count("tea"))] for start, end in chunks]
    for (item,) in answers:
        item["evidence"]["rows"] = ["tea 1.00"] * len(item["rows"])
    assert len(read_in_chunks(text, chunks, NESTED, answers).records[0]["rows"]) == 12


COLUMNS = ("no", "day", "who", "what", "sum")


def planted(count):
    """A table of so many rows as text, and its cells with their places; equal rows among them."""
    rng = random.Random(count)
    text, rows = "| no | day | who | what | sum |\n", []
    for _ in range(count):
        cells = {"no": f"R{rng.randrange(count)}", "day": f"2024-03-{rng.randint(1, 28):02d}"}
        cells |= {"who": rng.choice(["Ida", "Per"]), "what": rng.choice(["tea", "rent"]), "sum": rng.choice([1.5, 2.0])}
        row = []
        for name, value in cells.items():
            words = f"{value:.2f}" if isinstance(value, float) else value
            text += "| "
            row.append((name, value, len(text), len(text) + len(words)))
            text += words + " "
        text += "|\n"
        rows.append(row)
    return text, rows


@pytest.mark.long
@pytest.mark.parametrize("count", [25, 400])
@pytest.mark.parametrize("cardinality", ["one", "many"])
@pytest.mark.parametrize("evidence", ["of rows", "of cells", "none"])
@pytest.mark.parametrize("overlap", [150, 600])
def test_of_a_planted_table_every_row_comes_back_once_and_in_order(count, cardinality, evidence, overlap):
    text, rows = planted(count)
    row_schema = {"type": "object", "properties": {name: {} for name in COLUMNS}}
    schema = row_schema if cardinality == "many" else {"type": "object", "properties": {"rows": {"items": row_schema}}}
    chunks = [(start, min(start + 900 + overlap, len(text))) for start in range(0, len(text), 900)]
    answers = []
    for start, end in chunks:
        seen = [[cell for cell in row if start <= cell[2] and cell[3] <= end] for row in rows]
        items = [{name: value for name, value, *_ in row} for row in seen if row]
        whole = [text[row[0][2] : row[-1][3]] for row in seen if row]
        quotes = [{name: text[a:b] for name, _, a, b in row} for row in seen if row]
        if evidence == "of rows":
            quotes = [dict.fromkeys(item, words) for item, words in zip(items, whole, strict=True)]
        if cardinality == "many":
            answers.append(
                [item | ({} if evidence == "none" else {"evidence": q}) for item, q in zip(items, quotes, strict=True)]
            )
        else:
            told = {"of rows": whole, "of cells": quotes, "none": []}[evidence]
            answers.append([{"rows": items, "evidence": {"rows": told}}])
    records = read_in_chunks(text, chunks, schema, answers, cardinality=cardinality).records
    got = records if cardinality == "many" else records[0]["rows"]
    assert got == [{name: value for name, value, *_ in row} for row in rows]


# --- speed and order -------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9))), st.randoms(use_true_random=False))
def test_groups_are_the_same_whatever_order_they_are_united_in(pairs, rng):
    one, other = Groups(10), Groups(10)
    for left, right in pairs:
        one.unite(left, right)
    rng.shuffle(pairs)
    for left, right in pairs:
        other.unite(right, left)
    assert one.members() == other.members()


@pytest.mark.long
def test_a_hundred_thousand_items_merge_in_seconds():
    rng = random.Random(7)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(4, 10))) for _ in range(3_000)]
    clean = [" ".join(rng.sample(words, 2)) for _ in range(25_000)]
    items = [found(n // 1000, n % 1000, n * 10 % 100_000, name=clean[n % 25_000].title()) for n in range(100_000)]
    began = time.perf_counter()
    records, evidence = merge_many(items, ["name"])
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
