"""Chunking beside its peers, as ratios to one plain tiktoken pass of the same run.

    python tests/benchmarks/chunking.py [--megabytes 10] [--rounds 5] [--peers] [--linear] [--edits] [--engines]

CPU seconds of this process (wall time is noise on a shared machine), contestants alternating, median of the rounds.
Peers (semchunk, semantic-text-splitter, chonkie, langchain-text-splitters) run where they are installed: pip install
them beside the project, not into its dependencies. `--linear` adds 1, 10 and 50 MB, each in a process of its own,
with the growth of its peak memory (Linux) as a multiple of the text's UTF-8 size. `--edits`: how many chunks of each
long text change when one paragraph is put into it, at twelve places. `--engines`: each engine's start, memory and ids.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from docreduce.text.chunking import chunk
from docreduce.text.tokens import Tokenizer, _load_tiktoken, tokenizer
from places import DATA

LONG = DATA / "long"
BUDGETS = (8_000, 100_000)
Contestant = Callable[[str, int], list[str]]


def english(megabytes: float) -> str:
    """Real English prose of about that size; repeated where the corpus is smaller."""
    texts = [gzip.decompress(path.read_bytes()).decode() for path in sorted(LONG.glob("en_*.txt.gz"))]
    if not texts:
        sys.exit(f"no texts in {LONG}")
    size = int(megabytes * 1_000_000)
    text = "\n\n".join(texts)
    return (text * (size // len(text) + 1))[:size]


def ours(engine: Tokenizer) -> Contestant:
    def run(text: str, budget: int) -> list[str]:
        return [text[c.span.start : c.span.end] for c in chunk(text, engine, budget)]

    return run


def peers(fast: Tokenizer, plain: Tokenizer) -> Iterator[tuple[str, Contestant]]:
    """Each peer that is installed, with the tokenizer it takes."""
    try:
        import semchunk

        for name, engine in (("semchunk, fast", fast), ("semchunk, tiktoken", plain)):
            yield name, lambda text, budget, count=engine.count: semchunk.chunkerify(count, budget)(text)
    except ImportError:
        print("semchunk is not installed: left out")
    try:
        from semantic_text_splitter import TextSplitter

        for name, engine in (("semantic-text-splitter, fast", fast), ("semantic-text-splitter, tiktoken", plain)):
            yield (
                name,
                lambda text, budget, count=engine.count: TextSplitter.from_callback(count, budget, trim=False).chunks(
                    text
                ),
            )
    except ImportError:
        print("semantic-text-splitter is not installed: left out")
    try:
        from chonkie import RecursiveChunker

        yield (
            "chonkie Recursive, fast",
            lambda text, budget: [c.text for c in RecursiveChunker(fast.count, chunk_size=budget).chunk(text)],
        )
    except ImportError:
        print("chonkie is not installed: left out")
    try:
        from langchain_text_splitters import RecursiveCharacterTextSplitter as Recursive

        yield (
            "langchain Recursive, fast",
            lambda text, budget: Recursive(
                chunk_size=budget, chunk_overlap=0, length_function=fast.count, strip_whitespace=False
            ).split_text(text),
        )
    except ImportError:
        print("langchain-text-splitters is not installed: left out")


def quality(text: str, pieces: list[str], plain: Tokenizer, budget: int) -> str:
    """Chunks against the fewest possible, cuts at a paragraph or heading, the budget, and whether all is there."""
    fewest = -(-plain.count(text) // budget)
    good = sum(_paragraph(left, right) for left, right in itertools.pairwise(pieces)) / max(1, len(pieces) - 1)
    most = max(plain.count(piece) for piece in pieces)
    whole = "".join(pieces) == text
    share = f"{good:4.0%} ¶" if whole else "   – ¶"  # without its white space a cut cannot be judged
    kept = "lossless" if whole else "lossy"
    return f"{len(pieces):5} chunks = {len(pieces) / fewest:.3f}   {share}   most {most:7,}   {kept}"


def _paragraph(left: str, right: str) -> bool:
    """Whether a blank line, or a line that begins a heading, lies at the cut."""
    blank = left[len(left.rstrip()) :] + right[: len(right) - len(right.lstrip())]
    return blank.count("\n") >= 2 or (left.endswith("\n") and right.startswith("#"))


def compare(text: str, contestants: list[tuple[str, Contestant]], plain: Tokenizer, rounds: int) -> None:
    encoding = _load_tiktoken(plain.name)
    for budget in BUDGETS:
        seconds: dict[str, list[float]] = {name: [] for name, _ in contestants}
        passes, pieces = [], {}
        for _ in range(rounds):
            began = time.process_time()
            encoding.encode_ordinary(text)
            passes.append(time.process_time() - began)
            for name, run in contestants:
                began = time.process_time()
                pieces[name] = run(text, budget)
                seconds[name].append(time.process_time() - began)
        unit = statistics.median(passes)
        print(f"\n{len(text) / 1e6:.1f} M characters, {budget:,} tokens; one tiktoken pass {unit:.2f} CPU s = 1.00")
        for name, _ in contestants:
            ratio = statistics.median(seconds[name]) / unit
            print(f"  {name:34} {ratio:6.2f}   {quality(text, pieces[name], plain, budget)}")


def memory_bytes(mark: str) -> int:
    """VmRSS (now) or VmHWM (the peak) of this process. ru_maxrss would begin at the parent's."""
    return 1024 * int(Path("/proc/self/status").read_text().split(f"{mark}:")[1].split()[0])


