"""Gold answers in, gold spans out: whatever is lost or doubled on the way is lost by us."""

from __future__ import annotations

import json
from collections import defaultdict

import pytest
from driving_extract import document, drive, plan, say, settings
from places import DATA

CONTRACTS = DATA / "contracts"
SCHEMA = {"type": "object", "properties": {"category": {"type": "string"}, "text": {"type": "string"}}}


@pytest.fixture(scope="module")
def contracts():
    """(text, {(category, words): (start, end, occurrences)}) of each contract."""
    if not CONTRACTS.is_dir():
        pytest.skip("the shared contracts are not here")
    import pyarrow.parquet as pq

    gold = defaultdict(dict)
    for label in pq.read_table(CONTRACTS / "gold_labels.parquet").to_pylist():
        if label["present"]:
            place = label["char_start"], label["char_end"], label["n_occurrences"]
            gold[label["file"]][label["category"], label["answer_text"]] = place
    return [((CONTRACTS / "txt" / file).read_bytes().decode(), spans) for file, spans in sorted(gold.items())]


@pytest.mark.long
@pytest.mark.parametrize("overlap", [None, 200])
@pytest.mark.parametrize(("size", "least"), [(1_000, 0.97), (8_000, 0.998), (100_000, 1.0)])
def test_gold_spans_come_back_once_with_their_offsets(contracts, size, least, overlap):
    """`least`: of recall and precision. A clause longer than the overlap is whole in no chunk, and comes in parts."""
    wanted = right = answered = overlapping = 0
    asked_for = plan(max_chunk_tokens=size, overlap_tokens=overlap, input_tokens=118_000)
    for text, gold in contracts:

        def answer(request, text=text, gold=gold):
            # A model quotes of a clause what it was sent: a span that a cut divides is answered in parts.
            begin = text.index(request.messages[-1].content)
            end = begin + len(request.messages[-1].content)
            places = sorted((start, stop, category) for (category, _), (start, stop, _) in gold.items())
            seen = [
                (category, text[max(a, begin) : min(b, end)].strip())
                for a, b, category in places
                if a < end and b > begin
            ]
            return say(*({"category": c, "text": q, "evidence": {"text": q}} for c, q in seen if q))(request)

        (result,), asked = drive([document(text)], asked_for, settings(SCHEMA, cardinality="many"), answer)
        assert result.status == "ok"
        overlapping += len(asked) > 1
        chosen = [e for e in result.tables["evidence"] if e["chosen"]]
        spans = {e["item"]: e for e in chosen if e["field"] == "text"}
        records = result.tables["records"]
        assert len(spans) == len(records)
        got = set()
        for number, record in enumerate(records):
            evidence = spans[number]
            start, end, occurrences = gold.get((record["category"], record["text"]), (None, None, 0))
            same = (evidence["char_start"], evidence["char_end"]) == (start, end)
            words = text[evidence["char_start"] : evidence["char_end"]]
            if evidence["alignment"] == "exact" and (same or (occurrences > 1 and words == record["text"])):
                got.add((record["category"], record["text"]))
        wanted, right, answered = wanted + len(gold), right + len(got), answered + len(records)
    print(f"size {size}, overlap {overlap}: recall {right / wanted}, precision {right / answered}")
    assert right / wanted >= max(least, 0.998), "recall"
    assert right / answered >= least, "precision: something came twice, or came that is not gold"
    assert overlapping or size > 8_000, "nothing was cut: the test shows less than it says"


def test_the_answers_of_a_contract_are_its_own_json(contracts):
    text, gold = contracts[0]
    (category, words), _ = next(iter(gold.items()))
    (result,), _ = drive([document(text)], plan(), settings(SCHEMA), say({"category": category, "text": words}))
    assert json.loads(result.chunks[0].output)["items"] == [{"category": category, "text": words}]
