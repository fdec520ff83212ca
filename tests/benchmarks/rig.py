"""A whole run under a fault: the simulator in one process, the run in another, and what must hold afterwards.

The simulator's own books are the truth. A run is `docreduce run` in a fresh child, forked from a server that has the
imports done (a real command where the start itself matters), killed where a case says so.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import hashlib
import inspect
import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

KEY = "sk-planted-5f0d9c2b71e84a36"
KEY_ENV = "PLANTED_API_KEY"
WORDS = [
    "bridge",
    "river",
    "cracks",
    "repair",
    "inspection",
    "northern",
    "bearing",
    "closed",
    "traffic",
    "engineers",
    "report",
    "span",
    "steel",
]
MONEY_COLUMNS = frozenset(
    [
        "attempts",
        "input_tokens",
        "output_tokens",
        "cost_usd",
        "unknown_cost_usd",
        "reused_cost_usd",
        "reused_usd",
        "change",
    ]
)
"""Columns of documents and records that say what this run spent, and what was before it; all else must be equal."""
os.environ[KEY_ENV] = KEY  # before the fork server starts

# --- the child ----------------------------------------------------------------------------------------------------

POINTS: dict[str, tuple[str, ...]] = {
    "map and merge": (
        "engine.carriers:Live.carry<",
        "engine.carriers:Live.carry>",
        "engine.unit:Unit.step<",
        "engine.unit:Unit.step>",
        "desk.desk:Desk.take>",
        "desk.desk:Desk.arrived>",
    ),
    "ledger commit": (
        "desk.desk:Desk.turn<",
        "desk.ledger.book:Ledger.commit<",
        "desk.ledger.book:_insert>",
        "desk.ledger.book:Ledger.commit>",
        "desk.ledger.book:recover>",
        "desk.ledger.book:Ledger.begin_run>",
        "desk.ledger.book:Ledger.end_run<",
        "desk.ledger.book:Ledger.end_run>",
    ),
    "Parquet writing": (
        "results.table:Table._flush<",
        "results.table:Table._flush>",
        "results.table:Table.close<",
        "results.table:Table.close>",
    ),
    "manifest, commit": (
        "results.dataset:_file<",
        "results.dataset:commit_folder<",
        "storage.local:fsync_folder<",
        "storage.local:fsync_folder>",
        "results.dataset:commit_folder>",
        "results.dataset:_point<",
        "results.dataset:_point>",
    ),
}
"""Where a run is killed, by phase: a function of the product, before (<) or after (>) its n-th call."""


@dataclass(frozen=True, kw_only=True)
class Failing:
    """The `at`-th call of SQLite or of the file system for something in `folder` fails (0: none does); how many there
    were is written to `count`."""

    folder: str
    at: int
    count: str


@dataclass(frozen=True, kw_only=True)
class Broken:
    """The disk under `folder` fails with `error` at its `at`-th change (0: at none) of a path that contains `only`, as
    libc is asked for it by whatever library; `always`: and at all after it; `reads`: where something is read instead.
    What there was is written to `count`."""

    folder: str
    at: int
    count: str
    error: int = errno.EIO
    always: bool = False
    only: str = ""
    reads: bool = False


@dataclass(frozen=True, kw_only=True)
class Child:
    """What the child does beside running: die at the `at`-th passing of `point`, or count all passings into `count`."""

    point: str | None = None
    at: int = 1
    count: str | None = None
    clock_jump_s: float = 0.0
    fail: Failing | None = None
    broken: Broken | None = None


COMMAND = """
import sys
from docreduce.results import table
table.GROUP_ROWS = int(sys.argv.pop(1))
from docreduce.cli import main
main(prog_name="docreduce")
"""


def enter(arguments: Sequence[str], output: str, child: Child) -> None:
    """The child: `docreduce` with these arguments, its output in a file, dying where `child` says."""
    handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    from docreduce.cli import main
    from docreduce.results import table

    table.GROUP_ROWS = 7  # so that row groups are written all along a small run
    passed: Counter[str] = Counter()
    if child.point or child.count:
        _arm(child, passed)
    if child.clock_jump_s:
        _jump_clock(child.clock_jump_s)
    calls = _fail_at(child.fail) if child.fail else []
    if child.broken:
        _break(child.broken)
    try:
        main(list(arguments), prog_name="docreduce")
    finally:
        if child.fail:
            Path(child.fail.count).write_text("\n".join(calls), encoding="utf-8")
        if child.count:
            Path(child.count).write_text(json.dumps(passed), encoding="utf-8")


def _break(broken: Broken) -> None:
    """Tell the library that was preloaded what is to fail."""
    handle = os.open(broken.count, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
    library = ctypes.CDLL(str(failing_library()))
    names = (os.fsencode(broken.folder), os.fsencode(broken.only))
    library.failing_begin(*names, ctypes.c_long(broken.at), int(broken.always), broken.error, int(broken.reads), handle)


@functools.cache
def failing_library() -> Path | None:
    """failing.c beside us, compiled; None where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    source = Path(__file__).with_name("failing.c")
    name = f"failing-{os.getuid()}-{hashlib.sha256(source.read_bytes()).hexdigest()[:16]}.so"
    made = Path(tempfile.gettempdir()) / name
    if not made.exists():
        partly = made.with_suffix(f".{os.getpid()}")
        command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(partly), str(source), "-ldl"]
        subprocess.run(command, check=True, capture_output=True)
        partly.rename(made)
    return made


