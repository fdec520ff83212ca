"""The command line: click, and nothing but click. Heavy rooms are opened when a command needs them."""

from __future__ import annotations

import docreduce.cli.early  # noqa: F401

# isort: split

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click
from docreduce import __version__
from docreduce.cli import oneshot, results
from docreduce.cli.arguments import Place, overridden, seconds
from docreduce.cli.reporting import leave, outlet, print_json, reported
from docreduce.cli.shards import check_shard_options, merge
from docreduce.values.errors import JobError, MachineError

if TYPE_CHECKING:
    from docreduce.cli.steering import View
    from docreduce.config import Job
    from rich.console import Console

__all__ = ["main"]

F = TypeVar("F", bound=Callable[..., Any])


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="docreduce")
def main() -> None:
    """Long documents to summaries and typed records, in Parquet, with every token and cent accounted for."""
    sys.stdout, sys.stderr = outlet(sys.stdout, "stdout"), outlet(sys.stderr, "stderr")


JOB_FILE = click.argument("job_file", type=click.Path(path_type=Path, dir_okay=False))
AS_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, nothing else there.")


def job_options(command: F) -> F:
    """The options that `run` and `estimate` share."""
    options = [
        click.option("--set", "sets", multiple=True, metavar="KEY.PATH=VALUE", help="Set any key of the job file."),
        click.option("--input", "inputs", multiple=True, metavar="PATH", help="Replaces input.paths; repeatable."),
        click.option("--output", metavar="DIR", help="Sets output.path."),
        click.option("--provider", help="Sets model.provider."),
        click.option("--base-url", help="Sets model.base_url."),
        click.option("--model", help="Sets model.name."),
        click.option("--max-cost", type=float, metavar="USD", help="Sets budget.max_cost_usd."),
        click.option("--limit", type=click.IntRange(min=1), metavar="N", help="The first N documents only."),
        AS_JSON,
    ]
    for option in reversed(options):
        command = option(command)
    return command


@main.command()
@click.argument("files", nargs=-1, required=True, metavar="JOB.toml | FILE... | -")
@job_options
@click.option("--prompt", help="Documents without a job file: put this to each, in place of a summary.")
@click.option("--fresh", is_flag=True, help="Do not reuse answers; ask and pay again.")
@click.option("--retry-failed", is_flag=True, help="Ask again what led to a failure.")
@click.option("--executor", type=click.Choice(["local", "ray"]), default="local", help="Where the calls are made.")
@click.option("--shard", metavar="I/N", help="This share of the input alone, I from 1, with its share of the limits.")
@click.option("--shards", type=click.IntRange(min=1), metavar="N", help="ray: shards; default: four a worker.")
@click.option("--workers", type=click.IntRange(min=1), metavar="K", help="ray: processes; default: the cluster's CPUs.")
@click.option("--ray-address", metavar="HOST:PORT", help="ray: a cluster that is there; default: one on this machine.")
@click.option("--scratch", metavar="DIR", help="Shards: on each node's own disk, for ledgers; OUTPUT has a copy.")
@click.option("--at-once", type=click.IntRange(min=1), metavar="K", help="Shards that run side by side; default: all.")
@click.option("--deadline", metavar="TIME", help="End in order after this long: 90s, 30m, 6h.")
@click.option("--wait", is_flag=True, help="Until provider batches have ended; else a later run fetches them.")
@click.option("--quiet", is_flag=True, help="Say nothing where all is well.")
@click.option("--log-json", is_flag=True, help="JSON lines on stderr in place of progress and the summary.")
@click.option("--metrics", type=click.Path(path_type=Path, dir_okay=False), help="Keep an OpenMetrics file there.")
def run(
    files: tuple[str, ...], prompt: str | None, executor: str, deadline: str | None, quiet: bool, **options: Any
) -> None:
    """Run a job to its Parquet results; run again, it resumes and pays for nothing twice.

    Without a job file: summarize these FILEs, or stdin (-), to the screen."""
    as_json, log_json = options["as_json"], options["log_json"]
    with reported(as_json, log_json=log_json) as fault, ExitStack() as held:
        from docreduce.cli.lines import JsonLines
        from docreduce.cli.steering import View
        from docreduce.engine.run import exit_code

        check_shard_options(executor, options)
        job_file = oneshot.job_file(files, prompt, {**options, "executor": executor})
        if job_file is None:
            silent = quiet or as_json or log_json
            job = held.enter_context(oneshot.documents_job(files, prompt, overridden(options), quiet=silent))
        else:
            job = load(job_file, options)
        chosen = {name: options[name] for name in ("fresh", "retry_failed", "limit", "wait")}
        if executor == "ray":
            from docreduce.cli.shards import run_ray

            sys.exit(run_ray(job, chosen, options, console(sys.stderr, quiet=quiet)))
        if options["shard"] is not None:
            from docreduce.engine.shards import ledger_on, parse_shard, sharded

            number, of = parse_shard(options["shard"])
            chosen["ledger"] = ledger_on(options["scratch"], job, number, of)
            job, chosen["shard"] = sharded(job, number, of, options["at_once"])
        fault.folder = job.output.folder
        chosen["deadline_s"] = None if deadline is None else seconds("--deadline", deadline)
        lines = JsonLines(sys.stderr) if log_json else None
        view = View(console(sys.stderr, quiet=quiet or log_json), lines, options["metrics"])
        manifest = run_here(job, view, None if job_file is None else lambda: load(job_file, options), **chosen)
        code = exit_code(manifest)
        well = code == 0 and (manifest["promoted"] or manifest["limited"])
        if lines is not None:
            lines.ended(manifest, code)
        elif not as_json and not (quiet and well):
            from docreduce.report.terminal import print_run

            print_run(manifest, console(sys.stderr))
        if as_json:
            print_json(manifest)
        elif job_file is None:
            oneshot.print_texts(manifest)
        elif not quiet:
            click.echo(manifest["run_dir"])
        if job.output.report:  # last: the results stand whatever becomes of it
            results.write_report(manifest, job.output.path, quiet=quiet or as_json or log_json)
    leave(code)


