"""Summaries traced to their passages: planted errors are caught, what is true is left alone, in several languages."""

from __future__ import annotations

import random
import unicodedata
from collections import Counter
from dataclasses import dataclass
from textwrap import wrap
from time import process_time
from typing import Literal

import pytest
from docreduce.kinds.summarize.offline import summarize
from docreduce.kinds.summarize.support import support


@dataclass(frozen=True)
class Language:
    """A fact as the source says it and as a summary does: {a} a name, {b} a place, {n} a number, {d} {m} a date.

    `denied`: a fact that is negated, in the source and in a summary, and without the negation. `names`, `places`,
    `months`: what is put in. `capitals`: whether names can be seen."""

    facts: tuple[tuple[str, str], ...]
    denied: tuple[tuple[str, str, str], ...]
    filler: tuple[str, ...]
    names: tuple[str, ...]
    places: tuple[str, ...]
    months: tuple[str, ...]
    capitals: bool = True


Said = tuple[str, dict[str, str], bool]
"""A sentence of a summary, what is put in, whether it is a denial."""

LANGUAGES = {
    "en": Language(
        facts=(
            ("On {d} {m} 2021 the company of {a} sold {n} tons of grain to the harbour of {b}.",
             "{a} sold {n} tons of grain to {b} on {d} {m} 2021."),
            ("After long talks {a} took over the mill in {b} in {m} 2019, with its {n} workers.",
             "In {m} 2019 the mill in {b} and its {n} workers went over to {a}."),
            ("The council granted a loan of {n} dollars to {a}, payable in {b} from {m} on.",
             "{a} was granted a loan of {n} dollars by the council, payable in {b} from {m}."),
        ),
        denied=(
            ("The judge in {b} did not accept the appeal that {a} had lodged in {m} 2020.",
             "The appeal of {a} was not accepted by the judge in {b} in {m} 2020.",
             "The appeal of {a} was accepted by the judge in {b} in {m} 2020."),
        ),
        filler=("The weather was mild for the season.", "Much was said about it in the taverns.",
                "Nobody had thought of the old bridge."),
        names=("Moss", "Holt", "Brandt", "Okafor", "Lindqvist", "Castellan", "Whitlock", "Farrow"),
        places=("Kiel", "Bergen", "Rostock", "Tallinn", "Aarhus", "Leith"),
        months=("January", "March", "May", "July", "October", "December"),
    ),
    "de": Language(
        facts=(
            ("Am {d}. {m} 2021 verkaufte die Firma von {a} dem Hafen in {b} {n} Tonnen Getreide.",
             "{a} verkaufte am {d}. {m} 2021 dem Hafen in {b} {n} Tonnen Getreide."),
            ("Nach langen Gesprächen übernahm {a} im {m} 2019 die Mühle in {b} mit ihren {n} Arbeitern.",
             "Im {m} 2019 ging die Mühle in {b} mit {n} Arbeitern an {a} über."),
        ),
        denied=(
            ("Das Gericht in {b} nahm die Beschwerde, die {a} im {m} 2020 eingelegt hatte, nicht an.",
             "Die Beschwerde von {a} vom {m} 2020 wurde vom Gericht in {b} nicht angenommen.",
             "Die Beschwerde von {a} vom {m} 2020 wurde vom Gericht in {b} angenommen."),
        ),
        filler=("Das Wetter war mild.", "In den Schenken wurde viel geredet.", "An die alte Brücke dachte niemand."),
        names=("Moosbach", "Holtkamp", "Brandtner", "Lindenau", "Kastell", "Weißhaupt"),
        places=("Kiel", "Rostock", "Lübeck", "Wismar", "Husum"),
        months=("Januar", "März", "Mai", "Juli", "Oktober", "Dezember"),
    ),
    "fr": Language(
        facts=(
            ("Le {d} {m} 2021, la maison de {a} vendit {n} tonnes de blé au port de {b}.",
             "{a} vendit {n} tonnes de blé au port de {b} le {d} {m} 2021."),
            ("Le conseil accorda à {a} un prêt de {n} francs, payable à {b} dès {m}.",
             "Un prêt de {n} francs, payable à {b} dès {m}, fut accordé à {a} par le conseil."),
        ),
        denied=(
            ("Le juge de {b} n'a pas admis la plainte que {a} avait déposée en {m} 2020.",
             "La plainte de {a} n'a pas été admise par le juge de {b} en {m} 2020.",
             "La plainte de {a} a été admise par le juge de {b} en {m} 2020."),
        ),
        filler=("Le temps était doux.", "On en parla beaucoup dans les tavernes.", "Le vieux pont tenait encore."),
        names=("Moreau", "Lefranc", "Brassard", "Castelnau", "Delorme"),
        places=("Nantes", "Dieppe", "Calais", "Brest"),
        months=("janvier", "mars", "juillet", "octobre"),
    ),
    "es": Language(
        facts=(
            ("El {d} de {m} de 2021 la casa de {a} vendió {n} toneladas de trigo al puerto de {b}.",
             "{a} vendió {n} toneladas de trigo al puerto de {b} el {d} de {m} de 2021."),
        ),
        denied=(
            ("El juez de {b} no admitió el recurso que {a} presentó en {m} de 2020.",
             "El recurso de {a} no fue admitido por el juez de {b} en {m} de 2020.",
             "El recurso de {a} fue admitido por el juez de {b} en {m} de 2020."),
        ),
        filler=("El tiempo era suave.", "Se habló mucho en las tabernas.", "El puente viejo aguantaba."),
        names=("Morales", "Herrera", "Castaño", "Benítez", "Iglesias"),
        places=("Cádiz", "Vigo", "Gijón", "Huelva"),
        months=("enero", "marzo", "julio", "octubre"),
    ),
    "ru": Language(
        facts=(
            ("Фирма, которой владел {a}, продала {d} {m} 2021 года {n} тонн зерна порту {b}.",
             "{a} продал {n} тонн зерна порту {b} {d} {m} 2021 года."),
        ),
        denied=(
            ("Суд города {b} не принял жалобу, которую {a} подал в 2020 году.",
             "Жалоба, которую подал {a}, не принята судом города {b} в 2020 году.",
             "Жалоба, которую подал {a}, принята судом города {b} в 2020 году."),
        ),
        filler=("Погода была мягкой.", "В трактирах много говорили.", "Старый мост ещё стоял."),
        names=("Мохов", "Голубев", "Бражников", "Линдин", "Кастырин"),
        places=("Выборг", "Таганрог", "Мурманск", "Находка"),
        months=("января", "марта", "июля", "октября"),
    ),
    "zh": Language(
        facts=(
            ("{b}港务局在2021年{m}月{d}日向{a}公司购买了{n}吨粮食。",
             "2021年{m}月{d}日，{b}港务局向{a}公司购买了{n}吨粮食。"),
        ),
        denied=(
            ("{b}法院没有受理{a}公司在2020年提出的申请。", "{a}公司2020年的申请没有被{b}法院受理。",
             "{a}公司2020年的申请被{b}法院受理。"),
        ),
        filler=("天气很温和。", "人们议论纷纷。", "旧桥还在那里。"),
        names=("海达", "宏远", "金桥", "蓝山"),
        places=("青岛", "大连", "宁波", "厦门"),
        months=("1", "3", "7", "10"),
        capitals=False,
    ),
}  # fmt: skip


