"""Whether a room's tests notice when its code is changed: one small change at a time, and who survives.

    python tests/benchmarks/mutants.py ROOM ... [--sample 60] [--seed 1] [--only PART] [--tests PATH ...] [--jobs 2]

A ROOM is a folder or a file under pipeline/ ("desk", "desk/ledger/book.py"). Changes: comparisons, `and`/`or`/`not`,
numbers and truth values, arithmetic, what is returned, conditions, and statements left out; words are left alone. Each
mutant runs the room's tests until the first one fails, those named after the module first. What nobody could notice
stands in equivalents.toml with a word why, and is not counted. Run by hand: a mutant takes seconds.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from places import ROOT

SOURCE = ROOT / "pipeline"
KNOWN = Path(__file__).with_name("equivalents.toml")
LONGEST_S = 300.0
HANGS = 4
"""A mutant that makes the tests run for so many times the processor's seconds that they take is noticed, too; and one
that makes them wait for LONGEST_S."""

COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: the `old` text from `start` to `end` (offsets in the file's bytes) becomes `new`."""

    file: Path
    line: int
    text: str
    start: int
    end: int
    old: str
    new: str

    @property
    def name(self) -> str:
        """How it is known in equivalents.toml: by its line's words, not by its number."""
        return f"{self.file.relative_to(SOURCE)}: {self.text}: {self.old} -> {self.new}"

    def source(self) -> bytes:
        """The file with the change."""
        whole = self.file.read_bytes()
        return whole[: self.start] + self.new.encode() + whole[self.end :]


def mutants_of(file: Path) -> Iterator[Mutant]:
    """Every change of the file."""
    whole = file.read_bytes()
    starts = [0]
    for line in whole.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node, changed in _changes(ast.parse(whole)):
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        text = whole[starts[node.lineno - 1] : starts[node.lineno]].decode().strip()
        new = ast.unparse(changed) if isinstance(changed, ast.AST) else changed
        if isinstance(changed, ast.expr):  # in parentheses, so that what is around it binds as before
            new = f"({new})"
        yield Mutant(file, node.lineno, text, start, end, " ".join(whole[start:end].decode().split()), new)


def _changes(parent: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, ast.AST | str]]:
    """Changes of what is done, in their order: none of types, decorators, words or lists of names."""
    for name, value in ast.iter_fields(parent):
        if name in {"annotation", "returns", "decorator_list"}:
            continue
        for node in value if isinstance(value, list) else [value]:
            if not isinstance(node, ast.AST) or isinstance(node, ast.JoinedStr) or _names(node):
                continue
            if isinstance(node, ast.expr):
                yield from ((node, changed) for changed in _expressions(node))
                if name == "test" and isinstance(node, ast.Name | ast.Call | ast.Attribute | ast.NamedExpr):
                    yield node, ast.UnaryOp(ast.Not(), node)
            elif isinstance(node, ast.stmt):
                yield from ((node, changed) for changed in _statements(node, parent))
            yield from _changes(node)


def _names(node: ast.AST) -> bool:
    """Whether it lists names: of a module, or for types alone."""
    match node:
        case ast.Assign(targets=[ast.Name(id="__all__")]) | ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
    return False


