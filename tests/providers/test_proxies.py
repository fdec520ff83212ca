"""What stands between: proxies that refuse, cannot be reached, or do not work here. What never left is free."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from urllib.parse import unquote

import pytest
from docreduce.values import Answer, Cause, Decision, Rejection, Reply
from docreduce.values.errors import JobError
from loopback import ask, connect, response, sends, serve

PASSWORD = "Hunter2-secret%21%C3%A9"
FAR = "https://llm.example.invalid/v1"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-0123456789abcdef")


async def _through(status: int, monkeypatch: pytest.MonkeyPatch, base_url: str, variable: str) -> tuple[Reply, str]:
    async with serve(sends(response(b"<html>blocked</html>", status, "text/html"), close=True)) as proxy:
        monkeypatch.setenv(variable, f"http://jdoe:{PASSWORD}@127.0.0.1:{proxy.port}")
        provider = connect(base_url, {"allow_insecure_base_url": True})
        got = await provider.send(ask(), timeout_s=5)
        await provider.aclose()
        given = proxy.requests[0][1]["proxy-authorization"]
        assert base64.b64decode(given.removeprefix("Basic ")) == b"jdoe:" + unquote(PASSWORD).encode()
        return got, proxy.requests[0][0]


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize(
    ("status", "cause", "decision"),
    [
        (407, Cause.AUTHENTICATION, Decision.STOP),
        (403, Cause.PERMISSION, Decision.STOP),
        (502, Cause.CONNECTION, Decision.RETRY),
        (503, Cause.CONNECTION, Decision.RETRY),
    ],
)
def test_a_tunnel_that_is_refused_is_free_and_names_the_proxy_without_its_password(
    status: int, cause: Cause, decision: Decision, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    got, line = asyncio.run(_through(status, monkeypatch, FAR, variable))
    assert line == "CONNECT llm.example.invalid:443 HTTP/1.1"
    assert isinstance(got, Rejection)
    assert (got.cause, got.decision, got.billing) == (cause, decision, "free")
    assert "proxy http://127.0.0.1:" in got.message
    assert str(status) in got.message
    assert "Hunter2" not in repr(got)
    assert "jdoe" not in repr(got)


def test_a_proxy_that_asks_for_its_password_without_a_tunnel_stops_too(monkeypatch: pytest.MonkeyPatch) -> None:
    got, _ = asyncio.run(_through(407, monkeypatch, "http://llm.example.invalid/v1", "HTTP_PROXY"))
    assert isinstance(got, Rejection)
    assert (got.cause, got.decision, got.billing) == (Cause.AUTHENTICATION, Decision.STOP, "free")
    assert "proxy http://127.0.0.1:" in got.message
    assert "Hunter2" not in repr(got)


def test_a_proxy_that_cannot_be_reached_is_free_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> Reply:
        async with serve(sends(b"")) as gone:
            port = gone.port
        monkeypatch.setenv("HTTPS_PROXY", f"http://jdoe:{PASSWORD}@127.0.0.1:{port}")
        provider = connect(FAR)
        got = await provider.send(ask(), timeout_s=5)
        await provider.aclose()
        return got

    got = asyncio.run(work())
    assert isinstance(got, Rejection)
    assert (got.cause, got.decision, got.billing) == (Cause.CONNECTION, Decision.RETRY, "free")
    assert "proxy http://127.0.0.1:" in got.message
    assert "Hunter2" not in repr(got)


async def _close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")


async def _garble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")


async def _break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    await reader.read(100)


async def _wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.mark.parametrize("script", [_close, _garble, _break_off, _wait])
def test_whatever_goes_wrong_before_the_tunnel_stands_is_free(
    script: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> Reply:
        ended = asyncio.Event()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await script(reader, writer)
            writer.close()
            await writer.wait_closed()
            ended.set()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        provider = connect(FAR)
        got = await provider.send(ask(), timeout_s=1)
        await provider.aclose()
        server.close()
        await asyncio.wait_for(ended.wait(), 5)
        return got

    got = asyncio.run(work())
    assert isinstance(got, Rejection)
    assert (got.decision, got.billing) == (Decision.RETRY, "free")


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks4", "gopher"])
def test_a_kind_of_proxy_that_does_not_work_here_is_refused_at_once(
    scheme: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, f"{scheme}://jdoe:{PASSWORD}@10.0.0.1:1080")
    with pytest.raises(JobError) as caught:
        connect(FAR)
    assert f"{scheme}://10.0.0.1:1080" in caught.value.message
    assert "Hunter2" not in caught.value.message


@pytest.mark.parametrize(
    "rest", [":notaport", ":99999", "/", "10.0.0.1:3128/path@10.0.0.2:1", "[::1", "10.0.0.1:12#Hunter2@10.0.0.2:3128"]
)
def test_a_proxy_that_is_no_address_is_refused_at_once(rest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://jdoe:{PASSWORD}@{rest}")
    with pytest.raises(JobError) as caught:
        connect(FAR)
    assert "proxy" in caught.value.message
    assert "Hunter2" not in str(caught.value)


@pytest.mark.parametrize("password", ["a/Hunter2", "12/Hunter2", "a?Hunter2", "12#Hunter2"])
def test_a_password_that_cuts_the_address_in_two_is_refused_and_not_shown(
    password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://jdoe:{password}@10.0.0.1:3128")
    with pytest.raises(JobError, match=r"10\.0\.0\.1:3128") as caught:
        connect(FAR)
    assert "Hunter2" not in str(caught.value)
    assert "jdoe" not in str(caught.value)


def test_all_proxy_gives_way_to_the_proxy_of_a_scheme_and_to_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://10.0.0.1:1080")
    monkeypatch.setenv("HTTPS_PROXY", "10.0.0.2:3128")
    assert connect(FAR)._proxy == "http://10.0.0.2:3128"
    monkeypatch.delenv("HTTPS_PROXY")
    monkeypatch.setenv("NO_PROXY", ".example.invalid")
    assert connect(FAR)._proxy is None


def test_loopback_needs_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://10.0.0.1:1080")

    async def work() -> Reply:
        body = {"choices": [{"message": {"content": "Yes."}, "finish_reason": "stop"}]}
        async with serve(sends(response(body))) as seen:
            provider = connect(f"http://127.0.0.1:{seen.port}/v1")
            got = await provider.send(ask(), timeout_s=5)
            await provider.aclose()
            return got

    assert isinstance(asyncio.run(work()), Answer)
