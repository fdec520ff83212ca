"""Text that UTF-8 can say, and that JSON takes for text."""

from __future__ import annotations

import orjson
from docreduce.values import Cause
from docreduce.values.unicode import well_formed


def test_lone_surrogates_are_replaced_and_pairs_joined() -> None:
    assert well_formed({"a\ud800": ["\ud83d\ude00", 1, None]}) == {"a\ufffd": ["😀", 1, None]}


def test_the_names_of_an_enumeration_become_plain_text_that_json_takes_for_keys() -> None:
    """The manifest counts by cause."""
    assert orjson.dumps(well_formed({Cause.STOPPED: 2})) == b'{"%s":2}' % Cause.STOPPED.value.encode()
