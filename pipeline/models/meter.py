"""How many tokens of a model a request takes: what is expected, and the bound that a reservation rests on.

A tokenizer that splits text into at most its bytes never makes more tokens than there are UTF-8 bytes: that is the
bound until a kind of text has its first answer, and from then on the worst ratio that was seen, with a margin. It holds
for requests of the sizes that were seen: the instructions before a text are in a language of their own, so that the
ratio of a longer one can be another, and what a request is longer than the longest counted is bounded by its bytes.
"""

from __future__ import annotations

import math

from docreduce.models.calibration import Calibration, Top
from docreduce.models.catalogue import Ratio
from docreduce.models.prices import bound
from docreduce.models.routes import Route
from docreduce.models.text_kinds import text_kind
from docreduce.values import FRAME_TOKENS, Request, Usage

__all__ = ["Meter", "kind_of"]

MARGIN = 1.25
"""Over the worst ratio that was seen of a kind of text; and where the tokenizer is the model's, what a service adds of
its own around messages and tools."""
OWN_TOKENS = 200
"""What a service adds to a request whatever its size: a template, the frame of a tool."""
LEAST_SAMPLE = 50
"""Tokens of ours below which a request's own frame hides its ratio."""


class Meter:
    """Measures requests for one route, and learns from what its service counted. `exact`: the tokenizer is the
    model's own; `embedded`: nothing is added to what we count."""

    def __init__(self, route: Route, calibration: Calibration, *, exact: bool, embedded: bool = False) -> None:
        self.route = route
        self.calibration = calibration
        self.exact = exact
        self.embedded = embedded
        self._tops = dict(calibration.tops)

    def at(self, route: Route) -> Meter:
        """The same measure of the same model, asked and billed another way; what one learns the other knows."""
        other = Meter(route, self.calibration, exact=self.exact, embedded=self.embedded)
        other._tops = self._tops
        return other

    def ratio(self, kind: str) -> Ratio:
        """The model's tokens for one of ours in texts of that kind; `high` is what is expected at most."""
        return self.calibration.ratio(kind)

    def known(self, kind: str) -> bool:
        """Whether such a text has been counted by the service, so that its bound is a narrow one."""
        return self.exact or self.embedded or kind in self._tops

    def input_bound(self, request: Request, kind: str) -> int:
        """Input tokens that the service cannot count more of."""
        if self.embedded:
            return request.tokens
        by_bytes = self._bytes(request)
        top = Top(1.0, request.tokens, request.tokens) if self.exact else self._tops.get(kind)
        if top is None:
            return by_bytes + OWN_TOKENS
        alike = min(max(request.tokens, top.least), top.most)
        beyond = max(0, request.tokens - top.most) / max(1, request.tokens) * by_bytes
        return min(by_bytes, math.ceil((alike * top.ratio + beyond) * MARGIN)) + OWN_TOKENS

    def cost_bound(self, request: Request, kind: str) -> int:
        """Pico-dollars that no attempt at `request` can pass."""
        route = self.route
        return bound(
            route.pricing,
            self.input_bound(request, kind),
            route.max_output_tokens,
            service_tier=route.service_tier,
            batch=route.batch,
            # Anthropic's services keep what is marked, and nothing else.
            written_for="none" if route.written_for == "5m" and not route.caches(request) else route.written_for,
        )

    def expected_tokens(self, request: Request, kind: str) -> int:
        """Tokens to set aside of the account's rate: input, and the answer at its limit until such were seen."""
        ratio = self.ratio(kind)
        answer = self.route.max_output_tokens
        if self.calibration.knows(request):
            answer = math.ceil(self.calibration.output(request, ratio, answer).mean.high)
        return math.ceil(request.tokens * ratio.expected) + answer

    def learn(self, request: Request, kind: str, usage: Usage) -> None:
        """Take in what the service counted of `request`."""
        if request.tokens >= LEAST_SAMPLE and usage.input_tokens > 0:
            self._tops[kind] = Top.of(request.tokens, usage.input_tokens).with_(self._tops.get(kind))

    @staticmethod
    def _bytes(request: Request) -> int:
        said = sum(len(message.content.encode()) for message in request.messages)
        schema = 0 if request.schema is None else len(request.schema.encode())
        return said + schema + FRAME_TOKENS * (len(request.messages) + 2)


def kind_of(request: Request) -> str:
    """The kind of the text that `request` is about."""
    return text_kind(request.messages[-1].content)
