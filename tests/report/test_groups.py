"""Groups of [reduce] and accepted records, as people see them: on the terminal, in the report, in the reading view."""

from __future__ import annotations

import json
from pathlib import Path

import docreduce
import polars as pl
import pytest
from click.testing import CliRunner
from docreduce.cli import main
from docreduce.report.html import write_html, write_reading
from docreduce.report.reading import index, reading
from docreduce.simulator import Ask
from places import ROOT
from runs import serving, write_job


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> docreduce.Run:
    folder = tmp_path_factory.mktemp("grouped")
    rows = [("north", "The harbour is closed. Ice came late."), ("south", "No light."), ("north", "A bill was paid.")]
    pl.DataFrame(rows, schema=["place", "text"], orient="row").write_csv(folder / "rows.csv")
    stated = {
        "name": "places",
        "kind": "summarize",
        "input": {"paths": [str(folder / "rows.csv")], "text_column": "text"},
        "reduce": {"by": "place"},
        "output": {"path": str(folder / "out")},
    }
    return docreduce.run(stated)


def shown(*words: object) -> str:
    result = CliRunner().invoke(main, ["show", *map(str, words)])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_groups_of_a_run_are_a_frame(grouped: docreduce.Run, tmp_path: Path) -> None:
    assert grouped.groups.select("group", "documents").rows() == [("north", 2), ("south", 1)]
    assert grouped.groups["summary"].null_count() == 0
    plain = {"name": "n", "kind": "summarize", "input": {"paths": [str(ROOT / "data" / "reports")]}}
    with pytest.raises(LookupError, match="no table 'groups'"):
        docreduce.run(plain, output=tmp_path).groups  # noqa: B018


def test_groups_stand_before_the_documents_and_are_shown_by_name(grouped: docreduce.Run) -> None:
    summary = str(grouped.groups["summary"][0])
    listed = shown(grouped.dir)
    assert listed.index("group:north") < listed.index("rows.csv")
    assert summary[:30] in listed
    one = shown(grouped.dir, "group:north")
    assert "group north, of 2 documents (group:north): ok" in one
    assert "The harbour is closed." in one
    assert json.loads(shown(grouped.dir, "group:north", "--json"))["document"]["documents"] == 2
    assert [row["group"] for row in index(grouped.dir)["groups"]] == ["north", "south"]


def test_the_report_and_the_reading_view_have_the_groups(grouped: docreduce.Run) -> None:
    page = write_html(grouped.dir).read_text(encoding="utf-8")
    assert "What [reduce] made of the documents, by place" in page
    assert "The harbour is closed." in page
    views = write_reading(grouped.dir, None)
    assert 'href="group' not in views.read_text(encoding="utf-8"), "a colon is no name for a file everywhere"
    view = write_reading(grouped.dir, "group:north").read_text(encoding="utf-8")
    assert "The harbour is closed." in view
    assert "Answers to the chunks" not in view, "a group has no chunks"


def test_a_job_without_groups_or_labels_says_nothing_of_them(tmp_path: Path) -> None:
    stated = {"name": "n", "kind": "summarize", "input": {"paths": [str(ROOT / "data" / "reports")]}}
    run = docreduce.run(stated, output=tmp_path)
    page = write_html(run.dir).read_text(encoding="utf-8")
    assert "Groups" not in page
    assert "labelled documents" not in page
    assert not shown(run.dir).startswith("group")


def test_what_is_accepted_is_said_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(ask: Ask) -> str:
        name = ask.text.split(" signed")[0]
        quote = "words that are nowhere" if name == "Acme 19" else f"{name} signed"
        return json.dumps({"items": [{"party": name, "evidence": {"party": quote}}]})

    monkeypatch.setenv("OPENAI_API_KEY", "k")
    (tmp_path / "in").mkdir()
    for at in range(20):
        (tmp_path / "in" / f"{at:03}.txt").write_text(f"Acme {at} signed this in the presence of a notary.")
    labels = ({"document": f"{at:03}.txt", "items": [{"party": f"Acme {at}"}]} for at in range(19))
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, labels)))
    (tmp_path / "schema.json").write_text('{"type": "object", "properties": {"party": {"type": "string"}}}')
    with serving(answer, tokenizer="bytes") as server:
        tables = {
            "input": {"paths": [str(tmp_path / "in")]},
            "model": {"provider": "openai", "name": "m", "base_url": f"{server.url}/v1", "context_window": 100_000},
            "pricing": {"input_usd_per_million": 1.0, "output_usd_per_million": 1.0},
            "extract": {"schema": "schema.json", "gold": "labels.jsonl", "accept": 0.8},
            "output": {"path": str(tmp_path / "out")},
        }
        run = docreduce.run(write_job(tmp_path, "found", "extract", tables))
    promise = "19 of 20 records accepted: all their values are right in 80 % of cases at least (at 95 % confidence)"
    page = write_html(run.dir).read_text(encoding="utf-8")
    assert promise in page
    assert "over 19 labelled documents" in page
    sure, unsure = (shown(run.dir, name) for name in ("003.txt", "019.txt"))
    assert (
        "accepted: records grounded so (exact) are right in 85.4 % of cases at least, extract.accept wants 80 %" in sure
    )
    assert "not accepted: by the labelled documents nothing is sure of records grounded so (none" in unsure
    (item,) = reading(run.dir, "019.txt")["items"]
    assert [value["field"] for value in item["values"]] == ["party"], "what marks a record is none of its fields"
    assert "not accepted" in write_reading(run.dir, "019.txt").read_text(encoding="utf-8")
