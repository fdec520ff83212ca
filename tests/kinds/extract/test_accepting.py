"""Records that are accepted by a stated bound: what the bound holds over seeded draws, and what a run writes by it."""

from __future__ import annotations

import json
from fractions import Fraction
from functools import partial
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from docreduce.cli import main
from docreduce.kinds.extract import KIND
from docreduce.kinds.extract.accepting import acceptance, classes_in, exact_lower_bound, grounding
from docreduce.kinds.extract.gold import quality
from docreduce.kinds.extract.settings import ExtractSettings
from docreduce.simulator import Ask
from docreduce.values.errors import JobError
from driving import drive
from driving_extract import PARTY, document, plan, say
from runs import serving, table, write_job

TRIALS = 2000
AND = " + "


@pytest.mark.parametrize(("right", "of"), [(10, 10), (9, 10), (95, 100), (1, 20), (997, 1000)])
@pytest.mark.parametrize("alpha", [0.05, 0.0125])
def test_the_bound_is_clopper_and_pearsons(right: int, of: int, alpha: float) -> None:
    """By its definition, in whole numbers: at the bound, so many right ones and more have the chance alpha."""
    share = Fraction(exact_lower_bound(right, of, alpha))
    tail = sum(comb(of, k) * share**k * (1 - share) ** (of - k) for k in range(right, of + 1))
    assert float(tail) == pytest.approx(alpha, rel=1e-4)


def test_the_bound_of_nothing_is_0_and_59_documents_say_95_percent() -> None:
    assert exact_lower_bound(0, 0) == exact_lower_bound(0, 9) == 0
    assert exact_lower_bound(58, 58) < 0.95 <= exact_lower_bound(59, 59)
    assert exact_lower_bound(145, 145, 0.025) < 0.975 <= exact_lower_bound(146, 146, 0.025)


@pytest.mark.long
@pytest.mark.parametrize("documents", [30, 60, 200, 1000])
@pytest.mark.parametrize("share", [0.5, 0.94, 0.99])
def test_the_bound_is_above_the_truth_in_a_twentieth_of_all_draws_at_most(documents: int, share: float) -> None:
    """Exact, without draws: the chance of every count whose bound is above the true share."""
    above = sum(
        comb(documents, k) * share**k * (1 - share) ** (documents - k)
        for k in range(documents + 1)
        if exact_lower_bound(k, documents) > share
    )
    assert above <= 0.05 + 1e-6


def accepted_trials(rng: Any, documents: int, right: dict[str, float], wanted: str, accept: float = 0.95) -> float:
    """The share of trials in which records of the grounding `wanted` are accepted. In each document several values of
    a class go right or wrong together: it is all right with the chance `right`."""
    draws = {name: rng.binomial(documents, chance, TRIALS) for name, chance in right.items()}
    taken = 0
    for trial in range(TRIALS):
        shares = {name: (int(each[trial]), documents) for name, each in draws.items()}
        taken += wanted in acceptance(accept, shares, {f"records/{wanted}": 1}).accepted
    return taken / TRIALS


@pytest.mark.parametrize("documents", [60, 150, 500, 2000])
@pytest.mark.parametrize("classes", [1, 2, 4])
def test_what_is_right_less_often_is_accepted_in_a_twentieth_of_the_trials_at_most(
    documents: int, classes: int
) -> None:
    rng = np.random.default_rng([documents, classes])
    names = [f"class {at}" for at in range(classes)]
    # Just below: the worst case of the union bound, no two classes ever wrong in the same record.
    right = dict.fromkeys(names, 1 - 0.0501 / classes)
    share = accepted_trials(rng, documents, right, AND.join(names))
    print(f"{documents} documents, {classes} classes: {share:.4f}")
    assert share <= 0.05 + 3 * (0.05 * 0.95 / TRIALS) ** 0.5


@pytest.mark.parametrize(("documents", "classes"), [(200, 1), (400, 2)])
def test_what_is_right_almost_always_is_accepted_mostly(documents: int, classes: int) -> None:
    names = [f"class {at}" for at in range(classes)]
    rng = np.random.default_rng(documents)
    assert accepted_trials(rng, documents, dict.fromkeys(names, 0.998), AND.join(names)) >= 0.9


