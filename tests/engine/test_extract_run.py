"""Whole extraction runs: over HTTP against the simulator, or with the embedded provider, judged by what was written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from docreduce.cli import main
from docreduce.config import load_job
from docreduce.engine.forecast import estimate_job
from docreduce.engine.run import RunOptions, exit_code, run_job
from docreduce.simulator import Ask, Server
from extraction import DATA, gold_spans, simulator
from runs import serving, table, write_job

PARTY = {"type": "object", "properties": {"party": {"type": "string"}, "signed": {"type": "string", "format": "date"}}}
simulated = partial(serving, tokenizer="bytes")
SENTENCES = [f"Acme {n} signed on {1 + n % 28} May 2021 in the presence of a notary. " for n in range(40)]


def job_file(folder: Path, server: Server | None = None, **tables: Any) -> Path:
    """A job over `folder`/in; keyword arguments are keys of the job file's tables, in JSON's values."""
    (folder / "schema.json").write_text(json.dumps(tables.pop("schema", PARTY)))
    model: dict[str, Any] = {"provider": "offline"}
    if server is not None:
        model = {"provider": "openai", "name": "m", "base_url": f"{server.url}/v1", "context_window": 100_000}
        tables["pricing"] = {"input_usd_per_million": 1.0, "output_usd_per_million": 1.0}
    settings = {
        "input": {"paths": [str(folder / "in")]},
        "model": model,
        "extract": {"schema": "schema.json"},
        "output": {"path": str(folder / "out")},
    }
    whole = {name: {**settings.get(name, {}), **tables.get(name, {})} for name in {**settings, **tables}}
    return write_job(folder, "found", "extract", whole)


def run(folder: Path, server: Server | None = None, **tables: Any) -> dict[str, Any]:
    return run_job(load_job(job_file(folder, server, **tables)), RunOptions())


def said(*items: dict[str, Any]) -> str:
    return json.dumps({"items": items})


def parties(ask: Ask) -> str:
    """One item a sentence that stands whole in the chunk."""
    found = [s for s in SENTENCES if s.strip() in ask.text]
    names = [" ".join(s.split()[:2]) for s in found]
    return said(*({"party": n, "evidence": {"party": f"{n} signed"}} for n in names))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path


# --- gold ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gold_url() -> Iterator[str]:
    labels = DATA / "contracts" / "gold_labels.parquet"
    if not labels.is_file():
        pytest.skip("the shared contracts are not here")
    with simulator(answer="gold", gold=labels.resolve()) as url:
        yield url


@pytest.mark.long
@pytest.mark.parametrize(("tokens", "overlap"), [(1_000, 0), (1_000, 200), (8_000, 0)])
def test_every_gold_span_comes_back_once_with_its_offsets(
    gold_url: str, tmp_path: Path, tokens: int, overlap: int
) -> None:
    contracts = (DATA / "contracts").resolve()
    files = sorted(path.name for path in (contracts / "txt").iterdir())[:3]
    found = gold_spans(tmp_path, gold_url, contracts, files, tokens, overlap)
    assert found.gold == 80
    # A clause that a border divides and no overlap repeats comes back in its parts where these cannot be joined surely.
    assert found.right >= (found.gold if overlap or tokens > 1_000 else 0.98 * found.gold)
    assert found.right <= found.written <= 1.05 * found.gold


# --- types and rows -----------------------------------------------------------------------------------------------

TYPED = {
    "type": "object",
    "properties": {
        "day": {"type": "string", "format": "date"},
        "at": {"type": "string", "format": "date-time"},
        "level": {"type": "string", "enum": ["low", "high"]},
        "place": {"type": "object", "properties": {"city": {"type": "string"}, "km": {"type": "number"}}},
        "names": {"type": "array", "items": {"type": "string"}},
        "count": {"type": "integer"},
        "sure": {"type": ["boolean", "null"]},
    },
}


def test_records_have_the_schemas_types_also_without_a_row(folder: Path) -> None:
    item = {"day": "2024-02-29", "at": "2024-02-29T12:00:00+02:00", "level": "high",
            "place": {"city": "Ulm", "km": 3}, "names": ["a", "b"], "count": 4, "sure": False}  # fmt: skip
    (folder / "in" / "a.txt").write_text("Ulm, 29 February 2024.")
    many = {"cardinality": "many"}
    with simulated(lambda _: said(item)) as server:
        full = pq.read_table(Path(run(folder, server, schema=TYPED, extract=many)["run_dir"]) / "records.parquet")
    with simulated(lambda _: said()) as server:
        other = {"path": str(folder / "other")}
        empty = run(folder, server, schema=TYPED, extract=many, output=other)
    nothing = pq.read_table(Path(empty["run_dir"]) / "records.parquet")
    assert (len(full), len(nothing)) == (1, 0)
    assert full.schema.equals(nothing.schema)
    types = {name: full.schema.field(name).type for name in TYPED["properties"]}  # type: ignore[attr-defined]
    assert types["day"] == pa.date32()
    assert pa.types.is_dictionary(types["level"])
    assert types["place"] == pa.struct([("city", pa.string()), ("km", pa.float64())])
    assert pa.types.is_list(types["names"])
    (record,) = full.to_pylist()
    assert (str(record["day"]), str(record["at"]), record["place"]["km"]) == (
        "2024-02-29",
        "2024-02-29 10:00:00+00:00",
        3,
    )
    assert (record["names"], record["count"], record["sure"]) == (["a", "b"], 4, False)


def test_a_chunk_that_the_service_read_in_part_is_as_partial_as_its_document(folder: Path) -> None:
    (folder / "in" / "a.txt").write_text("".join(SENTENCES * 5))
    (folder / "in" / "b.txt").write_text(SENTENCES[0])
    with serving(parties, ratio=0.1) as server:  # it says that it took a tenth of what it was sent
        done = run(folder, server, extract={"cardinality": "many"}, chunking={"max_tokens": 2_000})
    documents = table(done, "documents").sort("uri")
    chunks = table(done, "chunks").join(documents.select("document_id", "uri"), on="document_id").sort("uri", "chunk")
    assert documents["status"].to_list() == ["partial", "ok"]
    assert documents["error_kind"].to_list() == ["truncated_input", None]
    assert len(chunks) > 2
    assert set(chunks["status"][:-1]) == {"partial"}
    assert all(error.startswith("truncated_input: ") for error in chunks["error"][:-1])
    assert (chunks["status"][-1], chunks["error"][-1]) == ("ok", None)


@pytest.mark.long
def test_the_order_of_the_answers_changes_nothing(folder: Path) -> None:
    for n in range(5):
        (folder / "in" / f"{n}.txt").write_text("".join(SENTENCES[n:]))
    cut = {"chunking": {"max_tokens": 120, "overlap_tokens": 40}, "extract": {"cardinality": "many", "key": ["party"]}}
    with simulated(parties, latency_s=0.02, latency_sigma=1.5) as server:
        runs = [
            run(folder, server, limits={"concurrency": slots}, output={"path": str(folder / f"{slots}")}, **cut)
            for slots in (1, 16)
        ]
    for name in ("records", "evidence"):
        assert table(runs[0], name).equals(table(runs[1], name))


def test_with_many_what_two_overlapping_chunks_saw_is_one_item(folder: Path) -> None:
    (folder / "in" / "a.txt").write_text("".join(SENTENCES))
    with simulated(parties) as server:
        for key in (["party"], []):
            extract = {"cardinality": "many", "key": key}
            manifest = run(folder, server, extract=extract, chunking={"max_tokens": 120, "overlap_tokens": 40})
            assert manifest["counts"]["chunks"] > 5
            assert table(manifest, "records")["party"].to_list() == [f"Acme {n}" for n in range(40)]
            assert table(manifest, "records")["item"].to_list() == list(range(40))
            evidence = table(manifest, "evidence")
            assert len(evidence) == 40
            assert evidence["support"].max() == 2


@pytest.mark.parametrize("packed", [1, 10, "auto"])
def test_one_row_in_is_one_row_out_in_order_with_its_columns(folder: Path, packed: int | str) -> None:
    texts = ["" if n % 7 == 3 else f'Ticket {n}:\n"write", to user{n}@mail.example' for n in range(50)]
    texts[20] += " word" * 3_000
    given = pl.DataFrame({"key": [f"k{n}" for n in range(50)], "text": texts, "channel": ["mail", "web"] * 25})
    given.write_csv(folder / "in" / "t.csv")
    schema = {"type": "object", "properties": {"email": {"type": "string", "format": "email"}}}
    with simulated(answer="extractive") as server:
        manifest = run(
            folder, server, schema=schema, input={"text_column": "text", "id_column": "key"},
            extract={"rows_per_request": packed}, chunking={"max_tokens": 2_000},
        )  # fmt: skip
    records, documents = table(manifest, "records"), table(manifest, "documents")
    assert records["document_id"].to_list() == documents["document_id"].to_list() == given["key"].to_list()
    assert records["channel"].to_list() == given["channel"].to_list()
    emails = [f"user{n}@mail.example" if texts[n] else None for n in range(50)]
    assert records["email"].to_list() == emails
    assert records["status"].cast(str).to_list() == ["ok" if text else "skipped" for text in texts]
    assert documents["chunks"].max() > 1
    calls = manifest["counts"]["calls"]
    assert calls > 43 if packed == 1 else calls < 15


@pytest.mark.long
def test_a_long_cell_is_chunked_and_an_empty_one_is_skipped(tmp_path: Path) -> None:
    source = DATA / "tables" / "fomc_communications.csv"
    if not source.is_file():
        pytest.skip("the shared tables are not here")
    manifest = run(tmp_path, input={"paths": [str(source)], "text_column": "Text"}, chunking={"max_tokens": 8_000})
    documents, records = table(manifest, "documents"), table(manifest, "records")
    assert len(records) == len(documents) == 99
    assert documents.sort("chars")["chunks"].to_list()[-1] >= 3
    skipped = records.filter(pl.col("status").cast(str) == "skipped")
    assert skipped.select("party", "signed", "error").rows() == [(None, None, "there is no text in it")]


# --- answers that are not trusted ---------------------------------------------------------------------------------


def test_an_invalid_answer_is_repaired_at_most_as_often_as_allowed_and_its_document_is_partial(folder: Path) -> None:
    (folder / "in" / "a.txt").write_text("".join(SENTENCES[:20]))
    spoilt = {"1": "invalid_json", "3": "invalid_json", "4": "invalid_json"}
    with simulated(parties, fault_at=spoilt) as server:
        once = {"limits": {"concurrency": 1}, "chunking": {"max_tokens": 230}, "extract": {"cardinality": "many"}}
        manifest = run(folder, server, **once)
        again = run(folder, server, **once)
        job = load_job(folder / "job.toml")
        mended = run_job(job, RunOptions(retry_failed=True))
    calls, documents = table(manifest, "calls"), table(manifest, "documents")
    assert calls["stage"].cast(str).to_list() == ["map", "map", "repair", "repair"]
    assert calls["chunk"].to_list() == [0, 1, 0, 0]
    assert calls["billing"].cast(str).to_list() == ["charged"] * 4, "each repair is a call of its own"
    assert documents.select(pl.col("status", "error_kind").cast(str)).rows() == [("partial", "invalid_output")]
    assert documents["error"][0].startswith("chunk 0: /: ")
    assert table(manifest, "chunks")["status"].cast(str).to_list() == ["failed", "ok"]
    assert 0 < len(table(manifest, "records")) < 20
    assert exit_code(manifest) == 1
    assert (again["counts"]["calls"], again["counts"]["partial"]) == (0, 1), "a parse failure never pays again"
    assert (mended["counts"]["calls"], mended["counts"]["ok"]) == (1, 1)
    assert len(table(mended, "records")) == 20


def test_a_repaired_answer_leaves_nothing_behind(folder: Path) -> None:
    (folder / "in" / "a.txt").write_text("".join(SENTENCES[:5]))
    with simulated(parties, fault_at={"1": "invalid_json"}) as server:
        manifest = run(folder, server, extract={"cardinality": "many"})
    assert table(manifest, "calls")["stage"].cast(str).to_list() == ["map", "repair"]
    assert (exit_code(manifest), len(table(manifest, "records"))) == (0, 5)


def test_values_whose_words_are_nowhere_are_counted(folder: Path) -> None:
    (folder / "in" / "a.txt").write_text("Nobody is named here.")
    with simulated(
        lambda _: said({"party": "Zenith", "evidence": {"party": "Zenith Holdings of Ruritania"}})
    ) as server:
        manifest = run(folder, server)
    assert manifest["counts"]["evidence_not_found"] == 1
    assert table(manifest, "evidence")["alignment"].cast(str).to_list() == ["none"]
    assert table(manifest, "records")["party"].to_list() == ["Zenith"]


def test_a_refused_form_is_left_alone_by_the_rest_of_the_run_and_by_the_next_one(folder: Path) -> None:
    for n, sentence in enumerate(SENTENCES):
        (folder / "in" / f"{n:02}.txt").write_text(sentence)
    with simulated(parties, refuse=["tools"]) as server:
        first = run(folder, server, limits={"concurrency": 2})
        assert server.stats()["rejected"]["unsupported_parameter"] < 10
        assert first["counts"]["ok"] == 40
        estimate = estimate_job(load_job(folder / "job.toml"))
        requests = server.stats()["requests"]
        again = run(folder, server, limits={"concurrency": 2})
        assert server.stats()["requests"] == requests
        assert estimate["calls"]["ceiling"] == again["counts"]["calls"] == 0
        asked = run(folder, server, output={"path": str(folder / "other")}, model={
            "provider": "openai", "name": "m", "base_url": f"{server.url}/v1", "context_window": 100_000,
            "structured_output": "prompt"})  # fmt: skip
    assert table(first, "records").drop("cost_usd").equals(table(again, "records").drop("cost_usd"))
    assert table(first, "records").drop("cost_usd").equals(table(asked, "records").drop("cost_usd"))


# --- refused before anything is sent ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "examples", "told"),
    [
        (
            PARTY,
            '{"text": "Acme", "items": []}\n{"text": "Acme", "items": [{"party": "Acme", "evidence": '
            '{"party": "Zenith"}}]}\n',
            ("examples.jsonl:2", "'Zenith' does not stand in the text"),
        ),
        (
            PARTY,
            '{"text": "Acme", "items": [{"signed": "May", "evidence": {"signed": "May"}}]}',
            ("examples.jsonl:1", "/items/0/signed"),
        ),
        (
            {"type": "object", "properties": {"a": {"type": "strin"}}},
            "",
            ("schema.json: extract.schema", "/properties/a/type"),
        ),
        ({"type": "array"}, "", ("schema.json: extract.schema", 'the schema of an object with "properties"')),
    ],
)
def test_a_wrong_schema_or_example_ends_with_2_and_names_the_place(
    folder: Path, schema: Any, examples: str, told: tuple[str, ...]
) -> None:
    (folder / "in" / "a.txt").write_text("Acme")
    (folder / "examples.jsonl").write_text(examples)
    with simulated(parties) as server:
        path = job_file(folder, server, schema=schema, extract={"examples": "examples.jsonl"})
        ended = CliRunner().invoke(main, ["run", str(path)])
        assert server.stats()["requests"] == 0
    assert ended.exit_code == 2
    assert all(words in ended.output for words in told), ended.output
    assert not (folder / "out").exists()
