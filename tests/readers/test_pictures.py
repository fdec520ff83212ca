"""Pictures: what their alternative texts say is in the text; decoration is not."""

# ruff: noqa: E501 - a case is a line
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from docreduce.readers import Unread
from docreduce.readers.html import extract

from tests.support.packing import docx

PAGES = [
    ("<p>Sales<img src=c.png alt='Bars: 3 in May,\n 5 in June'>rose.</p>", "Sales [Bars: 3 in May, 5 in June] rose."),
    ("<h1><img alt='Annual report'></h1><p>x", "[Annual report]\n\nx"),
    ("<table><tr><th>Part<th>There<tr><td>valve<td><img alt=yes></table>", "Part | There\nvalve | [yes]"),
    ("<picture><source srcset=a.webp><img alt='The harbour'></picture>", "[The harbour]"),
    ("<svg aria-label='Map of Riga'><text>no</text></svg><svg><text>no</text></svg>", "[Map of Riga]"),
    ("Rated <span role=img aria-label='4 of 5 stars'>★★★★☆</span>.", "Rated [4 of 5 stars] ."),
    ("Well done<img alt='😀'>!", "Well done😀!"),
    ("<a href=f.png><img alt='A duck' width=220 height=140></a>", "[A duck]"),
    ("x<img><img alt=''><img alt=' '><img alt='*'><img alt=no role=presentation><img alt=no aria-hidden=true>", "x"),
    (
        "x<img alt='IMG_0042.JPG'><img alt='my photo 2.webp'><img alt='https://a.b/c?d'><img alt=image><img alt='Image-12'>",
        "x",
    ),
    ("<img alt='Image of a duck'><img alt='Photographs'>", "[Image of a duck] [Photographs]"),
    ("x<img alt=counted width=1 height=1><a><img alt='Edit this' width=16 height=16px></a>", "x"),
    (
        "<figure><img alt='the harbour'><figcaption>Fig. 1: The harbour at night</figcaption></figure>",
        "Fig. 1: The harbour at night",
    ),
    ("<figure><img alt='Bars: 3, 5'><figcaption>Fig. 2: Sales</figcaption></figure>", "[Bars: 3, 5]\nFig. 2: Sales"),
    ("<a href=x><img alt=Riga> Riga</a> <div hidden><img alt=no></div>", "Riga"),
]


@pytest.mark.parametrize(("markup", "text"), PAGES)
def test_a_picture_is_its_words_unless_it_decorates(markup: str, text: str) -> None:
    assert extract(markup).text == text


def test_a_heading_that_is_a_picture_is_marked() -> None:
    (mark,) = extract("<h2><img alt='Annual report'></h2>").marks
    assert (mark.kind, mark.label, mark.level) == ("heading", "[Annual report]", 2)


def test_a_document_of_pictures_alone_has_no_text(tmp_path: Path, read_all: Any) -> None:
    drawing = '<w:p><w:r><w:drawing><docPr descr="A picture containing text"/></w:drawing></w:r></w:p>'
    (tmp_path / "a.docx").write_bytes(docx(drawing))
    (found,) = read_all(tmp_path)
    assert isinstance(found, Unread)
    assert found.error.kind == "no_text"
