"""Tables: one row in, one document out, in order, whatever the delimiter, the encoding and the size."""

from __future__ import annotations

import csv
import datetime as dt
import decimal
import gzip
import io
import json
import math
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from docreduce.readers import Unread
from docreduce.values import Document
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROWS = [["1", "Über den Fluß", "a"], ["2", 'zwei\r\nZeilen, "zitiert"; und | mehr\tnoch', "b"], ["3", "", "c"]]


def as_csv(rows: list[list[str]], delimiter: str = ",", newline: str = "\r\n") -> str:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, lineterminator=newline).writerows([["id", "body", "tag"], *rows])
    return out.getvalue()


def write_table(columns: dict[str, list[Any]], path: Path) -> None:
    frame = pl.DataFrame(columns)
    write = {
        ".csv": frame.write_csv,
        ".parquet": frame.write_parquet,
        ".jsonl": frame.write_ndjson,
        ".arrow": frame.write_ipc,
        ".avro": frame.write_avro,
        ".xlsx": frame.write_excel,
    }
    write[path.suffix](path)


def texts(documents: list[Document | Unread]) -> list[str]:
    assert all(isinstance(document, Document) for document in documents), documents
    return [document.text for document in documents if isinstance(document, Document)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("packed", [False, True])
def test_csv_cells_come_verbatim_for_every_delimiter_and_line_end(
    tmp_path: Path, read_all: Any, delimiter: str, newline: str, packed: bool
) -> None:
    raw = as_csv(ROWS, delimiter, newline).encode()
    path = tmp_path / ("t.csv.gz" if packed else "t.csv")
    path.write_bytes(gzip.compress(raw) if packed else raw)
    found = read_all(path, text_column="body", id_column="id")
    assert texts(found) == [row[1] for row in ROWS]
    assert [(d.id, d.row, d.uri, d.columns) for d in found] == [
        (row[0], i, f"{path}#{i}", {"id": row[0], "tag": row[2]}) for i, row in enumerate(ROWS)
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "utf-32"])
def test_csv_comes_in_any_encoding(tmp_path: Path, read_all: Any, encoding: str) -> None:
    (tmp_path / "t.csv").write_bytes(as_csv(ROWS).encode(encoding))
    assert texts(read_all(tmp_path / "t.csv", text_column="body")) == [row[1] for row in ROWS]


def test_csv_in_chinese_and_japanese_encodings(tmp_path: Path, read_all: Any) -> None:
    for encoding, text in (
        ("gb18030", "今天天气很好，我们一起去公园散步吧。"),
        ("cp932", "今日は天気がいいですね。散歩しましょう。"),
    ):
        (tmp_path / "t.csv").write_bytes(as_csv([["1", text, "x"]] * 3).encode(encoding))
        assert texts(read_all(tmp_path / "t.csv", text_column="body")) == [text] * 3


def test_a_windows_byte_late_in_a_utf8_table_spoils_one_character_and_no_row(tmp_path: Path, read_all: Any) -> None:
    clean = as_csv([[str(i), "plain words " * 50, "x"] for i in range(1000)]).encode()
    (tmp_path / "t.csv").write_bytes(clean + "1000,Größe,x\r\n".encode("cp1252"))
    found = texts(read_all(tmp_path / "t.csv", text_column="body"))
    assert (len(found), found[-1]) == (1001, "Größe")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)] * 2), min_size=1
    ),
    delimiter=st.sampled_from(",;\t|"),
)
def test_whatever_is_written_to_csv_is_read(
    tmp_path: Path, read_all: Any, rows: list[tuple[str, str]], delimiter: str
) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([("body", "note"), *rows])
    (tmp_path / "t.csv").write_text(out.getvalue(), encoding="utf-8-sig", newline="")
    found = read_all(tmp_path / "t.csv", text_column="body")
    assert [(d.text, d.columns["note"]) for d in found] == rows


