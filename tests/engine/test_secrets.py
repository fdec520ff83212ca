"""The key is in the environment and in the requests, and nowhere else. Replies that echo it: providers/test_http."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from checking import check
from places import ROOT


@pytest.mark.long
def test_no_child_and_no_command_line_holds_the_key(lab: Any) -> None:
    import faults

    check(faults.secret_places(lab))


@pytest.mark.long
@pytest.mark.parametrize(
    "settings",
    [{}, {"key_expires_after": 5}, {"faults": {"503": 0.1, "content_type": 0.1}}],
)
def test_the_key_is_in_no_output_after_success_refusal_or_faults(lab: Any, settings: dict[str, Any]) -> None:
    import rig

    lab.configure("summarize", latency_s=0.0, **settings)
    case = lab.case("summarize", output={"csv": True})
    case.run()
    assert lab.service.stats()["requests"]
    assert not rig.secrets_in(case.output, case.log)


@pytest.mark.long
def test_the_key_is_in_no_output_after_a_crash(lab: Any) -> None:
    import rig

    lab.configure("summarize")
    case = lab.case("summarize")
    assert case.run(rig.Child(point="engine.carriers:Live.carry>", at=5)) == -signal.SIGKILL
    assert not rig.secrets_in(case.output, case.log)


@pytest.mark.long
def test_the_search_for_the_key_finds_it_where_it_is(lab: Any, tmp_path: Path) -> None:
    """A search that finds nothing anywhere would prove nothing: in compressed Parquet, in the ledger, in text."""
    import rig

    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.txt").write_text(f"The word is {rig.KEY} and it stands in the document itself.", encoding="utf-8")
    lab.service.configure(latency_s=0.0, keys=[])
    case = lab.case("summarize", folder, model={"api_key_env": "NO_SUCH_KEY"})
    case.run()
    found = {Path(name).name for name in rig.secrets_in(case.output, case.log)}
    assert {"documents.parquet", "chunks.parquet"} <= found
    assert any(name.startswith("ledger.sqlite") for name in found)


def test_nothing_is_pickled_in_the_product() -> None:
    for path in (ROOT / "pipeline").rglob("*.py"):
        code = path.read_text(encoding="utf-8")
        assert "import pickle" not in code, path
        assert "pickle." not in code, path
