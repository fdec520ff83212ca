"""What is out in provider batches: each holds its own money until it is booked."""

from __future__ import annotations

from dataclasses import replace

from desks import line, request, route
from docreduce.desk import Out, Ticket
from docreduce.desk.outstanding import Outstanding

ASKED = replace(route(), batch=True)
FIRST = Out(
    id=1,
    document_id="d",
    key="k",
    stage="map",
    chunk=0,
    attempt=1,
    started_at=0.0,
    endpoint=ASKED.endpoint,
    model="m",
    bound_pusd=5,
    token="a",
    setting=ASKED.setting,
    tokens=10,
    bytes=40,
)


def test_a_request_that_is_out_twice_holds_its_money_twice_and_both_are_taken_up() -> None:
    out, lines = Outstanding(), [line(ASKED)]
    out.put(FIRST)
    out.put(replace(FIRST, id=2, token="b", bound_pusd=7))
    assert (len(out), out.pusd) == (2, 12)
    asked = out.find("k", request(), lines)
    assert isinstance(asked, Ticket)
    assert out.claim(asked).token == "a"
    (orphan,) = out.orphans(lines)
    assert out.claim(orphan).token == "b"
    assert (len(out), out.pusd, out.find("k", request(), lines)) == (0, 0, None)
    out.put_back(asked)
    assert (len(out), out.pusd) == (1, 5)