def test_a_row_of_another_width_is_a_failed_document_and_the_others_go_on(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "t.csv").write_text("id,body\n1,a\n2,b,too much\n3\n\n4,d\n5,e,\n")
    found = read_all(tmp_path / "t.csv", text_column="body", id_column="id")
    kinds = [d.error.kind if isinstance(d, Unread) else d.text for d in found]
    assert kinds == ["a", "malformed_row", "malformed_row", "d", "e"]
    assert [d.id for d in found] == ["1", "2", "3", "4", "5"]
    assert [d.row for d in found] == [0, 1, 2, 3, 4]


def test_a_quote_that_never_closes_fails_its_own_line(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "t.csv").write_text('id,body\n1,a\n2,"b\n' + "".join(f"{n},filler\n" for n in range(3, 3000)))
    found = read_all(tmp_path / "t.csv", text_column="body", id_column="id", max_document_mb=1)
    assert len(found) == 2999
    (failed,) = [each for each in found if isinstance(each, Unread)]
    assert (failed.error.kind, failed.row, failed.id) == ("malformed_row", 1, "2")


@pytest.mark.parametrize("more", [",tag", ""], ids=["three columns", "two"])
def test_two_stray_quotes_do_not_swallow_the_rows_between_them(tmp_path: Path, read_all: Any, more: str) -> None:
    lines = [f"{n},text {n}{more}" for n in range(3000)]
    lines[50] = f'50,"text 50{more}'
    lines[2000] = f'2000,text 2000"{more}'
    (tmp_path / "t.csv").write_text(f"id,body{more}\n" + "\n".join(lines) + "\n")
    found = read_all(tmp_path / "t.csv", text_column="body", id_column="id")
    assert [each.id for each in found] == [str(n) for n in range(3000)]
    assert [each.row for each in found if isinstance(each, Unread)] == [50]


def test_a_quote_inside_quotes_that_was_not_doubled_stays_where_it_stands(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "t.csv").write_text('id,body\n"1","He said "no" to me"\n"2","fine"\n3,5" pipe\n')
    assert texts(read_all(tmp_path / "t.csv", text_column="body")) == ['He said "no" to me', "fine", '5" pipe']


def test_a_cell_may_hold_many_lines_also_such_that_look_like_rows_of_two(tmp_path: Path, read_all: Any) -> None:
    cell = "\n".join(f"line {n}, with a comma" for n in range(500))
    (tmp_path / "t.csv").write_text(as_csv([[str(n), f"{n}: {cell}", "x"] for n in range(300)]))
    assert texts(read_all(tmp_path / "t.csv", text_column="body")) == [f"{n}: {cell}" for n in range(300)]


@pytest.mark.parametrize("first", ["sep=;\n", '"sep=;"\r\n', "SEP=;\n"])
def test_a_first_line_that_names_the_delimiter_is_no_row(tmp_path: Path, read_all: Any, first: str) -> None:
    (tmp_path / "t.csv").write_text(first + "id;body,x\n1;a,b,c\n2;d,e,f\n", newline="")
    assert texts(read_all(tmp_path / "t.csv", text_column="body,x")) == ["a,b,c", "d,e,f"]


def test_a_table_of_one_column_keeps_its_empty_rows_and_its_commas(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "t.csv").write_text('body\none, with a comma\n\n""\nlast\n')
    assert texts(read_all(tmp_path / "t.csv", text_column="body")) == ["one, with a comma", "", "", "last"]


def test_a_line_larger_than_a_document_may_be_is_refused_unread(tmp_path: Path, read_all: Any) -> None:
    with gzip.open(tmp_path / "t.csv.gz", "wb") as file:
        file.write(b"body\n")
        for _ in range(64):
            file.write(b" " * 2**20)
    (bomb,) = read_all(tmp_path / "t.csv.gz", text_column="body", max_document_mb=2)
    assert isinstance(bomb, Unread)
    assert bomb.error.kind == "too_large"


