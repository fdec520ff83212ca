"""Damaged tables made by code: every format, cut, flipped, spliced; with the rows that stood in them."""

from __future__ import annotations

import csv
import io
import json
import random
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["FORMATS", "ROWS", "Damaged", "damaged", "sound"]

ROWS = [(f"id{at}", f"Row {at} says {'über ' * (at % 4)}{at * 7919}.", f"tag {at % 5}") for at in range(120)]
"""id, body, tag: every body is another, some hold more than ASCII."""


@dataclass(frozen=True)
class Damaged:
    """`intact`: so many rows from the first on must be there, or a word why not: of a cut text nobody can say that
    there was more. `exact`: what is wrong shows, so no row may come with other words than it had."""

    name: str
    file: str
    raw: bytes
    exact: bool = False
    intact: int = len(ROWS)


def _csv(
    delimiter: str = ",", quoting: int = csv.QUOTE_MINIMAL, newline: str = "\r\n", encoding: str = "utf-8"
) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=newline)
    writer.writerows([("id", "body", "tag"), *ROWS])
    return out.getvalue().encode(encoding)


def _jsonl() -> bytes:
    rows = (dict(zip(("id", "body", "tag"), row, strict=True)) for row in ROWS)
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _table() -> pa.Table:
    ids, bodies, tags = zip(*ROWS, strict=True)
    return pa.table({"id": ids, "body": bodies, "tag": tags})


def _parquet(**options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(_table(), sink, row_group_size=20, **options)
    return sink.getvalue()


def _arrow(stream: bool) -> bytes:
    sink = io.BytesIO()
    table = _table()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=20)
    return sink.getvalue()


def _avro() -> bytes:
    """A container of six blocks: polars writes one, and their ends are the same in all."""
    whole = io.BytesIO()
    frame = pl.DataFrame(ROWS, schema=["id", "body", "tag"], orient="row")
    frame.write_avro(whole, name="row")
    raw = whole.getvalue()
    sync = raw[-16:]
    header = raw[: raw.index(sync) + 16]
    blocks = []
    for start in range(0, len(ROWS), 20):
        part = io.BytesIO()
        frame.slice(start, 20).write_avro(part, name="row")
        piece = part.getvalue()
        marker = piece[-16:]
        blocks.append(piece[piece.index(marker) + 16 : -16] + sync)
    return header + b"".join(blocks)


def _xlsx() -> bytes:
    sink = io.BytesIO()
    pl.DataFrame(ROWS, schema=["id", "body", "tag"], orient="row").write_excel(sink)
    return sink.getvalue()


def _ods() -> bytes:
    """The least that LibreOffice calls a spreadsheet."""
    ns = "urn:oasis:names:tc:opendocument:xmlns"
    cells = "".join(
        "<table:table-row>"
        + "".join(
            f'<table:table-cell office:value-type="string"><text:p>{cell}</text:p></table:table-cell>' for cell in row
        )
        + "</table:table-row>"
        for row in [("id", "body", "tag"), *ROWS]
    )
    content = (
        f'<?xml version="1.0" encoding="UTF-8"?><office:document-content xmlns:office="{ns}:office:1.0" '
        f'xmlns:table="{ns}:table:1.0" xmlns:text="{ns}:text:1.0" office:version="1.2"><office:body>'
        f'<office:spreadsheet><table:table table:name="Sheet1">{cells}</table:table></office:spreadsheet>'
        "</office:body></office:document-content>"
    )
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        out.writestr("content.xml", content)
        out.writestr(
            "META-INF/manifest.xml",
            f'<?xml version="1.0"?><manifest:manifest xmlns:manifest="{ns}:manifest:1.0"/>',
        )
    return sink.getvalue()


FORMATS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "csv": ("t.csv", _csv),
    "csv quoted": ("t.csv", lambda: _csv(quoting=csv.QUOTE_ALL)),
    "csv semicolon": ("t.csv", lambda: _csv(";", newline="\n", encoding="cp1252")),
    "csv utf-16": ("t.csv", lambda: _csv(encoding="utf-16")),
    "tsv": ("t.tsv", lambda: _csv("\t", newline="\n")),
    "jsonl": ("t.jsonl", _jsonl),
    "parquet": ("t.parquet", lambda: _parquet(write_page_checksum=True)),
    "parquet plain": (
        "t.parquet",
        lambda: _parquet(use_dictionary=False, compression="none", write_page_checksum=True),
    ),
    "parquet zstd": ("t.parquet", lambda: _parquet(compression="zstd", data_page_version="2.0")),
    "arrow file": ("t.arrow", lambda: _arrow(stream=False)),
    "arrow stream": ("t.arrows", lambda: _arrow(stream=True)),
    "avro": ("t.avro", _avro),
    "xlsx": ("t.xlsx", _xlsx),
    "ods": ("t.ods", _ods),
}


