"""What words of the command line mean: times, and the job keys that options set."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import click
from docreduce.values.errors import JobError

__all__ = ["Place", "overridden", "seconds"]

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def seconds(option: str, text: str, unit: str = "s") -> float:
    """A time as people write it: 90s, 30m, 6h, 30d, 2w, or a plain number of `unit`. Raises JobError."""
    number, letter = (text[:-1], text[-1]) if text[-1:].isalpha() else (text, unit)
    try:
        found = float(number) * _UNITS_S[letter]
    except (ValueError, KeyError):
        found = -1.0
    if not 0 <= found < float("inf"):
        raise JobError(f"{option} {text}: expected a time such as 90s, 30m, 6h or 30d")
    return found


class Place(click.Path):
    """A folder of results; an address of some means the folder on this machine where they were made."""

    def __init__(self, **given: Any) -> None:
        super().__init__(path_type=Path, **given)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        scheme, separator, rest = str(value).partition("://")
        if separator:
            from docreduce.settings import state_folder

            place = PurePosixPath(rest)
            known = ((state_folder(f"{scheme}://{each}"), each) for each in (place, *place.parents))
            value = next((folder / place.relative_to(each) for folder, each in known if folder.is_dir()), None)
            if value is None:
                self.fail(
                    f"{scheme}://{rest}: no run of this machine went there; copy its folder here first", param, ctx
                )
        if not Path(value).exists():
            from docreduce.values.likeness import path_meant

            self.fail(" ".join(filter(None, (f"{value}: not there.", path_meant(str(value))))), param, ctx)
        return super().convert(value, param, ctx)


def overridden(options: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The job keys that the command line sets, by dotted key."""
    overrides = [_stated(text) for text in options["sets"]]
    short = {
        "input.paths": list(options["inputs"]) or None,
        "output.path": options["output"],
        "model.provider": options["provider"],
        "model.base_url": options["base_url"],
        "model.name": options["model"],
        "budget.max_cost_usd": options["max_cost"],
    }
    return overrides + [(key, value) for key, value in short.items() if value is not None]


def _stated(text: str) -> tuple[str, Any]:
    """`key.path=VALUE`: VALUE as TOML, or as a plain string where it is none."""
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise JobError(f"--set {text}: expected KEY.PATH=VALUE")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value
