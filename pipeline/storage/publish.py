"""A job's committed runs, uploaded to a store.

Theory. The store holds a run as soon as it holds its run.json, and that is put last: whoever reads the store sees whole
runs only, and what an upload that died left behind is put again. Nothing else is remembered: what is missing there and
committed here is what there is to upload. A run's report is written later, so it is asked for by itself. `latest` is an
object with the run's id, replaced only as it was seen."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, cast

import orjson
from docreduce.storage.local import machine_errors
from docreduce.storage.remote import open_store, parse_address, reason
from docreduce.values.errors import MachineError

if TYPE_CHECKING:
    from obstore import UpdateVersion
    from obstore.store import ObjectStore

__all__ = ["publish"]

REPORT = "report.html"


def publish(folder: Path, path: str) -> list[str]:
    """Upload to the address `path` the committed runs of a job's `folder` that it has not, the oldest first, the
    reports that it has not, and `latest` where that names one; the ids of the runs uploaded. The job's folder there has
    the name of `folder`.

    Raises MachineError where the store refuses or this disk does; the same call again goes on."""
    from obstore.exceptions import BaseError

    address = parse_address(path)
    place = str(PurePosixPath(address.key) / folder.name)
    try:
        with machine_errors(folder):
            return _uploaded(open_store(address.root), folder, place)
    except (BaseError, ValueError) as error:
        message = f"{address.root}/{place}: {reason(error)}"
        raise MachineError(message, hint=f"The results stand in {folder}.") from error


def _uploaded(store: ObjectStore, folder: Path, place: str) -> list[str]:
    import obstore

    there = {each["path"] for page in obstore.list(store, place) for each in page}
    here = sorted(each.parent for each in folder.glob("*/run.json") if not each.parent.is_symlink())
    here = [run for run in here if not run.name.startswith(".")]
    runs = [run for run in here if f"{place}/{run.name}/run.json" not in there]
    for run in runs:
        manifest = (run / "run.json").read_bytes()
        for each in orjson.loads(manifest)["files"]:
            obstore.put(store, f"{place}/{run.name}/{each['path']}", run / each["path"])
        obstore.put(store, f"{place}/{run.name}/run.json", manifest)
    for report in (run / REPORT for run in here):
        key = f"{place}/{report.parent.name}/{REPORT}"
        if key not in there and report.is_file():
            obstore.put(store, key, report, attributes={"Content-Type": "text/html; charset=utf-8"})
    _point(store, folder / "latest", f"{place}/latest")
    return [run.name for run in runs]


def _point(store: ObjectStore, latest: Path, key: str) -> None:
    """Let `latest` in the store name what it names here, if it names anything."""
    import obstore

    if not latest.exists():
        return
    name = latest.resolve().name if latest.is_symlink() else latest.read_text(encoding="utf-8").strip()
    try:
        found = obstore.get(store, key)
    except FileNotFoundError:
        obstore.put(store, key, name.encode(), mode="create")
        return
    seen = bytes(found.bytes()).decode()
    if seen != name and seen.partition("-")[0] <= name.partition("-")[0]:  # what stands before is the run's second
        as_seen = {each: found.meta[each] for each in ("e_tag", "version") if found.meta[each] is not None}
        obstore.put(store, key, name.encode(), mode=cast("UpdateVersion", as_seen))
