"""An answer while it is read, whole or event by event: its text, its thoughts, how it ended. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import orjson
from docreduce.providers.dialect import mapping
from docreduce.values import FinishReason

__all__ = ["FINISH", "Draft", "ending", "last_word", "looping", "loops", "without_thoughts"]


def _endings(words: Mapping[FinishReason, str]) -> dict[str, FinishReason]:
    return {word: finish for finish, listed in words.items() for word in listed.split()}


FINISH = _endings(
    {
        # OpenAI, Anthropic; eos: servers that pass the model's own word on; eos_token: TGI; complete: Cohere; normal:
        # ERNIE; endoftext: AI21; eos_found, stop_string_found: LM Studio
        "stop": "stop end_turn stop_sequence eos eos_token complete normal endoftext eos_found stop_string_found",
        # model_length: Mistral; pause_turn: a turn that was to go on is no whole answer
        # token_limit: watsonx; limit: llama.cpp; the last two: LM Studio
        "length": "length max_tokens max_output_tokens model_length model_context_window_exceeded pause_turn"
        " token_limit limit max_length max_new_tokens max_predicted_tokens_reached context_length_reached",
        "tool_calls": "tool_calls function_call tool_use",
        # sensitive: GLM; the others: Gemini; guardrail_intervened: Bedrock
        "content_filter": "content_filter refusal sensitive safety recitation blocklist prohibited_content spii"
        " guardrail_intervened content_filtered error_toxic image_safety",
    }
)
"""Why an answer ended, by the services' words for it: they mean the same wherever two have the same. Any other word
(insufficient_system_resource, network_error, abort, cancelled, time_limit, …) is the end of no whole answer."""

_CUT = frozenset({"length", "max", "maximum", "limit", "exceeded", "truncated", "incomplete", "cut", "cutoff"})
_NOT_CUT = frozenset({"time", "timeout", "deadline", "rate", "quota", "cost", "budget", "retries", "turns", "steps"})
_WITHHELD = frozenset(
    {"filter", "filtered", "safety", "unsafe", "blocked", "prohibited", "guardrail", "policy", "moderation", "toxic"}
)
_SPELLING = re.compile(r"\A.*\.|\A(?i:finish_?reason_)|[^A-Za-z0-9]+|(?<=[a-z])(?=[A-Z])")


def ending(word: str) -> FinishReason:
    """What a service's `word` for the end means, in any spelling: MAX_TOKENS, FinishReason.STOP, contentFilter. One
    that is not on the list may still say by its parts that the answer was cut or withheld, but not that it is whole."""
    plain = _plain(word)
    if plain in FINISH or plain in _BROKEN:
        return FINISH.get(plain, "error")
    parts = set(plain.split("_"))
    if parts & _CUT and not parts & _NOT_CUT:
        return "length"
    return "content_filter" if parts & _WITHHELD else "error"


def last_word(said: str | None, native: str | None) -> str | None:
    """Of a router's word for the end and the model's own beside it, the one that counts: the model's where it is known
    to end no whole answer and the router's says it does."""
    if not said or not native or ending(said) not in _WHOLE:
        return said
    plain = _plain(native)
    return native if plain in _BROKEN or FINISH.get(plain, "stop") not in _WHOLE else said


_WHOLE = frozenset({"stop", "tool_calls"})
# Gemini: malformed_…, other, language; DeepSeek: insufficient_system_resource; GLM: network_error; vLLM: abort
_BROKEN = frozenset(
    {
        *("error", "failed", "abort", "aborted", "cancelled", "canceled", "network_error", "time_limit", "timeout"),
        *("insufficient_system_resource", "malformed_function_call", "malformed_response", "unexpected_tool_call"),
        *("other", "language"),
    }
)


def _plain(word: str) -> str:
    return "_".join(part for part in _SPELLING.split(word) if part).lower()


_PROBE_CHARS = 24
_GROWING = 3
"""Pieces of an answer that each begin with the one before by no chance; `-`, `--`, `---` are short."""
_MIN_REPEATS = 6
_MIN_LOOP_CHARS = 300
_MIN_JSON_LOOP_CHARS = 2000  # rows that are truly equal occur in tables
_MAX_CANDIDATES = 32

