"""The job file: what is accepted, and how clearly the rest is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from docreduce.cli import main
from docreduce.config import job_schema, load_job, parse_job
from docreduce.kinds.extract.schema import compile_extraction
from docreduce.values.errors import JobError
from places import ROOT

SUMMARIZE = 'name = "n"\nkind = "summarize"\n[input]\npaths = ["a.txt"]\n'
JOBS = ROOT / "jobs"


def job_file(folder: Path, text: str) -> Path:
    path = folder / "job.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", sorted(JOBS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_job_of_the_project_is_valid(path: Path) -> None:
    assert load_job(path).name


def test_a_minimal_job_gets_the_documented_defaults(tmp_path: Path) -> None:
    job = load_job(job_file(tmp_path, SUMMARIZE))
    assert job.model.provider == "offline"
    assert job.model.name == "baidu-ernie-4.5-21b-a3b"
    assert job.summarize.max_words == 300
    assert job.limits.max_attempts == 6
    assert job.budget.max_cost_usd is None


def test_overrides_reach_any_key_and_make_missing_tables(tmp_path: Path) -> None:
    overrides = [("chunking.max_tokens", 100), ("model.provider", "openai"), ("budget.max_cost_usd", 2)]
    job = load_job(job_file(tmp_path, SUMMARIZE), overrides)
    assert job.chunking.max_tokens == 100
    assert job.model.provider == "openai"
    assert job.budget.max_cost_usd == 2.0


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("[sumarize]\nmax_words = 3\n", "sumarize: unknown key"),
        ("[limits]\nconcurency = 3\n", "limits.concurency: unknown key"),
        ('[limits]\nconcurrency = "5"\n', "limits.concurrency: Input should be a valid integer, not '5'"),
        ("[summarize]\nmax_words = 0\n", "summarize.max_words"),
        ('[model]\napi_key = "sk-1"\n', "a key does not belong in a job file"),
        ('[pricing]\nmode = "per_call"\n', "needs usd_per_call"),
        ("[model\n", "not valid TOML"),
    ],
)
def test_a_wrong_job_file_is_refused_with_the_file_and_the_key(tmp_path: Path, extra: str, said: str) -> None:
    path = job_file(tmp_path, SUMMARIZE + extra)
    with pytest.raises(JobError) as caught:
        load_job(path)
    assert said in caught.value.message
    assert str(path) in caught.value.message
    assert "sk-1" not in caught.value.message
    assert caught.value.exit_code == 2


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    wrong = """name = "n"
kind = "sumarize"
[input]
path = ["a.txt"]
[model]
api_key = "sk-1"
provider = "opnai"
[[model.fallback]]
nam = "other"
[extract]
schema = "none.json"
[map]
promt = "x"
[limits]
concurency = 3
max_attempts = "six"
"""
    with pytest.raises(JobError) as caught:
        load_job(job_file(tmp_path, wrong))
    lines = caught.value.message.splitlines()
    for said in (
        "kind: 'sumarize' is none of summarize, extract, map. Did you mean 'summarize'?",
        "input.path: unknown key. Did you mean 'paths'?",
        "input.paths: missing",
        "model.api_key: a key does not belong in a job file",
        "model.provider: ",
        "model.fallback.0.nam: unknown key. Did you mean 'name'?",
        "extract.schema: no file 'none.json' beside the job file",
        "map.promt: unknown key. Did you mean 'prompt'?",
        "map.prompt: missing",
        "limits.concurency: unknown key. Did you mean 'concurrency'?",
        "limits.max_attempts: Input should be a valid integer, not 'six'",
    ):
        assert sum(said in line for line in lines) == 1, said
    assert len(lines) == 11
    assert "sk-1" not in caught.value.message


def test_a_byte_order_mark_before_a_job_file_and_its_schema_is_no_part_of_them(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"type":"object","properties":{"a":{"type":"string"}}}', encoding="utf-8-sig")
    path = tmp_path / "job.toml"
    extract = SUMMARIZE.replace("summarize", "extract") + '[extract]\nschema = "s.json"\n'
    path.write_text(extract, encoding="utf-8-sig")
    job = load_job(path)
    assert compile_extraction(job.extract).fields == ("a",)


def test_a_job_can_be_stated_in_python_and_what_was_stated_stays_as_it_was(tmp_path: Path) -> None:
    stated = {"name": "n", "kind": "map", "input": {"paths": ["a.txt"]}, "map": {"prompt": "What is it?"}}
    before = json.dumps(stated)
    job = parse_job(stated, [("map.labels", ["a", "b"]), ("output.path", str(tmp_path))])
    assert (job.map.prompt, job.map.labels) == ("What is it?", ["a", "b"])
    assert json.dumps(stated) == before
    assert job.settings is job.map


def test_a_table_of_another_kind_is_checked_and_left_aside(tmp_path: Path) -> None:
    job = load_job(job_file(tmp_path, SUMMARIZE + '[map]\nprompt = "x"\n'))
    assert job.settings is job.summarize
    with pytest.raises(JobError, match=r"map\.labels"):
        load_job(job_file(tmp_path, SUMMARIZE + '[map]\nprompt = "x"\nlabels = [1, 2]\n'))


def test_a_missing_job_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="No such file") as caught:
        load_job(tmp_path / "none.toml")
    assert "docreduce init" in caught.value.hint


def test_an_extraction_needs_its_schema_beside_the_job_file(tmp_path: Path) -> None:
    extract = SUMMARIZE.replace("summarize", "extract")
    with pytest.raises(JobError, match=r"extract\.schema: missing"):
        load_job(job_file(tmp_path, extract))
    with pytest.raises(JobError, match=r"extract.schema: no file 's.json' beside the job file"):
        load_job(job_file(tmp_path, extract + '[extract]\nschema = "s.json"\n'))
    (tmp_path / "s.json").write_text("{}")
    job = load_job(job_file(tmp_path, extract + '[extract]\nschema = "s.json"\n'))
    assert job.extract is not None
    assert job.extract.schema_ == str((tmp_path / "s.json").resolve())


def test_the_job_hash_depends_on_settings_and_not_on_layout(tmp_path: Path) -> None:
    first = load_job(job_file(tmp_path, SUMMARIZE))
    spaced = load_job(job_file(tmp_path, "# a comment\n" + SUMMARIZE.replace(" = ", "=")))
    other = load_job(job_file(tmp_path, SUMMARIZE + "[summarize]\nmax_words = 10\n"))
    assert first.sha256 == spaced.sha256 != other.sha256


def test_the_json_schema_names_every_table_of_the_contract() -> None:
    assert set(job_schema()["properties"]) == {
        "name", "kind", "input", "model", "pricing", "limits", "chunking", "reduce", "budget", "output",
        "summarize", "extract", "map",
    }  # fmt: skip


def refused(*words: str) -> str:
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == 2, result.output
    return result.output


def test_what_may_have_been_meant_is_named_for_values_models_and_paths(tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "harbour.txt").write_text("The harbour is closed.")
    (tmp_path / "s.schema.json").write_text("{}")
    job = str(job_file(tmp_path, SUMMARIZE))
    place = ("--input", str(tmp_path / "reports"), "--output", str(tmp_path / "out"))
    assert "Did you mean 'openai'?" in refused("run", job, *place, "--provider", "opnai")
    said = refused("run", job, *place, "--provider", "modelslab", "--model", "baidu-ernie-4.5-21b-a3")
    assert "Did you mean 'baidu-ernie-4.5-21b-a3b'?" in said
    wrong = tmp_path / "report" / "harbour.txt", tmp_path / "reports" / "harbor.txt"
    said = refused("run", job, "--input", str(wrong[0]), "--input", str(wrong[1]), "--output", str(tmp_path / "out"))
    assert all(f"{path}: no such file or folder" in said for path in wrong), "both problems at once"
    assert said.count(f"Did you mean {str(tmp_path / 'reports' / 'harbour.txt')!r}?") == 2, "each beside its own path"
    for command in ("run", "estimate"):
        said = refused(command, job, "--input", str(wrong[1]), "--provider", "modelslab", "--model", "nobodys-model")
        assert "no such file or folder" in said
        assert "model.context_window: nobody states the window of nobodys-model" in said, "both problems at once"
    assert f"Did you mean {str(tmp_path / 'reports')!r}?" in refused("show", str(tmp_path / "report"))
    assert f"Did you mean {str(tmp_path / 'reports' / 'harbour.txt')!r}?" in refused("run", str(wrong[1]))
    table = SUMMARIZE.replace("summarize", "extract") + '[extract]\nschema = "s.shema.json"\n'
    assert "s.schema.json'?" in refused("run", str(job_file(tmp_path, table)))


def test_a_pydantic_model_beside_the_job_file_is_a_schema(tmp_path: Path) -> None:
    code = (
        "from pydantic import BaseModel\nclass Lease(BaseModel):\n    party: str | None = None\n    rent: float = 0\n"
    )
    (tmp_path / "leases_of_a_test.py").write_text(code)
    extract = SUMMARIZE.replace("summarize", "extract") + '[extract]\nschema = "{}"\n'
    job = load_job(job_file(tmp_path, extract.format("leases_of_a_test:Lease")))
    assert compile_extraction(job.extract).fields == ("party", "rent")
    for name, said in (
        ("leases_of_a_test:Leese", "'leases_of_a_test:Leese' is no pydantic model. Did you mean 'Lease'?"),
        ("no_module_of_a_test:Lease", "cannot be imported: ModuleNotFoundError"),
        ("json:loads", "'json:loads' is no pydantic model"),
    ):
        with pytest.raises(JobError) as caught:
            load_job(job_file(tmp_path, extract.format(name)))
        assert said in caught.value.message
        assert "extract.schema" in caught.value.message
