"""`docreduce simulate`: every setting of the simulator as an option, or from a TOML file."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
from docreduce.simulator.server import serve
from docreduce.simulator.settings import BILLED_FAULTS, FREE_FAULTS, Settings, parse_settings
from docreduce.values.errors import DocreduceError, JobError

__all__ = ["load_settings", "simulate"]

PAIRS = ("faults", "fault_at", "batch_faults")  # given as --fault NAME=RATE and --fault-at N=NAME


def _options(command: Any) -> Any:
    for setting in reversed(dataclasses.fields(Settings)):
        if setting.name in PAIRS:
            continue
        many = "tuple[" in str(setting.type)
        default = None if setting.default in (None, ()) else f"default {setting.default}"
        command = click.option(f"--{setting.name.replace('_', '-')}", multiple=many, metavar="VALUE", help=default)(
            command
        )
    return command


EPILOG = f"""{inspect.getdoc(Settings)}

Faults that cost nothing: {", ".join(sorted(FREE_FAULTS))}. Billed ones: {", ".join(sorted(BILLED_FAULTS))}."""


@click.command(epilog=EPILOG)
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="TOML file of settings; options win.")
@click.option("--fault", "faults", multiple=True, metavar="NAME=RATE", help="Share of calls that show a fault.")
@click.option("--fault-at", multiple=True, metavar="N=NAME", help="The n-th accepted call shows a fault.")
@click.option("--batch-fault", "batch_faults", multiple=True, metavar="NAME=RATE", help="Share of whole batches.")
@_options
def simulate(config: Path | None, **given: Any) -> None:
    """A provider on loopback with limits, latency and faults: the OpenAI, Anthropic and ModelsLab dialects.

    Prints its URL as the first line, then serves until interrupted. GET /stats says what was accepted, refused and
    billed; POST /stats/reset begins anew; POST /config sets other settings as JSON."""
    try:
        values = load_settings(config) if config else {}
        for name in PAIRS:
            given[name] = dict(_pair(pair) for pair in given[name])
        values |= {name: list(value) if isinstance(value, tuple) else value for name, value in given.items() if value}
        settings = parse_settings(values, str(config or "simulate"))
        import uvloop

        uvloop.run(_serve(settings))
    except DocreduceError as error:
        click.echo(f"docreduce simulate: {error.message}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def _pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator:
        raise JobError(f"{text!r} is no pair like 500=0.02 or 7=hang")
    return key, value


def load_settings(path: Path) -> dict[str, Any]:
    """The table in a TOML file of settings, not yet checked. Raises JobError if it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise JobError(f"{path}: {error}") from error


async def _serve(settings: Settings) -> None:
    async with serve(settings) as server:
        click.echo(server.url)
        await asyncio.Event().wait()
