"""Writing to disk: all or nothing, in the order that survives a power loss."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from pipeline.errors import MachineError
from pipeline.storage import atomic_write, commit_folder, fsync_folder, machine_errors


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The order of fsync and rename as the system really did them."""
    seen: list[str] = []
    fsync, rename = os.fsync, os.rename
    replace = os.replace

    def name_of(handle: int) -> str:
        return Path(f"/proc/self/fd/{handle}").readlink().name

    def logged_fsync(handle: int) -> None:
        seen.append(f"fsync {name_of(handle)}")
        fsync(handle)

    def logged_rename(source: Path, target: Path) -> None:
        seen.append(f"rename {Path(target).name}")
        rename(source, target)

    def logged_replace(source: Path, target: Path) -> None:
        seen.append(f"rename {Path(target).name}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", logged_fsync)
    monkeypatch.setattr(os, "rename", logged_rename)
    monkeypatch.setattr(os, "replace", logged_replace)
    return seen


def test_a_written_file_holds_what_was_written_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    atomic_write(path, lambda file: file.write(b"old"))
    atomic_write(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["run.json"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    atomic_write(path, lambda file: file.write(b"old"))

    def half(file: BinaryIO) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic_write(path, half)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["run.json"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_file_is_durable_before_its_name_and_the_name_before_we_go_on(tmp_path: Path, calls: list[str]) -> None:
    atomic_write(tmp_path / "a", lambda file: file.write(b"x"))
    assert calls[0].startswith("fsync .a.")
    assert calls[1:] == ["rename a", f"fsync {tmp_path.name}"]


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


def test_files_get_the_rights_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        atomic_write(tmp_path / "a", lambda file: file.write(b"x"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"missing.*No such file") as caught:
        atomic_write(tmp_path / "missing" / "a", lambda file: file.write(b"x"))
    assert caught.value.exit_code == 5
    with pytest.raises(MachineError, match="missing"):
        fsync_folder(tmp_path / "missing")


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


@pytest.mark.skipif(os.name == "nt", reason="needs a file size limit")
def test_a_disk_that_fills_up_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    script = """
import resource, signal, sys
from pathlib import Path
from pipeline.errors import MachineError
from pipeline.storage import atomic_write
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    atomic_write(Path(sys.argv[1]), lambda file: [file.write(b"x" * 4_000) for _ in range(100)])
except MachineError as error:
    print(error)
"""
    (tmp_path / "a").write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a")], capture_output=True, text=True, check=True
    )
    assert os.strerror(errno.EFBIG) in done.stdout
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old"
