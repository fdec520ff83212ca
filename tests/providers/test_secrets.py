"""A key in whatever spelling a service echoes it, and places where a key does not belong."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from docreduce.providers import endpoint, open_provider
from docreduce.providers.secrets import ApiKey
from docreduce.settings import EndpointSettings
from docreduce.values.errors import JobError
from hypothesis import given
from hypothesis import strategies as st
from loopback import route

KEY = "sk-proj-Ab3/x+Q9&z<T=7'wE_r-5YtUiOpLkJhGfDsA1"
PROSE = "The party agrees to pay the rent on the first day of each month, and the landlord keeps the roof. "
SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in a URL": quote,
    "in a URL, every sign": lambda key: quote(key, safe=""),
    "in a form": quote_plus,
    "in a URL, every byte": lambda key: "".join(f"%{byte:02x}" for byte in key.encode()),
    "in HTML": html.escape,
    "in HTML, every sign": lambda key: "".join(f"&#{ord(char)};" for char in key),
    "in JSON": lambda key: json.dumps(key)[1:-1],
    "in JSON, every sign": lambda key: "".join(f"\\u{ord(char):04x}" for char in key),
    "in JSON, slashes escaped": lambda key: key.replace("/", "\\/"),
    "in hex": lambda key: key.encode().hex(),
    "backwards": lambda key: key[::-1],
    "in base64": lambda key: base64.b64encode(key.encode()).decode(),
    "in base64 with a user before it": lambda key: base64.b64encode(f"u:{key}".encode()).decode(),
    "in base64 after a word": lambda key: base64.b64encode(f"Bearer {key}".encode()).decode(),
    "in a URL in a URL": lambda key: quote(quote(key, safe=""), safe=""),
    "in a URL in HTML": lambda key: html.escape(quote(key, safe="")),
    "in a URL with small letters": lambda key: re.sub("%..", lambda found: found[0].lower(), quote(key, safe="")),
    "in JSON by Go": lambda key: re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", key),
    "in JSON by .NET": lambda key: re.sub("[<>&'+]", lambda found: f"\\u{ord(found[0]):04X}", key),
    "in base64 for URLs": lambda key: base64.urlsafe_b64encode(f"api:{key}".encode()).decode(),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_key_is_found_in_every_spelling_and_the_words_around_it_stay(spelling: str) -> None:
    echo = SPELLINGS[spelling](KEY)
    for redact in (ApiKey(KEY).redact, ApiKey(KEY).redact_answer):
        safe = redact(f"{PROSE}Key: {echo} is not valid. {PROSE}")
        assert safe.startswith(f"{PROSE}Key: ")
        assert safe.endswith(f" is not valid. {PROSE}")
        assert "[key]" in safe
        assert not any(echo[at : at + 15] in safe for at in range(len(echo) - 14))


@given(start=st.integers(0, len(KEY) - 15), length=st.integers(15, len(KEY)))
def test_a_part_of_a_key_of_fifteen_characters_is_found(start: int, length: int) -> None:
    part = KEY[start : start + length]
    assert ApiKey(KEY).redact(f"(…{part})") == "(…[key])"


def test_text_without_the_key_stays_as_it_is() -> None:
    assert ApiKey(KEY).redact(PROSE) == PROSE
    assert ApiKey("").redact(PROSE) == PROSE
    assert ApiKey("EMPTY").redact("EMPTY") == "EMPTY"
    assert ApiKey(KEY).redact("keys begin with sk-proj-") == "keys begin with sk-proj-"


@pytest.mark.parametrize(
    "url",
    [
        f"https://api.example.com/v1?key={KEY}",
        "https://api.example.com/v1?api_key=abc",
        "https://api.example.com/v1?access_token=abc",
        "https://api.example.com/v1?v=1&sig=abc",
        "https://api.example.com/v1?x=AIzaSyA1b2C3d4E5f6G7h8",
        f"https://user:{quote(KEY, safe='')}@api.example.com/v1",
        "https://sk-secret-0123456789@api.example.com/v1",
    ],
)
def test_a_secret_in_an_address_is_refused_and_not_shown(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    settings = EndpointSettings(provider="openai", base_url=url)
    for opens in (lambda: open_provider(route(), settings), lambda: endpoint(settings)):
        with pytest.raises(JobError) as caught:
            opens()
        said = f"{caught.value.message} {caught.value.hint}"
        assert "base_url" in said
        assert not any(part in said for part in (KEY, "abc", "AIza", "0123456789"))


@pytest.mark.parametrize("name", [KEY, "gsk_a1b2c3d4e5f6g7h8i9j0", "sk-1", "a b", "0" * 40])
def test_a_key_in_place_of_the_name_of_its_variable_is_refused_and_not_shown(name: str) -> None:
    with pytest.raises(JobError) as caught:
        open_provider(route(), EndpointSettings(provider="openai", api_key_env=name))
    assert "api_key_env" in caught.value.message
    assert name not in f"{caught.value.message} {caught.value.hint}"