def _fail_at(fail: Failing) -> list[str]:
    """Let the call fail as a broken disk would; the names of all calls there are."""
    calls: list[str] = []
    lock = threading.Lock()

    def passes(name: str) -> bool:
        with lock:
            calls.append(name)
            return len(calls) == fail.at

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            if passes(f"sqlite {sql.split(maxsplit=1)[0]}"):
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(sql, *values)

    connect = sqlite3.connect
    sqlite3.connect = lambda *args, **kwargs: connect(*args, **{"factory": Connection, **kwargs})  # type: ignore[assignment]

    def watch(name: str) -> None:
        original = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            ours = name == "fsync" or any(str(arg).startswith(fail.folder) for arg in args if not isinstance(arg, int))
            if ours and passes(name):
                raise OSError(errno.EIO, "Input/output error", str(args[0]))
            return original(*args, **kwargs)

        setattr(os, name, call)

    for name in ("open", "fsync", "rename", "replace", "mkdir", "symlink", "unlink", "rmdir", "chmod"):
        watch(name)
    return calls


def _arm(child: Child, passed: Counter[str]) -> None:
    import importlib

    lock = threading.Lock()

    def passes(point: str) -> None:
        with lock:
            passed[point] += 1
            if point == child.point and passed[point] == child.at:
                os.kill(os.getpid(), signal.SIGKILL)

    for name in sorted({point[:-1] for points in POINTS.values() for point in points}):
        module, _, path = name.partition(":")
        owner: Any = importlib.import_module(f"docreduce.{module}")
        *parents, last = path.split(".")
        for parent in parents:
            owner = getattr(owner, parent)
        setattr(owner, last, _watched(getattr(owner, last), name, passes))


def _watched(original: Any, name: str, passes: Callable[[str], None]) -> Any:
    if inspect.iscoroutinefunction(original):

        async def later(*args: Any, **kwargs: Any) -> Any:
            passes(f"{name}<")
            result = await original(*args, **kwargs)
            passes(f"{name}>")
            return result

        return later

    def now(*args: Any, **kwargs: Any) -> Any:
        passes(f"{name}<")
        result = original(*args, **kwargs)
        passes(f"{name}>")
        return result

    return now