def test_values_of_one_document_count_as_one() -> None:
    """Ten values a document, right or wrong together: taken for independent ones they would promise too much."""
    rng, documents, values = np.random.default_rng(7), 60, 10
    right = [int(each) for each in rng.binomial(documents, 0.88, TRIALS)]
    by_document = sum(
        "exact" in acceptance(0.9, {"exact": (k, documents)}, {"records/exact": 1}).accepted for k in right
    )
    by_value = sum(exact_lower_bound(k * values, documents * values) >= 0.9 for k in right)
    print(f"accepted by document {by_document / TRIALS:.4f}, by value {by_value / TRIALS:.4f}")
    assert by_document / TRIALS <= 0.05
    assert by_value / TRIALS > 0.08


def test_a_record_is_bounded_by_the_sum_of_what_its_classes_lack() -> None:
    shares = {"exact": (200, 200), "fuzzy": (190, 200)}
    counts = {"records/exact": 5, "records/exact + fuzzy": 3, "records/none": 2, "gold/party/right": 9}
    made = acceptance(0.95, shares, counts)
    exact, fuzzy = made.bounds["exact"], made.bounds["fuzzy"]
    assert exact == pytest.approx(0.025 ** (1 / 200))  # two classes: each at 97.5 %
    assert made.at_least(["exact", "fuzzy"]) == pytest.approx(exact + fuzzy - 1)
    assert made.at_least(["none"]) == made.at_least([]) == 0
    assert made.accepted == ["exact"]
    told = made.as_dict()
    assert (told["records"], told["accepted"], told["at_least"]) == (10, 5, 0.95)
    assert told["groundings"]["none"] == {"records": 2, "at_least": 0.0, "accepted": False}
    assert told["classes"]["fuzzy"]["at_least"] <= fuzzy


def test_a_grounding_names_each_class_once() -> None:
    assert grounding(["fuzzy, conflict", "exact", "exact"]) == "exact + fuzzy, conflict"
    assert classes_in("exact + fuzzy, conflict") == ["exact", "fuzzy, conflict"]
    assert grounding([]) is None


