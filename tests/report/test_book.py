"""A book of three million characters in the reading view, in a real browser."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from pathlib import Path

import docreduce
import pytest
from browsing import browse
from docreduce.report.html import write_reading
from docreduce.report.reading import reading
from places import DATA

pytestmark = [pytest.mark.server, pytest.mark.long]
CHARACTERS = 3_000_000
BOOK = DATA / "long" / "en_king_james_bible.txt.gz"
SYLLABLES = ["ba", "do", "ke", "lir", "mon", "nu", "pel", "ras", "sto", "tam", "ver", "win", "zu", "harb", "ist"]
MOST_MS = 15_000
"""To open and lay out: on two shared cores it takes one to two seconds."""


def generated() -> str:
    """Chapters of sentences that no other chapter has, in some thousand words of no language."""
    draw = random.Random(20)
    words = ["".join(draw.choices(SYLLABLES, k=draw.randint(2, 4))) for _ in range(4_000)]
    chapters: list[str] = []
    length = 0
    while length < CHARACTERS:
        at = len(chapters) + 1
        told = [" ".join(draw.choices(words, k=draw.randint(6, 24))).capitalize() + "." for _ in range(120)]
        told.insert(draw.randrange(120), f"In the year {1000 + at} the keeper {at} closed the harbour for {at} days.")
        chapters.append(f"# Chapter {at}\n\n" + "\n\n".join(" ".join(told[row : row + 8]) for row in range(0, 120, 8)))
        length += len(chapters[-1]) + 2
    return "\n\n".join(chapters)


def real() -> str:
    if not BOOK.is_file():
        pytest.skip(f"{BOOK.name} is not there")
    return gzip.decompress(BOOK.read_bytes()).decode()


@pytest.mark.parametrize("shape", [(), ("--phone", "--dark")], ids=["desktop", "phone, dark"])
@pytest.mark.parametrize("text", [generated, real])
def test_a_book_opens_and_its_last_passage_is_a_click_away(
    tmp_path: Path, text: Callable[[], str], shape: tuple[str, ...]
) -> None:
    (tmp_path / "book.md").write_text(text(), encoding="utf-8")
    stated = {"name": "book", "kind": "summarize", "input": {"paths": [str(tmp_path / "book.md")]}}
    run = docreduce.run(stated, output=tmp_path / "out", max_tokens=4000)
    found = reading(run.dir, "book.md")
    size = len(found["source"]["text"].encode())
    assert len(found["source"]["text"]) >= CHARACTERS
    rests = [each for told in found["sentences"] for each in told["evidence"] if each["char_start"] is not None]
    last = max(rests, key=lambda each: each["char_start"])["number"]
    page = write_reading(run.dir, "book.md")
    seen = browse(page, "--axe", "--click", f".rest a[href='#w-{last}']", *shape)
    print(f"{size:,} bytes of text, a page of {page.stat().st_size:,}, open after {seen['openedMs']:,.0f} ms")
    assert page.stat().st_size < 1.3 * size + 1_000_000
    assert seen["openedMs"] < MOST_MS
    assert (seen["errors"], seen["requests"], seen["wide"]) == ([], [], False)
    assert (seen["wordsInView"], seen["valueInView"]) == (True, True)
    assert "".join(seen["words"].split()).startswith("".join(seen["quote"].removesuffix("…").split()))
    assert [each for each in seen["violations"] if each["impact"] in ("serious", "critical")] == []


@pytest.mark.parametrize("shape", [(), ("--phone", "--dark")], ids=["desktop", "phone, dark"])
def test_the_last_of_many_values_is_a_click_away_from_its_words_and_back(
    tmp_path: Path, shape: tuple[str, ...]
) -> None:
    entries = (f"## Entry {at}\n\nReference: AB-{2000 + at}-{at % 1000:03}\nAmount: {at}.50 EUR" for at in range(1_500))
    (tmp_path / "book.md").write_text("\n\n".join(entries), encoding="utf-8")
    fields = {"reference": {"type": "string"}, "amount": {"type": "number"}}
    stated = {"name": "book", "kind": "extract", "input": {"paths": [str(tmp_path / "book.md")]}}
    given = {"schema": {"type": "object", "properties": fields}, "cardinality": "many"}
    run = docreduce.run({**stated, "extract": given}, output=tmp_path / "out", max_tokens=100)
    found = reading(run.dir, "book.md")
    rests = [each for item in found["items"] for value in item["values"] for each in value["evidence"]]
    assert len(rests) > 500
    last = max((each for each in rests if each["char_start"] is not None), key=lambda each: each["char_start"])
    seen = browse(write_reading(run.dir, "book.md"), "--click", f".rest a[href='#w-{last['number']}']", *shape)
    assert (seen["errors"], seen["wide"], seen["words"]) == ([], False, last["quote"])
    assert (seen["wordsInView"], seen["valueInView"]) == (True, True)
