"""The commands that look at results: what a run was, what it cost, what is wrong, what can go."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from docreduce.cli.arguments import Place, seconds
from docreduce.cli.reporting import reported
from docreduce.values.errors import JobError, MachineError

__all__ = ["register", "write_report"]

Show = Callable[..., None]
RUN = click.argument("run_dir", type=Place(exists=True))
OUTPUT = click.argument("output_dir", type=Place(exists=True, file_okay=False))
AS_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, nothing else there.")
BY = ("job", "model", "day", "stage", "document", "endpoint", "run")


def register(main: click.Group, show: Show) -> None:
    """Add the commands to the group; `show` prints a value as JSON or for people."""
    _of_a_run(main, show)
    _of_a_folder(main, show)


def write_report(manifest: Mapping[str, Any], path: str, *, quiet: bool) -> None:
    """report.html beside the results of a run, and where it is to stderr. Where it cannot be, that is said: the results
    stand without it."""
    try:
        from docreduce.report.html import write_report as written

        places = written(manifest, path)
    except MachineError as error:
        click.echo(f"report.html could not be written: {error.message}", err=True)
        return
    if not quiet:
        click.echo(f"report: {', '.join(places)}", err=True)


def _of_a_run(main: click.Group, show: Show) -> None:
    @main.command()
    @RUN
    @AS_JSON
    def report(run_dir: Path, as_json: bool) -> None:
        """Write report.html beside a run's results and print the summary."""
        with reported(as_json):
            from docreduce.report.folder import read_manifest, run_folder
            from docreduce.report.html import write_html
            from docreduce.report.terminal import print_run

            folder = run_folder(run_dir)
            manifest = read_manifest(folder)
            written = write_html(folder)
            show({**manifest, "run_dir": str(folder), "report": str(written)}, as_json, print_run)

    @main.command()
    @RUN
    @click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Documents at most.")
    @AS_JSON
    def failures(run_dir: Path, limit: int, as_json: bool) -> None:
        """What failed in a run: document, reason, remedy."""
        with reported(as_json):
            from docreduce.report.failures import failures as of_run
            from docreduce.report.folder import run_folder
            from docreduce.report.tables import print_failures

            show(of_run(run_folder(run_dir), None if as_json else limit), as_json, print_failures)

    @main.command()
    @click.argument("before", type=Place(exists=True))
    @click.argument("after", type=Place(exists=True))
    @AS_JSON
    def diff(before: Path, after: Path, as_json: bool) -> None:
        """What changed between two runs."""
        with reported(as_json):
            from docreduce.report.failures import diff as between
            from docreduce.report.folder import run_folder
            from docreduce.report.tables import print_diff

            show(between(run_folder(before), run_folder(after)), as_json, print_diff)

    @main.command("show")
    @RUN
    @click.argument("document", required=False)
    @click.option(
        "--html",
        is_flag=True,
        help="Write the reading view: the text, and the pages of a PDF, with the words each value rests on.",
    )
    @click.option("--to", type=click.Path(path_type=Path, dir_okay=False), help="Where --html writes it.")
    @AS_JSON
    def show_document(run_dir: Path, document: str | None, html: bool, to: Path | None, as_json: bool) -> None:
        """A document's summary or record with the words it rests on; without DOCUMENT the documents there are."""
        with reported(as_json):
            from docreduce.report.folder import run_folder
            from docreduce.report.reading import index, reading
            from docreduce.report.tables import print_index, print_reading

            folder = run_folder(run_dir)
            if html:
                from docreduce.report.html import write_reading

                show({"html": str(write_reading(folder, document, to))}, as_json, _print_path)
            elif document is None:
                show(index(folder), as_json, print_index)
            else:
                show(reading(folder, document), as_json, print_reading)


def _of_a_folder(main: click.Group, show: Show) -> None:
    @main.command()
    @OUTPUT
    @AS_JSON
    def runs(output_dir: Path, as_json: bool) -> None:
        """The runs in an output folder: when, status, documents, cost."""
        with reported(as_json):
            from docreduce.desk import Ledger
            from docreduce.report.terminal import print_runs
            from docreduce.results import list_runs

            with Ledger.view(output_dir / "ledger.sqlite") as ledger:
                batches = ledger.batches.rows()
            show({"runs": list_runs(output_dir), "batches": batches}, as_json, print_runs)

    @main.command()
    @OUTPUT
    @click.option("--by", type=click.Choice(BY), default="job", show_default=True)
    @click.option("--since", metavar="DATE", help="What was paid from this day on (UTC), such as 2026-01-31.")
    @click.option("--csv", "as_csv", is_flag=True, help="CSV on stdout.")
    @AS_JSON
    def bill(output_dir: Path, by: str, since: str | None, as_csv: bool, as_json: bool) -> None:
        """What was paid and what was saved, from the ledger."""
        with reported(as_json):
            from docreduce.report.bill import BY as NAMES
            from docreduce.report.bill import bill as of_folder
            from docreduce.report.bill import bill_csv
            from docreduce.report.tables import print_bill

            found = of_folder(output_dir, by=NAMES[BY.index(by)], since=since)
            if as_csv:
                click.echo(bill_csv(found), nl=False)
            else:
                show(found, as_json, print_bill)

    @main.command()
    @OUTPUT
    @AS_JSON
    def check(output_dir: Path, as_json: bool) -> None:
        """Ledger, files, hashes, sums: what is wrong. Repairs nothing; exit code 1 where something is."""
        with reported(as_json):
            from docreduce.report.check import check as of_folder
            from docreduce.report.tables import print_check

            found = of_folder(output_dir)
            show(found, as_json, print_check)
        sys.exit(1 if found["wrong"] else 0)

    @main.command()
    @OUTPUT
    @click.option("--keep", metavar="TIME", help="Runs that ended within this time stay: 30d, 12h.")
    @click.option("--document", metavar="ID", help="Remove all that is stored of this document instead.")
    @click.option("--dry-run", is_flag=True, help="Only say what would go.")
    @AS_JSON
    def prune(output_dir: Path, keep: str | None, document: str | None, dry_run: bool, as_json: bool) -> None:
        """Remove old runs and answers that no kept run refers to; never a job's newest complete run."""
        with reported(as_json):
            from docreduce.report.prune import prune as old
            from docreduce.report.prune import purge
            from docreduce.report.tables import print_pruned

            if (keep is None) == (document is None):
                raise JobError("prune: say one of --keep and --document", hint="For example `--keep 30d --dry-run`.")
            found = (
                purge(output_dir, document, dry_run=dry_run)
                if document
                else old(output_dir, seconds("--keep", keep or "", "d"), dry_run=dry_run)
            )
            show(found, as_json, print_pruned)


def _print_path(found: Mapping[str, Any], console: Any) -> None:
    console.print(found["html"])
