"""CSV: polars and the lines agree, whatever stands in the table; lines come whole however the text is cut."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Iterator

import pytest
from docreduce.readers import delimited
from docreduce.readers.lines import Lines
from docreduce.values.errors import DocumentError


def lines_of(text: str, step: int = 37, most: int = 2**20) -> Lines:
    pieces = iter([text[at : at + step] for at in range(0, len(text), step)])
    return Lines(lambda: next(pieces, ""), most)


def soup(chance: random.Random, width: int) -> str:
    """A table as csv writes it, as it stands or with a character more or less; or any characters at all."""
    if chance.random() < 0.3:
        return "".join(
            chance.choice(["a", ",", ",", '"', "\n", "\r\n", "é", "\r", " "]) for _ in range(chance.randrange(60))
        )
    out = io.StringIO(newline="")
    quoting = chance.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    writer = csv.writer(out, lineterminator=chance.choice(["\n", "\r\n"]), quoting=quoting)
    for _ in range(chance.randrange(1, 12)):
        writer.writerow(["".join(chance.choice('ab,"\n é') for _ in range(chance.randrange(8))) for _ in range(width)])
    text = out.getvalue()
    at = chance.randrange(len(text))
    return text[:at] + chance.choice(['"', ",", "\n", ""]) + text[at + chance.randrange(2) :]


def rows(text: str, width: int, *, fast: bool) -> tuple[list[tuple[tuple[str | None, ...], bool]], int]:
    """(cells, is it wrong?) of each row, and how many batches polars read."""
    records = delimited._Records(lines_of(text), ",")
    records.width = width
    names = [f"c{number}" for number in range(width)]
    found, by_polars = [], 0
    while True:
        batch = records.fast_batch(names) if fast else None
        by_polars += batch is not None
        batch = batch or records.slow_batch(names)
        if batch is None:
            return found, by_polars
        cells = zip(*(column.to_pylist() for column in batch.rows.columns), strict=True)
        found += [(row, at in batch.wrong) for at, row in enumerate(cells)]


@pytest.mark.long
def test_polars_and_the_lines_find_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "_BLOCK_CHARS", 64)
    chance = random.Random(5)
    by_polars = 0
    for _ in range(2_000):
        width = chance.choice([1, 2, 3, 4])
        text = soup(chance, width)
        fast, batches = rows(text, width, fast=True)
        assert fast == rows(text, width, fast=False)[0], text
        by_polars += batches
    assert by_polars > 1_000


@pytest.mark.long
def test_no_character_of_a_row_is_lost_but_in_a_row_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "_BLOCK_CHARS", 64)
    chance = random.Random(6)
    for _ in range(1_000):
        text = soup(chance, 3)
        found, _ = rows(text, 3, fast=True)
        if any(wrong for _, wrong in found):
            continue
        kept = "".join(cell or "" for row, _ in found for cell in row)
        said = sorted(text.replace('"', "").replace(",", "").replace("\n", "").replace("\r", ""))
        assert sorted(kept.replace('"', "").replace(",", "").replace("\n", "").replace("\r", "")) == said, text


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_lines_are_whole_however_the_text_comes(step: int) -> None:
    text = "one\r\ntwo\rthree\n\nfive\r\nsix"
    expected = ["one\r\n", "two\r", "three\n", "\n", "five\r\n", "six"]
    lines = lines_of(text, step)
    assert list(iter(lines.next, None)) == expected
    lines = lines_of(text, step)
    first = lines.next()
    blocks = list(iter(lambda: lines.block(4), ""))
    assert str(first) + "".join(blocks) == text
    assert all(block.endswith(("\n", "\r", "six")) for block in blocks)
    lines.put_back(["x\n", "y\n"])
    assert list(iter(lines.next, None)) == ["x\n", "y\n"]


def test_what_breaks_off_gives_its_whole_lines_first() -> None:
    def pieces() -> Iterator[str]:
        yield "one\ntw"
        yield "o\nthr"
        raise DocumentError("it breaks off")

    text = pieces()
    lines = Lines(lambda: next(text), 100)
    assert [lines.next(), lines.next()] == ["one\n", "two\n"]
    for _ in range(2):
        with pytest.raises(DocumentError, match="breaks off"):
            lines.next()


def test_a_line_past_the_limit_is_refused_and_what_follows_is_no_line() -> None:
    lines = lines_of("short\n" + "x" * 500 + "\nshort\n", most=100)
    assert lines.next() == "short\n"
    for _ in range(2):
        with pytest.raises(DocumentError, match="a line longer than"):
            lines.next()