def test_a_gzip_that_breaks_off_keeps_the_rows_before(tmp_path: Path, read_all: Any) -> None:
    raw = as_csv([[str(i), f"text {i * 7919}", "x"] for i in range(30_000)]).encode()
    packed = gzip.compress(raw)
    (tmp_path / "t.csv.gz").write_bytes(packed[: len(packed) * 9 // 10])
    *rows, last = read_all(tmp_path / "t.csv.gz", text_column="body")
    assert len(rows) > 20_000
    assert texts(rows) == [f"text {i * 7919}" for i in range(len(rows))]
    assert isinstance(last, Unread)
    assert (last.row, last.error.kind) == (len(rows), "unreadable")


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.jsonl", "t.arrow", "t.avro", "t.xlsx"])
def test_a_table_without_the_column_asked_for_is_one_failed_document_that_lists_those_it_has(
    tmp_path: Path, read_all: Any, name: str
) -> None:
    write_table({"id": [1, 2], "body": ["a", "b"]}, tmp_path / name)
    (only,) = read_all(tmp_path / name, text_column="x")
    assert isinstance(only, Unread)
    assert only.error.kind == "no_column"
    assert "'x'" in only.error.message
    assert "'id', 'body'" in only.error.message


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.jsonl", "t.arrow", "t.avro", "t.xlsx"])
def test_a_small_table_without_a_text_column_is_one_document_its_rows_as_text(
    tmp_path: Path, read_all: Any, name: str
) -> None:
    write_table({"id": [1, 2], "body": ["a | b", "two\nlines"]}, tmp_path / name)
    (only,) = texts(read_all(tmp_path / name))
    sheet = "## Sheet1\n\n" if name == "t.xlsx" else ""
    assert only == sheet + "| id | body |\n| --- | --- |\n| 1 | a \\| b |\n| 2 | two lines |\n"


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.jsonl"])
def test_a_large_table_without_a_text_column_is_a_failed_document(tmp_path: Path, read_all: Any, name: str) -> None:
    write_table(
        {"id": list(range(20_000)), "body": ["some fifty characters of text in each of the rows"] * 20_000},
        tmp_path / name,
    )
    (only,) = read_all(tmp_path / name)
    assert isinstance(only, Unread)
    assert (only.error.kind, "more than 1 MB" in only.error.message) == ("no_column", True)


def test_kept_columns_are_those_asked_for(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "t.csv").write_text(as_csv(ROWS))
    found = read_all(tmp_path / "t.csv", text_column="body", keep_columns=["tag"])
    assert [d.columns for d in found] == [{"tag": "a"}, {"tag": "b"}, {"tag": "c"}]
    (missing,) = read_all(tmp_path / "t.csv", text_column="body", keep_columns=["author"])
    assert missing.error.kind == "no_column"


def test_an_unnamed_column_gets_its_number_and_a_doubled_one_is_refused(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "t.csv").write_text(",body\n7,a\n")
    assert read_all(tmp_path / "t.csv", text_column="body")[0].columns == {"column_1": "7"}
    (tmp_path / "t.csv").write_text("body,body\n7,a\n")
    assert read_all(tmp_path / "t.csv", text_column="body")[0].error.kind == "no_column"


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.jsonl", "t.arrow", "t.avro", "t.xlsx"])
def test_an_id_is_the_rows_content_wherever_it_stands(tmp_path: Path, read_all: Any, name: str) -> None:
    ids = []
    for folder, texts_of in (("a", ["one", "two", "two"]), ("b", ["new", "one", "two", "two"])):
        (tmp_path / folder).mkdir()
        write_table({"body": texts_of, "x": [1] * len(texts_of)}, tmp_path / folder / name)
        ids.append([each.id for each in read_all(tmp_path / folder / name, text_column="body")])
    assert ids[0] == ids[1][1:]
    assert ids[0][1] == ids[0][2]
    assert len(set(ids[1])) == 3


def test_an_id_does_not_change_with_what_is_kept_or_the_types_stated(tmp_path: Path, read_all: Any) -> None:
    write_table({"body": ["a"], "n": ["1"], "gone": [None]}, tmp_path / "t.parquet")
    write_table({"n": ["1"], "body": ["a"]}, tmp_path / "other.parquet")
    ways: list[dict[str, Any]] = [{}, {"keep_columns": []}, {"keep_columns": ["n"], "types": {"n": "integer"}}]
    ids = {each.id for way in ways for each in read_all(tmp_path / "t.parquet", text_column="body", **way)}
    assert ids == {each.id for each in read_all(tmp_path / "other.parquet", text_column="body")}


def test_an_id_of_json_does_not_depend_on_the_rows_around_it(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "t.jsonl").write_text('{"body": "a", "n": 1}\n')
    (alone,) = read_all(tmp_path / "t.jsonl", text_column="body")
    (tmp_path / "t.jsonl").write_text('{"n": 1.5, "body": "b"}\n{"n": 1, "body": "a"}\n{"body": "c", "n": "x"}\n')
    assert read_all(tmp_path / "t.jsonl", text_column="body")[1].id == alone.id
    (tmp_path / "t.jsonl").write_text('{"n": 1.5, "body": "b"}\n{"n": 1, "body": "a"}\n')
    assert [each.id for each in read_all(tmp_path / "t.jsonl", text_column="body", id_column="n")] == ["1.5", "1"]


@pytest.mark.parametrize("packed", [False, True])
def test_parquet_keeps_its_values_and_order_over_row_groups(tmp_path: Path, read_all: Any, packed: bool) -> None:
    count = 10_000
    table = pa.table(
        {
            "n": list(range(count)),
            "body": pa.array([None if i % 10 == 0 else f"text {i}" for i in range(count)], pa.large_string()),
            "when": pa.array([dt.date(2024, 1, 1)] * count),
            "price": pa.array([decimal.Decimal("1.10")] * count),
            "tags": [["a", "b"]] * count,
            "kind": pa.array(["x"] * count).dictionary_encode(),
            "ns": pa.array([1] * count, pa.timestamp("ns")),
        }
    )
    path = tmp_path / "t.parquet"
    pq.write_table(table, path, row_group_size=3_000)
    if packed:
        path = tmp_path / "t.parquet.gz"
        path.write_bytes(gzip.compress((tmp_path / "t.parquet").read_bytes()))
    found = read_all(path, text_column="body", id_column="n")
    assert texts(found) == ["" if i % 10 == 0 else f"text {i}" for i in range(count)]
    assert [d.id for d in found] == [str(i) for i in range(count)]
    kept = found[3].columns
    assert {name: kept[name] for name in ("n", "when", "price", "tags", "kind")} == {
        "n": 3,
        "when": dt.date(2024, 1, 1),
        "price": decimal.Decimal("1.10"),
        "tags": ["a", "b"],
        "kind": "x",
    }
    assert kept["ns"] == "1970-01-01 00:00:00.000000001"


def test_parquet_text_may_be_bytes_and_must_be_text(tmp_path: Path, read_all: Any) -> None:
    table = pa.table({"raw": [b"caf\xc3\xa9", b"\xff\xfe"], "n": [1, 2]})
    pq.write_table(table, tmp_path / "t.parquet")
    good, bad = read_all(tmp_path / "t.parquet", text_column="raw")
    assert (good.text, bad.error.kind) == ("café", "not_text")
    assert [d.error.kind for d in read_all(tmp_path / "t.parquet", text_column="n")] == ["not_text", "not_text"]


def test_parquet_string_that_is_not_utf8_is_read_with_a_visible_mark(tmp_path: Path, read_all: Any) -> None:
    broken = pa.array([b"caf\xe9", b"ok"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"body": broken}), tmp_path / "t.parquet")
    assert texts(read_all(tmp_path / "t.parquet", text_column="body")) == ["caf\ufffd", "ok"]


@pytest.mark.long
def test_parquet_that_unpacks_to_more_than_memory_allows_fails_alone(
    tmp_path: Path, read_all: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("docreduce.readers.sandbox._BASE_MEMORY", 600 * 2**20)  # a smaller bomb is quicker made
    size = 200 * 2**20
    ends = pa.py_buffer(bytes(8) + size.to_bytes(8, "little"))
    huge = pa.Array.from_buffers(pa.large_binary(), 1, [None, ends, pa.py_buffer(bytes(size))])
    options = {"compression": "zstd", "use_dictionary": False, "write_statistics": False}
    pq.write_table(pa.table({"body": huge}), tmp_path / "bomb.parquet", **options)
    assert (tmp_path / "bomb.parquet").stat().st_size < 2**20
    (tmp_path / "good.csv").write_text(as_csv(ROWS))
    bomb, *rows = read_all(tmp_path, text_column="body", max_document_mb=16)
    assert isinstance(bomb, Unread)
    assert bomb.error.kind == "too_large"
    assert len(rows) == 3


@pytest.mark.parametrize("keep", [100, 1_000, -9, -200])
def test_a_damaged_parquet_file_is_a_failed_document(tmp_path: Path, read_all: Any, keep: int) -> None:
    pq.write_table(pa.table({"body": [f"text {i}" for i in range(1000)]}), tmp_path / "t.parquet")
    (tmp_path / "t.parquet").write_bytes((tmp_path / "t.parquet").read_bytes()[:keep])
    (only,) = read_all(tmp_path / "t.parquet", text_column="body")
    assert isinstance(only, Unread)
    assert only.error.kind == "unreadable"


def test_closing_a_table_early_frees_it(tmp_path: Path) -> None:
    from docreduce.readers import discover, read
    from docreduce.settings import InputSettings

    pq.write_table(pa.table({"body": [f"text {i}" for i in range(50_000)]}), tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text(as_csv(ROWS))
    job = InputSettings(paths=[str(tmp_path)], text_column="body")
    for _ in range(2):  # the child that was in the middle of a table must not answer for the next one
        for source in discover(job).sources:
            rows = read(source, job)
            assert next(rows).row == 0
            rows.close()


def test_json_lines_fail_one_by_one(tmp_path: Path, read_all: Any) -> None:
    lines = [
        '{"body": "a", "n": 1}',
        "{broken",
        "[1]",
        "",
        '{"n": 2}',
        '{"body": null}',
        '{"body": 5}',
        '{"body": "z"}',
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    found = read_all(tmp_path / "t.jsonl", text_column="body")
    assert [d.error.kind if isinstance(d, Unread) else d.text for d in found] == [
        "a",
        "unreadable",
        "unreadable",
        "",
        "",
        "not_text",
        "z",
    ]
    assert [d.columns["n"] for d in found if isinstance(d, Document)] == [1, 2, None, None]


def test_a_table_read_whole_says_which_lines_it_left_out(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "t.jsonl").write_text('{"n": 1}\n[1]\n{broken\n{"n": 2}\n')
    (only,) = read_all(tmp_path / "t.jsonl")
    assert only.text == "| n |\n| --- |\n| 1 |\n| 2 |\n"
    assert only.doubt == ("malformed_row", "2 rows are left out: the line is JSON, but not an object")


@pytest.mark.parametrize(("name", "raw"), [("t.csv", ",\n , \n"), ("t.csv", "\n\n"), ("t.tsv", "\t\n\t\n")])
def test_a_table_without_a_word_is_empty(tmp_path: Path, read_all: Any, name: str, raw: str) -> None:
    (tmp_path / name).write_text(raw)
    (only,) = read_all(tmp_path / name)
    assert isinstance(only, Unread)
    assert only.error.kind == "empty"


def test_a_json_key_that_first_appears_late_is_kept(tmp_path: Path, read_all: Any) -> None:
    lines = [json.dumps({"body": str(i)} | ({"late": i} if i >= 150 else {})) for i in range(200)]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    found = read_all(tmp_path / "t.jsonl", text_column="body")
    assert [d.columns.get("late") for d in found] == [None] * 150 + list(range(150, 200))
    asked = read_all(tmp_path / "t.jsonl", text_column="body", keep_columns=[])
    assert all(d.columns == {} for d in asked)


def test_a_new_key_in_each_json_line_is_bounded_and_said(tmp_path: Path, read_all: Any) -> None:
    lines = [json.dumps({"body": str(i), f"key{i}": i}) for i in range(3_000)]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    found = read_all(tmp_path / "t.jsonl", text_column="body")
    failed = [each for each in found if isinstance(each, Unread)]
    assert (len(found), len(failed)) == (3_000, 2_001)
    assert "more than 1000 columns" in failed[0].error.message
    assert len(texts(read_all(tmp_path / "t.jsonl", text_column="body", keep_columns=["key0"]))) == 3_000


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("123456789012345678901234567890", decimal.Decimal(123456789012345678901234567890)),
        ("18446744073709551616", decimal.Decimal(2**64)),
        ("-9223372036854775809", decimal.Decimal(-(2**63) - 1)),
        ("9007199254740993", 9007199254740993),
        ("1" * 80, "1" * 80),
        ("1e400", "1e400"),
        ('"\\ud83d\\ude00"', "😀"),
        ('"a\\ud800b"', "a\\ud800b"),
        ("[1, 12345678901234567890123]", "[1, 12345678901234567890123]"),
        ('{"a": [1, null]}', {"a": [1, None]}),
        ('[1, {"a": null}]', '[1, {"a": null}]'),
        ("true", True),
    ],
)
def test_json_lines_keep_what_stands_there(tmp_path: Path, read_all: Any, written: str, kept: Any) -> None:
    (tmp_path / "t.ndjson").write_text('{"body": "😀 \u2028 text", "v": ' + written + "}\n", encoding="utf-8")
    (only,) = read_all(tmp_path / "t.ndjson", text_column="body")
    assert (only.text, only.columns["v"]) == ("😀 \u2028 text", kept)


def test_json_numbers_that_share_a_column_stay_apart(tmp_path: Path, read_all: Any) -> None:
    values = ["9007199254740993", "9007199254740992", "0.5", "NaN"]
    (tmp_path / "t.jsonl").write_text("".join(f'{{"body": "a", "v": {value}}}\n' for value in values))
    assert [str(each.columns["v"]) for each in read_all(tmp_path / "t.jsonl", text_column="body")] == values
    (tmp_path / "t.jsonl").write_text('{"body": "a", "v": NaN}\n{"body": "b", "v": -Infinity}\n{"body": "c", "v": 2}\n')
    first, *rest = (each.columns["v"] for each in read_all(tmp_path / "t.jsonl", text_column="body"))
    assert (math.isnan(first), rest) == (True, [float("-inf"), 2.0])


def test_a_workbook_gives_the_rows_of_each_sheet_that_has_the_column(tmp_path: Path, read_all: Any) -> None:
    xlsxwriter = pytest.importorskip("xlsxwriter")
    with xlsxwriter.Workbook(str(tmp_path / "t.xlsx")) as book:
        day = book.add_format({"num_format": "yyyy-mm-dd"})
        first, second, third = book.add_worksheet("One"), book.add_worksheet("Two"), book.add_worksheet("Notes")
        book.add_worksheet("Empty")
        first.write_row(0, 0, ["A title above"])
        for at, row in enumerate(
            [["id", "body", "when", "mixed"], [1, "a", 45000, 1], [2, "b", 45001, "x"], [], [3, "c", "n/a", 2.5]]
        ):
            first.write_row(at + 2, 0, row)
        for at in (3, 4):
            first.write_number(at, 2, 45000 + at, day)
        second.write_row(0, 0, ["body", "n"])
        second.write_row(1, 0, ["d", 7])
        third.write_row(0, 0, ["just", "notes"])
    found = read_all(tmp_path / "t.xlsx", text_column="body")
    assert [each.text if isinstance(each, Document) else each.error.kind for each in found] == [
        "a",
        "b",
        "c",
        "d",
        "no_column",
    ]
    assert [each.uri.rpartition("#")[2] for each in found] == ["One!0", "One!1", "One!2", "Two!0", "Notes"]
    assert [each.columns["mixed"] for each in found[:3]] == ["1", "x", "2.5"]
    assert [each.columns["when"] for each in found[:3]] == ["2023-03-18 00:00:00", "2023-03-19 00:00:00", "n/a"]
    assert (found[3].columns["n"], found[0].columns["id"]) == (7, 1)
    (whole,) = read_all(tmp_path / "t.xlsx")
    assert "## Notes\n\n| just | notes |" in whole.text
    assert [mark.label for mark in whole.marks if mark.kind == "page"] == ["1", "2", "3"]
    assert all(whole.text[mark.start :].startswith("## ") for mark in whole.marks)


@pytest.mark.parametrize(("module", "extra"), [("fastexcel", "sheets"), ("fastavro", "avro")])
def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, extra: str) -> None:
    from docreduce.readers import avro_types, sheets
    from docreduce.values.errors import DocumentError

    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DocumentError) as caught:
        _ = list(sheets.parts("t.xlsx", None, "body")) if extra == "sheets" else avro_types.by_fastavro(b"")
    assert (caught.value.kind, f'pip install "docreduce[{extra}]"') == ("no_reader", caught.value.hint)


