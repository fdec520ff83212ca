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

DATE = {"type": ["string", "null"], "format": "date"}

CONTRACT = """MASTER SERVICE AGREEMENT AB-1234

Status: Final
Renewable: yes
Contacts: anna.b@foo.example, office@bar.example

This Agreement is made as of July 3, 2019 (the "Agreement Date") by and between Foo Systems, Inc., a Delaware
corporation, and Bar GmbH. It becomes effective on August 1, 2019 and shall continue until 31 December 2024. The
yearly fee is $12,500. Either party may terminate with 30 days notice. See https://foo.example/terms.
This Agreement is governed by the laws of the State of New
York, without regard to conflicts of law.
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
            "expiration_date": DATE,
            "governing_law": {"type": "string"},
            "yearly_fee": {"type": "number"},
            "notice_days": {"type": "integer"},
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
        "expiration_date": "2024-12-31",
        "governing_law": "New York",
        "yearly_fee": 12_500,
        "notice_days": 30,
        "status": "final",
        "renewable": True,
        "reference": "AB-1234",
        "contacts": ["anna.b@foo.example", "office@bar.example"],
        "terms_url": "https://foo.example/terms",
        "warranty_period": None,
    }
    assert evidence["governing_law"] == "laws of the State of New\nYork"
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


def test_references_and_choices_are_followed() -> None:
    mail = {"type": "string", "format": "email"}
    found = item(
        "Contact: a@b.example, Level: high",
        {
            "contact": {"$ref": "#/$defs/mail"},
            "level": {"anyOf": [{"type": "null"}, {"enum": ["low", "high"]}]},
            "seller": {"type": "object", "properties": {"email": {"$ref": "#/$defs/mail"}}},
        },
        **{"$defs": {"mail": mail, "circle": {"$ref": "#/$defs/circle"}}},
    )
    assert found["contact"] == "a@b.example"
    assert found["level"] == "high"
    assert found["seller"] is None  # objects are left to a model


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
        "2013-07-26", "2019-11-12", "2008-09-18", "2005-12-08", "1998-05-06", "2024-02-29",
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
    "governing_law": {"type": "string"},
    "parties": {"type": "array", "items": {"type": "string"}},
    "title": {"type": "string"},
    "note": {"type": "string"},
}


def test_a_country_of_two_names_is_one_law() -> None:
    law = {"type": "string"}
    assert value("It is governed by the laws of England and Wales.", law, "governing_law") == "England and Wales"
    assert value("It is governed by the laws of Nevada and Utah.", law, "governing_law") == "Nevada"


def test_a_field_called_by_its_unit_takes_numbers_of_that_unit_alone() -> None:
    text = "2. Notice. Either party gives notice of ninety (90) days, or pays 500 dollars."
    assert value(text, {"type": "integer"}, "notice_days") == 90
    assert value("2. Notice. A notice of 3 months.", {"type": "integer"}, "notice_days") is None


@pytest.mark.parametrize(
    "text",
    [
        "a" * 200_000,
        " " * 200_000,
        "1 " * 50_000,
        "a: " * 50_000,
        "\n" * 100_000,
        "laws of the " * 9_000,
        "A Inc between " * 9_000,
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
