"""Word, PowerPoint, OpenDocument, EPUB and RTF: what carries meaning in them is in the text."""

# ruff: noqa: E501 - a case is a line
from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from docreduce.readers import Unread
from docreduce.readers.base import ReadOptions, Text
from docreduce.readers.docx import FORMAT as DOCX
from docreduce.readers.epub import FORMAT as EPUB
from docreduce.readers.odt import FORMAT as ODT
from docreduce.readers.odt import SLIDES
from docreduce.readers.pptx import FORMAT as PPTX
from docreduce.readers.rtf import FORMAT as RTF
from docreduce.values.errors import DocumentError
from hypothesis import given
from hypothesis import strategies as st
from packing import docx, epub, odt, packed, pptx

OPTIONS = ReadOptions()


def p(*runs: str, style: str = "") -> str:
    given = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{given}{''.join(runs)}</w:p>"


def r(text: str, props: str = "", tag: str = "t") -> str:
    return f"<w:r><w:rPr>{props}</w:rPr><w:{tag} xml:space='preserve'>{text}</w:{tag}></w:r>"


def cell(content: str, props: str = "") -> str:
    return f"<w:tc><w:tcPr>{props}</w:tcPr>{content}</w:tc>"


def box(*paragraphs: str) -> str:
    content = "".join(paragraphs)
    return (
        f"<w:r><mc:AlternateContent><mc:Choice><w:drawing><wps:txbx><w:txbxContent>{content}</w:txbxContent></wps:txbx></w:drawing></mc:Choice>"
        f"<mc:Fallback><w:pict><v:textbox><w:txbxContent>{content}</w:txbxContent></v:textbox></w:pict></mc:Fallback></mc:AlternateContent></w:r>"
    )


def picture(description: str, extension: str = "") -> str:
    # the description stands twice, as Word writes it
    inner = f'<a:graphic><pic:pic><pic:nvPicPr><pic:cNvPr id="1" name="Picture 1" descr="{description}"/></pic:nvPicPr></pic:pic></a:graphic>'
    return (
        '<w:r><w:drawing xmlns:a="urn:a" xmlns:adec="urn:adec" xmlns:pic="urn:pic" xmlns:wp="urn:wp"><wp:inline>'
        f'<wp:docPr id="1" name="Picture 1" descr="{description}"><a:extLst>{extension}</a:extLst></wp:docPr>{inner}</wp:inline></w:drawing></w:r>'
    )


ROWS = f"""<w:tbl>
<w:tr><w:trPr><w:tblHeader/></w:trPr>{cell(p(r("Depot")))}{cell(p(r("Part")))}{cell(p(r("Stock")))}</w:tr>
<w:tr>{cell(p(r("Riga")), '<w:vMerge w:val="restart"/>')}{cell(p(r("valve")))}{cell(p(r("31")))}</w:tr>
<w:tr>{cell(p(), "<w:vMerge/>")}{cell(p(r("gasket")))}{cell(p(r("8")))}</w:tr>
<w:tr>{cell(p(r("Total")), '<w:gridSpan w:val="2"/>')}{cell(p(r("39")) + p(r("pieces")))}</w:tr></w:tbl>"""

