"""The packages that are installed are the folders there are: setuptools is told them by name."""

from __future__ import annotations

import tomllib

from places import ROOT


def test_every_folder_of_sources_is_installed() -> None:
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    sources = ROOT / "pipeline"
    folders = {path.parent.relative_to(sources) for path in sources.rglob("*.py")}
    assert sorted(stated) == sorted(".".join(("docreduce", *folder.parts)) for folder in folders)
