"""One dataset of a job's shards: the rows of an unsharded run in its order, their counts and money summed.

Theory. Each shard's tables are in the order of its documents, and its record of origins says where these come from.
So the input's order is a merge of sorted streams: origins by (address, row). Documents pass in windows; a window's rows
lie in front of each shard's tables, are read from there, and are put in order by their documents' places. Ids get the
counters of equal ones anew, over all. Memory is bounded by a window of every table, and by the ids (32 bytes each).

The merged run is named after the runs it is made of, so that merging twice gives the same run; what is there already is
not made again. The manifest comes last, as with any run."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
from docreduce.config import Job
from docreduce.desk import SEGMENTS, Ledger
from docreduce.engine.gathering import ShardTables, gather, schemas_of
from docreduce.engine.shards import FOLDER, segments_of, shard_folder
from docreduce.results import Dataset
from docreduce.results.beside import FORMATS
from docreduce.storage import machine_errors
from docreduce.values.errors import JobError
from docreduce.values.money import pusd

__all__ = ["Merged", "merge_shards", "spent_before"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What came of a merge: the run's folder (None: nothing was merged), and what is not whole about it. `incomplete`:
    why, by shard."""

    of: int
    run_dir: Path | None = None
    already: bool = False
    missing: Sequence[int] = ()
    incomplete: Mapping[int, str] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether every shard is in it, complete."""
        return not self.missing and not self.incomplete

    def as_dict(self) -> dict[str, Any]:
        """For `--json`: the manifest, with `run_dir`."""
        said: dict[str, Any] = {**self.manifest, "run_dir": None if self.run_dir is None else str(self.run_dir)}
        said |= {"already": self.already, "missing": list(self.missing)}
        return said | {"incomplete": {str(number): why for number, why in self.incomplete.items()}}

    def lines(self) -> Iterator[str]:
        """For people."""
        if self.missing:
            numbers = ", ".join(map(str, self.missing))
            yield f"missing: {len(self.missing):,} of {self.of:,} shards: {numbers}"
        for number, why in self.incomplete.items():
            yield f"incomplete: shard {number} of {self.of}: {why}"
        if self.run_dir is None:
            yield "nothing was merged: run these shards again, or take what is there with --partial"
        elif self.already:
            yield "there already, made of these very runs"
        if self.manifest:
            counts = self.manifest["counts"]
            yield f"{counts['documents']:,} documents, {counts['ok']:,} ok, of {self.of - len(self.missing):,} shards"


def merge_shards(output: Path, job_name: str | None = None, *, partial: bool = False) -> Merged:
    """Make one run of the newest run of every shard under `output`/shards, and let `latest` name it if it is whole.

    Nothing is merged where a shard is missing or incomplete, but with `partial` what is there. Raises JobError where
    there are no shards, or those of several jobs or numbers; MachineError."""
    of, folders = _folders(output, job_name)
    job_name = next(iter(folders.values())).name
    newest = {number: _newest(folder) for number, folder in folders.items()}
    runs = {number: run for number, run in sorted(newest.items()) if run is not None}
    missing = [number for number in range(1, of + 1) if number not in runs]
    incomplete = {number: why for number, (_, manifest) in runs.items() if (why := _lacks(manifest))}
    jobs = Counter(str(manifest["shard"]["job_sha256"]) for _, manifest in runs.values())
    ((usual, _),) = jobs.most_common(1) or [("", 0)]
    for number, (_, manifest) in runs.items():
        if manifest["shard"]["job_sha256"] != usual:
            incomplete.setdefault(number, "it was run with other settings than most")
    if not runs or ((missing or incomplete) and not partial):
        return Merged(of=of, missing=missing, incomplete=incomplete)
    run_id = _run_id([manifest for _, manifest in runs.values()])
    found: dict[str, Any] = {"of": of, "missing": missing, "incomplete": incomplete}
    there = output / job_name / run_id / "run.json"
    if there.is_file():
        return Merged(run_dir=there.parent, already=True, manifest=orjson.loads(there.read_bytes()), **found)
    with Ledger.open(output / "ledger.sqlite"), ExitStack() as opened:  # its lock: nobody else writes runs here
        shards = [opened.enter_context(ShardTables(*run)) for run in runs.values()]
        manifests = [manifest for _, manifest in runs.values()]
        schemas, kept = schemas_of(shards)
        dataset = opened.enter_context(Dataset(output, job_name, run_id, schemas, kept, _beside(manifests)))
        money = gather(shards, dataset)
        manifest = _manifest(run_id, manifests, money, whole=not missing and not incomplete, of=of)
        whole = manifest["status"] == "complete"
        unfit = dataset.blocked if whole else f"the run is not complete: {manifest['status']}"
        shown = {**manifest, "promoted": not unfit, "not_promoted": unfit}
        run_dir = dataset.commit(shown, promote=not unfit)
    return Merged(run_dir=run_dir, manifest=orjson.loads((run_dir / "run.json").read_bytes()), **found)


def spent_before(output: Path, job: Job, of: int) -> tuple[set[int], dict[int, int]]:
    """Which shards of this very job are complete, and the pico-dollars that each has spent or may have until now, as
    far as manifests and the ledgers beside them tell."""
    done, spent = set(), {}
    for number in range(1, of + 1):
        folder = shard_folder(output, number, of)
        newest = _newest(folder / job.name)
        if newest is not None and not _lacks(newest[1]) and newest[1]["shard"]["job_sha256"] == job.sha256:
            done.add(number)
            cost = newest[1]["cost"]
            spent[number] = sum(pusd(cost[name]) for name in ("charged_usd", "unknown_usd", "carried_usd"))
        else:
            ledger_path = folder / "ledger.sqlite"
            with Ledger.view(ledger_path if ledger_path.exists() else segments_of(folder)) as ledger:
                carried = ledger.carried(job.name)
            spent[number] = carried.charged_pusd + carried.unknown_pusd
    return done, spent


def _beside(manifests: Sequence[Mapping[str, Any]]) -> dict[str, set[str]]:
    """What the shards wrote beside Parquet: formats, each with the names of its tables."""
    names = [Path(file["path"]) for each in manifests for file in each["files"]]
    found = {form: {name.stem for name in names if name.suffix == f".{form}"} for form in FORMATS}
    return {form: tables for form, tables in found.items() if tables}


# --- which runs ---------------------------------------------------------------------------------------------------


def _folders(output: Path, job_name: str | None) -> tuple[int, dict[int, Path]]:
    """How many shards there are to be, and the job's folder of each that has one."""
    found: dict[tuple[str, int], dict[int, Path]] = {}
    with machine_errors(output):
        for place in (output / FOLDER).glob("*-of-*/*/"):
            number, _, whole = place.parent.name.partition("-of-")
            if number.isdecimal() and whole.isdecimal() and place.name not in ("origins", SEGMENTS):
                found.setdefault((place.name, int(whole)), {})[int(number)] = place
    if job_name is not None:
        found = {key: folders for key, folders in found.items() if key[0] == job_name}
    if not found:
        what = "no shards" if job_name is None else f"no shards of {job_name!r}"
        raise JobError(f"{output}: {what}", hint="docreduce run JOB.toml --shard 1/N makes the first of N.")
    if len(found) > 1:
        there = ", ".join(f"{name} (of {of})" for name, of in sorted(found))
        hint = "Name the job; where it was divided twice, move away the shards that are not meant."
        raise JobError(f"{output}: shards of more than one: {there}", hint=hint)
    (((_, of), folders),) = found.items()
    return of, folders