WORD = [
    (
        p(r("Payment within "), f"<w:del>{r('30', tag='delText')}</w:del><w:ins>{r('60')}</w:ins>", r(" days.")),
        "Payment within ~~30~~60 days.",
    ),
    (
        p(r("10"), r("6", '<w:vertAlign w:val="superscript"/>'), r(" H"), r("2", '<w:vertAlign w:val="subscript"/>')),
        "10^6 H_2",
    ),
    (
        p(r("This clause ends.", "<w:strike/>"), r(" This not.", '<w:strike w:val="0"/>')),
        "~~This clause ends.~~ This not.",
    ),
    (p(r("seen"), r("hidden", "<w:vanish/>")), "seen"),
    (ROWS, "Depot | Part | Stock\nRiga | valve | 31\n | gasket | 8\nTotal |  | 39 pieces"),
    (
        f"<w:tbl><w:tr>{cell('<w:tbl><w:tr>' + cell(p(r('a'))) + cell(p(r('b'))) + '</w:tr></w:tbl>')}{cell(p(r('c')))}</w:tr></w:tbl>",
        "a, b | c",
    ),
    (p(r("before"), box(p(r("in the box"))), r(" after")), "before after\n\nin the box"),
    (
        p(
            r("x", tag="t"),
            "<w:r><w:tab/><w:t>y</w:t><w:br/><w:t>z</w:t><w:noBreakHyphen/><w:softHyphen/><w:t>q</w:t></w:r>",
        ),
        "x y\nz‑q",
    ),
    (
        p(
            '<w:r><w:sym w:font="Wingdings" w:char="F0FE"/><w:t> yes </w:t><w:sym w:font="Wingdings" w:char="F0A8"/><w:t> no</w:t></w:r>'
        ),
        "☑ yes ☐ no",
    ),
    (
        p(
            '<w:r><w:fldChar><w:ffData><w:checkBox><w:default w:val="1"/></w:checkBox></w:ffData></w:fldChar></w:r>',
            r("Pets"),
        ),
        "[x] Pets",
    ),
    (
        p(
            '<w:r><w:fldChar><w:ffData><w:checkBox><w:default w:val="1"/><w:checked w:val="0"/></w:checkBox></w:ffData></w:fldChar></w:r>',
            r("Cats"),
        ),
        "[ ] Cats",
    ),
    (f"<w:sdt><w:sdtContent>{p(r('in a control'))}</w:sdtContent></w:sdt>", "in a control"),
    (p("<w:hyperlink>", r("a link"), "</w:hyperlink>", "<w:r><w:instrText>PAGE</w:instrText></w:r>"), "a link"),
    (
        p(
            "<m:oMath><m:f><m:num><m:r><m:t>a+b</m:t></m:r></m:num><m:den><m:r><m:t>2</m:t></m:r></m:den></m:f></m:oMath>"
        ),
        "(a+b)/2",
    ),
    (
        p(r("Sales: "), picture("Bars: 3 in May, 5 in June"), r("rose."))
        + p(picture("C:\\a.png"), picture("Riga &amp; &quot;x&quot;")),
        'Sales: [Bars: 3 in May, 5 in June] rose.\n\n[Riga & "x"]',
    ),
    (p(r("a"), picture("a line", "<a:ext><adec:decorative val='1'/></a:ext>"), r("b")), "ab"),
    (p(r("a"), "<w:r><w:pict><v:shape alt='The seal'/></w:pict></w:r>", r("b")), "a [The seal] b"),
    (p(r("o\ufb03ce and soft\u00adhyphen")), "office and softhyphen"),
]


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(("body", "text"), WORD)
def test_words_signs_are_in_the_text_whether_strict_or_not(body: str, text: str, strict: bool) -> None:
    assert DOCX.read(docx(body, strict=strict), OPTIONS).text == text


NUMBERING = """<w:abstractNum w:abstractNumId="0">
<w:lvl w:ilvl="0"><w:start w:val="1"/><w:numFmt w:val="decimal"/><w:lvlText w:val="%1."/></w:lvl>
<w:lvl w:ilvl="1"><w:start w:val="1"/><w:numFmt w:val="decimal"/><w:lvlText w:val="%1.%2"/></w:lvl>
<w:lvl w:ilvl="2"><w:start w:val="1"/><w:numFmt w:val="lowerLetter"/><w:lvlText w:val="(%3)"/></w:lvl></w:abstractNum>
<w:abstractNum w:abstractNumId="1"><w:lvl w:ilvl="0"><w:numFmt w:val="bullet"/><w:lvlText w:val="o"/></w:lvl></w:abstractNum>
<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num><w:num w:numId="2"><w:abstractNumId w:val="1"/></w:num>
<w:num w:numId="3"><w:abstractNumId w:val="0"/><w:lvlOverride w:ilvl="0"><w:startOverride w:val="7"/></w:lvlOverride></w:num>"""
STYLES = """<w:style w:styleId="H1"><w:name w:val="heading 1"/><w:pPr><w:numPr><w:numId w:val="1"/></w:numPr></w:pPr></w:style>
<w:style w:styleId="Own"><w:name w:val="Clause title"/><w:basedOn w:val="H1"/><w:pPr><w:numPr><w:ilvl w:val="1"/></w:numPr><w:outlineLvl w:val="1"/></w:pPr></w:style>"""


