"""`docreduce run FILE… | -`: documents named on the command line, without a job file. What they become goes to stdout;
results and ledger are kept as for any job."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from docreduce.values.errors import JobError

if TYPE_CHECKING:
    from docreduce.config import Job

__all__ = ["documents_job", "job_file", "print_texts"]

STDIN = "-"
KEY = "MODELSLAB_API_KEY"
"""The variable with the default service's key: where it is not set, no service is asked."""
FOR_JOBS = {"inputs": "--input", "shard": "--shard", "ray_address": "--ray-address"}
"""Options that say something about a job file's input, or divide it."""
OF_A_MODEL = ("model.name", "model.base_url", "model.api_key_env")
"""Keys that mean a model, also where no provider is named."""


def job_file(files: Sequence[str], prompt: str | None, options: Mapping[str, Any]) -> Path | None:
    """The job file, where one is named and nothing else; None where documents are. Raises JobError for what is
    neither."""
    jobs = [name for name in files if name.lower().endswith(".toml")]
    if not jobs:
        given = [word for name, word in FOR_JOBS.items() if options.get(name)]
        if options.get("executor") == "ray":
            given.append("--executor ray")
        if given:
            raise JobError(f"{given[0]} needs a job file", hint="`docreduce init` writes one to start from.")
        return None
    if len(files) > 1:
        raise JobError(
            f"{jobs[0]} is a job file, and it is not the only argument",
            hint="Give one job file, or documents alone; a .toml file is read as a document where a job names it.",
        )
    if prompt is not None:
        raise JobError("--prompt is for documents without a job file", hint="In a job file it is map.prompt.")
    return Path(jobs[0])


@contextmanager
def documents_job(
    files: Sequence[str], prompt: str | None, overrides: Sequence[tuple[str, Any]], *, quiet: bool
) -> Iterator[Job]:
    """The job over these documents; what stdin gave is in a file of the output folder as long as it is open.

    Says on stderr which service is asked, where nobody named one. Raises JobError for what cannot be read."""
    from docreduce.config import parse_job

    provider, said = _provider(dict(overrides), prompt)
    kind = "summarize" if prompt is None else "map"
    stated: dict[str, Any] = {"name": f"{kind}-files", "kind": kind, "input": {"paths": [_named(n) for n in files]}}
    if provider is not None:
        stated["model"] = {"provider": provider}
    if prompt is not None:
        stated[kind] = {"prompt": prompt}
    job = parse_job(stated, overrides, Path("command line"))
    if said and not quiet:
        click.echo(said, err=True)
    if STDIN not in files:
        yield job
        return
    with _stdin(job.output.folder) as path:
        paths = [str(path) if name == STDIN else name for name in job.input.paths]
        yield job.model_copy(update={"input": job.input.model_copy(update={"paths": paths})})


def print_texts(manifest: Mapping[str, Any]) -> None:
    """The summary or the answer of each document of a run on stdout, under its name where there are several."""
    import polars as pl
    from docreduce.report.folder import place, table
    from docreduce.results.schema import DOCUMENTS
    from docreduce.values.unicode import printable

    folder = Path(manifest["run_dir"])
    documents, records = table(folder, "documents"), table(folder, "records")
    if documents is None:
        return
    rows = documents.select("document_id", "uri", "row", "status", "summary").collect().to_dicts()
    if records is not None:
        ours = {"document_id", "uri", "item", "status", "error", "cost_usd"}
        carried = set(documents.collect_schema().names()) - set(DOCUMENTS.names)
        fields = [name for name in records.collect_schema().names() if name not in ours | carried]
        found: dict[str, list[str]] = {}
        for record in records.filter(pl.col("status").is_in(["ok", "partial"])).collect().to_dicts():
            found.setdefault(record["document_id"], []).append(_fields(record, fields))
        for row in rows:
            row["summary"] = "\n\n".join(found.get(row["document_id"], ())) or row["summary"]
    told = [row for row in rows if row["summary"]]
    for number, row in enumerate(told):
        if len(rows) > 1:
            name = "stdin" if _is_stdin(row["uri"]) else place(row)
            click.echo(("\n" if number else "") + printable(f"==> {name} <=="))
        click.echo(printable(row["summary"]))


def _fields(record: Mapping[str, Any], fields: Sequence[str]) -> str:
    """An answer alone as its text, several values under their names."""
    from docreduce.results.schema import text_of

    stated = [(name, text_of(record[name])) for name in fields if record[name] is not None]
    if fields in (["answer"], ["label"]):
        return "\n".join(str(value) for _, value in stated)
    return "\n".join(f"{name}: {value}" for name, value in stated)


def _provider(stated: Mapping[str, Any], prompt: str | None) -> tuple[str | None, str]:
    """The provider, None where the command line names one, and what is to be said about it."""
    if "model.provider" in stated:
        return None, ""
    if any(key in stated for key in OF_A_MODEL):
        return "modelslab", ""
    if os.environ.get(KEY):
        return "modelslab", f"{KEY} is set: ModelsLab is asked, at its price; --provider offline costs nothing"
    hint = f"Set {KEY}, or name a service with --provider and --model."
    if prompt is not None:
        raise JobError("--prompt needs a model, and none is named", hint=hint)
    return "offline", f"{KEY} is not set: the embedded provider takes sentences from the texts; --provider asks a model"


def _named(name: str) -> str:
    """The name as a path that means this file and nothing else. Raises JobError where there is no such file."""
    from docreduce.storage import is_address

    if name == STDIN or is_address(name):
        return name
    path = Path(name)
    if path.is_dir():
        raise JobError(f"{name} is a folder", hint="Name files, or write a job file: `docreduce init`.")
    if not path.exists():
        from docreduce.values.likeness import path_meant

        hint = " ".join(filter(None, (path_meant(name), "Paths are taken from the working directory.")))
        raise JobError(f"{name}: no such file", hint=hint)
    # a job would take it for somebody's home
    return f"./{name}" if name.startswith("~") else name


@contextmanager
def _stdin(output: Path) -> Iterator[Path]:
    """What stdin gives, as a file called `stdin` while it is needed. Its path depends on its content alone: the same
    text is the same document in the next run, and another one at the same time is another file."""
    from docreduce.storage import machine_errors

    # nothing is left behind by whoever gives up waiting for it
    with tempfile.TemporaryFile() as held:
        with machine_errors(Path(tempfile.gettempdir())):
            shutil.copyfileobj(sys.stdin.buffer, held)
        held.seek(0)
        digest = hashlib.file_digest(held, "sha256").hexdigest()[:16]
        held.seek(0)
        path = output / ".stdin" / digest / "stdin"
        with machine_errors(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
            with path.open("wb") as file:
                shutil.copyfileobj(held, file)
    try:
        yield path
    finally:
        with machine_errors(path):
            path.unlink(missing_ok=True)
        for folder in (path.parent, path.parent.parent):
            with suppress(OSError):  # another run has its text there
                folder.rmdir()


def _is_stdin(uri: str) -> bool:
    path = Path(uri)
    return path.name == "stdin" and path.parent.parent.name == ".stdin"
