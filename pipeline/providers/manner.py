"""How a route is asked now, and how that changes.

Services differ in what they take, and no list of names says which takes what. So a route begins with the best manner
of asking, and every refusal that is about the manner takes one step: a form of structured output gives way to the
next one, a parameter is left out or renamed, the system's words go to the head of the user's. Steps are never taken
back and there are few, so asking again ends. A step is taken once: calls that were in flight when it was taken are
refused alike, and find that the manner they were sent in is not the route's any more. The refused call is asked
again at once and counts as no attempt; where no step is left, it fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from docreduce.models.routes import Route
    from docreduce.providers.dialect import Dialect
    from docreduce.settings import StructuredOutput

__all__ = ["OPTIONAL", "TIER", "Asking", "Manner"]

TIER = "service_tier"

OPTIONAL = frozenset(
    {
        *("temperature", "top_p", "frequency_penalty", "presence_penalty", "stream_options", TIER, "stream"),
        *("prompt_cache_options", "prompt_cache_key", "cache_control"),
    }
)
"""Keys of a body that can be left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """`forms` of structured output, the one in use first, never empty. `without`: keys that are not sent;
    `most_output`: tokens of an answer that may be asked for at most; `folded`: the system speaks in the user's turn;
    `choice`: how strongly the tool is asked for; `strict`: the schema is compiled for a service that enforces it;
    `streamed`: an answer is asked for as a stream, whatever the job says."""

    forms: tuple[StructuredOutput, ...] = ("prompt",)
    without: frozenset[str] = frozenset()
    limit_key: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    most_output: int | None = None
    folded: bool = False
    choice: Literal["named", "required", "auto"] = "named"
    strict: bool = False
    streamed: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class Asking:
    """The state of one route: the manner in use, the forms that brought an answer, what is to be said to the user."""

    manner: Manner
    proven: set[StructuredOutput] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    name: str = "this model"

    @classmethod
    def begin(cls, route: Route, dialect: Dialect, *, strict: bool) -> Asking:
        """The best manner for `route`; notes say which of its parameters the dialect does not have."""
        forms = (*dict.fromkeys(route.forms), "prompt")
        stated = route.sampling.stated()
        notes = [
            f"{name} is no parameter of {dialect.name}: not sent" for name in stated if name not in dialect.parameters
        ]
        if stated.get("temperature", 0) > dialect.top_temperature:
            notes.append(f"temperature is at most {dialect.top_temperature:g} in {dialect.name}: that is sent")
        manner = Manner(forms=forms[: forms.index("prompt") + 1], strict=strict)
        return cls(manner=manner, notes=notes, name=route.model)

    def refused(self, what: str, sent: Manner, most: int | None = None) -> bool:
        """Take the step that answers a refusal of `what`; False where there is none.

        `what`: a key of `OPTIONAL`, "form", "tool_choice", "system", "limit_key", "streamed", or "most_output" with
        `most`."""
        if what in OPTIONAL:
            step, note = _left_out(what, sent)
        else:
            step, note = _STEPS[what](sent, most)
        if step is None:
            return False
        ours = [name for name in _FIELDS if getattr(step, name) != getattr(sent, name)]
        if what in OPTIONAL:
            if what not in self.manner.without:
                self.manner = replace(self.manner, without=self.manner.without | {what})
                self.notes.append(f"{self.name}: {note}")
        elif all(getattr(self.manner, name) == getattr(sent, name) for name in ours):
            self.manner = replace(self.manner, **{name: getattr(step, name) for name in ours})
            self.notes.append(f"{self.name}: {note}")
        return True


_FIELDS = ("forms", "limit_key", "most_output", "folded", "choice", "strict", "streamed")

_Step = tuple[Manner | None, str]


def _left_out(key: str, sent: Manner) -> _Step:
    if key in sent.without:
        return None, ""
    return replace(sent, without=sent.without | {key}), f"{key} is refused: not sent any more"


def _next_form(sent: Manner, _: int | None) -> _Step:
    """A strict schema is first sent as it is, then the next form is tried."""
    if sent.strict and sent.forms[0] == "json_schema":
        return replace(sent, strict=False), "a strict schema is refused: sent as it is"
    if len(sent.forms) == 1:
        return None, ""
    used, following = sent.forms[:2]
    return replace(sent, forms=sent.forms[1:]), f"structured output by {used} is refused: {following} from now on"


def _weaker_choice(sent: Manner, most: int | None) -> _Step:
    if sent.choice == "named":
        return replace(sent, choice="required"), "a named tool_choice is refused: any tool is required"
    if sent.choice == "required":
        return replace(sent, choice="auto"), "tool_choice is refused: not sent any more"
    return _next_form(sent, most)


def _folded(sent: Manner, _: int | None) -> _Step:
    if sent.folded:
        return None, ""
    return replace(sent, folded=True), "the system role is refused: its words go before the user's"


def _renamed(sent: Manner, _: int | None) -> _Step:
    if sent.limit_key == "max_completion_tokens":
        return None, ""
    return replace(sent, limit_key="max_completion_tokens"), "max_tokens is refused: max_completion_tokens is sent"


def _streamed(sent: Manner, _: int | None) -> _Step:
    if sent.streamed:
        return None, ""
    return replace(sent, streamed=True), "answers are given as streams only: asked for as such"


def _capped(sent: Manner, most: int | None) -> _Step:
    if most is None or most < 1 or (sent.most_output is not None and most >= sent.most_output):
        return None, ""
    return replace(sent, most_output=most), f"model.max_output_tokens is more than it gives: {most} are asked for"


_STEPS: dict[str, Callable[[Manner, int | None], _Step]] = {
    "form": _next_form,
    "tool_choice": _weaker_choice,
    "system": _folded,
    "limit_key": _renamed,
    "streamed": _streamed,
    "most_output": _capped,
}
