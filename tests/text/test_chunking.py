from __future__ import annotations

import gzip
import itertools
import random
from pathlib import Path

import pytest
import regex
from docreduce.text.chunking import chunk, split
from docreduce.text.tokens import Tokenizer, tokenizer
from docreduce.values import Chunk, Mark, Span
from docreduce.values.errors import ChunkError
from hypothesis import given, settings
from hypothesis import strategies as st
from places import DATA

FAST, PLAIN = tokenizer("o200k_base", "fast"), tokenizer("o200k_base", "tiktoken")
COUNTERS = (FAST, PLAIN, tokenizer("cl100k_base", "fast"), tokenizer("cl100k_base", "tiktoken"))

ATOMS = [
    *(
        "word ",
        "the ",
        "a",
        "B",
        " ",
        "  ",
        "\n",
        "\n\n",
        "\r\n",
        "\r",
        "\t",
        "\x0c",
        "\u3000",
        "\xa0",
        "\x1c",
        "\u2028",
    ),
    *(
        ".",
        ". ",
        "! ",
        "?",
        "。",
        "，",
        "/",
        "//",
        "'s",
        "don't",
        "ſ",
        "12345",
        "-",
        "_",
        "---\n",
        "# H\n",
        "Title\n===\n",
    ),
    *("字", "漢字", "かな", "é", "e\u0301", "\u0301", "กำ", "한", "ᄒ", "ᅡ", "ᆫ", "\u0600", "\u200d", "𐐷"),
    *("👩‍🚀", "👨‍👩‍👧‍👦", "🇩🇪", "\ud83d", "\ude00", "\ud83d\ude00", "<|endoftext|>", "supercalifragilistic"),
]


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Texts of few kinds of parts each, so that runs are long."""
    parts = draw(st.lists(st.sampled_from(ATOMS), min_size=1, max_size=8))
    return "".join(draw(st.lists(st.sampled_from(parts) | st.characters(codec=None), max_size=150)))


def assert_covered(text: str, chunks: list[Chunk], counter: Tokenizer, budget: int, overlap: int = 0) -> None:
    """No loss but of white space that no neighbour has room for, none blank, exact counts within the budget, progress,
    overlap within its bound."""
    assert bool(chunks) == bool(text.strip())
    assert [c.index for c in chunks] == list(range(len(chunks)))
    for one in chunks:
        assert one.tokens == counter.count(text[one.span.start : one.span.end])
        assert 0 < one.tokens <= budget
        assert not text[one.span.start : one.span.end].isspace()
    ends = [0, *(c.span.end for c in chunks)] if chunks else []
    starts = [*(c.span.start for c in chunks), len(text)]
    for nth, (end, start) in enumerate(zip(ends, starts, strict=False)):
        if end < start:
            assert text[end:start].isspace()
            assert not nth or counter.count(text[starts[nth - 1] : start]) > budget
            assert nth == len(chunks) or counter.count(text[end : ends[nth + 1]]) > budget
    for one, two in itertools.pairwise(chunks):
        assert one.span.start < two.span.start
        assert one.span.end < two.span.end
        if two.span.start < one.span.end:
            assert counter.count(text[two.span.start : one.span.end]) <= overlap


@pytest.mark.long
@given(text=texts(), counter=st.sampled_from(COUNTERS), budget=st.integers(1, 60), data=st.data())
@settings(max_examples=500, deadline=None)
def test_any_text_is_covered_within_any_budget(text: str, counter: Tokenizer, budget: int, data: st.DataObject) -> None:
    overlap = data.draw(st.just(0) | st.integers(0, budget - 1))
    try:
        chunks = chunk(text, counter, budget, overlap_tokens=overlap)
    except ChunkError:
        assert any(counter.count(character) > budget for character in text)
        return
    assert_covered(text, chunks, counter, budget, overlap)


@pytest.mark.long
@given(text=texts(), counter=st.sampled_from(COUNTERS), budget=st.integers(12, 60))
@settings(max_examples=200, deadline=None)
def test_clusters_that_fit_are_not_cut(text: str, counter: Tokenizer, budget: int) -> None:
    clusters = [match.span() for match in regex.finditer(r"\X", text)]
    bounds = {0, *(end for _, end in clusters)}
    large = [(a, b) for a, b in clusters if counter.count(text[a:b]) > budget]
    for one in chunk(text, counter, budget):
        assert one.span.end in bounds or any(a < one.span.end < b for a, b in large)


@given(text=texts(), counter=st.sampled_from(COUNTERS), budget=st.integers(12, 60))
@settings(max_examples=200, deadline=None)
def test_halves_of_a_chunk_are_exact_and_nothing_is_lost(text: str, counter: Tokenizer, budget: int) -> None:
    for one in chunk(text, counter, budget):
        halves = split(one, text, counter)
        if not halves:
            part = text[one.span.start : one.span.end]
            assert one.tokens == 1 or regex.fullmatch(r"\X", part.strip())
            continue
        assert [half.index for half in halves] == [0, 1]
        assert halves[0].span.start == one.span.start
        assert halves[0].span.end == halves[1].span.start
        assert halves[1].span.end == one.span.end
        for half in halves:
            assert not text[half.span.start : half.span.end].isspace()
            assert half.tokens == counter.count(text[half.span.start : half.span.end])


def long_texts() -> list[Path]:
    return sorted((DATA / "long").glob("*.txt.gz"))


@pytest.mark.long
@pytest.mark.parametrize("path", long_texts(), ids=lambda path: path.name.split(".")[0])
@pytest.mark.parametrize("budget", [300, 2000, 8000, 100_000])
def test_real_texts_take_few_chunks_cut_at_paragraphs(path: Path, budget: int) -> None:
    text = gzip.decompress(path.read_bytes()).decode()[: None if budget >= 8000 else 300 * budget]
    chunks = chunk(text, FAST, budget)
    assert_covered(text, chunks, FAST, budget)
    fewest = -(-FAST.count(text) // budget)
    assert len(chunks) <= max(fewest, 1.05 * fewest)
    if budget >= 8000:
        cuts = [text[c.span.start - 6 : c.span.start] for c in chunks[1:]]
        good = sum(cut.endswith("\n") and cut[len(cut.rstrip()) :].count("\n") >= 2 for cut in cuts)
        assert good >= 0.9 * len(cuts)


def test_the_corpus_is_there_or_its_lack_is_said() -> None:
    if not long_texts():
        pytest.skip("no long texts beside the project: the corpus tests did not run")


@pytest.mark.long
@pytest.mark.parametrize("counter", [FAST, PLAIN], ids=["fast", "tiktoken"])
@pytest.mark.parametrize(
    "text",
    [
        "a" * 200_000,
        "".join(random.Random(1).choices("abcdefghijklmnop", k=150_000)),
        "".join(map(chr, random.Random(2).choices(range(0x4E00, 0x9FA6), k=100_000))),
        "👨‍👩‍👧‍👦" * 10_000,
        "🇩🇪" * 20_000,
        "e" + "\u0301" * 100_000,
        "\ud83d" * 50_000,
        " " * 1_100_000 + "x",
        "\r\n" * 60_000,
        '."' * 60_000,
        "<|endoftext|>" * 10_000,
    ],
    ids=[
        "letters",
        "random",
        "Chinese",
        "families",
        "flags",
        "accents",
        "surrogates",
        "spaces",
        "newlines",
        "quotes",
        "special",
    ],
)
def test_long_runs_without_a_boundary_are_covered(text: str, counter: Tokenizer) -> None:
    assert_covered(text, chunk(text, counter, 3000), counter, 3000)


@pytest.mark.parametrize("name", ["txt_one_line_1MB.txt", "txt_chinese_utf16le_bom.txt", "txt_windows1252.txt"])
def test_awkward_files_are_covered(name: str) -> None:
    path = DATA / "formats" / name
    if not path.exists():
        pytest.skip(f"no {name} beside the project")
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    assert_covered(text, chunk(text, FAST, 900, overlap_tokens=90), FAST, 900, 90)


def pieces(text: str, budget: int, marks: tuple[Mark, ...] = (), counter: Tokenizer = PLAIN) -> list[str]:
    return [text[c.span.start : c.span.end] for c in chunk(text, counter, budget, marks=marks)]


def test_empty_text_has_no_chunks_and_a_short_one_has_one() -> None:
    assert chunk("", PLAIN, 5) == []
    assert chunk("Hello.", PLAIN, 5) == [Chunk(index=0, span=Span(0, 6), tokens=2)]


def test_headings_win_over_paragraphs_and_paragraphs_over_sentences() -> None:
    paragraph = "One sentence stands here. Another one follows it. A third ends it.\n\n"
    assert pieces(paragraph * 9 + "# Second\n\n" + paragraph * 8, 160)[1].startswith("# Second")
    assert pieces(paragraph * 9 + "Second\n======\n\n" + paragraph * 8, 160)[1].startswith("Second\n==")
    assert all(piece.endswith("\n\n") for piece in pieces(paragraph * 40, 160))
    assert all(piece.endswith(".") for piece in pieces("One sentence stands here, and ends. " * 200, 160)[:-1])
    assert all(piece.endswith("。") for piece in pieces("春天來了，花都開了。" * 200, 160))


def test_a_heading_mark_is_a_boundary_and_names_its_chunk() -> None:
    paragraph = "One sentence stands here. Another one follows it. A third ends it.\n\n"
    text = paragraph * 9 + "  Second part\n\n" + paragraph * 8
    marks = (Mark("heading", 0, "First part", 1), Mark("heading", text.index("Second"), "Second part", 1))
    chunks = chunk(text, PLAIN, 160, marks=marks)
    assert [c.heading for c in chunks] == ["First part", "Second part"]
    assert text[chunks[1].span.start :].lstrip().startswith("Second part")
    assert [c.heading for c in chunk("no mark yet", PLAIN, 10, marks=(Mark("heading", 5, "late", 1),))] == [None]


def test_pages_are_those_a_chunk_touches() -> None:
    page = "A page holds a few words.\n\n"
    marks = [Mark("page", n * len(page), str(n + 1)) for n in range(8)]
    chunks = chunk(page * 8, PLAIN, PLAIN.count(page) * 4, marks=marks)
    assert [(c.page_start, c.page_end) for c in chunks] == [(1, 4), (5, 8)]


PARAGRAPH = "The board met again on Tuesday and resolved that the dues should be raised. Nobody spoke against it.\n\n"


@pytest.mark.parametrize("path", long_texts(), ids=lambda path: path.name.split(".")[0])
def test_a_paragraph_put_into_the_middle_changes_few_chunks(path: Path) -> None:
    text = gzip.decompress(path.read_bytes()).decode()
    middle = text.find("\n\n", len(text) // 2) + 2
    edited = text[:middle] + PARAGRAPH + text[middle:]
    before = set(pieces(text, 8000, counter=FAST))
    after = pieces(edited, 8000, counter=FAST)
    assert sum(piece not in before for piece in after) <= 3


def test_an_edit_of_a_long_even_text_stays_local_wherever_it_falls() -> None:
    draw = random.Random(7)
    words = ["harbour", "toll", "light", "water", "rope", "board", "year", "ship", "keeper", "wind"]
    text = "".join(" ".join(draw.choices(words, k=draw.randrange(20, 60))) + ".\n\n" for _ in range(3000))
    before = set(pieces(text, 2000, counter=FAST))
    changed = []
    for _ in range(20):
        middle = text.find("\n\n", draw.randrange(len(text) // 4, 3 * len(text) // 4)) + 2
        after = pieces(text[:middle] + PARAGRAPH + text[middle:], 2000, counter=FAST)
        changed.append(sum(piece not in before for piece in after))
    assert sorted(changed)[10] == 1
    assert sorted(changed)[17] <= 3


ROWS = {
    "Markdown": [f"| L-{n:02} | Tenant {n} | Paid late once. Called on Monday. | {900 + n} |" for n in range(80)],
    "pipes": [f"L-{n:02} | Tenant {n} | Paid late once. Called on Monday. | {900 + n}" for n in range(80)],
    "tabs": [f"L-{n:02}\tTenant {n}\tPaid late once. Called on Monday.\t{900 + n}" for n in range(80)],
    "semicolons": [f"L-{n:02};Tenant {n};Paid late once. Called on Monday.;{900 + n}" for n in range(80)],
    "commas": [f'L-{n:02},Tenant {n},"Paid late once, alas. Called on Monday.",{900 + n}' for n in range(80)],
}


@pytest.mark.parametrize("form", ROWS)
@pytest.mark.parametrize("budget", [40, 130, 700])
@pytest.mark.parametrize("overlap", [0, 30])
def test_a_row_of_a_table_is_never_cut_while_it_fits(form: str, budget: int, overlap: int) -> None:
    text = "\n".join(ROWS[form]) + "\n"
    chunks = chunk(text, PLAIN, budget, overlap_tokens=overlap)
    assert len(chunks) > 2
    assert_covered(text, chunks, PLAIN, budget, overlap)
    for one in chunks:
        assert set(text[one.span.start : one.span.end].strip("\n").split("\n")) <= set(ROWS[form])
        rows = text[one.span.start : one.span.end].strip("\n").count("\n") + 1
        for half in split(one, text, PLAIN) if rows > 1 else ():
            assert set(text[half.span.start : half.span.end].strip("\n").split("\n")) <= set(ROWS[form])


def test_a_row_longer_than_the_budget_is_cut_at_its_sentences() -> None:
    text = "| a | b |\n| 1 | " + "This cell says quite a lot. " * 60 + "|\n| 2 | short |\n"
    cut = pieces(text, 60)
    assert "".join(cut) == text
    assert sum(piece.endswith(("lot.", "\n")) for piece in cut) >= len(cut) - 1


def test_prose_with_commas_is_no_table() -> None:
    line = "ships, boats, and rafts lay there. The wind, that day, was cold\n"
    assert any(piece.endswith("there.") for budget in range(100, 120) for piece in pieces(line * 60, budget))


def test_a_blank_stretch_goes_to_its_neighbours_or_is_left_out() -> None:
    blank = "".join("\n" + " " * (n % 7) for n in range(400))
    text = f"The rent is due on the first day.{blank}The notice is ninety days.{blank}"
    chunks = chunk(text, PLAIN, 60)
    assert_covered(text, chunks, PLAIN, 60)
    assert [text[c.span.start : c.span.end].strip() for c in chunks] == [
        "The rent is due on the first day.",
        "The notice is ninety days.",
    ]
    assert chunk(blank, PLAIN, 60) == []
    whole = "word " * 58 + "end." + "\n" * 3
    assert [(c.span.start, c.span.end) for c in chunk(whole, PLAIN, PLAIN.count(whole) - 1)][-1][1] >= len(whole) - 3


SENTENCES = {  # one a script: its end belongs to it
    "Hindi": "किराया नौ सौ रुपये है और हर महीने की पहली तारीख को देय है। ",
    "Urdu": "کرایہ نو سو روپے ہے اور ہر مہینے کی پہلی تاریخ کو ادا ہوتا ہے۔ ",
    "Arabic": "هل يدفع المالك تكاليف الإصلاح والصيانة في كل شهر؟ ",
    "Armenian": "Վարձը ամսական ինը հարյուր է և վճարվում է առաջին օրը։ ",
    "Amharic": "የቤት ኪራይ በወር ዘጠኝ መቶ ብር ሲሆን በየወሩ መጀመሪያ ይከፈላል።",
    "Burmese": "အိမ်ရှင်က ပြုပြင်စရိတ်ကို ပေးရမည်။ ",
    "Khmer": "ភាសាខ្មែរជាភាសាផ្លូវការ។ ",
    "Japanese": "家賃は月九百円で、毎月一日に払う．",
    "Thai": "ค่าเช่าเดือนละเก้าร้อยบาทและต้องชำระในวันแรกของทุกเดือน ",
    "Lao": "ພາສາລາວເປັນພາສາທາງການຂອງປະເທດ ",
}


@pytest.mark.parametrize("script", SENTENCES)
def test_cuts_fall_where_a_sentence_ends_in_its_script(script: str) -> None:
    one = SENTENCES[script]
    cut = pieces(one * 120, 400)
    assert len(cut) > 3
    assert all(piece.rstrip().endswith(one.rstrip()) for piece in cut)


def test_crlf_is_never_cut_apart() -> None:
    text = "line of words\r\n" * 300 + "\r\n" * 300
    for budget in (1, 3, 7, 40):
        for one in chunk(text, PLAIN, budget):
            assert text[one.span.end - 1 : one.span.end + 1] != "\r\n"


def test_overlap_begins_at_a_boundary_and_carries_most_of_what_was_asked() -> None:
    text = " ".join(f"Sentence number {n} says little." for n in range(600))
    chunks = chunk(text, PLAIN, 200, overlap_tokens=40)
    assert_covered(text, chunks, PLAIN, 200, 40)
    shared = [PLAIN.count(text[b.span.start : a.span.end]) for a, b in itertools.pairwise(chunks)]
    assert min(shared) >= 20
    assert all(text[c.span.start - 1] == "." for c in chunks[1:])


def test_a_budget_that_cannot_hold_a_code_point_says_what_would() -> None:
    needed = PLAIN.count("\U0001f9ff")
    assert needed > 1
    with pytest.raises(ChunkError, match=r"U\+1F9FF at 6") as refusal:
        chunk("fine, \U0001f9ff", PLAIN, needed - 1)
    assert str(needed) in refusal.value.hint
    assert len(chunk("fine, \U0001f9ff", PLAIN, needed)) == 2


@pytest.mark.parametrize(("budget", "overlap"), [(0, 0), (-1, 0), (5, 5), (5, -1)])
def test_an_impossible_budget_or_overlap_is_refused(budget: int, overlap: int) -> None:
    with pytest.raises(ChunkError):
        chunk("text", PLAIN, budget, overlap_tokens=overlap)


def test_a_chunk_is_halved_at_the_best_boundary_near_its_middle() -> None:
    text = "Before it all.\n\n" + "Some words here. " * 20 + "\n\n" + "Other words there. " * 20
    (whole,) = chunk(text, PLAIN, 1000)
    left, right = split(whole, text, PLAIN, marks=[Mark("heading", text.index("Other"), "Other", 2)])
    assert text[right.span.start :].startswith("Other")
    assert (left.heading, right.heading) == (None, "Other")
    assert split(Chunk(index=0, span=Span(0, 1), tokens=1), "a", PLAIN) == []
    family = "👨‍👩‍👧‍👦"
    assert split(Chunk(index=0, span=Span(0, len(family)), tokens=PLAIN.count(family)), family, PLAIN) == []


def test_the_same_text_is_cut_the_same_by_both_engines() -> None:
    text = "Größe und Maß; 字かな。 A line.\n\n" * 3000
    assert chunk(text, FAST, 500, overlap_tokens=50) == chunk(text, PLAIN, 500, overlap_tokens=50)
