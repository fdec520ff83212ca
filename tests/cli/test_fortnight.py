"""Two weeks of nights of one job, as a timer starts its command: what each morning finds, and what was paid."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from docreduce.simulator import Server
from docreduce.simulator.settings import parse_settings
from runs import serving, write_job

BROKEN = b"%PDF-1.7 and nothing more"


@dataclass(frozen=True)
class Morning:
    """What somebody finds: exit code, what stands in `latest`, what was said, and what the service billed."""

    what: str
    code: int
    latest: str
    moved: bool
    change: dict[str, int]
    gone: int
    paid: int
    said: str


class Nights:
    """One job over one folder, night after night, against a service that counts for itself."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder, self.server = folder, server
        self.inputs, self.output = folder / "in", folder / "out"
        self.inputs.mkdir()
        self.mornings: list[Morning] = []

    def write(self, name: str, words: str) -> None:
        (self.inputs / f"{name}.txt").write_text(f"{words} The harbour of {name} was closed in May.", encoding="utf-8")

    def night(self, what: str, *, key: str = "sk-right", cap: float = 1.0, file_bytes: int | None = None) -> Morning:
        """Run the job once, and look."""
        tables: dict[str, dict[str, Any]] = {
            "input": {"paths": [str(self.inputs)]},
            "model": {
                "provider": "openai",
                "name": "m",
                "base_url": f"{self.server.url}/v1",
                "context_window": 100_000,
            },
            "pricing": {"input_usd_per_million": 1.0, "output_usd_per_million": 1.0},
            "limits": {"give_up_s": 1.0},
            "budget": {"max_cost_usd": cap},
            "output": {"path": str(self.output)},
        }
        job = write_job(self.folder, "nightly", "summarize", tables)
        before, paid = self.latest(), self.server.stats()["billed_calls"]

        def limited() -> None:
            if file_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

        done = subprocess.run(
            [sys.executable, "-m", "docreduce", "run", str(job)],
            env={**os.environ, "OPENAI_API_KEY": key},
            preexec_fn=limited,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        latest = self.latest()
        folder = self.output / "nightly" / latest
        rows = pl.read_parquet(folder / "documents.parquet")
        manifest = json.loads((folder / "run.json").read_bytes())
        morning = Morning(
            what=what,
            code=done.returncode,
            latest=latest,
            moved=latest != before,
            change=dict(Counter(rows["change"].cast(pl.String).drop_nulls())),
            gone=manifest["changes"]["gone"]["count"],
            paid=self.server.stats()["billed_calls"] - paid,
            said=done.stderr,
        )
        self.mornings.append(morning)
        return morning

    def latest(self) -> str:
        link = self.output / "nightly" / "latest"
        return link.resolve().name if link.is_symlink() else ""


def mornings(found: list[Morning]) -> str:
    """As a table: what each night was, its exit code, whether `latest` moved, what is in it, and paid calls."""
    rows = []
    for each in found:
        words = [f"{count} {word}" for word, count in sorted(each.change.items())]
        words += [f"{each.gone} gone"] if each.gone else []
        rows.append((each.what, str(each.code), "moved" if each.moved else "stays", ", ".join(words), str(each.paid)))
    head = ("night", "exit", "`latest`", "documents in it", "paid")
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)
    )


def calm(nights: Nights) -> None:
    """Nights on which nothing is wrong, but for a document."""
    write, inputs = nights.write, nights.inputs
    for name in ("ada", "bay", "cap"):
        write(name, "First.")
    first = nights.night("the first")
    assert (first.code, first.moved, first.change, first.paid) == (0, True, {"new": 3}, 3)
    same = nights.night("nothing changed")
    assert (same.code, same.moved, same.change, same.paid) == (0, True, {"same": 3}, 0)
    assert "3 answers reused" in same.said
    assert "since the last complete run" not in first.said
    assert "since the last complete run: 3 as before\n" in same.said
    write("dee", "New.")
    new = nights.night("a new file")
    assert (new.code, new.moved, new.change, new.paid) == (0, True, {"same": 3, "new": 1}, 1)
    assert "nightly: complete, 4 documents (4 ok)\nsince the last complete run: 1 new, 3 as before\n" in new.said
    write("ada", "Changed.")
    changed = nights.night("a changed file")
    assert (changed.code, changed.moved, changed.change, changed.paid) == (0, True, {"same": 3, "changed": 1}, 1)
    assert changed.gone == 0
    assert "since the last complete run: 1 changed, 3 as before\n" in changed.said
    (inputs / "bay.txt").unlink()
    gone = nights.night("a file gone")
    assert (gone.code, gone.moved, gone.change, gone.gone, gone.paid) == (0, True, {"same": 3}, 1, 0)
    assert "since the last complete run: 3 as before, 1 gone\n" in gone.said
    (inputs / "x.pdf").write_bytes(BROKEN)
    broken = nights.night("a broken PDF")
    assert (broken.code, broken.moved, broken.change, broken.paid) == (1, True, {"same": 3, "new": 1}, 0)
    assert "1 failed, unreadable: The file is damaged" in broken.said


