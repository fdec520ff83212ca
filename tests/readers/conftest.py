"""What the readers' tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from docreduce.readers import Unread, close_sandboxes, discover, read
from docreduce.settings import InputSettings
from docreduce.values import Document
from places import DATA

ReadAll = Callable[..., list[Document | Unread]]


@pytest.fixture
def read_all() -> ReadAll:
    """All that comes of a path, or of several, with these input settings."""

    def read_paths(*paths: Path, **settings: Any) -> list[Document | Unread]:
        job = InputSettings(paths=[str(path) for path in paths], **settings)
        return [document for source in discover(job).sources for document in read(source, job)]

    return read_paths


@pytest.fixture(scope="session", autouse=True)
def _no_child_left() -> Iterator[None]:
    yield
    close_sandboxes()


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real documents beside the project; without it the test is skipped."""
    folder = DATA
    if not folder.is_dir():
        pytest.skip("the folder of real documents is not here")
    return folder.resolve()
