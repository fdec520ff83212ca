"""What the README shows: every key of a job file as the schema has it, and commands that do what they say."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import docreduce
import polars as pl
import pytest
from click.testing import CliRunner
from docreduce.cli import main
from docreduce.config import job_schema
from docreduce.desk import Ledger
from places import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
ELSEWHERE = {
    "modelslab": "asks a service",
    "--executor ray": "needs a cluster, or the extra `ray`",
    "--shard ": "has tests of its own in tests/engine",
    "docreduce merge": "needs all shards",
}
"""Words of commands in the README that are not run here, and why."""


def keys_table() -> str:
    """The table of every key of a job file, from its JSON Schema. In a list of tables only what the table above does
    not have is told."""
    schema = job_schema()
    rows = ["| key | values | default | meaning |", "|---|---|---|---|"]
    rows += [f"| {' | '.join(row)} |" for row in _rows(schema, schema["$defs"], "", frozenset())]
    return "\n".join(rows)


def _rows(
    table: Mapping[str, Any], tables: Mapping[str, Any], above: str, known: frozenset[str]
) -> Iterator[tuple[str, str, str, str]]:
    own = frozenset(table["properties"])
    for name, field in table["properties"].items():
        if name in known:
            continue
        key, nested, listed = above + name, _nested(field, tables), _nested(field.get("items", {}), tables)
        if nested is not None and not known:
            yield from _rows(nested, tables, f"{key}.", frozenset())
            continue
        values = f"as `[{name}]`" if nested is not None else "tables" if listed is not None else _values(field)
        default = "" if nested is not None else _default(field, required=name in table.get("required", ()))
        yield f"`{key}`", values, default, re.sub(r"([|*])", r"\\\1", field.get("description", ""))
        if listed is not None:
            yield from _rows(listed, tables, f"{key}[].", own)


def _nested(field: Mapping[str, Any], tables: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The table that a field holds, None where it holds a value."""
    for each in (field, *field.get("anyOf", ())):
        if "$ref" in each:
            found: Mapping[str, Any] = tables[each["$ref"].rpartition("/")[2]]
            return found
    return None


def _values(field: Mapping[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_values(each) for each in field["anyOf"] if each["type"] != "null")
    if "enum" in field or "const" in field:
        return ", ".join(f"`{word}`" for word in field.get("enum", [field.get("const")]))
    if field["type"] == "array":
        least = f", {field['minItems']} at least" if "minItems" in field else ""
        return f"list of {field['items']['type']}s{least}"
    low = next(
        (f"{sign} {field[key]}" for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">")) if key in field), ""
    )
    high = f"≤ {field['maximum']}" if "maximum" in field else ""
    word = {"boolean": "`true`, `false`", "object": "table"}.get(field["type"], field["type"])
    return " ".join(each for each in (word, ", ".join(filter(None, (low, high)))) if each)


def _default(field: Mapping[str, Any], *, required: bool) -> str:
    if required:
        return "needed"
    value = field.get("default")
    return "" if value in (None, "", [], {}) and value is not False else f"`{json.dumps(value)}`"


def commands() -> list[str]:
    """The lines of the README's shell snippets that call docreduce, in their order."""
    snippets = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    lines = [line.partition("  #")[0].strip() for snippet in snippets for line in snippet.splitlines()]
    return [line for line in lines if line.startswith("docreduce ")]