def story(
    language: Language, draw: random.Random, facts: int = 24
) -> tuple[str, list[tuple[str, dict[str, str], bool]]]:
    """A source, and what a summary may say of it: (sentence, what was put in, whether it is a denial)."""
    source, said = [], []
    for _ in range(facts):
        put = {
            "a": draw.choice(language.names),
            "b": draw.choice(language.places),
            "n": f"{draw.randrange(11, 990) * 10}",
            "d": str(draw.randrange(1, 28)),
            "m": draw.choice(language.months),
        }
        denial = draw.random() < 0.3
        pair = draw.choice(language.denied) if denial else draw.choice(language.facts)
        source += [pair[0].format(**put), draw.choice(language.filler)]
        said.append((pair[1], put, denial))
    return " ".join(source), said


def planted(language: Language, said: Said, draw: random.Random) -> tuple[str, str]:
    """The sentence with one thing wrong in it, and what."""
    sentence, put, denial = said
    kinds = [
        *(["name", "place"] if language.capitals else []),
        *(["number"] if "{n}" in sentence else []),
        *(["day"] if "{d}" in sentence else []),
    ]
    kinds += ["month"] if "{m}" in sentence else []
    kinds += ["negation"] * 2 if denial else []
    kind = draw.choice(kinds)
    wrong = dict(put)
    if kind == "negation":
        sentence = next(third for _, second, third in language.denied if second == sentence)
    elif kind in {"number", "day"}:
        key = "n" if kind == "number" else "d"
        wrong[key] = str(int(put[key]) + draw.choice([1, 3, 20]))
    else:
        key, pool = {
            "name": ("a", language.names), "place": ("b", language.places), "month": ("m", language.months)
        }[kind]  # fmt: skip
        wrong[key] = draw.choice([each for each in pool if each != put[key]])
    return sentence.format(**wrong), kind