@main.command()
@JOB_FILE
@job_options
@click.option("--fresh", is_flag=True, help="As `run --fresh`: as if nothing were answered yet.")
@click.option("--by", type=click.Choice(["document"]), help="Name the dearest documents.")
@click.option(
    "--compare", multiple=True, metavar="MODEL", help="Price it on this model too (PROVIDER/MODEL); repeatable."
)
@click.option(
    "--sample", type=click.IntRange(min=1), metavar="N", help="First pay for N documents; keeps their answers."
)
@click.option("--exact", is_flag=True, help="Let the service count some requests first, where it has a way to.")
@click.option(
    "--note", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.md", help="Also write a page to sign."
)
def estimate(
    job_file: Path,
    *,
    fresh: bool,
    by: str | None,
    compare: tuple[str, ...],
    sample: int,
    exact: bool,
    note: Path | None,
    **options: Any,
) -> None:
    """What a job would send and cost; sends nothing, unless --exact or --sample ask it to."""
    with reported(options["as_json"]):
        from docreduce.engine.forecast import estimate_job
        from docreduce.report.terminal import print_estimate

        job, limit = load(job_file, options), options["limit"]
        if sample:
            from docreduce.cli.steering import View

            run_here(job, View(console(sys.stderr)), limit=limit, sample=sample, fresh=fresh)
        result = estimate_job(job, limit=limit, fresh=fresh, compare=compare, by_document=by is not None, exact=exact)
        if note is not None:
            from docreduce.report.note import note_of
            from docreduce.storage import machine_errors

            said = {"name": job.name, "kind": job.kind, "model": job.model.name, "paths": job.input.paths}
            with machine_errors(note):
                note.write_text(note_of(result, said), encoding="utf-8")
        show(result, options["as_json"], print_estimate)


@main.command()
@click.argument("output_dir", type=Place(exists=True, file_okay=False))
@AS_JSON
def cancel(output_dir: Path, as_json: bool) -> None:
    """End the provider batches that are out for an output folder; the next run fetches what was done by then."""
    with reported(as_json):
        import asyncio

        from docreduce.desk import Ledger
        from docreduce.engine.batching import cancel_batches

        with Ledger.open(output_dir / "ledger.sqlite") as ledger:
            ended = asyncio.run(cancel_batches(ledger))
        if as_json:
            print_json({"cancelled": ended})
        else:
            click.echo(f"cancelled {len(ended)} batches" + "".join(f"\n{name}" for name in ended))