def test_an_arrow_file_without_its_end_is_read_up_to_there(tmp_path: Path, read_all: Any) -> None:
    table = pa.table({"body": [f"text {n}" for n in range(1000)]})
    with pa.ipc.new_file(tmp_path / "t.arrow", table.schema) as out:
        out.write_table(table, max_chunksize=100)
    raw = (tmp_path / "t.arrow").read_bytes()
    (tmp_path / "t.arrow").write_bytes(raw[: len(raw) * 6 // 10])
    *rows, last = read_all(tmp_path / "t.arrow", text_column="body")
    assert texts(rows) == [f"text {n}" for n in range(len(rows))]
    assert len(rows) >= 400
    assert isinstance(last, Unread)


AVRO: list[tuple[str, Any, list[Any]]] = [
    ("map", {"type": "map", "values": "int"}, [{"a": 1}, {}]),
    ("union", ["null", "string", "long"], ["a", None]),
    ("nested", {"type": "array", "items": {"type": "map", "values": ["null", "double"]}}, [[{"x": 1.5}], []]),
    ("fixed", {"type": "fixed", "name": "f", "size": 2}, [b"ab", b"cd"]),
    (
        "money",
        {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2},
        [decimal.Decimal("1.25"), decimal.Decimal("-3.00")],
    ),
    ("when", {"type": "long", "logicalType": "timestamp-micros"}, [dt.datetime(2020, 1, 1, tzinfo=dt.UTC)] * 2),
    ("nothing", "null", [None, None]),
    ("kind", {"type": "enum", "name": "e", "symbols": ["A", "B"]}, ["A", "B"]),
    (
        "part",
        {"type": "record", "name": "q", "fields": [{"name": "n", "type": ["null", "int"]}]},
        [{"n": 1}, {"n": None}],
    ),
]


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2"])
@pytest.mark.parametrize(
    "some", [AVRO, [each for each in AVRO if each[0] in ("money", "when", "kind", "part")]], ids=["fastavro", "polars"]
)
def test_avro_keeps_its_values(
    tmp_path: Path, read_all: Any, codec: str, some: list[tuple[str, Any, list[Any]]]
) -> None:
    fastavro = pytest.importorskip("fastavro")
    fields = [{"name": "body", "type": "string"}, *({"name": name, "type": kind} for name, kind, _ in some)]
    records = [{"body": f"text {at}", **{name: values[at] for name, _, values in some}} for at in range(2)]
    with (tmp_path / "t.avro").open("wb") as file:
        fastavro.writer(file, {"type": "record", "name": "r", "fields": fields}, records, codec=codec)
    found = read_all(tmp_path / "t.avro", text_column="body")
    assert texts(found) == ["text 0", "text 1"]
    for name, _, values in some:
        expected = [list(value.items()) for value in values] if name == "map" else values
        expected = [[[("x", 1.5)]], []] if name == "nested" else expected
        assert [each.columns[name] for each in found] == expected, name


def test_a_broken_row_group_costs_its_own_rows(tmp_path: Path, read_all: Any) -> None:
    table = pa.table({"body": [f"text {n * 7919}" for n in range(1000)]})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=100, write_page_checksum=True)
    raw = bytearray((tmp_path / "t.parquet").read_bytes())
    chunk = pq.read_metadata(tmp_path / "t.parquet").row_group(3).column(0)
    raw[chunk.dictionary_page_offset + 60] ^= 0xFF
    (tmp_path / "t.parquet").write_bytes(raw)
    found = read_all(tmp_path / "t.parquet", text_column="body")
    (lost,) = [each for each in found if isinstance(each, Unread)]
    assert (lost.row, "rows 300 to 399" in lost.error.message) == (300, True)
    assert [each.row for each in found] == [*range(301), *range(400, 1000)]


def test_rows_of_two_megabytes_hold_little_memory(tmp_path: Path) -> None:
    from docreduce.readers import read
    from docreduce.settings import InputSettings

    row = "x" * 2**21
    with pq.ParquetWriter(tmp_path / "t.parquet", pa.schema([("body", pa.string()), ("n", pa.int64())])) as out:
        for n in range(60):
            out.write_table(pa.table({"body": [f"{n} {row}"], "n": [n]}))
    kept = []
    for each in read(str(tmp_path / "t.parquet"), InputSettings(paths=["t"], text_column="body")):
        assert isinstance(each, Document)
        kept.append(each.columns)  # what waits behind a slow document does not hold the texts beside it
    assert sum(columns.batch.get_total_buffer_size() for columns in kept) < 2**16


@pytest.mark.parametrize(
    ("name", "options", "rows", "chars"),
    [
        ("debian_descriptions.csv.gz", {"text_column": "description", "id_column": "package"}, 12_000, 9_618_660),
        ("fomc_communications.csv", {"text_column": "Text"}, 99, 2_949_630),
        ("peps.parquet", {"text_column": "body", "id_column": "pep"}, 703, 13_615_429),
    ],
)
def test_real_tables_come_whole(
    data: Path, read_all: Any, name: str, options: dict[str, str], rows: int, chars: int
) -> None:
    found = read_all(data / "tables" / name, **options)
    assert (len(texts(found)), sum(map(len, texts(found)))) == (rows, chars)
    assert len({d.id for d in found}) == rows
    assert [d.row for d in found] == list(range(rows))


@pytest.mark.parametrize(
    ("name", "column", "expected"),
    [
        ("bad__ARROW-GH-41321.parquet", "string", "unreadable"),
        ("bad__ARROW-GH-45185.parquet", "x", "unreadable"),
        ("bad__ARROW-RS-GH-6229-DICTHEADER.parquet", "name", "unreadable"),
        ("bad__PARQUET-1481.parquet", "x", "unreadable"),
        ("data__encrypt_columns_and_footer.parquet.encrypted", "x", "encrypted"),
        ("data__uniform_encryption.parquet.encrypted", "x", "encrypted"),
        ("data__hadoop_lz4_compressed.parquet", "c1", 4),
        ("data__lz4_raw_compressed.parquet", "c1", 4),
        ("data__delta_byte_array.parquet", "c_login", 1000),
    ],
)
def test_damaged_and_odd_parquet(data: Path, read_all: Any, name: str, column: str, expected: str | int) -> None:
    found = read_all(data / "tables" / "bad_data" / name, text_column=column)
    if isinstance(expected, int):
        assert len(texts(found)) == expected
    else:
        assert isinstance(found[-1], Unread)
        assert found[-1].error.kind == expected