def verdicts(summary: str, source: str) -> dict[int, str]:
    return {row["sentence"]: row["status"] for row in support(summary, source)}


@pytest.fixture(scope="module")
def tried() -> tuple[dict[str, Counter[str]], dict[str, Counter[str]]]:
    """Of 400 merges of four sentences, one of them wrong: by language and kind of error, what was caught; by language,
    how many true sentences were flagged."""
    caught: dict[str, Counter[str]] = {}
    alarms: dict[str, Counter[str]] = {}
    draw = random.Random(7)
    for number in range(400):
        name = list(LANGUAGES)[number % len(LANGUAGES)]
        language = LANGUAGES[name]
        source, said = story(language, draw)
        picked = draw.sample(said, 4)
        at = draw.randrange(4)
        lines = [sentence.format(**put) for sentence, put, _ in picked]
        lines[at], kind = planted(language, picked[at], draw)
        found = verdicts("\n\n".join(lines), source)
        assert len(found) == 4, lines
        caught.setdefault(f"{name} {kind}", Counter())[found[at]] += 1
        alarms.setdefault(name, Counter()).update(status for place, status in found.items() if place != at)
    return caught, alarms


@pytest.mark.long
def test_planted_errors_are_caught(tried: tuple[dict[str, Counter[str]], dict[str, Counter[str]]]) -> None:
    caught, _ = tried
    all_of_them = sum(caught.values(), Counter())
    assert all_of_them["unsupported"] / all_of_them.total() >= 0.95, caught


@pytest.mark.long
def test_true_sentences_are_left_alone(tried: tuple[dict[str, Counter[str]], dict[str, Counter[str]]]) -> None:
    _, alarms = tried
    all_of_them = sum(alarms.values(), Counter())
    assert all_of_them["unsupported"] / all_of_them.total() <= 0.02, alarms


SOURCE = (
    "Ida Moss founded the firm in Bergen. She sold it in May 2019 for $1,250,000 to a bank. "
    "The bank did not keep the old name. It opened twelve branches."
)


@pytest.mark.parametrize(
    ("sentence", "status"),
    [
        ("Ida Moss sold the firm in 2019.", "supported"),
        ("Moss sold it for 1.25 million dollars.", "supported"),
        ("She sold it in 05/2019 to a bank.", "supported"),
        ("The bank opened 12 branches.", "supported"),
        ("Ida Holt sold the firm in 2019.", "unsupported"),
        ("Moss sold it for 1.35 million dollars.", "unsupported"),
        ("She sold it in June 2019 to a bank.", "unsupported"),
        ("The bank kept the old name.", "unsupported"),
        ("She did not found the firm in Bergen.", "unsupported"),
        ("Zebras graze quietly.", "unsupported"),
    ],
)
def test_hard_evidence_has_to_stand_in_the_passages(sentence: str, status: str) -> None:
    assert verdicts(sentence, SOURCE) == {0: status}


def test_a_passage_is_a_place_in_the_source_and_two_facts_rest_on_two() -> None:
    rows = support("She sold the firm in May 2019, and the bank opened twelve branches.", SOURCE)
    words = {SOURCE[row["char_start"] : row["char_end"]] for row in rows}
    assert {row["status"] for row in rows} == {"supported"}
    assert any("May 2019" in each for each in words)
    assert any("twelve branches" in each for each in words)
    assert all(0 < row["score"] <= 1 for row in rows)


