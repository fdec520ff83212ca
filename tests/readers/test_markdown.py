"""Markdown headings: where CommonMark has them, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from docreduce.readers.markdown import headings
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# One\ntext\n### Three ###\n", [(0, "One", 1), (11, "Three", 3)]),
        ("Title\n=====\n\nSub\n---\n", [(0, "Title", 1), (13, "Sub", 2)]),
        ("```\n# code\n```\n# real\n", [(15, "real", 1)]),
        ("~~~~ python\n# code\n~~~\n# code\n~~~~\n# real", [(35, "real", 1)]),
        ("```\n# never closed\n", []),
        ("`` `inline` ``\n# real\n", [(15, "real", 1)]),
        ("    # indented code\n", []),
        ("#hashtag\n#\n####### seven\n", [(9, "", 1)]),
        ("---\ntitle: x\n---\n# real\n", [(17, "real", 1)]),
        ("para one\npara two\n---\n", []),
        ("- item\n---\n", []),
        ("| a | b |\n---\n", []),
        ("> quote\n---\n", []),
        ("text\n\n---\n", []),
        ("# C#\n## F# #\n", [(0, "C#", 1), (5, "F#", 2)]),
        ("# eins\r\nzwei\r\n----\r\n", [(0, "eins", 1), (8, "zwei", 2)]),
        ("# 标题\n内容\n", [(0, "标题", 1)]),
    ],
)
def test_headings_are_found_at_their_lines(text: str, expected: list[tuple[int, str, int]]) -> None:
    assert [(mark.start, mark.label, mark.level) for mark in headings(text)] == expected


@given(st.text(st.sampled_from("#=- \n\r`~ab|>"), max_size=60))
def test_marks_are_in_order_and_begin_at_a_line_that_holds_their_label(text: str) -> None:
    marks = headings(text)
    assert [mark.start for mark in marks] == sorted({mark.start for mark in marks})
    for mark in marks:
        assert mark.start == 0 or text[mark.start - 1] in "\r\n"
        assert mark.label in text[mark.start :]


def test_the_text_is_verbatim(tmp_path: Path, read_all: Any) -> None:
    text = "# A\r\n\r\ntext *with* marks\n\n```\n# code\n```\n"
    (tmp_path / "a.md").write_bytes(text.encode())
    (only,) = read_all(tmp_path)
    assert only.text == text
    assert [mark.label for mark in only.marks] == ["A"]
    assert only.media_type == "text/markdown"