def test_a_document_is_right_in_a_class_with_all_its_values_only(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(json.dumps({"document": "d", "items": [{"party": "Acme"}, {"party": "Beta"}]}))
    table = ExtractSettings(schema=PARTY, gold=str(path), accept=0.5, cardinality="many")
    made = KIND.prepare(table, plan())
    items = [{"party": name, "evidence": {"party": f"{name} signs"}} for name in ("Acme", "Gamma")]
    (result,), _ = drive(made, [document("Acme signs. Gamma signs. Beta.")], say(*items))
    told = quality(result.counts, accept=0.5)
    assert told["grounding"]["exact"]["values"] == 2
    assert (told["grounding"]["exact"]["documents"], told["grounding"]["exact"]["documents_right"]) == (1, 0)
    assert told["accept"]["groundings"]["exact"]["records"] == 2
    assert told == made.quality(result.counts)


def test_without_labels_there_is_nothing_to_accept_by() -> None:
    with pytest.raises(JobError, match=r"extract\.accept") as refused:
        KIND.prepare(ExtractSettings(schema=PARTY, accept=0.95), plan())
    assert "extract.gold" in refused.value.hint


@pytest.mark.parametrize("accept", [0, 1, 1.5, -0.1])
def test_a_bound_is_between_nothing_and_everything(accept: float) -> None:
    with pytest.raises(ValueError, match="accept"):
        ExtractSettings(schema=PARTY, gold="labels.jsonl", accept=accept)


# --- by the command -----------------------------------------------------------------------------------------------

LABELLED, OTHERS = 62, 6


def answer(ask: Ask) -> str:
    """The party with its words; of every third of the others, one that the text does not have."""
    name = " ".join(ask.text.split()[:2])
    number = int(name.split()[1])
    item = {"party": name, "evidence": {"party": f"{name} signed"}}
    if number >= LABELLED and number % 3 == 0:
        item = {"party": "Nobody", "evidence": {"party": "words that are nowhere at all"}}
    return json.dumps({"items": [item]})


def job(folder: Path, url: str, **extract: Any) -> str:
    (folder / "in").mkdir(exist_ok=True)
    for at in range(LABELLED + OTHERS):
        (folder / "in" / f"{at:03}.txt").write_text(f"Acme {at} signed this in the presence of a notary.")
    labels = ({"document": f"{at:03}.txt", "items": [{"party": f"Acme {at}"}]} for at in range(LABELLED))
    (folder / "labels.jsonl").write_text("\n".join(map(json.dumps, labels)))
    schema = {"type": "object", "properties": {"party": {"type": "string"}, "accepted": {"type": "boolean"}}}
    (folder / "schema.json").write_text(json.dumps(schema))
    return str(
        write_job(
            folder,
            "found",
            "extract",
            {
                "input": {"paths": [str(folder / "in")]},
                "model": {"provider": "openai", "name": "m", "base_url": f"{url}/v1", "context_window": 100_000},
                "pricing": {"input_usd_per_million": 1.0, "output_usd_per_million": 1.0},
                "extract": {"schema": "schema.json", **extract},
                "output": {"path": str(folder / "out"), "csv": True},
            },
        )
    )


def command(job: str, *options: str, code: int = 0) -> str:
    """What `docreduce run` says."""
    ended = CliRunner().invoke(main, ["run", job, *options])
    assert ended.exit_code == code, ended.output
    return ended.output


def last(folder: Path) -> dict[str, Any]:
    run_dir = (folder / "out" / "found" / "latest").resolve()
    return {**json.loads((run_dir / "run.json").read_bytes()), "run_dir": str(run_dir)}


@pytest.mark.long
def test_a_run_marks_what_it_accepts_and_says_by_which_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with serving(answer, tokenizer="bytes") as server:
        written = partial(job, tmp_path, server.url, gold=str(tmp_path / "labels.jsonl"))
        for _ in range(2):  # the second run takes over the rows of the first
            assert "66 of 68 records accepted" in command(written(accept=0.95))
            manifest = last(tmp_path)
            told = manifest["quality"]["accept"]
            assert told["classes"]["exact"] == {"documents": 62, "right": 62, "at_least": 0.9528}
            assert (told["records"], told["accepted"]) == (68, 66)
            records = table(manifest, "records")
            assert records.columns[2:5] == ["item", "grounding", "accepted"]
            assert "field_accepted" in records.columns  # the schema's own
            refused = records.filter(~records["accepted"])
            assert refused["party"].to_list() == ["Nobody"] * 2
            assert records["accepted"].null_count() == 0
            assert records["accepted"].sum() == 66
            (file,) = [each for each in manifest["files"] if each["path"] == "records.parquet"]
            assert file["rows"] == 68
            csv = (Path(manifest["run_dir"]) / "records.csv").read_text()
            assert csv.count("exact,true") == 66
            assert not list(Path(manifest["run_dir"]).glob("*.unsettled"))
        assert manifest["changes"]["taken_over"] == 68
        command(written(accept=0.96))
        assert table(last(tmp_path), "records")["accepted"].sum() == 0  # 62 documents say no more than 0.9528
        assert last(tmp_path)["actual"]["calls"] == 0
        command(written())
        assert "grounding" not in table(last(tmp_path), "records").columns
        assert "accept" not in last(tmp_path)["quality"]


def test_each_shard_accepts_by_its_own_labels_and_the_merged_run_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with serving(answer, tokenizer="bytes") as server:
        path = job(tmp_path, server.url, gold=str(tmp_path / "labels.jsonl"), accept=0.8)
        for shard in ("1/2", "2/2"):
            command(path, "--shard", shard)
    ended = CliRunner().invoke(main, ["merge", str(tmp_path / "out")])
    assert ended.exit_code == 0, ended.output
    manifest = last(tmp_path)
    told = [each["quality"]["accept"] for each in manifest["shards"]["merged"]]
    assert "quality" not in manifest
    assert sum(each["records"] for each in told) == len(table(manifest, "records")) == 68
    assert table(manifest, "records")["accepted"].sum() == sum(each["accepted"] for each in told) == 66
    labelled = [each["classes"]["exact"]["documents"] for each in told]
    assert sum(labelled) == LABELLED
    for number, each in zip(labelled, told, strict=True):
        assert each["classes"]["exact"]["at_least"] == pytest.approx(0.05 ** (1 / number), abs=1e-4)


def test_the_command_refuses_a_bound_without_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert "extract.accept" in command(job(tmp_path, "http://localhost:1", accept=0.95), code=2)
    assert not (tmp_path / "out" / "found").exists()
