"""The rig of the fault matrix (tests/benchmarks) for the tests of whole runs, and Hypothesis without a clock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("docreduce", deadline=None)  # how long an example takes says what else the machine does
settings.load_profile("docreduce")


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