_THOUGHT = (
    r"(?P<t>(?:[a-z]{2,12}[:_]?)?think|(?:ant)?thinking|(?:inner_)?thoughts?|reasoning|reflection|scratchpad|internal_monologue)"
    r"(?: [^<>\n]{0,80})?"
)
_MARKS = (
    (rf"<{_THOUGHT}>", r"</(?P=t)>"),
    (r"\[THINK(?:ING)?\]", r"\[/THINK(?:ING)?\]"),
    (r"<\|think\|>", r"<\|/think\|>"),
    (r"<ctrl94>thought", r"<ctrl95>"),
    ("◁think▷", "◁/think▷"),
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),
    (r"<\|channel>thought", r"<channel\|>"),
    (r"<\|thinking\|>", r"<\|/thinking\|>"),
    (r"<unused94>thought", r"<unused95>"),
    (r"Here(?: is|'s) my thought process:", r"Here(?: is|'s) my response:"),
)
"""How DeepSeek R1 and Qwen (also ByteDance's <seed:think>, Meituan's <longcat_think>, MiniMax's <mm:think>), Magistral,
Kimi, Sky-T1, Command A, Gemma, MedGemma and Granite begin and end their thoughts."""
_BLOCK = re.compile(
    rf"(?:\A\s*|(?<=\n)[^\S\n]*)(?:{'|'.join(f'{begin}.*?(?:{end}|{chr(92)}Z)' for begin, end in _MARKS)})",
    re.DOTALL | re.IGNORECASE,
)
"""A block of thoughts at the head of a line; one without end is all thought."""
_CLOSING = re.compile(
    r"(?<![`'\"])(?:</(?:(?:[a-z]{2,12}[:_]?)?think|thinking|thought)>|\[/THINK(?:ING)?\]|◁/think▷|<｜end▁of▁thinking｜>)(?![`'\"])",
    re.IGNORECASE,
)
_OPENING = re.compile("|".join(begin for begin, _ in _MARKS), re.IGNORECASE)
_MARK = re.compile(rf"{_OPENING.pattern}|{_CLOSING.pattern}", re.IGNORECASE)
_GRANITE = "my thought process:"
_FRAME = re.compile(r"<\|(?:begin_of_solution|end_of_solution|START_RESPONSE|END_RESPONSE|begin_of_box|end_of_box)\|>")
"""What some of them put around the answer then."""
_ANSWER = re.compile(r"\s*<(answer|final|final_answer|response)>(.*)</\1>\s*", re.DOTALL | re.IGNORECASE)
_BARE = re.compile(
    r"\A\s*(?:analysis|commentary).*?assistantfinal"
    r"|\A(?!\s*[\[{]).*?(?<=[^\s`'\"(])assistantfinal(?=[^\s`'\".,;:)])",
    re.DOTALL,
)
"""Harmony where a server has dropped its marks and left the names of the channels, or but the last: no blank stands
around it then, as it does where prose speaks of it."""
_BARE_HEAD = re.compile(r"\A\s*(?:analysis|commentary)(?=[^\W\d_a-z])")
"""The same where no answer came: the name of the channel, and the first thought's capital with no blank between."""
_HARMONY = re.compile(
    r"<\|channel\|>final(?: ?<\|constrain\|>\w+)?<\|message\|>(.*?)(?:<\|(?:end|return)\|>|\Z)", re.DOTALL
)
_TURN_BEGINS = re.compile(
    r"\s*(?:<\|im_start\|>assistant\n?|<\|assistant\|>|<\|start_header_id\|>assistant<\|end_header_id\|>"
    r"|<\|begin_of_box\|>)\s*"
)
_TURN_ENDS = (
    *("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|endoftext|>", "<|end_of_box|>"),
    *("<end_of_turn>", "<｜end▁of▁sentence｜>"),
)
_NEXT_TURN = re.compile(
    rf"(?:{'|'.join(map(re.escape, _TURN_ENDS))})\s*(?:<\|im_start\|>|<start_of_turn>|<\|start_header_id\|>)"
)
"""Marks around a turn that a server with another template leaves in the text, and the next turn, which is not its."""


@dataclass(slots=True, kw_only=True)
class Draft:
    """`calls`: tool-call arguments by the call's index; `thoughts`: characters of reasoning, which are no part of the
    answer but progress; `error`: what a choice says instead of an answer."""

    content: list[str] = field(default_factory=list)
    calls: dict[int, list[str]] = field(default_factory=dict)
    finish: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    refusal: list[str] = field(default_factory=list)
    id: str | None = None
    tier: str | None = None
    found: bool = False  # something in the shape of an answer was there
    done: bool = False  # the stream said so itself
    chars: int = 0  # of content and arguments together
    thoughts: int = 0
    choice: object = None  # the index of the one that is read; several are asked for by nobody

    def chosen(self, index: object) -> bool:
        """Whether the choice of this index is the one that is read: the first that came, and no other."""
        index = 0 if index is None else index
        if self.choice is None:
            self.choice = index
        return index == self.choice

    def restart(self) -> None:
        """Forget content and calls: the whole answer comes next."""
        self.content, self.calls, self.chars = [], {}, 0

    def add(self, text: object) -> None:
        """Add content; what is no string is none."""
        if isinstance(text, str):
            self.content.append(text)
            self.chars += len(text)

    def add_call(self, index: object, arguments: object) -> None:
        """Add to the arguments of a tool call: a piece of JSON text, or all of it parsed."""
        if isinstance(arguments, (dict, list)):
            arguments = orjson.dumps(arguments).decode()
        if isinstance(arguments, str):
            self.calls.setdefault(index if isinstance(index, int) else 0, []).append(arguments)
            self.chars += len(arguments)

    def add_thought(self, *texts: object) -> None:
        """Count reasoning; the longest text counts where a service says the same under two names."""
        self.thoughts += max((len(text) for text in texts if isinstance(text, str)), default=0)

    def add_refusal(self, text: object) -> None:
        """Add to the words with which the model or the service declines."""
        if isinstance(text, str) and text:
            self.refusal.append(text)

    def add_usage(self, stated: object) -> None:
        """Add what is stated of the usage; a later word counts."""
        self.usage.update({name: value for name, value in mapping(stated).items() if value is not None})

    def unroll(self) -> None:
        """Keep the last piece of content alone where each one holds all of the one before: some services stream so."""
        parts = [part for part in self.content if part]
        grows = all(later.startswith(earlier) for earlier, later in pairwise(parts))
        if len(set(parts)) >= _GROWING and grows and len(parts[-1]) >= _PROBE_CHARS:
            self.chars -= sum(map(len, parts[:-1]))
            self.content = parts[-1:]

    @property
    def called(self) -> bool:
        """Whether a tool was called."""
        return any(any(parts) for parts in self.calls.values())

    @property
    def text(self) -> str:
        """The tool call's arguments where there is one, otherwise the content, without thoughts."""
        if not self.called:
            return without_thoughts("".join(self.content))
        calls = [_unquoted("".join(parts)) for _, parts in sorted(self.calls.items())]
        return calls[0] if len(calls) == 1 else _joined(calls)

    @property
    def progress(self) -> int:
        """What grows while an answer comes, and does not by pings."""
        return self.chars + self.thoughts + sum(map(len, self.refusal))