def rough(nights: Nights, server: Server) -> None:
    """Nights on which something is wrong, each with the one after it."""
    write = nights.write
    broken = nights.mornings[-1]
    (nights.inputs / "x.pdf").unlink()
    write("eel", "New.")
    wrong = nights.night("a wrong key", key="sk-wrong")
    assert (wrong.code, wrong.moved, wrong.latest, wrong.paid) == (4, False, broken.latest, 0)
    assert "stopped: HTTP 401: Invalid API key" in wrong.said
    assert wrong.said.count("Invalid API key") == 1, "said once, not for each document"
    assert "`latest` is not moved: the run is not complete: refused" in wrong.said
    right = nights.night("the right key")
    assert (right.code, right.moved, right.change, right.paid) == (0, True, {"same": 3, "new": 1}, 1)
    write("fen", "New.")
    kept = {path.name: path.read_bytes() for path in (nights.output / "nightly" / right.latest).iterdir()}
    full = nights.night("a full disk", file_bytes=4096)
    assert (full.code, full.moved, full.latest, full.paid) == (5, False, right.latest, 0)
    assert "ledger.sqlite" in full.said
    assert "Make room on the disk" in full.said
    assert {path.name: path.read_bytes() for path in (nights.output / "nightly" / right.latest).iterdir()} == kept
    room = nights.night("room again")
    assert (room.code, room.moved, room.change, room.paid) == (0, True, {"same": 4, "new": 1}, 1)
    write("gat", "New.")
    capped = nights.night("the cap reached", cap=0.000001)
    assert (capped.code, capped.moved, capped.latest, capped.paid) == (3, False, room.latest, 0)
    assert "1 skipped, budget: Raise budget.max_cost_usd and run again" in capped.said
    (enough,) = re.findall(r"smallest cap that will very probably do: \$(\S+)", capped.said)
    raised = nights.night("the cap raised", cap=float(enough))
    assert (raised.code, raised.moved, raised.change, raised.paid) == (0, True, {"same": 5, "new": 1}, 1)
    stats = server.stats()
    assert (stats["billed_calls"], stats["unique_ok"], stats["repeated_ok"]) == (8, 8, 0)
    write("hay", "New.")
    server.reset(parse_settings({"faults": {"503": 1.0}, "tokenizer": "bytes"}, "test"))  # with empty books
    down = nights.night("the service down")
    assert (down.code, down.moved, down.latest, down.paid) == (4, False, raised.latest, 0)
    assert re.search(r"stopped: nothing but failure for \d+ s: HTTP 503", down.said)
    server.reset(parse_settings({"keys": ["sk-right"], "tokenizer": "bytes"}, "test"))
    back = nights.night("the service back")
    assert (back.code, back.moved, back.change, back.paid) == (0, True, {"same": 6, "new": 1}, 1)
    assert len({each.latest for each in nights.mornings if each.moved}) == 10


@pytest.mark.long
def test_a_fortnight_of_nights_ends_as_the_contract_says_and_pays_for_nothing_twice(tmp_path: Path) -> None:
    with serving(lambda _: "The harbour was closed.", keys=["sk-right"], tokenizer="bytes") as server:
        nights = Nights(tmp_path, server)
        calm(nights)
        rough(nights, server)
    print(mornings(nights.mornings))