def _expressions(node: ast.expr) -> Iterator[ast.AST | str]:
    match node:
        case ast.Compare(left=left, ops=ops, comparators=right):
            for at, op in enumerate(ops):
                yield ast.Compare(left, [*ops[:at], COMPARED[type(op)](), *ops[at + 1 :]], right)
        case ast.BoolOp(op=op, values=values):
            yield ast.BoolOp(ast.And() if isinstance(op, ast.Or) else ast.Or(), values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.BinOp(left=left, op=op, right=right) if type(op) in COMPUTED and not _is_words(left, right):
            yield ast.BinOp(left, COMPUTED[type(op)](), right)
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
        case _:
            pass


def _is_words(*sides: ast.expr) -> bool:
    return any(isinstance(side, ast.JoinedStr | ast.Constant) and not _number(side) for side in sides)


def _number(side: ast.expr) -> bool:
    return isinstance(side, ast.Constant) and isinstance(side.value, int | float)


def _statements(node: ast.stmt, parent: ast.AST) -> Iterator[ast.AST | str]:
    match node:
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Delete():
            yield "pass"
        case ast.Assign() if not isinstance(parent, ast.Module | ast.ClassDef) and not _first(node, parent):
            yield "pass"
        case ast.Return(value=value) if value is not None and not (
            isinstance(value, ast.Constant) and value.value is None
        ):
            yield "return None"
        case ast.Raise() | ast.Break() | ast.Continue():
            yield "pass"
        case _:
            pass


def _first(node: ast.Assign, parent: ast.AST) -> bool:
    """Whether it is the first to give its name a value there: without it the name is not known, which is no test."""
    names = {to.id for to in node.targets if isinstance(to, ast.Name)}
    before = [each for each in ast.walk(parent) if isinstance(each, ast.Name) and each.id in names]
    return bool(names) and min(each.lineno for each in before) == node.lineno


@dataclass(frozen=True, slots=True)
class Bench:
    """A copy of the package in which one file at a time is another."""

    folder: Path

    @classmethod
    def build(cls, folder: Path) -> Bench:
        shutil.copytree(SOURCE, folder / "docreduce", ignore=shutil.ignore_patterns("__pycache__"))
        return cls(folder)

    def survives(self, mutant: Mutant, tests: list[str], most_cpu_s: int) -> bool:
        """Whether the tests pass all the same, in so many of the processor's seconds."""
        place = self.folder / "docreduce" / mutant.file.relative_to(SOURCE)
        try:
            place.write_bytes(mutant.source())
            return self.passes(tests, most_cpu_s)[0]
        finally:
            place.write_bytes(mutant.file.read_bytes())

    def passes(self, tests: list[str], most_cpu_s: int = int(LONGEST_S)) -> tuple[bool, float]:
        """Whether the tests pass, and the processor's seconds they took."""
        path = os.pathsep.join([str(self.folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        # Compiled files go by the time of their source, which a mutant shares with what was there before.
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:xdist", *tests],
            cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        resource.prlimit(process.pid, resource.RLIMIT_CPU, (most_cpu_s, most_cpu_s))
        hangs = threading.Timer(LONGEST_S, os.killpg, (process.pid, signal.SIGKILL))
        hangs.start()
        try:
            _, status, used = os.wait4(process.pid, 0)
        finally:
            hangs.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        return process.returncode == 0, used.ru_utime + used.ru_stime


def tests_of(file: Path, given: list[str]) -> list[str]:
    """The files of tests, those that are named after the module or its folder first."""
    room = file.relative_to(SOURCE).parts[0].removesuffix(".py")
    found = [
        path
        for each in given or [f"tests/{room}"]
        for path in sorted((ROOT / each).rglob("test_*.py")) or [ROOT / each]
    ]
    words = {file.stem, file.parent.name}
    return [
        str(path.relative_to(ROOT)) for path in sorted(found, key=lambda path: not any(w in path.stem for w in words))
    ]


def equivalents() -> dict[str, str]:
    """Mutants that nobody could notice, with a word why."""
    return dict(tomllib.loads(KNOWN.read_text(encoding="utf-8"))["equivalent"]) if KNOWN.exists() else {}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rooms", nargs="+", metavar="ROOM")
    parser.add_argument("--sample", type=int, default=60, help="so many of all, drawn by the seed; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="mutants whose name contains this")
    parser.add_argument("--tests", nargs="*", default=[], help="folders or files of tests, in place of the room's")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    places = [SOURCE / room for room in options.rooms]
    files = [file for place in places for file in ([place] if place.is_file() else sorted(place.rglob("*.py")))]
    every = [mutant for file in files for mutant in mutants_of(file) if options.only in mutant.name]
    known = equivalents()
    counted = [mutant for mutant in every if mutant.name not in known]
    random.Random(options.seed).shuffle(counted)
    chosen = counted[: options.sample or None]
    print(f"{len(every)} mutants, {len(every) - len(counted)} of them equivalent; {len(chosen)} are tried", flush=True)
    survivors = tried(chosen, options.tests, options.jobs)
    share = 1 - len(survivors) / max(1, len(chosen))
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} died ({share:.1%})")
    return 1 if survivors else 0


def tried(chosen: list[Mutant], tests: list[str], jobs: int) -> list[Mutant]:
    """Those that survive."""
    folder = Path(tempfile.mkdtemp(prefix="mutants-"))
    survivors: list[Mutant] = []
    began, longest_s = time.monotonic(), 1.0
    try:
        benches: SimpleQueue[Bench] = SimpleQueue()
        for number in range(jobs):
            benches.put(Bench.build(folder / str(number)))
        bench = benches.get()
        for names in {tuple(sorted(tests_of(each.file, tests))) for each in chosen}:
            passed, cpu_s = bench.passes(list(names))
            if not passed:
                raise SystemExit(f"{' '.join(names)}: they fail as it is")
            longest_s = max(longest_s, cpu_s)
        benches.put(bench)

        def judge(mutant: Mutant) -> None:
            bench = benches.get()
            try:
                if bench.survives(mutant, tests_of(mutant.file, tests), int(HANGS * longest_s) + 1):
                    survivors.append(mutant)
                    place = f"{mutant.file.relative_to(SOURCE)}:{mutant.line}"
                    print(f"survives: {place}: {mutant.old} -> {mutant.new}\n    {mutant.text}", flush=True)
            finally:
                benches.put(bench)

        with ThreadPoolExecutor(jobs) as threads:
            for number, _ in enumerate(threads.map(judge, chosen), 1):
                if number % 20 == 0:
                    print(f"{number} tried, {time.monotonic() - began:.0f} s", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return survivors


if __name__ == "__main__":
    sys.exit(main())
