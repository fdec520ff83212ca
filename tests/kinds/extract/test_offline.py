"""The embedded extraction takes what stands in the text, with its words, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
from docreduce.kinds.extract import offline_values as values
from docreduce.kinds.extract.offline import extract_items
from docreduce.kinds.extract.prompts import pack
from hypothesis import given, settings
from hypothesis import strategies as st
from places import ROOT

DATE = {"type": ["string", "null"], "format": "date"}

CONTRACT = """MASTER SERVICE AGREEMENT AB-1234

Parties:
- Foo Systems, Inc.
- Bar GmbH

Status: Final
Renewable: yes
Contacts: anna.b@foo.example, office@bar.example
**Governing law:** State of New York

This Agreement is made as of July 3, 2019 (the "Agreement Date") by and between Foo Systems, Inc., a Delaware
corporation, and Bar GmbH. It becomes effective on August 1, 2019 and shall continue until it ends on 31 December 2024.
The yearly fee is $12,500. Either party may terminate with thirty (30) days' notice and interest of 2.5% a month.
See https://foo.example/terms.
"""


def item(text: str, properties: dict[str, Any], **schema: Any) -> dict[str, Any]:
    """The item found, {} for none; its evidence is checked to stand in the text, its values to be valid."""
    full = {"type": "object", "properties": properties, **schema}
    items = json.loads(extract_items(text, json.dumps(full)))["items"]
    assert len(items) <= 1
    for found in items:
        evidence = found["evidence"]
        assert evidence.keys() == {name for name, value in found.items() if value is not None} - {"evidence"}
        for quotes in evidence.values():
            for quote in quotes if isinstance(quotes, list) else [quotes]:
                assert quote in text
        given = {name: value for name, value in found.items() if value is not None and name != "evidence"}
        assert jsonschema_rs.validator_for(full, validate_formats=True).is_valid(given)
    return items[0] if items else {}


def value(text: str, schema: dict[str, Any], name: str = "field") -> Any:
    return item(text, {name: schema}).get(name)


def test_contract_fields_come_with_their_words() -> None:
    found = item(
        CONTRACT,
        {
            "parties": {"type": "array", "items": {"type": "string"}},
            "agreement_date": DATE,
            "effective_date": DATE,
            "end_date": DATE,
            "governing_law": {"type": "string"},
            "yearly_fee": {"type": "number"},
            "notice_days": {"type": "integer"},
            "interest_percent": {"type": "number"},
            "status": {"enum": ["draft", "final"]},
            "renewable": {"type": "boolean"},
            "reference": {"type": "string", "pattern": "^[A-Z]{2}-\\d+$"},
            "contacts": {"type": "array", "items": {"type": "string", "format": "email"}},
            "terms_url": {"type": "string", "format": "uri"},
            "warranty_period": {"type": "string"},
        },
    )
    evidence = found.pop("evidence")
    assert found == {
        "parties": ["Foo Systems, Inc.", "Bar GmbH"],
        "agreement_date": "2019-07-03",
        "effective_date": "2019-08-01",
        "end_date": "2024-12-31",
        "governing_law": "State of New York",
        "yearly_fee": 12_500,
        "notice_days": 30,
        "interest_percent": 2.5,
        "status": "final",
        "renewable": True,
        "reference": "AB-1234",
        "contacts": ["anna.b@foo.example", "office@bar.example"],
        "terms_url": "https://foo.example/terms",
        "warranty_period": None,
    }
    assert evidence["parties"] == ["Foo Systems, Inc.", "Bar GmbH"]
    assert evidence["yearly_fee"] == "$12,500"
    assert evidence["effective_date"] == "August 1, 2019"
    assert evidence["contacts"] == ["anna.b@foo.example", "office@bar.example"]


def test_header_lines_fill_the_fields_they_name() -> None:
    text = (
        "PEP: 4711\nTitle: A better\tloop\nAuthor: Anna Bloom,\n    Carl Dorn\n"
        "Python-Version: 3.9\nCreated: 13-Jul-2000\n\nBody."
    )
    found = item(
        text,
        {
            "pep": {"type": "integer"},
            "title": {"type": "string"},
            "author": {"type": "array", "items": {"type": "string"}},
            "python_version": {"type": "string"},
            "created": DATE,
        },
    )
    found.pop("evidence")
    assert found == {
        "pep": 4711,
        "title": "A better loop",
        "author": ["Anna Bloom", "Carl Dorn"],
        "python_version": "3.9",
        "created": "2000-07-13",
    }


@pytest.mark.parametrize(
    "line", ["Method: __exit__", "**Method:** __exit__", "**Method**: __exit__", "| Method | __exit__ |"]
)
def test_a_label_may_be_marked_up(line: str) -> None:
    found = item(f"# A page\n\n{line}\n\nText.", {"method": {"type": "string"}})
    assert found == {"method": "__exit__", "evidence": {"method": "__exit__"}}


def test_german_and_chinese_fields_are_found() -> None:
    text = "Rechnungsnummer: RE-2024-17\nRechnungsdatum: 3. März 2024\nGesamtbetrag: 1.234,56 €\n"
    found = item(
        text,
        {
            "rechnungsnummer": {"type": "string"},
            "rechnungsdatum": {"type": "string", "format": "date"},
            "gesamtbetrag": {"type": "number"},
        },
    )
    assert (found["rechnungsnummer"], found["rechnungsdatum"]) == ("RE-2024-17", "2024-03-03")
    assert found["gesamtbetrag"] == 1234.56
    assert value("本合同于2024年3月5日签订。", {"type": "string", "format": "date"}, "date") == "2024-03-05"
    assert value("签订日期：2024年3月5日", {"type": "string", "format": "date"}, "签订日期") == "2024-03-05"


def test_nothing_found_is_no_item_and_a_field_not_found_is_null() -> None:
    fields = {"effective_date": DATE, "email": {"type": ["string", "null"], "format": "email"}}
    assert item("The weather was fine.", fields) == {}
    assert item("", fields) == {}
    found = item("Write to a@b.example.", fields)
    assert found == {"effective_date": None, "email": "a@b.example", "evidence": {"email": "a@b.example"}}


def test_a_boolean_is_only_taken_where_it_is_stated() -> None:
    assert value("The contract may be renewable some day.", {"type": "boolean"}, "renewable") is None
    assert value("Renewable: No", {"type": "boolean"}, "renewable") is False


def test_a_date_time_is_taken_from_the_line_that_names_it() -> None:
    at = {"type": "string", "format": "date-time"}
    assert value("Sent: 2024-05-01T10:00:00Z", at, "sent") == "2024-05-01T10:00:00Z"
    assert value("Sent: yesterday. It arrived 2024-05-01.", at, "sent") is None


def test_an_end_is_no_beginning() -> None:
    text = "The term shall commence on the Effective Date and end on June 30, 2019."
    assert value(text, DATE, "effective_date") is None
    assert value(text, DATE, "end_date") == "2019-06-30"


def test_values_the_schema_does_not_admit_are_passed_over() -> None:
    assert value("Age: 7 or 41 years", {"type": "integer", "minimum": 18}, "age") == 41
    assert value("Code: ab", {"type": "string", "minLength": 3}, "code") is None
    assert value("due on 31.02.2024 or due on 1.3.2024", DATE, "due_date") == "2024-03-01"


def test_a_choice_of_null_or_something_is_that_something() -> None:
    level = {"anyOf": [{"type": "null"}, {"enum": ["low", "high"]}]}
    assert value("Contact: a@b.example, Level: high", level, "level") == "high"
    assert value("Level 3", {"allOf": [{"type": "integer"}, {"minimum": 1}]}, "level") == 3


def test_an_object_is_filled_from_lines_that_name_it_and_its_field() -> None:
    seller = {"type": "object", "properties": {"name": {"type": "string"}, "email": {"type": "string"}}}
    found = item(
        "Seller name: Ann Oak\nSeller e-mail: a@b.example\nBuyer name: Bo", {"seller": seller, "agent": seller}
    )
    assert found["seller"] == {"name": "Ann Oak", "email": "a@b.example"}
    assert found["agent"] is None


@pytest.mark.parametrize(
    ("text", "name", "schema", "expected"),
    [
        ("The vendor pays 5 euros; the calendar of 2024-05-01.", "end_date", DATE, None),
        ("The fee is due on 1 May 2024, and the term ends on 2 May 2024.", "end_date", DATE, "2024-05-02"),
        ("Signed on 05/06/1998.", "signed", DATE, None),
        ("Signed on 25/06/1998.", "signed", DATE, "1998-06-25"),
        ("Write to a@b.example.", "billing_email", {"type": "string", "format": "email"}, "a@b.example"),
        ("a@b.example or c@d.example", "billing_email", {"type": "string", "format": "email"}, None),
        ("a@b.example, billing: c@d.example", "billing_email", {"type": "string", "format": "email"}, "c@d.example"),
        ("It was open, then closed.", "state", {"enum": ["open", "closed"]}, None),
        ("The case is closed.", "state", {"enum": ["open", "closed"]}, "closed"),
        ("Weight (kg): 81.5 kg", "weight", {"type": "number"}, 81.5),
        ("| Weight | 81 kg |", "weight", {"type": "integer"}, 81),
        ("Refund of USD 1,249.50 for order 55102", "amount", {"type": "number"}, 1249.5),
        ("Order 55102 has 12 parts", "amount", {"type": "number"}, None),
        ("Years of term: three\nThe term is 3 years.", "term_years", {"type": "integer"}, 3),
        ("Renewable: ☒", "renewable", {"type": "boolean"}, True),
        ("Sizes: 38, 40 and 42", "sizes", {"type": "array", "items": {"type": "integer"}}, [38, 40, 42]),
        ("Fees: $1,250 and $300", "fees", {"type": "array", "items": {"type": "integer"}}, [1250, 300]),
    ],
)
def test_a_value_is_taken_where_it_is_plain_and_nowhere_else(
    text: str, name: str, schema: dict[str, Any], expected: Any
) -> None:
    assert value(text, schema, name) == expected


def test_the_sample_contracts_give_every_field_they_state() -> None:
    schema = json.loads((ROOT / "jobs" / "contract.schema.json").read_text())
    found = {
        path.stem: item(path.read_text(), schema["properties"]) for path in sorted((ROOT / "data/contracts").iterdir())
    }
    for one in found.values():
        one.pop("evidence")
    assert found["hosting"] == {
        "reference": "HSA-2024-017",
        "parties": ["Larkfield Data Centers, Inc.", "Bright Orchard Foods LLC"],
        "agreement_date": "2024-03-03",
        "effective_date": "2024-04-01",
        "end_date": "2027-03-31",
        "governing_law": "State of Oregon",
        "renewable": True,
        "yearly_fee": 148_800,
        "currency": "USD",
        "notice_days": 60,
        "email": "contracts@larkfield.example",
    }
    assert found["distribution"] == {
        "reference": "VD-2023-204",
        "parties": ["Veltex Instruments Ltd", "Norte Medical S.A."],
        "agreement_date": "2023-09-18",
        "effective_date": "2023-10-01",
        "end_date": "2026-09-30",
        "governing_law": "England and Wales",
        "renewable": False,
        "yearly_fee": None,
        "currency": "EUR",
        "notice_days": 30,
        "email": "desk@norte-medical.example",
    }


def test_packed_rows_are_answered_each_on_its_own() -> None:
    one = {"type": "object", "properties": {"email": {"type": "string", "format": "email"}}}
    items = {"type": "array", "items": one}
    row = {"type": "object", "properties": {"row": {"type": "integer"}, "items": items}}
    schema = {"type": "object", "properties": {"rows": {"type": "array", "items": row}}}
    text = pack(["write to a@b.example", "nothing", "c@d.example"])
    rows = json.loads(extract_items(text, json.dumps(schema)))["rows"]
    assert [(one["row"], [found["email"] for found in one["items"]]) for one in rows] == [
        (1, ["a@b.example"]),
        (2, []),
        (3, ["c@d.example"]),
    ]


@pytest.mark.parametrize("schema", ["", "[]", "7", '{"type": "string"}', '{"properties": {"a": {"type": "nonsense"}}}'])
def test_a_schema_of_no_object_is_refused(schema: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        extract_items("text", schema)


@pytest.mark.parametrize("pattern", ["(a+)+$", "^(a|aa)+$", "((a{900}){900}){900}", "(", "(?:x{0,99}){0,99}b", ""])
def test_no_pattern_hangs_or_fails(pattern: str) -> None:
    assert all(found.value for found in values.matches(pattern, "a" * 20_000 + "!"))


def test_dates_of_many_forms_have_one_value() -> None:
    text = (
        "July 26, 2013; 12th day of November, 2019; 18/9/2008; Dec. 8, 2005; 05/06/98; 2024-02-30; 2024-02-29; "
        "3. Oktober 1990; 13-Jul-2000; 1.2.2020; 2024年3月5日; 99/99/99; version 1.2.3"
    )
    assert [found.value for found in values.dates(text)] == [
        "2013-07-26", "2019-11-12", "2008-09-18", "2005-12-08", "2024-02-29",
        "1990-10-03", "2000-07-13", "2020-02-01", "2024-03-05",
    ]  # fmt: skip


def test_numbers_know_both_decimal_marks_scales_and_currencies() -> None:
    text = "$1,250,000.50; EUR 14,2 Mio.; 1.234,56 €; 12%; 3.142; 1.500 EUR; 5 million dollars; July 3, 2020; -4; 4.1.2"
    assert [(found.value, found.money) for found in values.numbers(text)] == [
        (1_250_000.5, True), (14_200_000, True), (1234.56, True), (12, False), (3.142, False), (1500, True),
        (5_000_000, True), (-4, False),
    ]  # fmt: skip


EVERY = {
    "due_date": DATE,
    "at": {"type": "string", "format": "date-time"},
    "total": {"type": "number"},
    "email": {"type": "string", "format": "email"},
    "link": {"type": "string", "format": "uri"},
    "phone": {"type": "string"},
    "case_id": {"type": "string"},
    "code": {"type": "string", "pattern": "^\\w+-\\d+$"},
    "kind": {"enum": ["a", "b", None]},
    "notice_days": {"type": "integer"},
    "seller": {"type": "object", "properties": {"name": {"type": "string"}}},
    "parties": {"type": "array", "items": {"type": "string"}},
    "days": {"type": "array", "items": {"type": "string", "format": "date"}},
    "title": {"type": "string"},
    "note": {"type": "string"},
}


def test_a_field_called_by_its_unit_takes_numbers_of_that_unit_alone() -> None:
    text = "2. Notice. Either party gives notice of ninety (90) days, or pays 500 dollars."
    assert value(text, {"type": "integer"}, "notice_days") == 90
    assert value("2. Notice. A notice of 3 months.", {"type": "integer"}, "notice_days") is None


@pytest.mark.long
@pytest.mark.parametrize(
    "text",
    [
        "a" * 200_000,
        " " * 200_000,
        "1 " * 50_000,
        "a: " * 50_000,
        "\n" * 100_000,
        "- a\n" * 50_000,
        "2024-05-01 due " * 9_000,
        "a@" * 50_000,
        "字" * 50_000,
        "1.1." * 40_000,
        "|" * 100_000,
        "Note: x,\n  y,\n" * 9_000,
    ],
    ids=lambda text: ascii(text[:6]),
)
def test_hostile_text_is_answered(text: str) -> None:
    item(text, EVERY)


@given(text=st.text(alphabet=st.sampled_from("ab1 2.,:/-@€$\n—月年日字 Mai2024Inc"), max_size=300))
@settings(max_examples=150, deadline=None)
def test_any_text_gives_valid_values_with_verbatim_evidence(text: str) -> None:
    item(text, EVERY)