def listed(text: str, number: int, level: int) -> str:
    return f'<w:p><w:pPr><w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{number}"/></w:numPr></w:pPr>{r(text)}</w:p>'


def test_numbers_are_counted_as_word_counts_them_and_headings_are_known_by_style() -> None:
    body = (
        p(r("Term"), style="H1") + p(r("Start"), style="Own") + listed("first", 1, 2) + listed("second", 1, 2)
        + p(r("End"), style="Own") + listed("third", 1, 2) + p(r("Rent"), style="H1") + p(r("Amount"), style="Own")
        + listed("dot", 2, 0) + listed("seven", 3, 0) + listed("eight", 3, 0)
    )  # fmt: skip
    text = DOCX.read(docx(body, numbering=NUMBERING, styles=STYLES), OPTIONS)
    assert text.text.split("\n\n") == [
        "1. Term", "1.1 Start", "(a) first", "(b) second", "1.2 End", "(a) third", "2. Rent", "2.1 Amount", "- dot", "7. seven", "8. eight",
    ]  # fmt: skip
    headings = [(mark.label, mark.level) for mark in text.marks if mark.kind == "heading"]
    assert headings == [("1. Term", 1), ("1.1 Start", 2), ("1.2 End", 2), ("2. Rent", 1), ("2.1 Amount", 2)]


def test_a_footnote_stands_after_its_paragraph_and_heads_stand_once() -> None:
    body = p(r("Rent"), '<w:r><w:footnoteReference w:id="2"/></w:r>', r(" is due.")) + p(r("Next."))
    notes = (
        '<w:footnote w:type="separator" w:id="-1"/><w:footnote w:id="2">' + p(r("Without heating.")) + "</w:footnote>"
    )
    file = docx(body, footnotes=notes, header1=p(r("Example Ltd")), footer1=p(r("4")))
    assert DOCX.read(file, OPTIONS).text == "Example Ltd\n\nRent[2] is due.\n\n[2] Without heating.\n\nNext."
    assert "Example" not in DOCX.read(file, ReadOptions(running_heads="drop")).text


def encrypted(raw: bytes, password: str) -> bytes:
    ooxml = pytest.importorskip("msoffcrypto.format.ooxml", reason="the extra `crypt` is not installed")
    out = io.BytesIO()
    ooxml.OOXMLFile(io.BytesIO(raw)).encrypt(password, out)
    return out.getvalue()


def shape(*paragraphs: str, kind: str = "") -> str:
    holder = f'<p:nvSpPr><p:nvPr><p:ph type="{kind}"/></p:nvPr></p:nvSpPr>' if kind else ""
    return f"<p:sp>{holder}<p:txBody>{''.join(paragraphs)}</p:txBody></p:sp>"


def a(text: str, props: str = "", run: str = "") -> str:
    return f"<a:p><a:pPr {props[1:] if props.startswith(' ') else ''}>{'' if props.startswith(' ') else props}</a:pPr><a:r><a:rPr {run}/><a:t>{text}</a:t></a:r></a:p>"


