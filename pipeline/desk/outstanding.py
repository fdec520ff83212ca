"""What is out in provider batches: asked in an earlier turn or an earlier run, reserved, and not to be asked again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from docreduce.desk.ledger import Out
from docreduce.desk.lines import Line, Ticket
from docreduce.models.meter import kind_of
from docreduce.values import Message, Request

__all__ = ["Outstanding"]


class Outstanding:
    """The tickets that are out; `pusd` is what they have reserved together."""

    def __init__(self) -> None:
        self.pusd = 0
        self._out: dict[int, Out] = {}
        self._asking: dict[tuple[str, str, str], list[int]] = {}  # more than one where two batches ask the same
        self._adopted: dict[int, Out] = {}  # taken up in this run and in flight, by ticket

    def __len__(self) -> int:
        return len(self._out)

    def __contains__(self, ticket: Ticket) -> bool:
        """Whether the ticket was taken up from a batch and is in flight."""
        return ticket.id in self._adopted

    def put(self, each: Out) -> None:
        """It is out, and nobody here waits for it."""
        self._out[each.id] = each
        self._asking.setdefault(_place(each), []).append(each.id)
        self.pusd += each.bound_pusd

    def put_back(self, ticket: Ticket) -> None:
        """It stays out; its reservation stands for a later run to take up."""
        each = self._adopted.pop(ticket.id, None)
        self.put(each or _out_of(ticket))

    def find(self, key: str, request: Request, lines: Sequence[Line]) -> Ticket | None:
        """The ticket under which the request is out already; None where it is not."""
        for line in lines if self._out else ():
            route = line.route
            asking = self._asking.get((route.endpoint, route.setting, key)) if route.batch else None
            if asking:
                return _ticket_of(self._out[asking[0]], request, line, kind_of(request))
        return None

    def claim(self, ticket: Ticket) -> Out:
        """It is in flight from now on."""
        each = self._out.pop(ticket.id)
        self._asking[_place(each)].remove(each.id)
        self._adopted[each.id] = each
        self.pusd -= each.bound_pusd
        return each

    def settle(self, ticket: Ticket) -> None:
        """Its reply came."""
        self._adopted.pop(ticket.id, None)

    def orphans(self, lines: Sequence[Line]) -> Iterator[Ticket]:
        """Tickets that no document asked for, each with a stand-in for its request."""
        for each in self._out.values():
            line = _line_of(each, lines)
            if line is not None:
                text = Message("user", " " * each.bytes)
                stand_in = Request(messages=(text,), stage=each.stage, tokens=each.tokens, chunk=each.chunk)
                yield _ticket_of(each, stand_in, line, kind="")


def _place(each: Out) -> tuple[str, str, str]:
    return each.endpoint, each.setting, each.key


def _line_of(each: Out, lines: Iterable[Line]) -> Line | None:
    of = (each.endpoint, each.setting)
    return next((line for line in lines if line.route.batch and (line.route.endpoint, line.route.setting) == of), None)


def _ticket_of(each: Out, request: Request, line: Line, kind: str) -> Ticket:
    return Ticket(
        id=each.id,
        key=each.key,
        request=request,
        document_id=each.document_id,
        route=line.route,
        attempt=each.attempt,
        bound_pusd=each.bound_pusd,
        tokens=each.tokens,
        kind=kind,
        started_at=each.started_at,
    )


def _out_of(ticket: Ticket) -> Out:
    return Out(
        id=ticket.id,
        document_id=ticket.document_id,
        key=ticket.key,
        stage=ticket.request.stage,
        chunk=ticket.request.chunk,
        attempt=ticket.attempt,
        started_at=ticket.started_at,
        endpoint=ticket.route.endpoint,
        model=ticket.route.model,
        bound_pusd=ticket.bound_pusd,
        token="",
        setting=ticket.route.setting,
        tokens=ticket.request.tokens,
        bytes=0,
    )