def _jump_clock(seconds: float) -> None:
    """The wall clock jumps by `seconds` 0.3 s after the start."""
    import datetime as dates

    from docreduce.engine import run

    real, began = time.time, time.monotonic()
    time.time = lambda: real() + (seconds if time.monotonic() > began + 0.3 else 0.0)

    class Jumping(dates.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return dates.datetime.fromtimestamp(time.time(), tz)

    run.datetime = Jumping  # type: ignore[misc]


SERVER = multiprocessing.get_context("forkserver")


def prepare() -> None:
    """Name what the fork server imports; call it before the first run."""
    # The server starts with a fresh sys.path and drops what it cannot import without a word.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    SERVER.set_forkserver_preload([__name__, "warm"])
    library = failing_library()
    if library is not None:
        os.environ["LD_PRELOAD"] = str(library)
        try:
            forkserver.ensure_running()
        finally:
            del os.environ["LD_PRELOAD"]


# --- the service --------------------------------------------------------------------------------------------------


class Service:
    """A simulator in a process of its own."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "docreduce.simulator", "--tokenizer", "bytes"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()

    def configure(self, **settings: Any) -> None:
        """Begin anew with these settings and empty books."""
        self.ask("/config", {"tokenizer": "bytes", "keys": [KEY], "latency_s": 0.03, "retry_after_s": 0.05, **settings})

    def stats(self) -> dict[str, Any]:
        """The books, once nothing is under way any more."""
        for _ in range(600):
            stats = self.ask("/stats")
            if not stats["in_flight"]:
                return stats
            time.sleep(0.05)
        raise RuntimeError("the simulator is still at work after 30 s")

    def ask(self, path: str, body: Any = None) -> Any:
        """What a control path of the service answers; a body is posted."""
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data=data), timeout=30) as answer:
            return json.loads(answer.read())

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()


# --- a case -------------------------------------------------------------------------------------------------------


def write_inputs(folder: Path, files: int = 6, rows: int = 10) -> None:
    """Text files of about three chunks each and a table; no two sentences are equal."""
    folder.mkdir(parents=True)

    def sentence(number: int) -> str:
        word, year = WORDS[number % 13], 1900 + number % 120
        return f"The {word} {number} is dated {number % 28 + 1} May {year}; its total amount is EUR {number * 37 + 1}. "

    for name in range(files):
        text = "\n\n".join("".join(sentence(name * 1000 + part * 10 + line) for line in range(6)) for part in range(4))
        (folder / f"d{name:03}.txt").write_text(text, encoding="utf-8")
    if rows:
        lines = ["id,body", *(f'r{row},"{sentence(50_000 + row) * 2}"' for row in range(rows))]
        (folder / "table.csv").write_text("\n".join(lines), encoding="utf-8")


SCHEMA = {
    "type": "object",
    "properties": {"date": {"type": "string", "format": "date"}, "total_amount": {"type": "number"}},
}


def write_job(path: Path, inputs: Path, kind: str, url: str, **tables: Mapping[str, Any]) -> Path:
    """A job over `inputs`; further keyword arguments are tables, laid over the defaults."""
    settings: dict[str, dict[str, Any]] = {
        "input": {"paths": [str(inputs)], "text_column": "body", "id_column": "id"},
        "model": {
            "provider": "openai", "name": "planted-1", "base_url": f"{url}/v1", "api_key_env": KEY_ENV,
            "context_window": 8000, "max_output_tokens": 120, "temperature": 0.0,
        },
        "pricing": {"input_usd_per_million": 0.07, "output_usd_per_million": 0.28},
        "limits": {"concurrency": 8, "timeout_s": 5.0, "max_attempts": 12, "grace_s": 10.0},
        "chunking": {"max_tokens": 100},
        "summarize": {"max_words": 30},
    }  # fmt: skip
    if kind == "extract":
        settings["extract"] = {"schema": "schema.json", "cardinality": "one"}
        settings["chunking"] = {"max_tokens": 300}
        path.with_name("schema.json").write_text(json.dumps(SCHEMA), encoding="utf-8")
    for name, keys in tables.items():
        settings[name] = {**settings.get(name, {}), **keys}
    lines = ['name = "night"', f'kind = "{kind}"']
    for name, keys in settings.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@dataclass
class Case:
    """One job on one output folder, over any number of runs."""

    job: Path
    output: Path
    log: Path
    codes: list[int] = field(default_factory=list)
    started: list[Any] = field(default_factory=list)  # its processes, for whoever must end them

    def start(self, child: Child = Child(), extra: Sequence[str] = ()) -> Any:
        arguments = ["run", str(self.job), "--output", str(self.output), *extra]
        process = SERVER.Process(target=enter, args=(arguments, str(self.log), child))
        process.start()
        self.started.append(process)
        return process

    def run(self, child: Child = Child(), *, kill_after_s: float | None = None, extra: Sequence[str] = ()) -> int:
        """The exit code; that of a signal is negative."""
        process = self.start(child, extra)
        process.join(900.0 if kill_after_s is None else kill_after_s)
        if process.is_alive():
            if kill_after_s is None:
                self.codes.append(-99)  # it hangs
            process.kill()
            process.join()
        code = int(process.exitcode or 0)
        self.codes.append(code)
        return code

    def check(self) -> tuple[int, str]:
        """The exit code of `docreduce check` over the output, and what it says."""
        log = self.log.with_name("check.log")
        process = SERVER.Process(target=enter, args=(["check", str(self.output)], str(log), Child()))
        process.start()
        self.started.append(process)
        process.join(120)
        return int(process.exitcode or 0), log.read_text(encoding="utf-8", errors="replace").strip()

    def command(
        self, *wrap: str, extra: Sequence[str] = (), group_rows: int | None = 7, **options: Any
    ) -> subprocess.Popen[bytes]:
        """The real command, begun; its output goes to the log. `group_rows`: None leaves the program as it is."""
        entry = ["-m", "docreduce.cli"] if group_rows is None else ["-c", COMMAND, str(group_rows)]
        arguments = [sys.executable, *entry, "run", str(self.job), "--output", str(self.output), *extra]
        with self.log.open("ab") as log:
            streams = {"stdout": log, "stderr": log, "stdin": subprocess.DEVNULL, **options}
            process = subprocess.Popen([*wrap, *arguments], **streams)
        self.started.append(process)
        return process

    def runs(self) -> list[Path]:
        """The committed runs, the newest last."""
        return sorted((path.parent for path in self.output.glob("night/[!.]*/run.json") if not path.parent.is_symlink()),  # noqa: E501
                      key=lambda path: path.stat().st_mtime_ns)  # fmt: skip

    def forget(self) -> None:
        """As after a change of settings that asks the same: the next run takes no document over, and looks in the
        ledger instead."""
        for run in self.runs():
            manifest = json.loads((run / "run.json").read_text(encoding="utf-8"))
            (run / "run.json").write_text(json.dumps({**manifest, "settings_sha256": ""}), encoding="utf-8")

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""


@contextlib.contextmanager
def watched(case: Case) -> Iterator[list[str]]:
    """What a reader beside the run saw and should not have: the list fills while the block runs."""
    seen: list[str] = []
    known: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.003):
            seen.extend(halves(case.output, known))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
        seen.extend(halves(case.output, set()))


def halves(output: Path, known: set[str]) -> list[str]:
    """Runs under `output` that a reader can see and that are not whole; those in `known` were seen to be."""
    found = []
    for name in output.glob("night/*"):
        if name.name.startswith(".") or str(name) in known:
            continue
        try:
            place = name.resolve()  # as a reader does: `latest` may move on meanwhile
            manifest = json.loads((place / "run.json").read_bytes())
            wrong = [file for file in manifest["files"] if (place / file["path"]).stat().st_size != file["bytes"]]
        except (OSError, ValueError, KeyError) as error:
            wrong = [str(error)]
        if wrong:
            found.append(f"{name.name}: {wrong}")
        elif name.name != "latest":
            known.add(str(name))
    return found


# --- what must hold -----------------------------------------------------------------------------------------------


@dataclass
class Findings:
    """Everything a row of the matrix counts. `excess`: calls paid twice that no unknown booking covers."""

    cases: int = 0
    lost: int = 0
    twice: int = 0
    unknown: int = 0
    excess: int = 0
    unfinished: int = 0
    wrong_bills: int = 0
    secrets: int = 0
    half_runs: int = 0
    different: int = 0
    not_ok: int = 0
    notes: list[str] = field(default_factory=list)

    def add(self, other: Findings) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    @property
    def bad(self) -> int:
        return (
            self.lost + self.excess + self.unfinished + self.wrong_bills + self.secrets + self.half_runs
            + self.different
        )  # fmt: skip


def read(path: Path) -> pa.Table:
    with pq.ParquetFile(path) as file:
        return file.read()


def contents(run: Path) -> dict[str, Any]:
    """A run's results without what it spent: documents and records as rows, chunks and evidence as bytes."""
    found: dict[str, Any] = {}
    for name in ("documents", "records"):
        path = run / f"{name}.parquet"
        if path.exists():
            table = read(path)
            found[name] = table.drop_columns([n for n in table.column_names if n in MONEY_COLUMNS]).to_pylist()
    for name in ("chunks", "evidence"):
        path = run / f"{name}.parquet"
        if path.exists():
            found[name] = path.read_bytes()
    return found


def books(output: Path) -> dict[str, Any]:
    """What the ledger says was paid over all runs, and by run."""
    with contextlib.closing(sqlite3.connect(f"file:{output / 'ledger.sqlite'}?mode=ro", uri=True)) as ledger:
        ledger.text_factory = lambda text: text.decode(errors="replace")  # a bit may be flipped in it
        rows = ledger.execute(
            "SELECT run_id, billing, count(*), sum(cost_pusd), sum(input_tokens), sum(output_tokens)"
            " FROM attempt GROUP BY 1, 2"
        ).fetchall()
        rows += ledger.execute(
            "SELECT run_id, 'reserved', count(*), sum(bound_pusd), 0, 0 FROM reservation GROUP BY 1"
        ).fetchall()
    totals: dict[str, Counter[str]] = {}
    for run_id, billing, *numbers in rows:
        for place in (billing, f"{run_id} {billing}"):
            named = zip(("calls", "pusd", "input", "output"), numbers, strict=True)
            totals.setdefault(place, Counter()).update({name: number or 0 for name, number in named})
    return {"charged": Counter(), "unknown": Counter(), "reserved": Counter(), **totals}


def wrong_bills(case: Case, stats: Mapping[str, Any], *, exact: bool) -> list[str]:
    """Where the ledger, the newest run's tables and manifest, and the service's own books do not agree.

    `exact`: nobody was killed, so every answer the service says it delivered must be charged to the token."""
    ledger = books(case.output)
    charged, unknown = ledger["charged"], ledger["unknown"]
    seen = {
        "calls": stats["billed_calls"] - stats["unseen_calls"],
        "input": stats["input_tokens"] - stats["unseen_input_tokens"],
        "output": stats["output_tokens"] - stats["unseen_output_tokens"],
    }
    found = []
    for name, number in seen.items():
        if charged[name] != number and (exact or charged[name] > number):
            found.append(f"{name}: {charged[name]} charged, {number} delivered")
    if stats["billed_calls"] - charged["calls"] > unknown["calls"] + ledger["reserved"]["calls"]:
        found.append(f"{stats['billed_calls']} calls billed, {charged['calls']} charged, {unknown['calls']} unknown")
    if stats["cost_pusd"] > charged["pusd"] + unknown["pusd"] + ledger["reserved"]["pusd"]:
        found.append(f"{stats['cost_pusd']} pico-dollars billed, {charged['pusd']} + {unknown['pusd']} booked")
    runs = case.runs()
    if runs:
        found += run_disagrees(runs[-1], ledger)
    return found


def paid_over(runs: Sequence[Path]) -> Counter[str]:
    """What the tables of these runs say was charged: calls, tokens, pico-dollars."""
    paid: Counter[str] = Counter()
    for run in runs:
        for row in read(run / "calls.parquet").to_pylist():
            if row["billing"] == "charged":
                cost_pusd = int(row["cost_usd"].scaleb(12))
                paid.update(calls=1, input=row["input_tokens"], output=row["output_tokens"], pusd=cost_pusd)
    return paid


def run_disagrees(run: Path, ledger: Mapping[str, Counter[str]]) -> list[str]:
    manifest = json.loads((run / "run.json").read_bytes())
    found = []
    calls, documents = read(run / "calls.parquet").to_pylist(), read(run / "documents.parquet").to_pylist()
    for billing, column in (("charged", "cost_usd"), ("unknown", "unknown_cost_usd")):
        booked = ledger.get(f"{run.name} {billing}", Counter())["pusd"]
        by_call = sum(int(row["cost_usd"].scaleb(12)) for row in calls if row["billing"] == billing)
        by_document = sum(int(row[column].scaleb(12)) for row in documents)
        told = round(manifest["cost"][f"{billing}_usd"] * 1e12)
        if not booked == by_call == by_document or abs(told - booked) > 1:
            found.append(f"{billing}: ledger {booked}, calls {by_call}, documents {by_document}, manifest {told}")
    tokens = sum(row["input_tokens"] for row in calls if row["billing"] == "charged")
    if tokens != manifest["usage"]["input_tokens"]:
        found.append(f"tokens: calls {tokens}, manifest {manifest['usage']['input_tokens']}")
    return found


def secrets_in(*places: Path) -> list[str]:
    """Files in which the planted key can be read, Parquet and SQLite also unpacked."""
    found = []
    files = [file for place in places for file in ([place] if place.is_file() else place.rglob("*")) if file.is_file()]
    for file in files:
        try:
            held = KEY.encode() in file.read_bytes()
        except FileNotFoundError:  # SQLite tidies up beside us
            continue
        if file.suffix == ".parquet" and not file.parent.name.startswith("."):
            held |= KEY in str(read(file).to_pylist()) or KEY in str(pq.read_schema(file))
        if file.suffix == ".sqlite":
            with contextlib.suppress(sqlite3.DatabaseError), contextlib.closing(sqlite3.connect(file)) as base:
                held |= any(KEY in line for line in base.iterdump())
        if held:
            found.append(str(file))
    return found


def judge(
    case: Case,
    stats: Mapping[str, Any],
    baseline: Mapping[str, Any] | None,
    *,
    documents: int,
    exact: bool,
    codes: Sequence[int] = (0,),
    half: Sequence[str] = (),
) -> Findings:
    """What a finished case shows. `codes`: those its last run may end with."""
    found = Findings(cases=1)
    log = case.text()
    runs = case.runs()
    if not case.codes or case.codes[-1] not in codes or not runs or "Traceback" in log:
        found.unfinished = 1
        found.notes.append(f"{case.job.parent.name}: exits {case.codes}: {log.strip()[-800:]}")
    if runs:
        rows = read(runs[-1] / "documents.parquet").to_pylist()
        found.lost = abs(documents - len(rows))
        found.not_ok = sum(row["status"] != "ok" for row in rows)
        if baseline is not None:
            now = contents(runs[-1])
            found.different = sum(now.get(name) != value for name, value in baseline.items())
            if found.different:
                found.notes.append(
                    f"{case.job.parent.name}: {[n for n, v in baseline.items() if now.get(n) != v]} differ"
                )
    ledger = books(case.output)
    found.unknown = ledger["unknown"]["calls"]
    found.twice = stats["repeated_ok"]
    found.excess = max(0, found.twice - found.unknown)
    wrong = wrong_bills(case, stats, exact=exact)
    found.wrong_bills = len(wrong)
    shown = secrets_in(case.output, case.log)
    found.secrets = len(shown)
    found.half_runs = len(half)
    found.notes += [f"{case.job.parent.name}: {each}" for each in (*wrong, *shown, *half)]
    return found