def sound(name: str) -> Damaged:
    """The format's table as it should be."""
    file, make = FORMATS[name]
    return Damaged(f"{name}: sound", file, make(), exact=True)


def damaged(name: str) -> Iterator[Damaged]:
    """A format's table, damaged in all the ways there are for it; the same ones each time."""
    file, make = FORMATS[name]
    raw = make()
    chance = random.Random(name)
    text = file.endswith((".csv", ".tsv", ".jsonl"))
    for share in (0.02, 0.2, 0.5, 0.8, 0.97):
        cut = raw[: int(len(raw) * share)]
        intact = max(cut.count(b"\n") - (file != "t.jsonl"), 0) if text else len(ROWS)
        yield Damaged(f"{name}: cut at {share}", file, cut, intact=intact)
    yield Damaged(f"{name}: its last byte is gone", file, raw[:-1])
    yield Damaged(f"{name}: another's magic", file, b"\x7fELF" + raw[4:])
    yield Damaged(f"{name}: zeros in its middle", file, raw[: len(raw) // 2] + bytes(64) + raw[len(raw) // 2 + 64 :])
    yield Damaged(f"{name}: something behind it", file, raw + b"\xff" * 100)
    yield Damaged(f"{name}: a part is twice there", file, raw[: len(raw) // 2] + raw[len(raw) // 3 :])
    for size in (1, 1, 4, 16, 64, 512)[: 4 if text else 6]:
        at = chance.randrange(len(raw) // 20, len(raw) - len(raw) // 20)
        while text and b"\n" in raw[at : at + size]:  # else two rows are one, and who could tell
            at += 1
        noise = bytes(byte ^ chance.randrange(1, 256) for byte in raw[at : at + size])
        yield Damaged(f"{name}: {size} bytes at {at} are noise", file, raw[:at] + noise + raw[at + size :])
    if text and name != "csv utf-16":
        yield from _lines_damaged(name, file, raw)


def _lines_damaged(name: str, file: str, raw: bytes) -> Iterator[Damaged]:
    lines = raw.splitlines(keepends=True)

    def with_line(number: int, line: bytes) -> bytes:
        return b"".join([*lines[:number], line, *lines[number + 1 :]])

    end = b"\r\n" if lines[0].endswith(b"\r\n") else b"\n"
    cell = b"\t" if file.endswith(".tsv") else b";" if b";" in lines[0] else b","
    for number in (1, 51, len(lines) - 1):
        line = lines[number].rstrip()
        yield Damaged(
            f"{name}: line {number} is half", file, with_line(number, line[: len(line) // 2] + end), exact=True
        )
        yield Damaged(f"{name}: line {number} has a NUL", file, with_line(number, line[:9] + b"\0" + line[9:] + end))
        yield Damaged(
            f"{name}: line {number} is Latin-1", file, with_line(number, line.replace(b"Row", b"R\xf6w") + end)
        )
        if file == "t.jsonl":
            yield Damaged(f"{name}: line {number} is two", file, with_line(number, line + line + end), exact=True)
            continue
        first, body, last = (part.strip(b'"') for part in line.split(cell))
        spliced = {
            "opens a quote": cell.join([first, b'"' + body, last]),
            "opens a quote at its begin": cell.join([b'"' + first, body, last]),
            "opens a quote at its end": cell.join([first, body, b'"' + last]),
            "closes a quote that none opened": cell.join([first, body + b'"', last]),
            "has a quote within quotes": cell.join([first, b'"' + body[:5] + b'"' + body[5:] + b'"', last]),
            "lost a quote within quotes": cell.join([b'"' + first + b'"', b'"' + body, b'"' + last + b'"']),
            "has a cell too many": cell.join([first, body, last, b"more"]),
            "has a cell too few": cell.join([first, body]),
        }
        for what, line_of in spliced.items():
            yield Damaged(f"{name}: line {number} {what}", file, with_line(number, line_of + end))
