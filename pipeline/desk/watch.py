"""What no run goes on with: bills above their bound, and answers that break off one after another."""

from __future__ import annotations

from dataclasses import dataclass

from docreduce.desk.booking import misstated, stated
from docreduce.desk.lines import Ticket
from docreduce.values import Answer, Attempt, Cause, Reply

__all__ = ["Watch"]

FIRST_ANSWERS = 20
"""Answers that a job is judged by."""
CUT_SHARE = 0.2
"""Of them, those that may break off: a fifth is what the plan's halvings and shorter second answers make up for."""


@dataclass(slots=True)
class Watch:
    """Judges each reply once, in the order they are booked."""

    answers: int = 0
    cut: int = 0

    def look(self, ticket: Ticket, reply: Reply, attempt: Attempt, *, capped: bool) -> tuple[Cause, str] | None:
        """Why the run is to be halted now; None where it goes on. `capped`: there is a cap to keep."""
        return (self._bill(ticket, reply, attempt) if capped else None) or self._cuts(ticket, reply)

    @staticmethod
    def _bill(ticket: Ticket, reply: Reply, attempt: Attempt) -> tuple[Cause, str] | None:
        if reply.usage is None:
            return None
        if attempt.billing == "charged" and attempt.cost_pusd > ticket.bound_pusd:
            bill = f"{attempt.cost_pusd / 1e12:.6f} USD for a call that was bounded by {ticket.bound_pusd / 1e12:.6f}"
            return Cause.BUDGET, f"the service billed {bill}: budget.max_cost_usd cannot be kept there"
        if attempt.billing == "unknown" and misstated(ticket, reply) == "too much":
            words = f"the service stated {stated(reply.usage)}, too much to be true: booked unknown at the bound"
            return Cause.BUDGET, f"{words}; what it charges is not known, and budget.max_cost_usd cannot be kept there"
        return None

    def _cuts(self, ticket: Ticket, reply: Reply) -> tuple[Cause, str] | None:
        """A job whose first answers break off again and again would pay for all of them in vain."""
        if not isinstance(reply, Answer) or self.answers >= FIRST_ANSWERS:
            return None
        self.answers += 1
        self.cut += reply.finish_reason == "length"
        if self.answers < FIRST_ANSWERS or self.cut <= CUT_SHARE * FIRST_ANSWERS:
            return None
        return Cause.CUT, (
            f"{self.cut} of the first {FIRST_ANSWERS} answers broke off at {ticket.route.max_output_tokens} "
            "tokens: raise model.max_output_tokens, or ask for less (fewer words or fields, smaller chunks)"
        )