def measure_once(engine: str, path: str) -> None:
    """One text from its file to its chunks in this process: prints CPU seconds and the growth of peak memory."""
    counter = tokenizer("o200k_base", engine)  # type: ignore[arg-type]
    chunk("warm up – é", counter, 2)
    Path("/proc/self/clear_refs").write_text(
        "5"
    )  # the peak of loading the ranks is not the text's; 1 MB fits into what that freed
    before = memory_bytes("VmRSS")
    text = Path(path).read_text(encoding="utf-8")
    began = time.process_time()
    chunks = chunk(text, counter, 8_000)
    spent = time.process_time() - began
    grown = memory_bytes("VmHWM") - before
    size = Path(path).stat().st_size
    print(
        f"  {engine:9} {size / 1e6:5.1f} MB {len(chunks):6} chunks  {spent:6.2f} CPU s  {spent / size * 1e6:.4f} a MB"
        f"  peak {grown / size:.1f} x the text, itself and its reading included"
    )


def linearity() -> None:
    print("\nlinearity and memory at 8,000 tokens")
    with tempfile.TemporaryDirectory() as folder:
        for megabytes in (1, 10, 50):
            path = Path(folder) / f"{megabytes}.txt"
            path.write_text(english(megabytes), encoding="utf-8")
            for engine in ("fast", "tiktoken"):
                subprocess.run([sys.executable, __file__, "--once", engine, str(path)], check=True)


SENTENCE = "The board met again on Tuesday and resolved that the dues should be raised. Nobody spoke against it. "


def edits(counter: Tokenizer, budget: int = 8_000) -> None:
    """Chunks that one new paragraph changes: of two sentences in the middle, and of two or eight at twelve places."""
    print(f"\nchunks of {budget:,} tokens that one paragraph changes")
    for path in sorted(LONG.glob("*.txt.gz")):
        text, draw = gzip.decompress(path.read_bytes()).decode(), random.Random(5)
        plan = chunk(text, counter, budget)
        before = {text[c.span.start : c.span.end] for c in plan}
        changed = []
        for share, sentences in ((0.5, 1), *((draw.uniform(0.3, 0.7), size) for size in (1, 4) for _ in range(6))):
            place = text.find("\n\n", int(len(text) * share)) + 2
            edited = text[:place] + SENTENCE * sentences + "\n\n" + text[place:]
            after = (edited[c.span.start : c.span.end] for c in chunk(edited, counter, budget))
            changed.append(sum(piece not in before for piece in after))
        fewest = -(-counter.count(text) // budget)
        print(
            f"  {path.name:32} {len(plan):4} chunks = {len(plan) / fewest:.3f}  {changed[0]}; elsewhere {changed[1:]}"
        )


def start_engine(engine: str) -> None:
    """One engine in this process, from nothing to its first count: prints CPU seconds and peak memory."""
    began = time.process_time()
    tokenizer("o200k_base", engine).count("Größe")  # type: ignore[arg-type]
    spent, peak = time.process_time() - began, memory_bytes("VmHWM")
    print(f"  {engine:9} {spent:.2f} CPU s to the first count, {peak / 1e6:.0f} MB at most")


def engines(fast: Tokenizer, plain: Tokenizer) -> None:
    print("\nengines: start, and CPU of the fast one over tiktoken's")
    for engine in ("fast", "tiktoken"):
        subprocess.run([sys.executable, __file__, "--start", engine], check=True)
    for path in sorted(LONG.glob("*.txt.gz")):
        text = gzip.decompress(path.read_bytes()).decode()[:1_500_000]
        spent: dict[str, list[float]] = {fast.engine: [], plain.engine: []}
        for counter, _ in itertools.product((fast, plain), range(3)):
            began = time.process_time()
            counter.count(text)
            spent[counter.engine].append(time.process_time() - began)
        ratio = statistics.median(spent[fast.engine]) / statistics.median(spent[plain.engine])
        same = (fast.token_ends(text) == plain.token_ends(text)).all()
        print(f"  {path.name:32} {ratio:.3f}   {'the same tokens' if same else 'OTHER TOKENS'}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Chunking beside its peers")
    parser.add_argument("--megabytes", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", action="store_true", help="also run the peers that are installed (minutes)")
    parser.add_argument("--linear", action="store_true", help="also 1, 10 and 50 MB with peak memory")
    parser.add_argument("--edits", action="store_true", help="also how many chunks a new paragraph changes")
    parser.add_argument("--engines", action="store_true", help="also start, memory and speed of the engines")
    parser.add_argument("--start", metavar="ENGINE", help=argparse.SUPPRESS)
    parser.add_argument("--once", nargs=2, metavar=("ENGINE", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        measure_once(*options.once)
        return
    if options.start:
        start_engine(options.start)
        return
    plain = tokenizer("o200k_base", "tiktoken")
    fast = tokenizer("o200k_base")
    contestants = [(f"docreduce, {fast.engine}", ours(fast)), ("docreduce, tiktoken", ours(plain))]
    for _, run in contestants:
        run("warm up – é", 100)
    if options.peers:
        contestants += peers(fast, plain)
    compare(english(options.megabytes), contestants, plain, options.rounds)
    if options.edits:
        edits(fast)
    if options.engines:
        engines(fast, plain)
    if options.linear:
        linearity()


if __name__ == "__main__":
    main()
