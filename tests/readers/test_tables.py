"""Tables: one row in, one document out, in order, whatever the delimiter, the encoding and the size."""

from __future__ import annotations

import csv
import datetime as dt
import decimal
import gzip
import io
import json
from pathlib import Path
from typing import Any

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


def test_a_quote_that_never_closes_fails_the_rest_and_keeps_the_rows_before(tmp_path: Path, read_all: Any) -> None:
    body = 'id,body\n1,a\n2,"b\n' + "filler line\n" * 200_000
    (tmp_path / "t.csv").write_text(body)
    first, rest = read_all(tmp_path / "t.csv", text_column="body", max_document_mb=1)
    assert first.text == "a"
    assert isinstance(rest, Unread)
    assert (rest.error.kind, rest.row) == ("too_large", 1)
    assert "after 1 rows" in rest.error.message


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


@pytest.mark.parametrize(("kwargs", "word"), [({}, "text_column"), ({"text_column": "x"}, "'x'")])
@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.jsonl"])
def test_a_table_without_its_text_column_is_one_failed_document_that_lists_the_columns(
    tmp_path: Path, read_all: Any, name: str, kwargs: dict[str, str], word: str
) -> None:
    (tmp_path / "t.csv").write_text(as_csv(ROWS))
    pq.write_table(pa.table({"id": [1, 2], "body": ["a", "b"]}), tmp_path / "t.parquet")
    (tmp_path / "t.jsonl").write_text('{"id": 1, "body": "a"}\n{"id": 2, "body": "b"}\n')
    (only,) = read_all(tmp_path / name, **kwargs)
    assert isinstance(only, Unread)
    assert only.error.kind == "no_column"
    assert word in only.error.message
    assert "'id', 'body'" in only.error.message


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


def test_an_id_does_not_depend_on_the_folder_and_changes_with_the_text(tmp_path: Path, read_all: Any) -> None:
    ids = []
    for folder, text in (("a", "same"), ("b", "same"), ("c", "other")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "t.csv").write_text(f"body,x\n{text},1\nsecond,2\n")
        ids.append([d.id for d in read_all(tmp_path / folder / "t.csv", text_column="body")])
    assert ids[0] == ids[1]
    assert ids[0][0] != ids[2][0]
    assert ids[0][1] == ids[2][1]


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
    from docreduce.config import InputSettings
    from docreduce.readers import discover, read

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


def test_a_json_key_that_first_appears_late_is_kept(tmp_path: Path, read_all: Any) -> None:
    lines = [json.dumps({"body": str(i)} | ({"late": i} if i >= 150 else {})) for i in range(200)]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    found = read_all(tmp_path / "t.jsonl", text_column="body")
    assert [d.columns for d in found] == [{}] * 150 + [{"late": i} for i in range(150, 200)]
    asked = read_all(tmp_path / "t.jsonl", text_column="body", keep_columns=[])
    assert all(d.columns == {} for d in asked)


def test_json_lines_keep_what_json_can_say(tmp_path: Path, read_all: Any) -> None:
    record = {"body": "😀 \u2028 text", "list": [1, {"a": None}], "float": 1.5}
    (tmp_path / "t.ndjson").write_text(json.dumps(record) + "\n", encoding="utf-8")
    (only,) = read_all(tmp_path / "t.ndjson", text_column="body")
    assert only.text == record["body"]
    assert only.columns == {"list": record["list"], "float": 1.5}


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
