"""Writing to disk: all or nothing, in the order that survives a power loss."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest
from docreduce.storage import commit_folder, fsync_folder, machine_errors, replacing
from docreduce.values.errors import MachineError


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The order of fsync and rename as the system really did them."""
    seen: list[str] = []
    fsync, rename = os.fsync, os.rename

    def name_of(handle: int) -> str:
        return Path(f"/proc/self/fd/{handle}").readlink().name

    def logged_fsync(handle: int) -> None:
        seen.append(f"fsync {name_of(handle)}")
        fsync(handle)

    def logged_rename(source: Path, target: Path) -> None:
        seen.append(f"rename {Path(target).name}")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", logged_fsync)
    monkeypatch.setattr(os, "rename", logged_rename)
    return seen


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_folder_gets_its_name_after_all_in_it_is_durable(tmp_path: Path, calls: list[str]) -> None:
    (tmp_path / "half" / "deep").mkdir(parents=True)
    (tmp_path / "half" / "a").write_bytes(b"a")
    (tmp_path / "half" / "deep" / "b").write_bytes(b"b")
    (tmp_path / "runs").mkdir()
    commit_folder(tmp_path / "half", tmp_path / "runs" / "1")
    assert calls == [
        "fsync b",
        "fsync deep",
        "fsync a",
        "fsync half",
        "rename 1",
        "fsync runs",
        f"fsync {tmp_path.name}",
    ]
    assert (tmp_path / "runs" / "1" / "deep" / "b").read_bytes() == b"b"


def test_a_run_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    with pytest.raises(MachineError, match="not empty"):
        commit_folder(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old" / "file").read_text() == "old"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"missing.*No such file") as caught:
        fsync_folder(tmp_path / "missing")
    assert caught.value.exit_code == 5


def test_a_full_disk_says_so_and_what_to_do() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    full = Path("/dev/full")
    with (
        pytest.raises(MachineError, match=r"/dev/full: No space left") as caught,
        machine_errors(full),
        full.open("wb", buffering=0) as file,
    ):
        file.write(b"x")
    assert "space" in caught.value.hint


def test_a_file_takes_its_place_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")
    with replacing(path) as beside:
        beside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_not_written_leaves_nothing_beside_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")

    def fill() -> None:
        with replacing(path) as beside:
            beside.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(MachineError, match="No space left"):
        fill()
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]
    assert path.read_text() == "old"
