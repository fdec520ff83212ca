"""CSV with quotes escaped by a backslash, as Spark and MySQL write it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from docreduce.readers import Unread, discover, read
from docreduce.settings import InputSettings
from docreduce.values import Document

TEXTS = ['He said "yes", then left', "plain, text", '"all"', 'two\nlines "of" it', "", 'a "" b', 'ends in "quotes"']


def _read(path: Path, **settings: Any) -> list[Document | Unread]:
    given = InputSettings.model_validate({"paths": [str(path)], "text_column": "text", **settings})
    (source,) = discover(given).sources
    return list(read(source, given))


def _write(path: Path, texts: list[str], escape: Any, delimiter: str = ",") -> None:
    rows = "".join(f'{at}{delimiter}"{escape(text)}"{delimiter}x\n' for at, text in enumerate(texts))
    path.write_text(f"id{delimiter}text{delimiter}n\n{rows}")


def spark(text: str) -> str:
    text = text.replace('"', '\\"')
    return f"{text}\\" if text.endswith("\\") else text  # the one before the quote that closes


def mysql(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\\n")


KINDS = [
    (spark, ["C:\\new\\table", "C:\\dir\\"]),
    (spark, ["\\\\server\\share"]),
    (mysql, ["C:\\new\\table", "C:\\dir\\", "\\\\server\\share", "\\"]),
]


def _check(path: Path, texts: list[str], escape: Any, delimiter: str = ",") -> None:
    _write(path, texts, escape, delimiter)
    found = _read(path)
    assert [each.text if isinstance(each, Document) else each.error.message for each in found] == texts
    assert {dict(each.columns)["n"] for each in found} == {"x"}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize(("escape", "more"), KINDS)
def test_every_text_is_as_it_was_written(tmp_path: Path, escape: Any, more: list[str], delimiter: str) -> None:
    _check(tmp_path / "a.csv", [*TEXTS, *more], escape, delimiter)


@pytest.mark.long
@pytest.mark.parametrize(("escape", "more"), KINDS)
def test_so_it_is_in_a_table_longer_than_its_head(tmp_path: Path, escape: Any, more: list[str]) -> None:
    _check(tmp_path / "a.csv", [*TEXTS, *more] * 10_000, escape)
    assert (tmp_path / "a.csv").stat().st_size > 1.5 * 2**20


@pytest.mark.parametrize("text", ["C:\\dir\\", '{"say": "\\"hi\\""}'])
def test_a_backslash_before_a_doubled_or_a_closing_quote_is_one(tmp_path: Path, text: str) -> None:
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["id", "text", "n"], ["1", text, "x"], ["2", "b", "y"]])
    assert [each.text for each in _read(tmp_path / "a.csv") if isinstance(each, Document)] == [text, "b"]


def test_where_neither_way_of_quoting_explains_the_table_a_row_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,text,n\n1,"He said \\"yes\\", then",4\n2,"b" c, "d",e,5\n3,good,6\n')
    found = _read(tmp_path / "a.csv")
    assert [each.text if isinstance(each, Document) else each.error.kind for each in found] == [
        "malformed_row", "malformed_row", "good",
    ]  # fmt: skip