def test_slides_come_in_order_with_titles_lists_tables_and_notes() -> None:
    table = (
        '<p:graphicFrame><a:tbl><a:tr><a:tc gridSpan="2"><a:txBody>{}</a:txBody></a:tc><a:tc hMerge="1"/></a:tr>'
        "<a:tr><a:tc><a:txBody>{}</a:txBody></a:tc><a:tc><a:txBody>{}</a:txBody></a:tc></a:tr></a:tbl></p:graphicFrame>"
    ).format(a("Both"), a("1"), a("2"))
    first = shape(a("The plan"), kind="title") + shape(
        a("one"), a("two", ' lvl="1"'), a("gone", run='strike="sngStrike"'), kind="body"
    )
    second = shape(a("Numbers"), kind="ctrTitle") + table + shape(a("7"), kind="sldNum")
    text = PPTX.read(pptx(first, second, notes=shape(a("Say hello."), kind="body")), OPTIONS)
    assert (
        text.text.replace("\xa0", " ")
        == "The plan\n\n- one\n  - two\n- ~~gone~~\n\nSay hello.\n\nNumbers\n\nBoth | \n1 | 2"
    )
    assert [(mark.kind, mark.label) for mark in text.marks if mark.kind != "table"] == [
        ("page", "1"), ("heading", "The plan"), ("page", "2"), ("heading", "Numbers"),
    ]  # fmt: skip


ODF_STYLES = """<style:style style:name="S"><style:text-properties style:text-line-through-style="solid"/></style:style>
<style:style style:name="U"><style:text-properties style:text-position="super 58%"/></style:style>
<text:list-style style:name="L"><text:list-level-style-number text:level="1" style:num-format="a" text:start-value="3"/></text:list-style>"""
ODF = [
    ('<text:p>a<text:s text:c="2"/>b<text:tab/>c<text:line-break/>d</text:p>', "a b c\nd"),
    (
        '<text:p><text:span text:style-name="S">gone</text:span> 10<text:span text:style-name="U">6</text:span></text:p>',
        "~~gone~~ 10^6",
    ),
    (
        '<text:list text:style-name="L"><text:list-item><text:p>x</text:p></text:list-item><text:list-item><text:p>y</text:p></text:list-item></text:list>',
        "c. x\nd. y",
    ),
    (
        "<text:p>Rent<text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>cold</text:p></text:note-body></text:note>.</text:p>",
        "Rent[1].\n\n[1] cold",
    ),
    (
        '<table:table><table:table-row><table:table-cell table:number-rows-spanned="2"><text:p>Riga</text:p></table:table-cell><table:table-cell><text:p>valve</text:p></table:table-cell></table:table-row>'
        "<table:table-row><table:covered-table-cell/><table:table-cell><text:p>gasket</text:p></table:table-cell></table:table-row></table:table>",
        "Riga | valve\n | gasket",
    ),
    (
        '<text:tracked-changes><text:changed-region text:id="c1"><text:deletion><text:p>30</text:p></text:deletion></text:changed-region></text:tracked-changes>'
        '<text:p>Within <text:change text:change-id="c1"/>60 days</text:p>',
        "Within ~~30~~60 days",
    ),
    (
        "<text:p>x<draw:frame><draw:text-box><text:p>in a box</text:p></draw:text-box></draw:frame></text:p>",
        "x\n\nin a box",
    ),
    (
        '<text:p>x<draw:frame><draw:image/><svg:title xmlns:svg="s">Bars</svg:title><svg:desc xmlns:svg="s">3 in May &amp; 5</svg:desc></draw:frame></text:p>'
        '<text:p>y<draw:frame draw:decorative="true"><draw:image/><svg:desc xmlns:svg="s">a line</svg:desc></draw:frame></text:p>',
        "x\n\n[3 in May & 5]\n\ny",
    ),
    ("<text:p>seen<office:annotation><text:p>a remark</text:p></office:annotation></text:p>", "seen"),
]


