"""A page in a real browser, driven by tests/report/browser.mjs."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from places import ROOT

__all__ = ["browse"]

MODULES = ROOT / ".servers" / "node_modules"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def browse(page: Path, *flags: str) -> dict[str, Any]:
    """What happened when a browser opened the page. Skips where there is none."""
    node = shutil.which("node")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if node is None or browser is None:
        pytest.skip("node or chromium is not installed")
    if not (MODULES / "playwright-core").is_dir() or not (MODULES / "axe-core").is_dir():
        pytest.skip("playwright-core and axe-core are not installed in .servers")
    script = ROOT / "tests" / "report" / "browser.mjs"
    command = [node, str(script), str(MODULES), browser, str(page), *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
