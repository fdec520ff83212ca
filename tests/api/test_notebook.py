"""A run in a notebook, in a real kernel: its cell shows how far it is, and what became of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from docreduce.report.notebook import cell
from runs import serving

CODE = """
import docreduce
run = docreduce.run(
    {{"name": "nb", "kind": "summarize", "input": {{"paths": [{folder!r}]}}}}, output={output!r}, provider="openai",
    model="m", base_url={url!r}, context_window=16_000, requests_per_minute=240, max_cost=1.0,
    pricing={{"input_usd_per_million": 1.0, "output_usd_per_million": 1.0}},
)
"""


def test_where_no_notebook_is_nothing_is_shown() -> None:
    assert cell() is None


@pytest.mark.server
@pytest.mark.long
def test_a_notebook_shows_progress_and_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    notebooks = pytest.importorskip("nbformat", reason="nbformat is not installed").v4
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    (tmp_path / "in").mkdir()
    for at in range(12):
        (tmp_path / "in" / f"{at}.txt").write_text(f"The ferry {at} left at nine.")
    seen: list[str] = []

    class Client(client.NotebookClient):  # type: ignore[misc, name-defined]
        def process_message(self, msg: dict[str, Any], *rest: Any) -> Any:
            if msg["msg_type"] == "update_display_data":
                seen.append(msg["content"]["data"]["text/plain"])
            return super().process_message(msg, *rest)

    with serving(lambda _: "It left.", latency_s=0.2) as server:
        given = {"folder": str(tmp_path / "in"), "output": str(tmp_path / "out"), "url": f"{server.url}/v1"}
        cells = [notebooks.new_code_cell(code) for code in (CODE.format(**given), "run")]
        Client(notebooks.new_notebook(cells=cells), timeout=60).execute()
    (progress,) = cells[0].outputs
    lines = progress["data"]["text/plain"].splitlines()
    assert lines[0].startswith("documents 12/12 · ")
    assert lines[2].startswith("tokens ")
    assert lines[2].endswith(" of $1.00")
    assert len(set(seen)) > 2, "it goes on while the run does"
    (shown,) = cells[1].outputs
    assert "12 documents (12 ok)" in shown["data"]["text/html"]
