"""Fragments at the borders of chunks."""

from __future__ import annotations

from docreduce.kinds.extract.merge import Found
from docreduce.kinds.extract.seams import absorb_fragments, seams
from docreduce.text.alignment import Quote
from docreduce.values import Span

TEXT = "0123456789" * 30


def item(chunk, span, at, **more):
    quote = Quote(TEXT[at.start : at.end], at, "exact")
    return Found(chunk=chunk, span=span, ordinal=0, values={"f": quote.text, **more}, quotes={"f": (quote,)})


def test_what_reaches_a_border_from_both_sides_is_looked_at_again():
    left, right = Span(0, 100), Span(100, 200)
    found = [item(0, left, Span(90, 100)), item(1, right, Span(100, 110))]
    assert seams(found, [left, right], TEXT, context_chars=20, whole_items=True) == [Span(70, 130)]
    assert not seams(found[:1], [left, right], TEXT, context_chars=20, whole_items=True)
    assert not seams([item(0, left, Span(90, 99)), found[1]], [left, right], TEXT, context_chars=20, whole_items=True)


def test_items_that_differ_in_another_field_are_not_one_thing_cut_in_two():
    left, right = Span(0, 100), Span(100, 200)
    found = [item(0, left, Span(90, 100), k="a"), item(1, right, Span(100, 110), k="b")]
    assert not seams(found, [left, right], TEXT, context_chars=20, whole_items=True)
    assert seams(found, [left, right], TEXT, context_chars=20, whole_items=False)


def test_windows_that_meet_are_one():
    spans = [Span(0, 100), Span(100, 130), Span(130, 300)]
    found = [item(0, spans[0], Span(90, 100)), item(1, spans[1], Span(100, 130)), item(2, spans[2], Span(130, 140))]
    assert seams(found, spans, TEXT, context_chars=5, whole_items=True) == [Span(85, 145)]


def test_a_fragment_in_an_overlap_goes_into_the_whole_that_the_other_chunk_saw():
    whole = item(0, Span(0, 120), Span(90, 115))
    fragment = item(1, Span(100, 200), Span(100, 115), k="more")
    (kept,) = absorb_fragments([fragment, whole], TEXT, whole_items=True)
    assert kept.values == {"f": TEXT[90:115], "k": "more"}
    assert kept.spans("f") == [Span(90, 115)]
    field_gone = absorb_fragments([fragment, whole], TEXT, whole_items=False)
    assert [one.values for one in field_gone] == [whole.values, {"k": "more"}]


def test_what_stands_whole_at_a_border_and_in_no_wider_find_stays():
    found = [item(0, Span(0, 100), Span(90, 100)), item(1, Span(100, 200), Span(100, 110))]
    assert absorb_fragments(found, TEXT, whole_items=True) == found


def test_of_the_second_look_only_what_takes_fragments_in_is_kept():
    found = [
        item(0, Span(0, 100), Span(90, 100)),
        item(1, Span(100, 200), Span(100, 110)),
        item(0, Span(0, 100), Span(5, 9)),
    ]
    window = Span(70, 130)
    look = [item(0, window, Span(90, 110)), item(0, window, Span(75, 80)), item(0, window, Span(70, 74))]
    kept = absorb_fragments(found, TEXT, whole_items=True, second_look=look)
    assert sorted(one.spans("f")[0].start for one in kept) == [5, 90]
    assert {one.values["f"] for one in kept} == {TEXT[5:9], TEXT[90:110]}
