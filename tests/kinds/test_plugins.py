"""Kinds of other packages, found by entry point: they run, resume, are estimated and rehearsed as ours are."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from places import ROOT
from runs import serving, write_job

TALLY = '''
"""kind = "tally": how often a word stands in each row; short rows share a request."""

import pyarrow as pa
from docreduce.kinds.kind import Pack, TableSpec, Work
from docreduce.kinds.rows import over_rows
from docreduce.kinds.steps import InvalidAnswerError, chunk_result, document_result
from docreduce.settings import Table
from docreduce.values import Chunk, Completion, Message, Request, Result, Span
from docreduce.values.errors import JobError
from pydantic import Field


class TallySettings(Table):
    word: str = Field(min_length=1)


class Tally:
    name = "tally"
    settings = TallySettings

    def prepare(self, settings, plan):
        if " " in settings.word:
            raise JobError("tally.word: one word, without a space")
        system = Message("system", f"For each line, say how often {settings.word!r} stands in it, one number a line.")
        overhead = plan.overhead_tokens([system])

        def steps(documents):
            def ask(group):
                lines = Message("user", "\\n".join(" ".join(documents[at].text.split()) for at in group))
                tokens = overhead + plan.tokenizer.count(lines.content)
                return Request(messages=(system, lines), tokens=tokens, chunk=0, serves=tuple(group))

            def take_apart(group, text):
                numbers = text.split()
                if len(numbers) != len(group) or not all(map(str.isdigit, numbers)):
                    raise InvalidAnswerError("not one number a line")
                return dict(zip(group, map(int, numbers)))

            apart = yield from over_rows(range(len(documents)), ask, take_apart)
            results = {}
            for at, document in enumerate(documents):
                chunk = Chunk(index=0, span=Span(0, len(document.text)), tokens=plan.tokenizer.count(document.text))
                if at in apart.answered:
                    number, outcome = apart.answered[at]
                    rows = {"tallies": [{"number": number}]}
                    results[at] = Result(status="ok", chunks=[chunk_result(chunk, outcome)], tables=rows)
                else:
                    failed = [apart.failed[at]] if at in apart.failed else []
                    told = [chunk_result(chunk, each) for each in failed]
                    results[at] = document_result(told, failed, answered=False)
            return [results[at] for at in range(len(documents))]

        def offline(request):
            lines = request.messages[-1].content.splitlines()
            return "\\n".join(str(line.split().count(settings.word)) for line in lines)

        tallies = TableSpec(columns=pa.schema([("number", pa.int64())]), kept=True, outcome=True, always=True)
        return Work(steps=steps, predict=lambda request, _: "1\\n" * len(request.serves), offline=offline,
                    tables={"tallies": tallies}, pack=Pack(3, plan.chunk_tokens(overhead), 1))


KIND = Tally()
'''


def installed(folder: Path, name: str, source: str) -> Path:
    """A folder in which the distribution of the kind `name` is installed, to stand on the import path."""
    site = folder / "site"
    facts = site / f"docreduce_{name}-1.0.dist-info"
    facts.mkdir(parents=True)
    (site / f"docreduce_{name}.py").write_text(source, encoding="utf-8")
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: docreduce-{name}\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(f"[docreduce.kinds]\n{name} = docreduce_{name}:KIND\n")
    return site


def command(site: Path, *args: object) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", "")]))
    words = [sys.executable, "-m", "docreduce.cli", *map(str, args)]
    return subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        timeout=120,
    )


def ran(site: Path, *args: object) -> dict[str, Any]:
    done = command(site, *args, "--json")
    assert done.returncode in {0, 1}, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.fixture
def tally(tmp_path: Path) -> Path:
    return installed(tmp_path, "tally", TALLY)


def tally_job(folder: Path, **model: Any) -> Path:
    texts = ["ice and ice", "no", "ice", "ice ice ice", ""]
    pl.DataFrame({"body": texts, "n": range(5)}).write_parquet(folder / "in.parquet")
    tables: dict[str, Any] = {
        "input": {"paths": [str(folder / "in.parquet")], "text_column": "body"},
        "tally": {"word": "ice"},
        "output": {"path": str(folder / "out")},
    }
    if model:
        tables["model"] = {"provider": "openai", "name": "m", "context_window": 100_000, **model}
        tables["pricing"] = {"input_usd_per_million": 1.0, "output_usd_per_million": 1.0}
    return write_job(folder, "tallies", "tally", tables)


def tallies(manifest: dict[str, Any]) -> pl.DataFrame:
    return pl.read_parquet(Path(manifest["run_dir"]) / "tallies.parquet")


@pytest.mark.long
def test_a_kind_of_another_package_is_rehearsed_offline_and_writes_its_own_table(tmp_path: Path, tally: Path) -> None:
    job = tally_job(tmp_path)
    manifest = ran(tally, "run", job)
    assert (manifest["kind"], manifest["counts"]["ok"], manifest["counts"]["skipped"]) == ("tally", 4, 1)
    found = tallies(manifest)
    assert found["number"].to_list() == [2, 0, 1, 3, None]
    assert found["n"].to_list() == list(range(5))
    assert found["status"].to_list() == ["ok"] * 4 + ["skipped"]
    assert {each["path"]: each["rows"] for each in manifest["files"]}["tallies.parquet"] == 5


@pytest.mark.long
def test_its_estimate_is_what_its_run_sends_and_a_second_run_pays_for_nothing(tmp_path: Path, tally: Path) -> None:
    def answer(ask: Any) -> str:
        return "\n".join(str(line.split().count("ice")) for line in ask.text.splitlines())

    with serving(answer, tokenizer="bytes") as server:
        job = tally_job(tmp_path, base_url=f"{server.url}/v1")
        environment = {"OPENAI_API_KEY": "sk-test"}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            estimate = ran(tally, "estimate", job)
            first = ran(tally, "run", job)
            sent = server.stats()["billed_calls"]
            second = ran(tally, "run", job)
        assert (estimate["calls"]["expected"], sent) == (2, 2)
        assert server.stats()["billed_calls"] == sent
    assert tallies(first)["number"].to_list() == [2, 0, 1, 3, None]
    assert tallies(second)["number"].to_list() == [2, 0, 1, 3, None]
    assert (second["counts"]["reused_calls"], second["cost"]["charged_usd"]) == (2, 0)
    cost = tallies(first)["cost_usd"].sum()
    assert float(cost) == pytest.approx(first["cost"]["charged_usd"], abs=1e-12)


@pytest.mark.long
def test_its_settings_are_checked_and_its_own_refusals_come_before_anything_is_sent(
    tmp_path: Path, tally: Path
) -> None:
    job = tally_job(tmp_path)
    for override, said in {
        "tally.wrod=ice": "tally.wrod: unknown key. Did you mean 'word'?",
        "tally.word=": "tally.word",
        "tally.word=two words": "tally.word: one word, without a space",
        "kind=taly": "Did you mean 'tally'?",
    }.items():
        done = command(tally, "run", job, "--set", override)
        assert done.returncode == 2
        assert said in done.stderr
    assert not (tmp_path / "out").exists()


def test_every_command_knows_it(tmp_path: Path, tally: Path) -> None:
    schema = json.loads(command(tally, "schema").stdout)
    assert set(schema["$defs"]["TallySettings"]["properties"]) == {"word"}
    assert "tally" in schema["properties"]


@pytest.mark.long
def test_an_installed_kind_changes_no_other_job(tmp_path: Path, tally: Path) -> None:
    sample = [ROOT / "jobs" / "summarize.toml", "--input", ROOT / "data" / "reports", "--output", tmp_path / "out"]
    without, beside = ran(tmp_path / "nothing", "run", *sample), ran(tally, "run", *sample)
    assert without["job_sha256"] == beside["job_sha256"]
    assert beside["counts"]["reused_calls"] == without["counts"]["calls"]


@pytest.mark.long
def test_a_kind_that_does_not_load_is_told_and_the_others_work(tmp_path: Path) -> None:
    site = installed(tmp_path, "broken", "import nothing_of_that_name")
    job = tally_job(tmp_path)
    done = command(site, "run", job, "--set", "kind=broken")
    assert done.returncode == 2
    assert "docreduce_broken:KIND" in done.stderr
    sample = command(site, "estimate", ROOT / "jobs" / "summarize.toml", "--output", tmp_path / "out")
    assert sample.returncode == 0, sample.stderr


@pytest.mark.long
def test_the_kind_in_the_readme_works_as_it_stands_there(tmp_path: Path) -> None:
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("### A kind of your own")[2]
    source = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    package = re.search(r"```toml\n(.*?)```", section, re.DOTALL)
    assert source and package  # noqa: PT018
    entries = tomllib.loads(package[1])["project"]["entry-points"]["docreduce.kinds"]
    assert entries == {"questions": "docreduce_questions:KIND"}
    site = installed(tmp_path, "questions", source[1])
    tables: dict[str, Any] = {
        "input": {"paths": [str(ROOT / "data" / "reports")]},
        "chunking": {"max_tokens": 300},
        "questions": {"language": "German"},
        "output": {"path": str(tmp_path / "out")},
    }
    job = write_job(tmp_path, "asked", "questions", tables)
    estimate = ran(site, "estimate", job)
    manifest = ran(site, "run", job)
    assert estimate["chunks"] == estimate["calls"]["expected"] == manifest["counts"]["chunks"] > 3
    asked = pl.read_parquet(Path(manifest["run_dir"]) / "questions.parquet")
    assert asked.columns == ["document_id", "uri", "question"]
    assert asked.height == manifest["counts"]["chunks"]
    assert all(re.fullmatch(r"What is .+\?", question) for question in asked["question"])
