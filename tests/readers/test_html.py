"""HTML: the words a reader sees, in blocks, with headings."""

# ruff: noqa: E501 - a case is a line
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


SIGNS = [
    ("within <del>30</del><ins>60</ins> days", "within ~~30~~60 days"),
    (
        "<s>A clause.</s> <strike> B </strike><span style='text-decoration: line-through'>C</span>",
        "~~A clause.~~ ~~B~~ ~~C~~",
    ),
    ("<p>x<del></del>y</p><del><p>one</p><p>two</p></del>", "xy\n\n~~one\n\ntwo~~"),
    (
        "10<sup>6</sup> x<sup>n+1</sup> m<sup>2</sup> 1<sup>st</sup> Acme<sup>TM</sup> now<sup>*</sup>",
        "10^6 x^(n+1) m^2 1st AcmeTM now*",
    ),
    (
        "$45<sup><a href='#n2'>2</a></sup> million<sup>[3]</sup>, CO<sub>2</sub>, x<sub>i+1</sub>",
        "$45[2] million[3], CO_2, x_(i+1)",
    ),
    (
        "due<a epub:type='noteref' href='#f'>1</a>.<aside epub:type='footnote' hidden>1 Not on Sundays.</aside>",
        "due[1].\n1 Not on Sundays.",
    ),
    (
        "due<sup><a role=doc-noteref href='#f'>2</a></sup><div role=doc-footnote style='display:none'>Really.</div>",
        "due[2]\nReally.",
    ),
    ("e<span style='vertical-align: super'>x</span>", "e^x"),
    ("<ol start=3><li>a<li value=7>b<li>c</ol>", "3. a\n7. b\n8. c"),
    ("<ol reversed><li>a<li>b</ol><ol type=I><li>c<li>d</ol>", "2. a\n1. b\n\nI. c\nII. d"),
    ("<ol style='list-style-type: lower-alpha'><li>a<ol><li>x<li>y</ol><li>b</ol>", "a. a\n  1. x\n  2. y\nb. b"),
    ("<ul><li>a<ul><li>b</ul></ul>", "- a\n  - b"),
    (
        "<label><input type=checkbox checked> Pets</label> <label><input type=checkbox> Smoke</label>",
        "[x] Pets [ ] Smoke",
    ),
    ("<input type=radio checked>Yes<input type=radio>No", "(x) Yes ( ) No"),
    (
        "<span role=checkbox aria-checked=true>On</span> <span role=checkbox aria-checked=false>Off</span>",
        "[x] On [ ] Off",
    ),
    (
        "Name: <input value='Ada'> <input type=hidden value=no><input type=password value=no><input type=submit value=no>",
        "Name: Ada",
    ),
    ("<select><option>no<option selected>yes</select> <textarea>a line</textarea>", "yes a line"),
    (
        "<button>no</button><h3><button>Yes</button></h3><button aria-expanded=false>Also</button><p>x</p>",
        "Yes\n\nAlso\n\nx",
    ),
    ("<ruby>漢字<rt>かんじ</rt></ruby> <ruby>東<rp>(</rp><rt>とう</rt><rp>)</rp></ruby>", "漢字(かんじ) 東(とう)"),
    ("of\u00adfice o\ufb03ce \ufb01le", "office office file"),
    ("<math><mfrac><mn>1</mn><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow></mfrac></math>", "1/(a+b)"),
    ("<math><mn>2</mn><mfrac><mn>1</mn><mn>2</mn></mfrac></math>", "2 1/2"),
    (
        "<math><msup><mi>c</mi><mn>2</mn></msup><mfrac><mn>1</mn><mn>2</mn></mfrac><msqrt><mi>x</mi></msqrt></math>",
        "c^2 1/2 √(x)",
    ),
    ("<math><mn>2</mn><mi>x</mi><mo>+</mo><msup><mi>y</mi><mn>2</mn></msup></math>", "2x+y^2"),
    ("<math><msubsup><mi>x</mi><mi>i</mi><mn>2</mn></msubsup><mo>=</mo><msqrt><mi>y</mi></msqrt></math>", "x_i^2=√(y)"),
    (
        "<math><semantics><mi>x</mi><annotation encoding='application/x-tex'>\\frac{a}{b}</annotation></semantics></math>",
        "$\\frac{a}{b}$",
    ),
]


