"""Documents on the command line without a job file: what goes to the screen, what is kept, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result
from docreduce.cli import main
from places import ROOT
from runs import serving

FERRY = ROOT / "data" / "reports" / "ferry-incident.txt"
ENERGY = ROOT / "data" / "reports" / "harbour-energy.md"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MODELSLAB_API_KEY", raising=False)


def run(*args: object, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(main, ["run", *map(str, args)], input=stdin)


def latest(kind: str = "summarize", output: str = "results") -> Path:
    return Path(output) / f"{kind}-files" / "latest"


def summaries() -> list[str]:
    return pl.read_parquet(latest() / "documents.parquet")["summary"].to_list()


def test_one_document_is_its_summary_and_nothing_else_on_stdout() -> None:
    result = run(FERRY)
    assert result.exit_code == 0, result.stderr
    (summary,) = summaries()
    assert result.stdout == f"{summary}\n"
    assert "MODELSLAB_API_KEY is not set: the embedded provider" in result.stderr
    assert "summarize-files: complete, 1 document (1 ok)" in result.stderr
    assert "results/summarize-files/" in result.stderr


def test_several_documents_stand_under_their_names() -> None:
    result = run(FERRY, ENERGY)
    first, second = summaries()
    assert result.stdout == f"==> {FERRY} <==\n{first}\n\n==> {ENERGY} <==\n{second}\n"


def test_stdin_is_a_document_called_stdin_that_the_next_run_knows() -> None:
    first = run("-", "--json", stdin=FERRY.read_bytes())
    assert Path(pl.read_parquet(latest() / "documents.parquet")["uri"].item()).name == "stdin"
    again = run("-", "--json", stdin=FERRY.read_bytes())
    calls = [json.loads(each.stdout)["counts"]["calls"] for each in (first, again)]
    reused = pl.read_parquet(latest() / "calls.parquet")["billing"].to_list()
    assert calls[0] == 1
    assert set(reused) == {"reused"}
    assert pl.read_parquet(latest() / "documents.parquet")["change"].to_list() == ["same"]
    assert not Path("results/.stdin").exists()


def test_stdin_beside_files_stands_under_its_name() -> None:
    told = run(FERRY, "-", stdin=b"The harbour was closed on 3 May. Nobody was hurt.").stdout
    assert "==> stdin <==\nThe harbour was closed on 3 May." in told
    assert f"==> {FERRY} <==" in told


def test_names_mean_files_whatever_they_look_like() -> None:
    for name in ("[a].txt", "~b.txt", ".c"):
        Path(name).write_text(f"The harbour of {name} was closed in May.", encoding="utf-8")
    result = run("[a].txt", "~b.txt", ".c", "--quiet")
    assert result.exit_code == 0, result.stderr
    assert len(summaries()) == 3
    assert not result.stderr
    assert result.stdout.count("==> ") == 3


def test_output_and_set_hold_as_for_a_job() -> None:
    result = run(FERRY, "--output", "elsewhere", "--set", "summarize.max_words=20")
    assert len(result.stdout.split()) <= 20
    assert (latest(output="elsewhere") / "run.json").is_file()
    assert not Path("results").exists()


def test_a_prompt_is_put_to_each_document() -> None:
    with serving(lambda ask: "The Marlen") as server:
        Path("other.txt").write_text("Another ship, another day.", encoding="utf-8")
        stated = ["--provider", "modelslab", "--base-url", f"{server.url}/api/v7/llm"]
        result = CliRunner().invoke(
            main,
            ["run", str(FERRY), "other.txt", "--prompt", "Which ship?", *stated],
            env={"MODELSLAB_API_KEY": "secret"},
        )
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"==> {FERRY} <==\nThe Marlen\n\n==> other.txt <==\nThe Marlen\n"
    assert pl.read_parquet(latest("map") / "records.parquet")["answer"].to_list() == ["The Marlen"] * 2


@pytest.mark.parametrize(
    ("setting", "answer", "shown"),
    [
        ('map.labels=["ship", "house"]', "ship", "ship\n"),
        (
            'map.schema={type="object",properties={ship={type="string"},summary={type="string"},hurt={type="integer"}}}',
            '{"items": [{"ship": "Marlen", "summary": "aground", "hurt": 11}]}',
            "ship: Marlen\nsummary: aground\nhurt: 11\n",
        ),
    ],
)
def test_a_label_stands_alone_and_fields_under_their_names(setting: str, answer: str, shown: str) -> None:
    with serving(lambda ask: answer) as server:
        args = ["--prompt", "Which?", "--base-url", f"{server.url}/api/v7/llm", "--set", setting]
        result = CliRunner().invoke(main, ["run", str(FERRY), *args], env={"MODELSLAB_API_KEY": "secret"})
    assert result.exit_code == 0, result.stderr
    assert result.stdout == shown


def test_an_address_alone_means_the_default_service() -> None:
    with serving(lambda ask: "A ship ran aground.") as server:
        result = CliRunner().invoke(
            main,
            ["run", str(FERRY), "--base-url", f"{server.url}/api/v7/llm"],
            env={"MODELSLAB_API_KEY": "secret"},
        )
    assert result.stdout == "A ship ran aground.\n", result.stderr


def test_with_the_services_key_the_service_is_asked_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSLAB_API_KEY", "secret")
    result = run(FERRY, "--max-cost", 0)  # nothing can be afforded, so nothing is sent
    assert result.exit_code == 3
    assert "MODELSLAB_API_KEY is set: ModelsLab is asked, at its price" in result.stderr
    assert not result.stdout


def test_a_document_that_cannot_be_read_is_said_and_the_others_are_shown() -> None:
    Path("broken.pdf").write_bytes(b"%PDF-1.7 and nothing more")
    result = run(FERRY, "broken.pdf")
    assert result.exit_code == 1
    assert "==> broken.pdf" not in result.stdout
    assert "broken.pdf" in result.stderr
    assert f"==> {FERRY} <==" in result.stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["none.txt"], "none.txt: no such file"),
        (["folder"], "folder is a folder"),
        (["job.toml", "a.txt"], "job.toml is a job file, and it is not the only argument"),
        (["job.toml", "job.toml"], "is a job file, and it is not the only argument"),
        (["job.toml", "-"], "is a job file, and it is not the only argument"),
        (["job.toml", "--prompt", "Which?"], "--prompt is for documents without a job file"),
        (["a.txt", "--prompt", "Which?"], "--prompt needs a model"),
        (["a.txt", "--prompt", "", "--provider", "modelslab"], "map.prompt"),
        (["a.txt", "--input", "b.txt"], "--input needs a job file"),
        (["a.txt", "--shard", "1/2"], "--shard needs a job file"),
        (["a.txt", "--executor", "ray"], "--executor ray needs a job file"),
        (["a.txt", "--model", "baidu-ernie-4.5-21b-a3b"], "MODELSLAB_API_KEY"),
        (["a.txt", "--set", "summarize.wordz=3"], "summarize.wordz: unknown key"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_no_run_is_made(args: list[str], said: str) -> None:
    Path("folder").mkdir()
    Path("job.toml").write_text('name = "j"\nkind = "summarize"\n[input]\npaths = ["a.txt"]\n', encoding="utf-8")
    Path("a.txt").write_text("The harbour was closed in May.", encoding="utf-8")
    result = run(*args)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not result.stdout
    assert not list(Path().rglob("run.json"))