def without_thoughts(text: str) -> str:
    """`text` without the model's thoughts: blocks of tags, all before a lone closing tag, Harmony's other channels."""
    if "<|channel|>" in text:
        final = _HARMONY.findall(text)
        return final[-1].strip() if final else ""
    if "assistantfinal" in text and (bare := _BARE.match(text)):
        return text[bare.end() :].strip()
    if _BARE_HEAD.match(text):
        return ""
    signed = any(sign in text for sign in "<[◁") or _GRANITE in text  # most texts are not, and answers are long
    if signed:
        text = _without_marks(text)
    if not signed or not _MARK.search(text):
        return text
    rest = _FRAME.sub("", _BLOCK.sub("", text))
    # The opening tag can stand in the template; before JSON there are no thoughts, and prose may speak of tags.
    closing = None if rest.lstrip().startswith(("{", "[{")) else _CLOSING.search(rest)
    if closing and not _OPENING.search(rest, 0, closing.start()):
        rest = rest[closing.end() :]
    if rest == text:
        return text
    framed = _ANSWER.fullmatch(rest)
    return (framed[2] if framed else rest).strip()


def _without_marks(text: str) -> str:
    """`text` without the marks around a turn; where text is struck out, `</s>` is no mark."""
    begins, after = _TURN_BEGINS.match(text), _NEXT_TURN.search(text)
    begin, end = begins.end() if begins else 0, after.start() if after else len(text)
    marks = _TURN_ENDS if "<s>" in text else (*_TURN_ENDS, "</s>")
    least = end
    while end > begin:
        mark = next((mark for mark in marks if text.endswith(mark, begin, end)), None)
        if mark is None and not text[end - 1].isspace():
            break
        end -= len(mark) if mark else 1
        least = end if mark else least
    return text[begin:end].strip() if begin or after or least < len(text) else text


def loops(text: str, *, structured: bool) -> bool:
    """`looping`, with more patience for JSON, where equal rows may be true."""
    return looping(text, min_chars=_MIN_JSON_LOOP_CHARS if structured else _MIN_LOOP_CHARS)


def looping(text: str, *, min_chars: int = _MIN_LOOP_CHARS) -> bool:
    """Whether the end of `text` is one passage at least six times over, in `min_chars` characters or more.

    The passage may be cut at the very end. Its length is found by where the last words stood before."""
    probe = text[-_PROBE_CHARS:]
    if len(text) < min_chars:
        return False
    at = len(text) - len(probe)
    for _ in range(_MAX_CANDIDATES):
        at = text.rfind(probe, 0, at + len(probe) - 1)
        period = len(text) - len(probe) - at
        if at < 0 or period * _MIN_REPEATS > len(text):
            return False
        size = max(period * _MIN_REPEATS, min_chars)
        if text[-size:-period] == text[-size + period :]:
            return True
    return False


def _unquoted(arguments: str) -> str:
    """`arguments` that were made JSON twice, made so once."""
    try:
        inner = orjson.loads(arguments) if arguments.startswith('"') else arguments
    except ValueError:
        return arguments
    return inner if isinstance(inner, str) else arguments


def _joined(calls: Sequence[str]) -> str:
    """Several calls of the one tool as one: their `items` in order. Unreadable ones stay as they are, for repair."""
    items: list[Any] = []
    for call in calls:
        try:
            items.extend(orjson.loads(call)["items"])
        except (ValueError, TypeError, KeyError):
            return "\n".join(calls)
    return orjson.dumps({"items": items}).decode()