@pytest.mark.parametrize(("body", "text"), ODF)
def test_signs_of_open_document_are_in_the_text(body: str, text: str) -> None:
    assert ODT.read(odt(body, ODF_STYLES), OPTIONS).text == text


def test_open_document_slides_are_pages_and_headings_are_headings() -> None:
    slide = '<draw:page><draw:frame presentation:class="title"><draw:text-box><text:p>{}</text:p></draw:text-box></draw:frame></draw:page>'
    text = SLIDES.read(odt(slide.format("One") + slide.format("Two"), kind="presentation"), OPTIONS)
    assert [(mark.kind, mark.label, mark.start) for mark in text.marks] == [
        ("page", "1", 0), ("heading", "One", 0), ("page", "2", 5), ("heading", "Two", 5),
    ]  # fmt: skip
    text = ODT.read(odt('<text:h text:outline-level="2">Rent</text:h><text:p>900</text:p>'), OPTIONS)
    assert [(mark.label, mark.level) for mark in text.marks] == [("Rent", 2)]


def test_a_book_is_read_in_the_order_of_its_spine_and_says_which_chapters_are_missing() -> None:
    book = epub("<h1>One</h1><p>first</p>", '<h1 id="x"><a id="p"/>Two</h1><p>second<br/>line</p>', spine="1 0")
    text = EPUB.read(book, OPTIONS)
    assert text.text == "Two\n\nsecond\nline\n\nOne\n\nfirst"
    assert [(mark.label, mark.start) for mark in text.marks] == [("Two", 0), ("One", 18)]
    assert text.doubt is None
    assert EPUB.read(epub("<p>a</p>", spine="0 1"), OPTIONS).doubt == (
        "truncated_input",
        "1 of 2 chapters are not in the file",
    )


RICH = [
    (
        rb"{\rtf1\ansi Within {\strike 30}{60} days, 10{\super 6} H{\sub 2}O\par Next}",
        "Within ~~30~~60 days, 10^6 H_2O\n\nNext",
    ),
    (rb"{\rtf1\ansi\ansicpg1251 \'cf\'f0\'e8\'e2\'e5\'f2}", "Привет"),
    (
        rb"{\rtf1{\fonttbl{\f1\fcharset128 MS Mincho;}{\f2\fcharset204 Times;}}{\f1 \'93\'fa\'96\'7b}{\f2 \'c4\'e0}}",
        "日本Да",
    ),
    (rb"{\rtf1\uc1 caf\u233?\u8364? \u-10179?\u-8704? \'80}", "café€ 😀 €"),
    (
        rb"{\rtf1 Rent{\footnote\pard without heating\par} is due.\par Next}",
        "Rent[1] is due.\n\n[1] without heating\n\nNext",
    ),
    (
        rb"{\rtf1\trowd\cellx1\cellx2 \intbl a\cell b\cell\row\trowd\clmgf\cellx1\clmrg\cellx2 \intbl c\cell\cell\row\pard after}",
        "a | b\nc | \n\nafter",
    ),
    (rb"{\rtf1{\*\unknown no}{\info{\title no}}{\pict 00ff}yes{\v no}}", "yes"),
    (rb"{\rtf1{\field{\*\fldinst HYPERLINK no}{\fldrslt a link}}\~x\_y\emdash z}", "a link\xa0x‑y—z"),
    (rb"{\rtf1{\listtext 1.\tab}First\par{\listtext 2.\tab}Second}", "1. First\n\n2. Second"),
]


@pytest.mark.parametrize(("raw", "text"), RICH)
def test_rich_text_is_read_with_its_signs_and_code_pages(raw: bytes, text: str) -> None:
    assert RTF.read(raw, OPTIONS).text == text


def test_a_cut_rich_text_says_so() -> None:
    found = RTF.read(rb"{\rtf1 a start {\b that goes", OPTIONS)
    assert (found.text, found.doubt and found.doubt[0]) == ("a start that goes", "truncated_input")


