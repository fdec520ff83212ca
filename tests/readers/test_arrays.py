"""JSON arrays of objects, bare or in an object: tables where their objects have the column to work on."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from docreduce.readers import Unread, discover, read
from docreduce.settings import InputSettings
from docreduce.values import Document

ROWS = [
    {"id": 123456789012345678901, "body": "The ferry left.", "of": {"a": [1, 2]}},
    {"id": 2, "body": "Nobody\nwas \u2028 hurt, [said] he.", "late": None},
    {"id": 3, "body": None, "late": True},
]


def _read(path: Path, **settings: Any) -> list[Document | Unread]:
    given = InputSettings.model_validate({"paths": [str(path)], **settings})
    (source,) = discover(given).sources
    return list(read(source, given))


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("packed", [False, True])
def test_each_object_is_a_row_as_in_json_lines(tmp_path: Path, indent: int | None, encoding: str, packed: bool) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    text = json.dumps(ROWS, indent=indent, ensure_ascii=False).encode(encoding)
    path = tmp_path / ("a.json.gz" if packed else "a.json")
    path.write_bytes(gzip.compress(text) if packed else text)
    lines, array = _read(tmp_path / "a.jsonl", text_column="body"), _read(path, text_column="body")
    assert [type(each) for each in array] == [type(each) for each in lines]
    for one, other in zip(array, lines, strict=True):
        assert (one.id, one.row) == (other.id, other.row)
        if isinstance(one, Document) and isinstance(other, Document):
            assert (one.text, dict(one.columns)) == (other.text, dict(other.columns))


def test_without_the_column_an_array_is_a_document(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(ROWS))
    for settings in ({}, {"text_column": "words"}):
        (found,) = _read(tmp_path / "a.json", **settings)
        assert isinstance(found, Document)
        assert (found.row, "Nobody" in found.text) == (None, True)


@pytest.mark.parametrize(
    ("text", "rows", "said"),
    [
        ('[{"body": "a"}, {"body": "b"}', 2, "breaks off after element 2"),
        ('[{"body": "a"}, {"body": "b', 1, "element 2 of the array is not JSON"),
        ('[{"body": "a"} {"body": "b"}]', 1, "breaks off after element 1"),
        ('[{"body": "a"},, {"body": "b"}]', 1, "element 2 of the array is not JSON"),
        ('[{"body": "a"}]\n{"body": "b"}', 1, "more after the end"),
        ('{"data": [{"body": "a"}, {"body": "b"}', 2, "breaks off after element 2"),
        ('{"data": [{"body": "a"}, {"body": "b', 1, "element 2 of the array is not JSON"),
        ('{"data": [{"body": "a"}], "more": ', 1, "around the list of rows"),
    ],
)
def test_an_array_that_is_broken_itself_or_around_gives_its_rows_until_there_and_a_failure(
    tmp_path: Path, text: str, rows: int, said: str
) -> None:
    (tmp_path / "a.json").write_text(text)
    *found, last = _read(tmp_path / "a.json", text_column="body")
    assert [each.text for each in found if isinstance(each, Document)] == ["a", "b"][:rows]
    assert isinstance(last, Unread)
    assert said in last.error.message


def test_an_element_that_is_no_object_is_a_failed_row(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"body": "a"}, 7, [], {"body": "b"}, ]')
    found = _read(tmp_path / "a.json", text_column="body")
    assert [each.text if isinstance(each, Document) else each.error.kind for each in found] == [
        "a", "unreadable", "unreadable", "b",
    ]  # fmt: skip


WRAPPED = [
    {"data": ROWS},
    {"count": 3, "next": None, "results": ROWS, "links": ["a", {"href": "b"}]},
    {"meta": {"body_count": 3, "sizes": [1, 2]}, "response": {"docs": ROWS, "start": 0}},
    {"errors": [{"code": 7}], "items": ROWS, "of": [[{"body": 1}]]},
]


@pytest.mark.parametrize("wrapped", WRAPPED)
@pytest.mark.parametrize("indent", [None, 2])
def test_rows_in_an_object_are_rows_as_in_an_array(tmp_path: Path, wrapped: Any, indent: int | None) -> None:
    (tmp_path / "array.json").write_text(json.dumps(ROWS))
    (tmp_path / "object.json").write_text(json.dumps(wrapped, indent=indent))
    array = _read(tmp_path / "array.json", text_column="body")
    found = _read(tmp_path / "object.json", text_column="body")
    assert len(found) == len(ROWS)
    for one, other in zip(found, array, strict=True):
        assert isinstance(one, Document)
        assert isinstance(other, Document)
        assert (one.id, one.row, one.text, dict(one.columns)) == (other.id, other.row, other.text, dict(other.columns))


@pytest.mark.parametrize(
    "content",
    [
        {"body": "The letter.", "notes": [{"body": "a note"}]},
        {"letter": {"notes": [{"body": "a note"}], "body": "The letter."}},
        {"old": [{"body": "a"}], "new": [{"body": "b"}]},
        {"data": [{"words": "body"}]},
        {"data": {"1": {"body": "a"}}},
        {"data": [], "column": "body"},
    ],
)
def test_an_object_is_a_document_where_the_column_is_its_own_or_in_doubt(tmp_path: Path, content: Any) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content))
    (found,) = _read(tmp_path / "a.json", text_column="body")
    assert isinstance(found, Document)
    assert (found.row, found.text) == (None, json.dumps(content))


def test_a_column_whose_name_is_written_as_escapes_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"data": [{"größe": "weit"}]}))
    (found,) = _read(tmp_path / "a.json", text_column="größe")
    assert isinstance(found, Document)
    assert (found.row, found.text) == (0, "weit")


@pytest.mark.parametrize("late", [{"more": [{"body": "b"}]}, {"body": "b"}])
def test_what_is_in_doubt_only_past_the_head_is_a_failure_that_says_so(tmp_path: Path, late: Any) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"data": [{"body": "a" * 300_000}], **late}))
    (found,) = _read(tmp_path / "a.json", text_column="body")
    assert isinstance(found, Unread)
    assert "more than one list" in found.error.message


def test_a_first_row_longer_than_the_head_is_a_row(tmp_path: Path) -> None:
    for name, content in (("a", [{"body": "a" * 300_000}]), ("b", {"data": [{"body": "a" * 300_000}]})):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        (found,) = _read(tmp_path / f"{name}.json", text_column="body")
        assert isinstance(found, Document)
        assert (found.row, len(found.text)) == (0, 300_000)