def installed(folder: Path) -> Path:
    """The command as a file in `folder`, which is made; it works in any environment."""
    found = os.pathsep.join(path for path in sys.path if path)
    command = folder / "docreduce"
    folder.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\nPYTHONPATH={found} exec {sys.executable} -m docreduce.cli "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    return command


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home that the section about nights speaks of."""
    installed(tmp_path / "reports" / ".venv" / "bin")
    shutil.copytree(ROOT / "data" / "reports", tmp_path / "reports" / "documents")
    job = '[input]\npaths = ["documents/"]\n[model]\nprovider = "offline"\n'
    (tmp_path / "reports" / "job.toml").write_text(f'name = "night"\nkind = "summarize"\n{job}', encoding="utf-8")
    (tmp_path / ".config").mkdir()
    (tmp_path / ".config" / "docreduce.env").write_text("MODELSLAB_API_KEY=secret\n", encoding="utf-8")
    return tmp_path


def test_every_key_of_a_job_file_stands_in_the_readme_as_the_schema_has_it() -> None:
    found = re.search(r"<!-- keys -->\n\n(.*?)\n\n<!-- /keys -->", README, re.DOTALL)
    assert found is not None
    assert found[1] == keys_table(), f"put this between the marks:\n\n{keys_table()}\n"


@pytest.mark.long
def test_commands_in_the_readme_run_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("jobs", "data"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "documents").mkdir()  # what the job file of `docreduce init` reads
    shutil.copy(ROOT / "data" / "reports" / "ferry-incident.txt", tmp_path / "documents")
    command = installed(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("MODELSLAB_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    run = [line for line in commands() if not any(word in line for word in ELSEWHERE)]
    for line in run:
        if set(line) & set("<>*|"):  # only a shell knows what these mean, and a process takes seconds
            done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=False, timeout=60)
            code, said = done.returncode, done.stderr
        else:
            result = CliRunner().invoke(main, shlex.split(line)[1:])
            code, said = result.exit_code, result.stderr
        assert code == 0, f"{line}\n{said}"
    told = {line.split()[1] for line in run}
    assert told >= {"init", "estimate", "run", "schema", "runs", "show", "report", "failures", "bill", "check"}


@pytest.mark.parametrize("word", ELSEWHERE)
def test_what_is_not_run_here_stands_in_the_readme(word: str) -> None:
    assert any(word in line for line in commands()), f"{word}: no longer in the README, so take it out of ELSEWHERE"


@pytest.mark.long
def test_the_line_for_cron_runs_in_crons_environment_and_is_silent(home: Path) -> None:
    (line,) = re.findall(r"^```crontab\n(.*)\n```$", README, re.MULTILINE)
    schedule, command = line.split(" ")[:5], line.split(" ", 5)[5]
    assert schedule == ["0", "1", "*", "*", "*"]
    assert "%" not in command, "cron takes it for the end of the line"
    cron = {"HOME": str(home), "LOGNAME": "user", "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["/bin/sh", "-c", command], env=cron, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (home / "reports" / "results" / "night" / "latest" / "run.json").is_file()


@pytest.mark.long
def test_the_dag_for_airflow_runs_the_night_in_bash_and_takes_the_exit_codes_that_systemd_takes(home: Path) -> None:
    (dag,) = re.findall(r"^```python\n# dags/docreduce.py\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    (task,) = [
        node
        for node in ast.walk(ast.parse(dag))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "BashOperator"
    ]
    given = {keyword.arg: ast.literal_eval(keyword.value) for keyword in task.keywords}
    (codes,) = re.findall(r"^SuccessExitStatus=(.*)$", README, re.MULTILINE)
    assert given["skip_on_exit_code"] == [int(code) for code in codes.split()]
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin"}
    command = ["bash", "-c", given["bash_command"]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (home / "reports" / "results" / "night" / "latest" / "run.json").is_file()


def test_a_night_that_finds_another_run_at_work_sends_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home / "reports")
    Path("results").mkdir()
    with Ledger.open(Path("results/ledger.sqlite")):
        result = CliRunner().invoke(main, ["run", "job.toml", "--quiet", "--deadline", "5h"])
    assert result.exit_code == 5
    assert result.stderr
    assert not list(Path("results").rglob("run.json"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
def test_the_units_are_what_systemd_takes(home: Path) -> None:
    units = home / ".config" / "systemd" / "user"
    units.mkdir(parents=True)
    for name, unit in re.findall(r"^```ini\n# (\S+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL):
        (units / name).write_text(unit, encoding="utf-8")
    names = sorted(path.name for path in units.iterdir())
    assert names == ["docreduce.service", "docreduce.timer"]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", *(str(units / name) for name in names)],
        env={**os.environ, "HOME": str(home), "XDG_RUNTIME_DIR": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_jobs_in_the_readme_are_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    jobs = re.findall(r"^```toml\n(# (\w+\.toml)\n.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert [name for _, name in jobs] == ["book.toml", "parties.toml"]
    for job, name in jobs:
        Path(name).write_text(job, encoding="utf-8")
        result = CliRunner().invoke(main, ["run", name, "--json"])
        assert (result.exit_code, json.loads(result.stdout)["status"]) == (0, "complete"), result.output
    records = pl.read_parquet("results/parties/latest/records.parquet").schema
    assert records["parties"] == pl.List(pl.Struct({"name": pl.String, "role": pl.String}))


def test_the_columns_in_the_readme_are_those_of_the_tables(tmp_path: Path) -> None:
    found = re.search(r"<!-- columns -->\n\n(.*?)\n\n<!-- /columns -->", README, re.DOTALL)
    assert found is not None
    told = {
        name: columns.split(", ") for name, columns in re.findall(r"^\| `(\w+)` \| (.*) \|$", found[1], re.MULTILINE)
    }
    data, field = str(ROOT / "data"), {"type": "object", "properties": {"notice_days": {"type": "integer"}}}
    stated = {"name": "n", "model": {"provider": "offline"}, "output": {"path": str(tmp_path)}}
    summaries = {"kind": "summarize", "input": {"paths": [f"{data}/reports"]}, "reduce": {"by": "all"}}
    records = {"kind": "extract", "input": {"paths": [f"{data}/contracts"]}, "extract": {"schema": field}}
    there: dict[str, list[str]] = {}
    for job in (records, summaries):
        for table in docreduce.run({**stated, **job}).dir.glob("*.parquet"):
            there[table.stem] = [name for name in pl.read_parquet_schema(table) if name != "notice_days"]
    assert told == there


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")
def test_the_line_for_completion_makes_bash_complete(tmp_path: Path) -> None:
    (line,) = re.findall(r"^```bash\n(.*)\n```$", README, re.MULTILINE)
    command = tmp_path / "docreduce"  # as pip makes it
    command.write_text(f"#!{sys.executable}\nfrom docreduce.cli import main\nmain()\n")
    command.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    asked = f"{line}; COMP_WORDS=(docreduce esti); COMP_CWORD=1; _docreduce_completion docreduce; echo $COMPREPLY"
    done = subprocess.run(
        ["bash", "-c", asked], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout.strip() == "estimate", done.stderr


def test_the_pictures_in_the_readme_are_there() -> None:
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert pictures
    assert all((ROOT / picture).read_bytes().startswith(b"\x89PNG") for picture in pictures)
