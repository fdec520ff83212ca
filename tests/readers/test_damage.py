"""Rows in are rows out, or a named failure: hundreds of damaged tables, over all formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from damaged import FORMATS, ROWS, Damaged, damaged, sound
from docreduce.readers import Unread
from docreduce.values import Document

BODIES = {name: body for name, body, _ in ROWS}


def judged(case: Damaged, found: list[Document | Unread]) -> str | None:
    """What is wrong with what came of a damaged table: a row gone, or with other words, and no word why."""
    failed = [each for each in found if isinstance(each, Unread)]
    there = {each.id.partition("~")[0]: each.text for each in found if isinstance(each, Document)}
    lost = [name for name, body in list(BODIES.items())[: case.intact] if there.get(name) != body]
    strange = [text for name, text in there.items() if BODIES.get(name) != text]
    if any(not each.error.message or not each.error.kind for each in failed):
        return "a failure without a name"
    if len(lost) > len(strange) and not failed:
        return f"{len(lost)} rows are gone without a word, {lost[0]} first"
    if case.exact and strange:
        return f"a row came with other words: {strange[0]!r}"
    return None


def read_case(case: Damaged, folder: Path, read_all: Any) -> list[Document | Unread]:
    path = folder / case.file
    path.write_bytes(case.raw)
    found: list[Document | Unread] = read_all(path, text_column="body", id_column="id")
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_a_sound_table_comes_whole(tmp_path: Path, read_all: Any, name: str) -> None:
    found = read_case(sound(name), tmp_path, read_all)
    assert [(each.id, each.text) for each in found if isinstance(each, Document)] == [row[:2] for row in ROWS]
    assert [each.columns["tag"] for each in found] == [row[2] for row in ROWS]
    assert [each.row for each in found] == list(range(len(ROWS)))


@pytest.mark.long
@pytest.mark.parametrize("name", FORMATS)
def test_no_row_of_a_damaged_table_goes_without_a_word(tmp_path: Path, read_all: Any, name: str) -> None:
    faults = {}
    for case in damaged(name):
        fault = judged(case, read_case(case, tmp_path, read_all))
        if fault:
            faults[case.name] = fault
    assert not faults


def test_the_matrix_has_its_size() -> None:
    assert sum(1 for name in FORMATS for _ in damaged(name)) >= 200


@pytest.mark.parametrize("name", ["csv", "csv quoted", "csv semicolon", "tsv"])
def test_a_line_with_a_stray_quote_costs_at_most_itself(tmp_path: Path, read_all: Any, name: str) -> None:
    for case in damaged(name):
        if ": line " in case.name and "quote" in case.name.partition(": line ")[2]:
            found = read_case(case, tmp_path, read_all)
            good = sum(isinstance(each, Document) and BODIES.get(each.id) == each.text for each in found)
            assert (len(found), good >= len(ROWS) - 1) == (len(ROWS), True), case.name
