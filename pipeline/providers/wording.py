"""The words and codes by which services say why they refuse. Pure.

Sources: the error pages of OpenAI, Anthropic, Google, Groq, Mistral, DeepSeek, OpenRouter, Together, xAI, Azure and
ModelsLab; the sources of vLLM, llama.cpp, TGI, Ollama, LM Studio and LiteLLM; public reports of their wording.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property

from docreduce.providers.dialect import Call
from docreduce.providers.faults import Fault
from docreduce.providers.manner import OPTIONAL
from docreduce.values import Cause

__all__ = ["Said", "by_status", "by_terms"]


def _causes(words: Mapping[Cause, str]) -> dict[str, Cause]:
    return {word: cause for cause, listed in words.items() for word in listed.split()}


# Values of code, type, status and reason fields that say more than the HTTP status beside them.
_EXACT = _causes(
    {
        Cause.CONTEXT_OVERFLOW: "context_length_exceeded exceed_context_size_error request_too_large"
        " string_above_max_length context_window_exceeded contextwindowexceedederror",
        Cause.CREDIT: "insufficient_quota insufficient_user_quota billing_hard_limit_reached billing_not_active"
        " billing_error"
        " insufficient_credits insufficient_balance budget_exceeded billing_disabled payment_required"
        " exceeded_current_quota_error arrearage",
        Cause.AUTHENTICATION: "invalid_api_key authentication_error api_key_invalid unauthenticated auth_error"
        " invalid_authentication_error access_token_expired token_not_found_in_db",
        Cause.PERMISSION: "permission_error permission_denied account_deactivated access_terminated"
        " unsupported_country_region_territory service_disabled consumer_suspended api_key_service_blocked",
        Cause.UNKNOWN_MODEL: "model_not_found model_decommissioned model_not_available deploymentnotfound"
        " model_terms_required",
        Cause.CONTENT_FILTER: "content_filter content_policy_violation responsibleaipolicyviolation"
        " data_inspection_failed",
        # Groq: what the model wrote could not be read; the same request may do better
        Cause.BAD_BODY: "tool_use_failed json_validate_failed failed_generation output_parse_failed",
    }
)
# The same fields where they say no more than a status would: for errors inside HTTP 200.
_GENERAL = _causes(
    {
        Cause.AUTHENTICATION: "401 407",  # 407: a proxy's
        Cause.CREDIT: "402",
        Cause.PERMISSION: "403",
        Cause.UNKNOWN_MODEL: "404 405 410 not_found_error not_found",  # 405: no endpoint for this; 410: retired
        Cause.TIMEOUT: "408 504 524 timeout_error deadline_exceeded",  # 524 is Cloudflare's: the origin took too long
        # 499: a proxy's, whose own call was given up
        Cause.SERVER_ERROR: "409 499 api_error server_error internal internal_error internal_server_error",
        Cause.CONTEXT_OVERFLOW: "413",
        # 529 is Anthropic's, 498 Groq's
        Cause.OVERLOADED: "425 498 503 529 overloaded_error engine_overloaded_error unavailable_error unavailable",
        # throttling: DashScope, Bedrock
        Cause.RATE_LIMITED: "429 rate_limit_exceeded rate_limit_error resource_exhausted throttling"
        " throttling_rate_quota throttling_burst_rate throttling_exception",
    }
)

# Words, where services put nothing else that tells. Only phrases of the services' own, never single words.
_WORDS = tuple(
    (cause, re.compile(pattern, re.IGNORECASE))
    for cause, pattern in (
        # Gemini, xAI, ModelsLab: a bad key with 400 or inside a 200
        (
            Cause.AUTHENTICATION,
            r"(?:invalid|incorrect|expired|missing|no|wrong|bad|provide an) api.?key"
            r"|api.?key[^.\n]{0,40}?(?:not (?:valid|found|exist|recogni[sz]ed)|invalid|incorrect|expired"
            r"|disabled|revoked|wrong|无效|错误|过期)|pass a valid api.?key"
            r"|missing (?:\w+ ){0,3}?auth(?:entication|orization)\b|authorization header|no (?:\w+ )?auth credentials"
            r"|api-key header (?:is )?(?:required|missing)"
            r"|resolve authentication|authentication token is not|令牌(?:无效|已过期)|无效的令牌|身份验证失败|鉴权失败"
            r"|(?:incorrect|invalid) (?:key|token) provided|invalid authentication|authentication fail|login fail"
            r"|access token (?:is )?(?:invalid|expired)|(?:invalid|expired) access token"
            r"|\A(?:unauthori[sz]ed\b|(?:bad|invalid|expired) (?:access |auth )?(?:token|credentials)\W*\Z)",
        ),
        # Anthropic, with 400: "Your credit balance is too low", "reached your specified API usage limits"
        (
            Cause.CREDIT,
            r"credit balance is too low|reached your specified api usage limits|budget has been exceeded"
            r"|insufficient (?:\w+ )?(?:credits?|balance|funds|quota)|(?:spend|spending|billing) limit|out of credits"
            r"|balance (?:is |was )?(?:too low|insufficient|not enough|exhausted)|not enough (?:credits?|balance|funds)"
            r"|余额不足|欠费|额度(?:不足|已用尽)|预扣费额度失败|spending cap|add a payment method"
            r"|\blimit:? 0\b(?![.,]\d)"  # none at all: no wait helps
            r"|credits? (?:are |is |have been )?(?:depleted|exhausted|used up)|\b(?:0|zero) credits remaining"
            r"|(?:no|any) credits (?:left|yet|remaining)",
        ),
        (
            Cause.PERMISSION,
            r"(?:organization|account|project) (?:has been|is|was) (?:disabled|deactivated|suspended)"
            r"|(?:plan|subscription) does not (?:include|allow)"
            r"|\bIP(?: address)? (?:is )?not (?:allowed|in)\b|location is not supported"
            r"|country, region,? or territory not supported",
        ),
        # OpenRouter, with 400: "x is not a valid model ID"; ModelsLab, DeepSeek, Mistral in kin words
        (
            Cause.UNKNOWN_MODEL,
            r"not a valid model|no model named|no healthy deployments for this model|模型不存在"
            r"|\Amodel (?:is )?not supported\W*\Z"
            r"|(?:requested|specified) model [^.]{0,80}?not (?:supported|available)"
            r"|(?:unknown|invalid|no such) model\b|no models? loaded"
            r"|model [^.]{0,100}?(?:not (?:found|exist)|does not exist|decommissioned|has been (?:deprecated|retired)"
            r"|is not available(?! (?:right now|at th|now|current|tempor)))"
            r"|not a chat model|does not support chat completions?|is not found for api version",
        ),
        (
            Cause.CONTENT_FILTER,
            # DeepSeek: "Content Exists Risk"; GLM, Qwen: "unsafe or sensitive content"; xAI: "violates usage …"
            r"content (?:management )?policy|flagged (?:by|for|as)|content exists risk|violates? (?:\w+ )?usage"
            r"|(?:violates?|against) (?:\w+ ){0,2}(?:guidelines|polic(?:y|ies))|prohibited content|\bguardrails?\b"
            r"|blocked by (?:\w+ ){0,2}policy|(?:moderation|safety) (?:policy|system|filter)"
            r"|(?:sensitive|inappropriate|unsafe) content|敏感内容",
        ),
        # OpenRouter: "free-models-per-day"; Groq: "tokens per day (TPD)"; Cloudflare: "daily free allocation"
        (
            Cause.QUOTA,
            r"per[- ](?:day|week|month)\b|\b(?:daily|weekly|monthly) (?:\w+ ){0,3}?"
            r"(?:limit|quota|request|token|allocation|allowance)|\b(?:TPD|RPD)\b"
            r"|(?:limit|quota)s? (?:for|of) (?:today|the day)|again tomorrow|(?:in|per|every) 24 ?h",
        ),
        (
            Cause.RATE_LIMITED,
            r"rate limit|too many requests|queued requests allowed|exceeded your current quota"
            r"|(?:requests?|qps|rpm|tpm|concurrency) limit (?:is |was |has been )?(?:reached|exceeded)",
        ),
        # Groq and others without its code: what the model wrote could not be read
        (
            Cause.BAD_BODY,
            r"could not parse (?:the )?model"
            r"|failed to (?:call a function|generate (?:valid )?json|parse (?:the )?(?:tool|function|model|generated))"
            r"|(?:model|generat\w+|produced|output)[^.\n]{0,40}(?:invalid|malformed) (?:tool|function|json)",
        ),
        # With 400, where the service means itself
        (
            Cause.SERVER_ERROR,
            r"(?:try|retry)[^.\n]{0,20} later|please retry|(?:is|server) busy|overloaded|temporar(?:y|ily)"
            r"|稍后再?[试重]|系统繁忙|had an error while|bad response status|provider returned error\W*\Z"
            r"|unexpected error|(?:is|currently|still) loading|no deployments|internal (?:server )?error"
            r"|upstream|\btimed out\b|connection (?:reset|terminat|refused|closed|abort)",
        ),
    )
)
_OVERFLOW = re.compile(
    # OpenAI, OpenRouter, vLLM, xAI: "maximum context length is …", "maximum prompt length is …", "max_model_len"
    r"maximum (?:context|model|input|prompt|sequence) (?:length|size|window)|max_model_len|max(?:imum)?_?context"
    r"|max_(?:input|prompt|seq(?:uence)?)_(?:len|tokens)|\bn_ctx\b|max(?:imum)? input (?:characters|chars|tokens)"
    # Anthropic: "prompt is too long: 210000 tokens > 200000 maximum"; others: "input is too long"
    r"|(?:prompt|input|request|context|message|text|content|document)s?(?: tokens?| length)? (?:is|are|was)? ?"
    r"(?:too|to) (?:long|large)|(?:body|payload|request|message) size (?:exceeds|is larger)"
    r"|(?:输入|文本|内容|请求|上下文|[Pp]rompt)[^,。]{0,12}(?:过长|超长|超[出过][^,。]{0,8}(?:长度|限制))"
    # Anthropic: "input length and `max_tokens` exceed context limit"; llama.cpp: "exceeds the available context size"
    r"|exceed(?:s|ed|ing)? (?:the |this |your |its )?(?:\w+'s )?(?:model'?s? )?(?:available |maximum |max )?"
    r"(?:context|input token|prompt)|context (?:length|window|size|limit) (?:is |was |has been )?exceed"
    r"|tokens?\b[^.\n]{0,40}(?:exceeds?|more than) (?:the )?(?:model'?s? )?max(?:imum)?\b(?! output)"
    r"|\b(?:prompt|input|context)\b[^.\n]{0,40} exceeds? \d"
    r"|ContextWindowExceeded|reduce (?:the length of|(?:your|the) (?:prompt|input))"
    r"|(?:input|prompt) (?:length )?exceeds|too many (?:input |prompt )?tokens"
    r"|(?:long|great)er than the (?:model|maximum|context)"
    # Together, TGI: "`inputs` tokens + `max_new_tokens` must be <= 8193"; Moonshot, Qwen, LM Studio in their own
    r"|tokens`? \+ `?max_(?:new_)?tokens|model token limit|range of input length|context the overflows",
    re.IGNORECASE,
)
_LENGTH = re.compile(r"(?<![a-z])(?:tokens?|length|context|prompt|inputs?|sequence)\b", re.IGNORECASE)
_BEYOND = re.compile(
    r"exceed|must (?:be|have) (?:<=|less|at most|smaller|in\b|within|between)|too (?:long|large|many)"
    r"|(?:larger|longer|greater|more) than| > |limit|only \d",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"(?<![\w.])\d{1,3}(?:[,_]\d{3})+(?![\w.]\d)|(?<![\w.-])\d+(?!\w|\.\d)")
_TOO_LARGE_A_CALL = re.compile(r"request too large|limit:? (\d+),? requested:? (\d+)", re.IGNORECASE)

_NO = (
    r"(?:unsupported|deprecated|disallowed|disabled|enabled only|forbidden|mutually exclusive"
    r"|unexpected|unrecognized|unknown|extra (?:inputs|fields)|incompatible"
    r"|invalid|unavailable|no endpoints found|not (?:be |currently |yet )?(?:supported?|permitted|allowed|enabled"
    r"|available|accept(?:ed)?|implemented|recognized|valid)"
    r"|(?:does|do|is|are)(?:n't| not) (?:currently )?(?:support|allow|accept|permit|enabled)"
    r"|cannot (?:both )?be|can(?:not|'t) (?:use|specify|set|be)|(?:must|may) not\b|no longer\b"
    r"|only (?:the )?(?:default|auto|supports?|be )|\brange\b|requires?|should be|must be)"
)


def _near(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?:{name})[^\n]{{0,120}}?{_NO}|{_NO}[^\n]{{0,120}}?(?:{name})", re.IGNORECASE)


_FORM_NAME = (
    r"response_?format|json.?schema|json.?(?:object|mode)|structured.?output|output_(?:config|format)|guided_|grammar"
    r"|\btools?\b|\bfunctions?\b|function.?call|tool.?use|\bschemas?\b"
)
_SYSTEM_NAME = (
    r"[`'\"]?system[`'\"]? (?:role|message|prompt|instruction)|developer (?:role|message|instruction)"
    r"|[`'\"]system[`'\"]|\brole:? system\b|messages?\W{0,3}\d*\W{0,3}roles?\b"
)
_ALTERNATE = re.compile(  # chat templates of Mistral and Gemma, also behind a server's own 500
    r"roles? must alternate|only user and assistant|first message must be|must (?:start|begin) with (?:a |the )?.?user"
    r"|system (?:role|messages?) (?:is |are )?not supported",
    re.IGNORECASE,
)
_BOTH = re.compile(r"temperature[^.]{0,40}top_p|top_p[^.]{0,40}temperature", re.IGNORECASE)
_STREAM_ONLY = re.compile(
    r"only supports? (?:the )?stream|stream(?:ing)?(?: mode)? (?:is required|must be (?:set to )?true)"
    r"|requires? streaming|non-?stream(?:ing)? (?:\w+ )?(?:is|are) not|for non-?streaming|非流式",
    re.IGNORECASE,
)
_MANNERS = (
    *((key, _near(rf"(?<!\w){key}(?!\w)")) for key in sorted(OPTIONAL - {"stream"})),
    ("prompt_cache_options", _near("prompt_cache_breakpoint")),
    ("stream", _near(r"\bstream(?:ing)?\b(?!_)")),
    ("limit_key", re.compile(r"max_completion_tokens", re.IGNORECASE)),
    ("limit_key", _near(r"(?<!\w)max_tokens(?!\w)")),
    ("tool_choice", _near(r"tool_?choice")),
    ("system", _near(_SYSTEM_NAME)),
    ("form", _near(_FORM_NAME)),
)
_FEATURE = r"response_?format|\btools?\b|json_schema|function.?calling|structured.?output"
_BROKEN_FORM = re.compile(
    # llama.cpp without templates, or with a grammar it cannot read, with 500; Anthropic's and Gemini's grammars
    rf"requires --jinja|grammar compilation|pars(?:e|ing) grammar"
    rf"|(?:schemas?|grammar)\b[^\n]{{0,120}}?too (?:complex|many|deep|large)"
    rf"|(?:{_FEATURE})(?!.?choice)[^\n]{{0,40}}?{_NO}|not support(?:ed)?\b[^\n]{{0,40}}?(?:{_FEATURE})",
    re.IGNORECASE,
)
_FORM_KEYS = frozenset(
    {"response_format", "tools", "functions", "function_call", "output_config", "output_format", "text", "guided_json"}
)
_OUTPUT = re.compile(r"max_tokens|max_completion_tokens|(?:output|completion|maximum) tokens", re.IGNORECASE)
_TOO_MUCH = re.compile(
    r"too (?:large|high|big)|at most| > |maximum|less than|range|exceed|greater|<=|\bbetween\b|up to|more than"
    r"|\[ ?[01], ?\d+ ?\]",
    re.IGNORECASE,
)


def by_terms(terms: Sequence[str]) -> Cause | None:
    """The cause that code and type fields name exactly."""
    if any("perday" in term for term in terms):  # Google's quota ids
        return Cause.QUOTA
    return next((_EXACT[term] for term in terms if term in _EXACT), None)


def by_status(status: int | None, terms: Sequence[str]) -> Cause | None:
    """The cause that a status, or a term that means one, stands for."""
    return next((_GENERAL[term] for term in (str(status), *terms) if term in _GENERAL), None)


class Said:
    """The words of an error, read against the request that it may echo."""

    def __init__(self, text: str, call: Call) -> None:
        self._text = text
        self._call = call

    @cached_property
    def _asked(self) -> str:
        return _flat(self._call.asked)

    def matches(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """The first match of `pattern` that does not stand in the request too."""
        return next((found for found in pattern.finditer(self._text) if _flat(found[0]) not in self._asked), None)

    def cause(self, among: Collection[Cause]) -> Cause | None:
        """The first of the causes `among` that the words speak of."""
        return next((cause for cause, pattern in _WORDS if cause in among and self.matches(pattern)), None)

    def overflows(self) -> bool:
        """Whether they say that the text is too long."""
        return self.matches(_OVERFLOW) is not None

    def counts_too_many(self) -> bool:
        """Whether they are about length and give two counts, of which one is the limit."""
        if not (self.matches(_LENGTH) and self.matches(_BEYOND)):
            return False
        return len({int(re.sub("[,_]", "", number)) for number in _NUMBER.findall(self._text)} - {0, 1}) >= 2

    def is_too_large_a_call(self) -> bool:
        """Whether, beside a limit on rates, they say that this call alone is past it: no wait makes it fit."""
        found = self.matches(_TOO_LARGE_A_CALL)
        return found is not None and (found[1] is None or int(found[2]) > int(found[1]))

    def breaks(self) -> str | None:
        """What of the manner a server breaks on, so that it calls the refusal its own failure."""
        if _in_use("system", self._call) and self.matches(_ALTERNATE):
            return "system"
        return "form" if self.matches(_BROKEN_FORM) else None

    def manner(self, fault: Fault) -> tuple[str, int | None] | None:
        """What of the manner of the call is refused, and the most tokens of an answer where that is it."""
        call = self._call
        if most := self._most_output(fault):
            return "most_output", most
        if "stream" not in call.sent.keys and self.matches(_STREAM_ONLY):
            return "streamed", None
        if self.matches(_BOTH) and "top_p" in call.sent.keys:
            return "top_p", None
        if (what := _about(fault.param, self._text)) and _in_use(what, call):
            return what, None
        if (what := self.breaks()) and _in_use(what, call):
            return what, None
        return next(((w, None) for w, pattern in _MANNERS if _in_use(w, call) and self.matches(pattern)), None)

    def _most_output(self, fault: Fault) -> int | None:
        about = fault.param in ("max_tokens", "max_completion_tokens") or self.matches(_OUTPUT)
        if not about or not self.matches(_TOO_MUCH):
            return None
        text = self._text.replace(self._call.route.model, "")
        stated = [int(re.sub("[,_]", "", number)) for number in _NUMBER.findall(text)]
        return max((number for number in stated if 1 < number < self._call.limit), default=None)


def _about(param: str, said: str) -> str | None:
    """What of a manner the field `param` names."""
    head = re.split(r"[.\[]", param.lower())[0]
    if head in OPTIONAL or head == "tool_choice":
        return head
    if head == "max_tokens":
        return "limit_key"
    if head == "system" or (head == "messages" and ("role" in param or "system" in said.lower())):
        return "system"
    return "form" if head in _FORM_KEYS else None


def _in_use(what: str, call: Call) -> bool:
    if what == "form":
        return call.sent.form not in (None, "prompt")
    if what == "system":
        return not call.manner.folded
    return ("max_tokens" if what == "limit_key" else what) in call.sent.keys


def _flat(text: str) -> str:
    return " ".join(text.lower().split())