@main.command()
@click.option("--live", is_flag=True, help="Ask the provider's own list.")
@click.option("--provider", default="modelslab", show_default=True)
@click.option("--base-url")
@click.option("--catalogue", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Your own models.")
@AS_JSON
def models(live: bool, provider: str, base_url: str | None, catalogue: Path | None, as_json: bool) -> None:
    """The catalogue with windows and prices."""
    with reported(as_json):
        from docreduce.report.terminal import model_rows, print_models

        rows = model_rows(live=live, provider=provider, base_url=base_url, extra=catalogue)
        show({"models": rows}, as_json, print_models)


@main.command()
@click.argument("file", metavar="FILE | ADDRESS")
@click.option("--max-tokens", type=click.IntRange(min=1), default=8000, show_default=True)
@click.option("--overlap-tokens", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--tokenizer", type=click.Choice(["o200k_base", "cl100k_base"]), default="o200k_base", show_default=True)
@click.option("--engine", type=click.Choice(["auto", "fast", "tiktoken"]), default="auto", show_default=True)
@click.option("--text-column", help="Tables: the column to work on.")
@AS_JSON
def chunk(file: str, as_json: bool, **options: Any) -> None:
    """The chunk plan of one document: spans, tokens, heading.

    Of what a job's input.paths would find there it is the first."""
    with reported(as_json):
        from docreduce.report.terminal import chunk_plan, print_chunks

        show(chunk_plan(file, **options), as_json, print_chunks)


@main.command()
@click.argument("path", type=click.Path(path_type=Path), default="job.toml")
@click.option("--kind", type=click.Choice(["summarize", "extract", "map"]), default="summarize", show_default=True)
@click.option(
    "--provider",
    type=click.Choice(["offline", "modelslab", "openai", "anthropic"]),
    default="offline",
    show_default=True,
    help="openai: also a model of your own, served at a base_url.",
)
def init(path: Path, kind: str, provider: str) -> None:
    """Write a commented job file to start from."""
    with reported(as_json=False):
        from docreduce.cli.starting import job_file

        template = job_file(kind, provider)
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(template)
        except FileExistsError as error:
            raise JobError(f"{path} exists already", hint="Name another file: docreduce init OTHER.toml") from error
        except OSError as error:
            raise MachineError(f"{path}: {error.strerror}") from error
        click.echo(f"wrote {path}", err=True)


@main.command()
def schema() -> None:
    """Print the JSON Schema of the job file, for editors."""
    with reported(as_json=False):
        from docreduce.config import job_schema

        print_json(job_schema())


@main.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def simulate(args: tuple[str, ...]) -> None:
    """A provider on loopback with limits, latency and faults, to rehearse a run without paying."""
    from docreduce.simulator.cli import simulate as command

    command.main(list(args), prog_name="docreduce simulate")


main.add_command(merge)


def run_here(job: Job, view: View, reload: Callable[[], Job] | None = None, **options: Any) -> dict[str, Any]:
    """Run `job` in this process, with its signals, its limits and progress in `view`: the manifest. `reload` reads the
    job anew where its limits are to be changed."""
    import uvloop
    from docreduce.cli.steering import connections, listener, steering
    from docreduce.engine.run import RunOptions, run_job

    chosen = RunOptions(max_in_flight=connections(), cores=os.cpu_count() or 1, **options)
    steer = steering(view, reload)
    return run_job(job, chosen, listen=listener(view), steer=steer, loop_factory=uvloop.new_event_loop)


def load(job_file: Path, options: dict[str, Any]) -> Job:
    """The job with the command line's overrides."""
    from docreduce.config import load_job

    return load_job(job_file, overridden(options))


def show(told: Any, as_json: bool, print_it: Callable[[Any, Console], None]) -> None:
    """`told` on stdout: as JSON, or printed for people."""
    if as_json:
        print_json(told)
    else:
        print_it(told, console(sys.stdout))


def console(stream: TextIO, *, quiet: bool = False) -> Console:
    from rich.console import Console

    # A pipe has no width: rows stay whole for whoever reads them.
    width = None if stream.isatty() else 240
    return Console(file=stream, quiet=quiet, highlight=False, markup=False, width=width)


results.register(main, show)


if __name__ == "__main__":
    main()