def _newest(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest complete run of a shard, else its newest; None where there is none that can be read."""
    runs = []
    for path in folder.glob("*/run.json"):
        if path.parent.is_symlink() or path.parent.name.startswith("."):
            continue
        try:
            manifest = orjson.loads(path.read_bytes())
            runs.append((not _lacks(manifest), str(manifest["finished_at"]), path.parent, manifest))
        except (OSError, ValueError, KeyError, TypeError):  # `_newest` is None then, and the shard missing
            continue
    if not runs:
        return None
    *_, run_dir, manifest = max(runs, key=lambda run: run[:2])
    return run_dir, manifest


def _lacks(manifest: Mapping[str, Any]) -> str:
    """What keeps a shard's run from being whole; "" for nothing."""
    if "shard" not in manifest:
        return "it is no shard's run"
    if manifest.get("limited"):
        return "it was run with --limit"
    return "" if manifest["status"] == "complete" else f"it ended with {manifest['status']}"


def _run_id(manifests: Sequence[Mapping[str, Any]]) -> str:
    """Named after the runs it is made of: the time is the newest one's."""
    digest = hashlib.sha256("\n".join(str(each["run_id"]) for each in manifests).encode()).hexdigest()
    stamp = max(str(each["run_id"]).partition("-")[0] for each in manifests)
    return f"{stamp}-{digest[:6]}"


# --- the manifest -------------------------------------------------------------------------------------------------


def _manifest(
    run_id: str, manifests: Sequence[Mapping[str, Any]], money: Mapping[str, Decimal], *, whole: bool, of: int
) -> dict[str, Any]:
    first = manifests[0]
    shard = first["shard"]
    shares = {"job_sha256": shard["job_sha256"], "limits": shard["whole_limits"], "limited": False, "halted": None}
    cost = {
        "charged_usd": float(money["charged"]),
        "unknown_usd": float(money["unknown"]),
        "reused_usd": float(money["reused"]),
        "carried_usd": sum(each["cost"]["carried_usd"] for each in manifests),
        "carried_unknown_usd": sum(each["cost"]["carried_unknown_usd"] for each in manifests),
        "cap_usd": shard["whole_cap_usd"],
    }
    stated = [str(each["status"]) for each in manifests if each["status"] != "complete"]
    estimate = _summed([each["estimate"] for each in manifests])
    actual = _summed([each["actual"] for each in manifests])
    taken = {name: value for name, value in first.items() if name not in ("shard", "files", "difference", "quality")}
    return {
        **taken,
        **shares,
        "run_id": run_id,
        "status": "complete" if whole else (stated[0] if stated else "interrupted"),
        "started_at": min(str(each["started_at"]) for each in manifests),
        "finished_at": max(str(each["finished_at"]) for each in manifests),
        "counts": _summed([each["counts"] for each in manifests]),
        "left_out": _summed([each["left_out"] for each in manifests]),
        "usage": _summed([each["usage"] for each in manifests]),
        "cost": cost,
        "estimate": estimate,
        "actual": actual,
        "notes": list(dict.fromkeys(note for each in manifests for note in each["notes"])),
        "shards": {"of": of, "merged": [_merged(each) for each in manifests]},
    }


def _merged(manifest: Mapping[str, Any]) -> dict[str, Any]:
    said = {name: manifest[name] for name in ("run_id", "status", "started_at", "finished_at")}
    if "quality" in manifest:  # by the shard's own labelled documents, as are the records it accepts
        said["quality"] = manifest["quality"]
    return {"number": manifest["shard"]["number"], **said, "charged_usd": manifest["cost"]["charged_usd"]}


def _summed(each: Sequence[Any]) -> Any:
    """Numbers summed, tables by their keys; of times the longest, of anything else the first."""
    first = each[0]
    if isinstance(first, Mapping):
        names = dict.fromkeys(name for one in each for name in one)
        whole = {}
        for name in names:
            values = [one[name] for one in each if name in one]
            whole[name] = _longest(values) if name == "duration_s" else _summed(values)
        return whole
    return sum(each) if isinstance(first, int | float) and not isinstance(first, bool) else first


def _longest(values: Sequence[Any]) -> Any:
    if isinstance(values[0], Mapping):
        return {name: max(each[name] for each in values) for name in values[0]}
    return max(values)
