"""HTML: the words a reader sees, in blocks, with headings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from docreduce.readers import Unread
from docreduce.readers.html import extract
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>One <b>bo</b>ld\n word</p><p>Two</p>", "One bold word\n\nTwo"),
        ("a<br>b<div>c</div>d", "a\nb\nc\nd"),
        ("<ul><li>x<li><p>y</p></ul>z", "- x\n\n- y\n\nz"),
        ("<pre>  a\n   b</pre>", "  a\n   b"),
        ("<script>no()</script><style>no</style><nav>no</nav><noscript>no</noscript>yes<!-- no -->", "yes"),
        ('<div style="display: none">no</div><p hidden>no</p><div role=navigation>no</div>yes', "yes"),
        ("<table><tr><th>a<th>b<tr><td>1<td>2</table>", "a | b\n1 | 2"),
        ("<table><tr><td>a<td><td>b<tr><td>1<td><td></table>", "a | b\n1 | "),
        ("<table><tr><td>a<td><p>b</p><p>c</p></table>", "a | b c"),
        ("<table><tr><td><p>only</p><p>column</p></table>", "only\n\ncolumn"),
        ("<table><tr><td><h1>T</h1><td><table><tr><td>1<td>2</table></table>", "T\n\n1 | 2"),
        ("no\u00a0break <p>\u00a0</p> end", "no\u00a0break\n\nend"),
        ("&lt;b&gt; &amp; &#x4e2d;😀", "<b> & 中😀"),
    ],
)
def test_blocks_become_lines(markup: str, text: str) -> None:
    assert extract(markup).text == text


def test_headings_are_marked_where_they_stand() -> None:
    page = extract("<h1>One <i>more</i></h1><p>text</p><div><h2>\n<a>Two</a></h2></div>x<h3></h3><h4>Vier</h4>")
    assert [(m.start, m.label, m.level) for m in page.marks] == [(0, "One more", 1), (16, "Two", 2), (24, "Vier", 4)]
    assert all(page.text[m.start :].startswith(m.label) for m in page.marks)


PIECES = """<p> </p> <h1> </h1> <h3> <table> <tr> <td> </td> </table> <li> <ul> </ul> <pre> </pre> <div> </div> <b> <br>
<script> </script> <!-- --> &nbsp; < > word 字"""


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(PIECES.split()), max_size=40))
def test_any_markup_gives_text_whose_marks_fit(pieces: list[str]) -> None:
    page = extract(" ".join(pieces))
    assert [mark.start for mark in page.marks] == sorted(mark.start for mark in page.marks)
    for mark in page.marks:
        assert "".join(page.text[mark.start :].split()).startswith("".join(mark.label.split()))


@pytest.mark.parametrize("piece", ["<b>", "<table><tr><td>", "<svg>", "<span>"])
def test_deep_nesting_does_not_crash(piece: str) -> None:
    assert extract(piece * 20_000 + "deep").text == ("" if piece == "<svg>" else "deep")


def test_markup_that_takes_quadratic_time_is_stopped(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "a.html").write_text("<font><div>" * 300_000)
    (tmp_path / "b.html").write_text("<p>next</p>")
    slow, after = read_all(tmp_path, reader_timeout_s=3.0)
    assert isinstance(slow, Unread)
    assert slow.error.kind == "timeout"
    assert after.text == "next"


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [("gb2312", "gb18030"), ("Shift_JIS", "cp932"), ("utf-8", "utf-8"), ("nonsense", "utf-8"), ("utf-8", "gb18030")],
)
def test_the_page_is_read_in_its_declared_encoding_or_by_its_bytes(
    tmp_path: Path, read_all: Any, declared: str, encoding: str
) -> None:
    text = (
        "今日天気良好，一起去公園散歩。今天天气很好。"
        if encoding != "cp932"
        else "今日は天気がいいですね。散歩しましょう。"
    )
    raw = f'<!doctype html><meta charset="{declared}"><p>{text}</p>'.encode(encoding)
    (tmp_path / "page").write_bytes(raw)  # no extension: known by its content
    (only,) = read_all(tmp_path / "page")
    assert (only.text, only.media_type) == (text, "text/html")


def test_a_page_without_words_says_so(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "a.html").write_text("<html><script>app()</script><div id=root></div></html>")
    assert read_all(tmp_path)[0].error.kind == "no_text"
