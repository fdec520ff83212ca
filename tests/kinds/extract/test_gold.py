"""Labels of some documents: precision and recall by field, and how right each class of grounding is."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from docreduce.kinds.extract import KIND
from docreduce.kinds.extract.gold import quality
from docreduce.kinds.extract.settings import ExtractSettings
from docreduce.values.errors import JobError
from driving import drive
from driving_extract import PARTY, document, plan, say


def work(path: Path, *labels: Any, schema: Any = PARTY, **table: Any) -> Any:
    lines = (label if isinstance(label, str) else json.dumps(label) for label in labels)
    path.write_text("\n".join(lines), encoding="utf-8")
    return KIND.prepare(ExtractSettings(schema=schema, gold=str(path), **table), plan())


def test_precision_and_recall_by_field_and_the_calibration_by_grounding(tmp_path: Path) -> None:
    names = ["Acme", "Beta", "Gamma", "Delta"]
    labels = [{"document": f"{name}.txt", "items": [{"party": name, "signed": "2024-01-02"}]} for name in names]
    made = work(tmp_path / "labels.jsonl", *labels)
    counts: Counter[str] = Counter()
    for name in [*names, "Unlabelled"]:
        right = name != "Delta"
        words = name if right else "Delta Holdings of Nowhere"
        item = {"party": name if right else "Delphi", "evidence": {"party": words}}
        (result,), _ = drive(made, [document(f"{name} signs.", uri=f"/in/{name}.txt")], say(item))
        counts.update(result.counts)
    told = quality(counts)
    assert told["documents"] == 4
    assert told["fields"]["party"] == {"precision": 0.75, "recall": 0.75, "right": 3, "wrong": 1, "missed": 1}
    assert told["fields"]["signed"] == {"precision": None, "recall": 0.0, "right": 0, "wrong": 0, "missed": 4}
    exact = told["grounding"]["exact"]
    assert (exact["values"], exact["right"]) == (3, 1.0)
    assert exact["at_least"] == pytest.approx(0.05 ** (1 / 3), abs=1e-4)
    worst = next(seen for name, seen in told["grounding"].items() if name.startswith("none"))
    assert (worst["values"], worst["right"]) == (1, 0.0)
    assert made.quality(counts) == told


def test_each_label_of_a_list_answers_for_one_value(tmp_path: Path) -> None:
    labels = [{"document": "d", "items": [{"party": "Acme"}, {"party": "Acme"}, {"party": "Beta"}]}]
    made = work(tmp_path / "labels.jsonl", *labels, cardinality="many")
    items = [{"party": name, "evidence": {"party": f"{name} {at}"}} for at, name in enumerate(["Acme", "Acme", "Acme"])]
    (result,), _ = drive(made, [document("Acme 0. Acme 1. Acme 2. Beta.")], say(*items))
    assert quality(result.counts)["fields"]["party"] == {
        "precision": 0.6667, "recall": 0.6667, "right": 2, "wrong": 1, "missed": 1
    }  # fmt: skip


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("{", "2: extract.gold: not JSON"),
        ([], "2: extract.gold: expected an object"),
        ({"items": []}, "2: extract.gold: expected an object"),
        ({"document": "e", "items": [{"partie": "Acme"}]}, "2: extract.gold: .*partie"),
        ({"document": "e", "items": [{"signed": "soon"}]}, "2: extract.gold: .*signed"),
        ({"document": "d", "items": []}, "2: extract.gold: 'd' is labelled already"),
    ],
)
def test_labels_that_do_not_fit_are_refused_with_their_line(tmp_path: Path, label: Any, said: str) -> None:
    with pytest.raises(JobError, match=said):
        work(tmp_path / "labels.jsonl", {"document": "d", "items": []}, label)


def test_no_label_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="there is no label"):
        work(tmp_path / "labels.jsonl", "")


@pytest.mark.parametrize(
    ("sound", "documents", "bound"), [(0, 0, 0.0), (10, 10, 0.7411), (95, 100, 0.8977), (0, 10, 0.0)]
)
def test_the_bound_is_of_documents_and_exact(sound: int, documents: int, bound: float) -> None:
    counts = {"grounding/exact/sound": sound, "grounding/exact/unsound": documents - sound}
    counts |= {"grounding/exact/right": 50 * sound, "grounding/exact/wrong": documents - sound}
    assert quality(counts)["grounding"]["exact"]["at_least"] == pytest.approx(bound, abs=1e-3)
