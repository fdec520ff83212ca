"""Which files a job reads: each once, in a stable order, nothing left out in silence."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from docreduce.readers import Discovered, UniqueIds, Unread, discover, read
from docreduce.settings import InputSettings
from docreduce.values.errors import JobError


def found(*paths: str | Path) -> Discovered:
    return discover(InputSettings(paths=[str(path) for path in paths]))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        "b.txt",
        "a.md",
        "deep/er/c.html",
        ".hidden.txt",
        ".git/x.txt",
        "program.exe",
        "d.CSV.GZ",
        "[odd].txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text")
    return tmp_path


def names(discovered: Discovered, root: Path) -> list[str]:
    return [str(Path(source).relative_to(root)) for source in discovered.sources]


def test_a_folder_is_read_through_and_what_is_left_out_is_counted(tree: Path) -> None:
    folder = found(tree)
    assert names(folder, tree) == ["[odd].txt", "a.md", "b.txt", "d.CSV.GZ", "deep/er/c.html"]
    assert folder.left_out == {"hidden": 2, "unknown kind": 1}


def test_a_file_comes_once_however_often_it_is_named(tree: Path) -> None:
    (tree / "link.txt").symlink_to(tree / "b.txt")
    both = found(tree / "b.txt", tree, tree / "deep" / ".." / "b.txt", tree / "*.txt")
    assert len([source for source in both.sources if Path(source).resolve() == tree / "b.txt"]) == 1


def test_the_order_of_paths_does_not_matter(tree: Path) -> None:
    (tree / "link.txt").symlink_to(tree / "b.txt")
    paths = [tree / "link.txt", tree / "b.txt", tree / "deep"]
    assert found(*paths) == found(*reversed(paths))
    assert found(*paths).left_out == {"link to a file of the input": 1}


def test_globs_find_files_also_deep_ones_and_brackets_in_a_name_are_a_name(tree: Path) -> None:
    assert names(found(tree / "*.txt"), tree) == ["[odd].txt", "b.txt"]
    assert names(found(tree / "**" / "*.html"), tree) == ["deep/er/c.html"]
    assert names(found(tree / "**"), tree) == ["[odd].txt", "a.md", "b.txt", "d.CSV.GZ", "deep/er/c.html"]
    assert names(found(tree / "[odd].txt"), tree) == ["[odd].txt"]


@pytest.mark.parametrize("path", ["missing.txt", "*.nothing", "empty", "ftp://host/key", "a.md/x"])
def test_a_path_that_names_nothing_is_an_error_of_the_job_that_names_it(tree: Path, path: str) -> None:
    (tree / "empty").mkdir()
    name = path if "://" in path else str(tree / path)
    with pytest.raises(JobError) as caught:
        found(tree / "a.md", name)
    assert name.partition("://")[0] in caught.value.message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("path", ["s3://bucket/in/", "https://host/a.txt"])
def test_an_address_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(JobError) as caught:
        found(path)
    assert "docreduce[remote]" in caught.value.hint


def test_a_password_that_is_not_there_is_an_error_of_the_job(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOC_PASSWORD", raising=False)
    with pytest.raises(JobError, match="DOC_PASSWORD"):
        discover(InputSettings(paths=[str(tree)], password_env="DOC_PASSWORD"))


def test_a_dangling_link_and_a_pipe_are_not_waited_for(tree: Path) -> None:
    (tree / "gone.txt").symlink_to(tree / "nowhere")
    os.mkfifo(tree / "pipe.txt")
    assert found(tree).left_out == {"broken link": 1, "hidden": 2, "pipe, socket or device": 1, "unknown kind": 1}
    for name in ("gone.txt", "pipe.txt"):
        with pytest.raises(JobError, match=name):
            found(tree / name)


@pytest.mark.parametrize(
    ("wanted", "sources", "left_out"),
    [
        ({"include": ["*.md"]}, ["a.md"], {"hidden": 2, "not included": 5}),
        ({"include": ["deep/**", "*.EXE"]}, ["deep/er/c.html", "program.exe"], {"hidden": 2, "not included": 4}),
        (
            {"exclude": ["deep"]},
            ["[odd].txt", "a.md", "b.txt", "d.CSV.GZ"],
            {"excluded": 1, "hidden": 2, "unknown kind": 1},
        ),
        (
            {"exclude": ["d*/*/c.*", "?.txt"]},
            ["[odd].txt", "a.md", "d.CSV.GZ"],
            {"excluded": 2, "hidden": 2, "unknown kind": 1},
        ),
    ],
)
def test_what_a_job_includes_or_excludes_is_counted_by_reason(
    tree: Path, wanted: dict[str, list[str]], sources: list[str], left_out: dict[str, int]
) -> None:
    folder = discover(InputSettings(paths=[str(tree)], **wanted))
    assert (names(folder, tree), folder.left_out) == (sources, left_out)


def test_the_output_folder_is_never_input(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "results" / "job").mkdir(parents=True)
    (tree / "results" / "job" / "old.txt").write_text("an earlier result")
    monkeypatch.chdir(tree)
    for paths in (["."], ["**"], ["**/*.txt"], ["results", "a.md"]):
        try:
            folder = discover(InputSettings(paths=paths), "results")
        except JobError as error:
            assert "output folder" in error.hint  # noqa: PT017
            continue
        assert not any("old.txt" in source for source in folder.sources)
        assert folder.left_out["output folder"] == 1


def test_links_out_of_the_input_and_in_loops_are_not_followed_and_hard_links_are_rows(
    tree: Path, tmp_path: Path
) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    (tree / "out.txt").symlink_to(outside / "secret.txt")
    (tree / "out").symlink_to(outside)
    (tree / "deep" / "loop").symlink_to(tree)
    (tree / "null.txt").symlink_to("/dev/null")
    os.link(tree / "b.txt", tree / "b2.txt")
    for pattern in (tree, tree / "**" / "*.txt"):
        folder = found(pattern)
        assert {name for name in names(folder, tree) if "b" in name.rpartition("/")[2]} >= {"b.txt", "b2.txt"}
        assert not any("secret" in str(Path(source).resolve()) for source in folder.sources)
        assert folder.left_out["link out of the input"] >= 1
    assert found(tree).left_out["linked folder"] == 2
    assert names(found(tree / "out.txt"), tree) == ["out.txt"]  # named on purpose


def test_a_name_that_is_no_utf8_or_holds_escapes_is_read_and_shown_safely(tmp_path: Path) -> None:
    (tmp_path / "evil\x1b[31m\u202e\n.txt").write_text("a")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")).write_text("b")
    job = InputSettings(paths=[str(tmp_path)])
    documents = [document for source in discover(job).sources for document in read(source, job)]
    assert sorted(Path(document.uri).name for document in documents) == ["caf\\xe9.txt", "evil\\x1b[31m\\u202e\\n.txt"]
    assert all(document.uri.isprintable() for document in documents)


def test_a_file_that_cannot_be_opened_or_is_gone_is_a_failed_document(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    job = InputSettings(paths=[str(tmp_path)])
    (source,) = discover(job).sources
    (tmp_path / "a.txt").unlink()
    (only,) = read(source, job)
    assert isinstance(only, Unread)
    assert only.error.kind == "unreadable"
    assert "No such file" in only.error.message


def test_equal_ids_are_told_apart_in_the_order_of_the_input() -> None:
    unique = UniqueIds()
    assert [unique(name) for name in ("a", "b", "a", "a~2", "a", "b", "a~2")] == [
        "a", "b", "a~2", "a~2~2", "a~3", "b~2", "a~2~3",
    ]  # fmt: skip


def test_the_results_of_any_run_are_no_input_but_by_their_name(tmp_path: Path) -> None:
    run = tmp_path / "other" / "job" / "2026-01-01"
    run.mkdir(parents=True)
    (tmp_path / "a.txt").write_text("a")
    for name in ("run.json", "documents.parquet", "calls.parquet", "records.csv"):
        (run / name).write_text("{}")
    found = discover(InputSettings(paths=[str(tmp_path)]))
    assert found.sources == (str(tmp_path / "a.txt"),)
    assert found.left_out == {"output folder": 1}
    named = discover(InputSettings(paths=[str(run / "records.csv")]))
    assert named.sources == (str(run / "records.csv"),)
