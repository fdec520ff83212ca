"""Ledger and results are their owner's alone, whatever the umask."""

from __future__ import annotations

import os
from pathlib import Path

from docreduce.config import load_job
from docreduce.engine.run import run_job
from runs import write_job


def test_what_a_run_leaves_can_be_read_by_its_owner_only(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The bridge was closed on 3 May 1903.", encoding="utf-8")
    tables = {"input": {"paths": [str(tmp_path / "a.txt")]}, "output": {"path": str(tmp_path / "out"), "csv": True}}
    before = os.umask(0)
    try:
        manifest = run_job(load_job(write_job(tmp_path, "job", "summarize", tables)))
    finally:
        os.umask(before)
    run, ledger = Path(manifest["run_dir"]), tmp_path / "out"
    assert run.stat().st_mode & 0o077 == 0
    assert {file.name: file.stat().st_mode & 0o077 for file in ledger.glob("ledger*")} == {
        file.name: 0 for file in ledger.glob("ledger*")
    }