FEW_WORDS = {
    "en": ("red dog eats blue cat near the old house while small birds sing over green hills", " ", "."),
    "names": ("Anna Bert Carl sold bought lent mill farm boat to from near in the a old", " ", "."),
    "denials": ("not no he she it is was the mill farm sold bought by with old new", " ", "."),
    "numbers": ("10 20 30 40 tons of wheat rye oats for May June 2019 2020 sold lent in", " ", "."),
    "zh": ("红 狗 吃 蓝 猫 在 老 房 子 旁 边 小 鸟 唱 歌 山 没", "", "。"),
}


def of_few_words(name: str, lines: bool) -> str:
    """40 sentences of 16 words; `lines`: broken at 50 letters."""
    draw = random.Random(1)
    words, space, end = FEW_WORDS[name]
    said = [space.join(draw.choice(words.split()) for _ in range(draw.randrange(5, 11))) for _ in range(40)]
    text = space.join(each[0].upper() + each[1:] + end for each in said)
    return "\n".join(wrap(text, 50)) if lines else text


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize("name", FEW_WORDS)
def test_what_the_embedded_summarizer_quotes_is_supported_by_its_place(name: str, lines: bool) -> None:
    text = of_few_words(name, lines)
    summary = summarize(text, max_words=100, max_tokens=500, count=len)
    rows = support(summary, text)
    assert len({row["sentence"] for row in rows}) > 5
    assert {row["status"] for row in rows} == {"supported"}
    for row in rows:
        if row["score"] == 1:
            assert "".join(text[row["char_start"] : row["char_end"]].split()) == "".join(row["text"].split())
    assert sum(row["score"] == 1 for row in rows) > 5


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("other", ["NFC", "NFD"])
def test_a_verbatim_sentence_is_found_whatever_its_white_space_and_its_composition(
    form: Literal["NFC", "NFD"], other: Literal["NFC", "NFD"]
) -> None:
    text = "Äußerst übel.\n\n- Das Öl\u00a0floß über\n  die Brücke ins Grüne. Es roch.\n\nKüche"
    source = unicodedata.normalize(form, text)
    said = unicodedata.normalize(other, "Das Öl floß über die Brücke ins Grüne.")
    (row,) = support(said, source)
    assert (row["status"], row["score"]) == ("supported", 1.0)
    quote = unicodedata.normalize("NFC", source[row["char_start"] : row["char_end"]])
    assert quote == "Das Öl\u00a0floß über\n  die Brücke ins Grüne."


@pytest.mark.parametrize(
    ("sentence", "status"),
    [
        ("The old dog sees the cat.", "supported"),
        ("The dog sees the old cat.", "supported"),  # other words for it, all of them common
        ("The dog does not see the cat.", "unsupported"),
        ("The cat eats the dog.", "unsupported"),  # the source denies it
        ("Moss sold it.", "unsupported"),  # stands in the source, behind "not true that"
    ],
)
def test_a_sentence_of_common_words_only_is_judged_too(sentence: str, status: str) -> None:
    told = "The old dog sees the cat. The cat does not eat the dog. It is not true that Moss sold it."
    source = " ".join([told] * 20)
    assert verdicts(sentence, source) == {0: status}


@pytest.mark.parametrize("summary", ["", "…", "?!", "\n\n", "𝔸 ⁇"])
def test_any_summary_has_rows_or_none(summary: str) -> None:
    assert all(row["status"] in {"supported", "unsupported"} for row in support(summary, SOURCE))
    assert support(summary, "") is not None


@pytest.mark.long
def test_time_is_about_linear_in_the_source() -> None:
    draw = random.Random(3)
    source, said = story(LANGUAGES["en"], draw, 1_000)
    summary = " ".join(sentence.format(**put) for sentence, put, _ in said[:20])

    def seconds(times: int) -> float:
        begun = process_time()
        support(summary, " ".join([source] * times))
        return process_time() - begun

    seconds(1)
    assert seconds(8) < 24 * max(seconds(2) / 2, 0.02)


def test_a_part_of_a_sentence_without_its_stop_is_no_verbatim_quote() -> None:
    text = "Moss sold it to nobody. The rest is here. " * 8
    (part, *_) = support("Moss sold it", text)
    assert part["char_end"] - part["char_start"] == len("Moss sold it to nobody.")  # by its words, not word for word
    (whole, *_) = support("Moss sold it to nobody", text)
    assert (whole["char_start"], whole["char_end"]) == (0, len("Moss sold it to nobody"))
