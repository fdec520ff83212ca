"""Where the project and the data beside it lie."""

from __future__ import annotations

from pathlib import Path

__all__ = ["DATA", "ROOT"]

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
