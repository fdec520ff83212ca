"""The referee: a strict server in C that keeps the limits and counts. Compiled on demand, run as a process."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from places import ROOT

SOURCE = ROOT.parent / "shared" / "referee" / "referee.c"


class Referee:
    """A running referee. `with Referee(folder) as referee: referee.config(rpm=1500)`; raises FileNotFoundError where
    its source or a C compiler is absent."""

    def __init__(self, folder: Path, lifetime_s: int = 3600) -> None:
        compiler = shutil.which("cc")
        if compiler is None or not SOURCE.is_file():
            raise FileNotFoundError("no C compiler" if compiler is None else f"no {SOURCE.name} beside the project")
        binary = folder / "referee"
        subprocess.run([compiler, "-O2", "-w", "-o", binary, SOURCE, "-lm"], check=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._process = subprocess.Popen([binary, str(port), str(lifetime_s)], stderr=subprocess.DEVNULL)
        for _ in range(100):
            try:
                self.stats()
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("the referee does not answer")

    def __enter__(self) -> Referee:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def config(self, **settings: float) -> None:
        """Set the limits and faults; counters and buckets start anew."""
        urllib.request.urlopen(f"{self.url}/config", urlencode(settings).encode(), timeout=10).read()

    def stats(self) -> dict[str, Any]:
        """What it counted since the last config."""
        with urllib.request.urlopen(f"{self.url}/stats", timeout=10) as answer:
            counted: dict[str, Any] = json.load(answer)
            return counted