LONG = docx(
    "".join(
        p(r(f"Paragraph {i} of a long agreement, with words that do not pack well: {i * 7919 % 10007}"))
        for i in range(3000)
    )
)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_of_a_truncated_document_is_saved_what_is_there(share: float) -> None:
    found = DOCX.read(LONG[: int(share * len(LONG))], OPTIONS)
    assert found.doubt
    assert found.doubt[0] == "truncated_input"
    whole = DOCX.read(LONG, OPTIONS).text
    assert len(found.text) > (share - 0.15) * len(whole)
    assert whole.startswith(found.text[:-200])


def test_a_document_that_unpacks_to_more_than_is_allowed_is_too_large() -> None:
    bomb = docx(p(r("x" * 5_000_000)))
    with pytest.raises(DocumentError) as caught:
        DOCX.read(bomb, ReadOptions(max_bytes=1_000_000))
    assert caught.value.kind == "too_large"


@pytest.mark.parametrize(
    "entity",
    ['<!ENTITY a "aaaaaaaaaa">' + "".join(f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(9))],
)
def test_entities_that_multiply_are_stopped(tmp_path: Path, read_all: Any, entity: str) -> None:
    markup = f'<?xml version="1.0"?><!DOCTYPE d [{entity}]><w:document xmlns:w="u"><w:body><w:p><w:r><w:t>&j;</w:t></w:r></w:p></w:body></w:document>'
    (tmp_path / "a.docx").write_bytes(packed({"[Content_Types].xml": "<Types/>", "word/document.xml": markup}))
    (only,) = read_all(tmp_path, reader_timeout_s=20.0, max_document_mb=1)
    assert isinstance(only, Unread) or len(only.text) < 2_000_000


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("a.docx", docx(p(r("words")))),
        ("b.pptx", pptx(shape(a("words")))),
        ("c.odt", odt("<text:p>words</text:p>")),
        ("d.epub", epub("<p>words</p>")),
        ("e.rtf", b"{\\rtf1 words}"),
    ],
)
def test_a_file_is_known_by_its_content_whatever_it_is_called(
    tmp_path: Path, read_all: Any, name: str, raw: bytes
) -> None:
    (tmp_path / "x.txt").write_bytes(raw)
    (tmp_path / name).write_bytes(raw)
    first, second = read_all(tmp_path)
    assert (first.text, second.text) == ("words", "words")
    assert first.id == second.id


def read_or_refused(read: Any, raw: bytes) -> None:
    try:
        assert isinstance(read(raw, OPTIONS), Text)
    except DocumentError as error:
        assert error.message  # noqa: PT017


@given(
    st.lists(
        st.sampled_from(
            [
                "{",
                "}",
                r"\par ",
                r"\cell ",
                r"\row ",
                r"\trowd ",
                r"\u233?",
                r"\'e9",
                r"\footnote ",
                "x",
                r"\*\a ",
                r"\bin3 ",
                r"\intbl ",
            ]
        ),
        max_size=30,
    )
)
def test_any_rich_text_is_read_or_refused(pieces: list[str]) -> None:
    read_or_refused(RTF.read, ("{\\rtf1 " + "".join(pieces)).encode())


PIECES = [
    "<w:p>",
    "</w:p>",
    "<w:r>",
    "</w:r>",
    "<w:t>x</w:t>",
    "<w:tbl>",
    "</w:tbl>",
    "<w:tr>",
    "</w:tr>",
    "<w:tc>",
    "</w:tc>",
    "<w:del>",
    "</w:del>",
    "<w:tcPr><w:vMerge/></w:tcPr>",
]


@given(st.lists(st.sampled_from(PIECES), max_size=30))
def test_any_word_markup_is_read_or_refused(pieces: list[str]) -> None:
    read_or_refused(DOCX.read, docx("".join(pieces)))
