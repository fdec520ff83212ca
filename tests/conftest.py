"""The rig of the fault matrix (tests/benchmarks) for the tests of whole runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A service in a process of its own, inputs, and undisturbed runs to compare with."""
    import faults
    import rig

    rig.prepare()
    folder = tmp_path_factory.mktemp("lab")
    rig.write_inputs(folder / "in")
    lab = faults.Lab(folder, folder / "in")
    yield lab
    lab.close()