@pytest.mark.parametrize(("markup", "text"), SIGNS)
def test_signs_that_carry_meaning_stay(markup: str, text: str) -> None:
    assert extract(markup).text == text


GRIDS = [
    ("<tr><td rowspan=2>Riga<td>valve<td>31<tr><td>gasket<td>8", "Riga | valve | 31\n | gasket | 8"),
    (
        "<tr><th>Name<th colspan=2>Sales<tr><td><td>2023<td>2024<tr><td>A<td><td>5",
        "Name | Sales | \n | 2023 | 2024\nA |  | 5",
    ),
    ("<tr><td rowspan=0>all<td>1<tr><td>2<tr><td>3", "all | 1\n | 2\n | 3"),
    ("<tr><td>a<td rowspan=3 colspan=2>b<td>c<tr><td>d<td>e<tr><td>f", "a | b | c\nd |  | e\nf |  | "),
    ("<caption>Prices</caption><tr><td>a<td>1<tr><td>b<td>2", "Prices\n\na | 1\nb | 2"),
    ("<tr><td>1<td><del>2</del>3<sup>4</sup><td><ul><li>x<li>y</ul>", "1 | ~~2~~3^4 | - x - y"),
    ("<tr><td>a<td colspan=9999999 rowspan=9999999>b<tr><td>c", "a | b\nc | "),
]


@pytest.mark.parametrize(("rows", "text"), GRIDS)
def test_cells_are_laid_on_a_grid_and_empty_ones_stay(rows: str, text: str) -> None:
    assert extract(f"<table>{rows}</table>").text == text


INNER = "<table><tr><th>part<th>stock<tr><td>valve<td>31<tr><td>gasket<td></table>"
NESTED = [
    (
        f"<tr><th>Depot<th>Parts<tr><td>Riga<td>{INNER}<tr><td>Tartu<td>none",
        "Depot | Parts\nRiga | part, stock; valve, 31; gasket,\nTartu | none",
    ),
    (
        f"<tr><td>Riga<td>{INNER}<td>x<tr><td>Tartu<td>none<td>y",
        "Riga | part, stock; valve, 31; gasket, | x\nTartu | none | y",
    ),
    (
        "<tr><th>Depot<th>Parts<tr><td>Riga<td>has <table><tr><td>valve<tr><td>gasket</table> in stock",
        "Depot | Parts\nRiga | has valve; gasket in stock",
    ),
    (
        "<tr><th>a<th>b<tr><td>1<td><table><tr><td>2<td><table><tr><td>3<td>4<tr><td>5<td>6</table></table>",
        "a | b\n1 | 2, (3, 4; 5, 6)",
    ),
    # what arranges a page is none
    (f"<tr><td>menu<td>{INNER}", "menu\n\npart | stock\nvalve | 31\ngasket | "),
    (
        f"<tr><td>logo<td>date<tr><td>menu<td>{INNER}{'words ' * 40}",
        f"logo\ndate\nmenu\n\npart | stock\nvalve | 31\ngasket | \n\n{'words ' * 40}".strip(),
    ),
    (f"<tr><td>logo<tr><td>menu<td>{INNER}", "logo\nmenu\n\npart | stock\nvalve | 31\ngasket | "),
]


@pytest.mark.parametrize(("rows", "text"), NESTED)
def test_the_cells_of_a_table_in_a_cell_stay_apart_and_in_their_row(rows: str, text: str) -> None:
    assert extract(f"<table>{rows}</table>").text == text


