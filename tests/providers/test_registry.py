"""Opening a provider: which key, which address, and what is refused before anything is sent."""

from __future__ import annotations

import subprocess
import sys

import pytest
from docreduce.providers import endpoint, enforces_schemas, open_provider
from docreduce.providers.http import HttpProvider
from docreduce.settings import EndpointSettings
from docreduce.values.errors import JobError
from loopback import route

DEFAULT_KEY_ENV = {
    "modelslab": "MODELSLAB_API_KEY",
    "openai": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
}
KEY = "sk-secret-0123456789abcdef"


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DEFAULT_KEY_ENV.values():
        monkeypatch.delenv(name, raising=False)


def opened(**fields: object) -> HttpProvider:
    settings = EndpointSettings(**fields)
    provider = open_provider(route(dialect=settings.provider), settings)
    assert isinstance(provider, HttpProvider)
    return provider


@pytest.mark.parametrize("provider", DEFAULT_KEY_ENV)
def test_a_missing_key_names_the_variable_it_is_looked_for_in(provider: str) -> None:
    with pytest.raises(JobError, match=DEFAULT_KEY_ENV[provider]):
        opened(provider=provider)
    with pytest.raises(JobError, match="MY_KEY"):
        opened(provider=provider, api_key_env="MY_KEY")


@pytest.mark.parametrize("provider", DEFAULT_KEY_ENV)
def test_the_key_is_read_from_the_variable_the_job_names(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", f" {KEY}\n")
    got = opened(provider=provider, api_key_env="MY_KEY")
    assert got.name == provider
    assert got._key.reveal() == KEY


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/v1", "http://localhost:8080", "http://[::1]:8080/v1"])
def test_loopback_needs_neither_https_nor_a_key(url: str) -> None:
    assert opened(provider="openai", base_url=url)._key.reveal() == ""


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/v1",
        "http://127.0.0.1.example.com/v1",
        "http://10.0.0.1/v1",
        "http://localhost.example.com",
        "ftp://example.com",
        "example.com/v1",
        "https://user:secret@example.com/v1",
        "https://",
        "https://exa\x00mple.com/v1",
        "https://[::1/v1",
        "http://127.0.0.1:99999999/v1",
    ],
)
def test_an_address_a_key_must_not_travel_to_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(JobError, match="base_url"):
        opened(provider="openai", base_url=url)


def test_a_proxy_that_is_none_is_a_word_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("HTTPS_PROXY", "gopher://10.0.0.1:70")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(JobError, match="proxy"):
        opened(provider="openai")


def test_plain_http_elsewhere_needs_the_explicit_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert opened(provider="openai", base_url="http://10.0.0.1/v1", allow_insecure_base_url=True)


def test_a_key_that_would_break_a_header_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a\nevil: header")
    with pytest.raises(JobError) as caught:
        opened(provider="openai")
    assert "evil" not in str(caught.value)


def test_the_registry_imports_no_client_before_one_is_opened() -> None:
    code = "import sys, docreduce.providers; sys.exit(any(m in sys.modules for m in ('aiohttp', 'httpx', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://api.example.com/v1/", "https://api.example.com/v1"),
        ("https://api.example.com/v1/chat/completions", "https://api.example.com/v1"),
        ("https://api.example.com/v1/models", "https://api.example.com/v1"),
        ("https://api.example.com", "https://api.example.com"),
        (
            "https://x.openai.azure.com/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21",
            "https://x.openai.azure.com/openai/deployments/my-gpt?api-version=2024-10-21",
        ),
        ("https://api.example.com/v1?tenant=a", "https://api.example.com/v1?tenant=a"),
        (None, "https://api.openai.com/v1"),
    ],
)
def test_an_address_is_cut_back_to_the_root_of_the_api_and_keeps_its_query(url: str | None, address: str) -> None:
    assert endpoint(EndpointSettings(provider="openai", base_url=url)) == address


def test_the_embedded_answers_have_no_address() -> None:
    assert endpoint(EndpointSettings(provider="offline")) == "offline"
    assert not enforces_schemas(EndpointSettings(provider="offline"))


@pytest.mark.parametrize(
    ("provider", "url", "enforced"),
    [
        ("openai", None, True),
        ("openai", "https://x.openai.azure.com/openai/v1?api-version=preview", True),
        ("openai", "http://127.0.0.1:8080/v1", False),
        ("openai", "https://api.openai.com.example.com/v1", False),
        ("anthropic", None, True),
        ("anthropic", "https://openrouter.ai/api", False),
        ("modelslab", None, False),
    ],
)
def test_a_service_is_trusted_with_a_schema_by_its_host_alone(provider: str, url: str | None, enforced: bool) -> None:
    settings = EndpointSettings(provider=provider, base_url=url)  # type: ignore[arg-type]
    assert enforces_schemas(settings) == enforced


@pytest.mark.parametrize(("setting", "dialect"), [("anthropic", "modelslab"), (None, "anthropic")])
def test_modelslab_speaks_both_of_its_forms_with_its_own_address_and_key(
    setting: str | None, dialect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELSLAB_API_KEY", KEY)
    settings = EndpointSettings(provider="modelslab", dialect=setting)  # type: ignore[arg-type]
    provider = open_provider(route(dialect=dialect), settings)
    assert isinstance(provider, HttpProvider)
    assert str(provider._url(provider._dialect.chat_path)) == "https://modelslab.com/api/v7/llm/v1/messages"
    assert provider._key.reveal() == KEY


def test_a_variable_of_an_odd_name_that_is_there_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("azure_openai_key_eastus2", KEY)
    assert opened(provider="openai", api_key_env="azure_openai_key_eastus2")._key.reveal() == KEY
