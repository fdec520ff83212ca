"""What a terminal shows while a run goes on, in a real one of 80 and of 60 columns."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from runs import serving, write_job

pytestmark = pytest.mark.long


def on_a_terminal(columns: int, *command: str) -> str:
    """All that the command writes to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    environment |= {"TERM": "xterm-256color", "OPENAI_API_KEY": "sk-test"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        parts = []
        try:
            while part := os.read(ours, 65536):
                parts.append(part)
        except OSError:  # how a terminal says that nobody writes to it any more
            pass
        os.close(ours)
        process.wait(60)
    return b"".join(parts).decode()


@pytest.mark.parametrize("columns", [80, 60])
def test_the_view_has_pace_limit_money_cap_and_time_in_lines_that_fit(tmp_path: Path, columns: int) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for at in range(24):
        (folder / f"{'a-long-name-' * 12}{at}.txt").write_text(f"The harbour {at} was closed in {1900 + at}.")
    tables = {
        "input": {"paths": [str(folder)]},
        "model": {"provider": "openai", "name": "m", "base_url": "", "context_window": 16_000},
        "pricing": {"input_usd_per_million": 1.0, "output_usd_per_million": 1.0},
        "limits": {"requests_per_minute": 240},
        "budget": {"max_cost_usd": 1.0},
        "output": {"path": str(tmp_path / "out")},
    }
    with serving(lambda _: "It was closed.", fault_at={2: "500", 9: "filter"}, latency_s=0.2) as server:
        tables["model"]["base_url"] = f"{server.url}/v1"
        job = write_job(tmp_path, "nightly", "summarize", tables)
        written = on_a_terminal(columns, sys.executable, "-m", "docreduce", "run", str(job))
    shown = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written))
    documents = [line for line in shown if re.search(r"^documents \d+/24 · .*\d:\d\d left$", line)]
    calls = [line for line in shown if re.search(r"^calls \d+ · \d+/min of 240$", line)]
    spent = [line for line in shown if re.search(r"^tokens [\d,]+ in, \d+ out · \$0\.[\d]+ of \$1\.00$", line)]
    assert documents, written
    assert calls, written
    assert spent, written
    assert all(len(line) <= columns for each in (documents, calls, spent) for line in each)
    # each view is drawn over the last one: as many lines up as it had
    assert "\x1b[1A" in written
    assert "1 failed, content filter: The service refuses this text." in " ".join(" ".join(shown).split())