def test_a_table_that_says_it_arranges_the_page_is_none() -> None:
    page = extract(f"<table role=presentation><tr><th>a<th>b<tr><td>c<td>{INNER}</table>")
    assert page.text == "a\nb\nc\n\npart | stock\nvalve | 31\ngasket | "


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, list[list[str]]]:
    """A table's markup, some of its cells spanning, and what stands where."""
    height, width = draw(st.integers(2, 6)), draw(st.integers(2, 6))
    owner: dict[tuple[int, int], str] = {}
    markup, name = "", 0
    for row in range(height):
        markup += "<tr>"
        for column in range(width):
            if (row, column) in owner:
                continue
            tall, wide = draw(st.integers(1, height - row)), draw(st.integers(1, width - column))
            tall, wide = (tall, wide) if draw(st.booleans()) else (1, 1)
            while any((row, column + step) in owner for step in range(wide)):
                wide -= 1
            name += 1
            text = f"c{name}" if row == 0 or column == 0 or draw(st.integers(0, 4)) else ""
            for place in ((row + down, column + right) for down in range(tall) for right in range(wide)):
                owner[place] = ""
            owner[row, column] = text
            markup += f"<td rowspan={tall} colspan={wide}>{text}"
    grid = [[owner[row, column] for column in range(width)] for row in range(height)]
    used = [column for column in range(width) if any(row[column] for row in grid)]
    return f"<table>{markup}</table>", [[row[column] for column in used] for row in grid if any(row)]


@pytest.mark.long
@settings(max_examples=300, deadline=None)
@given(tables())
def test_every_cell_of_any_table_stands_in_its_row_and_column(table: tuple[str, list[list[str]]]) -> None:
    markup, grid = table
    found = extract(markup)
    if len(grid[0]) > 1:
        assert [line.split(" | ") for line in found.text.split("\n")] == grid
        (mark,) = found.marks
        assert (mark.start, mark.end) == (0, len(found.text))


def test_a_table_is_marked_with_its_header() -> None:
    page = extract(
        "<p>x</p><table><tr><th>A<th>B<tr><td>1<td>2</table><p>y</p><table><tr><td>1<td>2<tr><td>3<td>4</table>"
    )
    marks = [(page.text[mark.start : mark.end], mark.label, mark.level) for mark in page.marks]
    assert marks == [("A | B\n1 | 2", "A | B", 1), ("1 | 2\n3 | 4", "", 0)]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("<title/></head><body><p>Chapter one.</p>", "Chapter one."),
        ("<script src='a.js'/></head><body><p>One.</p><iframe src='x'/><p>Two.</p>", "One.\n\nTwo."),
        ("</head><body><p>One.</p><textarea/><p>Two.</p><video src='v'/><p>Three.</p>", "One.\n\nTwo.\n\nThree."),
        ("</head><body><h2><a id='p8'/>Heading</h2><p>x<br/>y<i/>z</p>", "Heading\n\nx\nyz"),
        ("</head><body><p title='a > b'/><p><![CDATA[1 < 2 & 3]]></p><!-- <p/> --><p>end</p>", "1 < 2 & 3\n\nend"),
        (
            "<style>a > b {}</style><script>//<![CDATA[\nif (a<b/>c) x();\n//]]></script></head><body><p>One.</p>",
            "One.",
        ),
        ("</head><body><table><tr><td/><td>b</td></tr><tr><td>c</td><td/></tr></table>", " | b\nc | "),
    ],
)
def test_xhtml_is_xml(tmp_path: Path, read_all: Any, body: str, text: str) -> None:
    page = (
        f'<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml"><head>{body}</body></html>'
    )
    for name in ("a.xhtml", "b.html", "c"):
        (tmp_path / name).write_text(page)
        (only,) = read_all(tmp_path / name)
        assert only.text == text


def test_xhtml_with_a_prefix_own_entities_and_its_own_encoding_is_read(tmp_path: Path, read_all: Any) -> None:
    page = (
        '<?xml version="1.0" encoding="iso-8859-7"?><!DOCTYPE h:html [<!ENTITY co "Εταιρεία">]>'
        '<h:html xmlns:h="http://www.w3.org/1999/xhtml"><h:body><h:title/><h:p>&co; και άλλα</h:p></h:body></h:html>'
    )
    (tmp_path / "a.xhtml").write_bytes(page.encode("iso8859_7"))
    assert read_all(tmp_path)[0].text == "Εταιρεία και άλλα"


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


@pytest.mark.long
@pytest.mark.parametrize("piece", ["<b>", "<table><tr><td>", "<svg>", "<span>"])
def test_deep_nesting_does_not_crash(piece: str) -> None:
    assert extract(piece * 20_000 + "deep").text == ("" if piece == "<svg>" else "deep")


@pytest.mark.long
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
