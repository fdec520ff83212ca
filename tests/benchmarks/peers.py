"""Other clients at the fan-out's work, run by fanout.py in an interpreter that has them installed.

python peers.py                         the names of those that can be imported
python peers.py NAME URL IN_FLIGHT RPM TPM SIZES    send a body of each size in SIZES (JSON), print the cost as JSON

Each is set up as its documentation shows, with as many retries as ours has in all. Nothing of ours is imported.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

FRAME_BYTES = 150
ATTEMPTS = 10
Send = Callable[[str], Awaitable[bool]]


def prompt(index: int, size: int) -> str:
    return f"ITEM-{index:08d} " + "x" * (size - FRAME_BYTES - 14)


async def gathered(send: Send, sizes: Sequence[int], in_flight: int) -> int:
    """Send all, at most `in_flight` at a time; how many were lost."""
    slots = asyncio.Semaphore(in_flight)

    async def one(index: int, size: int) -> bool:
        async with slots:
            return await send(prompt(index, size))

    return (await asyncio.gather(*(one(*item) for item in enumerate(sizes)))).count(False)


async def httpx_tenacity(url: str, in_flight: int, _rpm: int, _tpm: int, sizes: Sequence[int]) -> int:
    import httpx
    import tenacity

    limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:

        @tenacity.retry(
            wait=tenacity.wait_random_exponential(max=60),
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            retry=tenacity.retry_if_exception_type(httpx.HTTPError),
            retry_error_callback=lambda _: False,
        )
        async def send(text: str) -> bool:
            body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], "max_tokens": 1000}
            (await client.post("/v1/chat/completions", json=body)).raise_for_status()
            return True

        return await gathered(send, sizes, in_flight)


async def openai_sdk(url: str, in_flight: int, _rpm: int, _tpm: int, sizes: Sequence[int]) -> int:
    import openai

    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=ATTEMPTS, timeout=120) as client:

        async def send(text: str) -> bool:
            try:
                await client.chat.completions.create(
                    model="gpt-4o-mini", messages=[{"role": "user", "content": text}], max_tokens=1000
                )
            except openai.OpenAIError:
                return False
            return True

        return await gathered(send, sizes, in_flight)


async def lm_deluge(url: str, in_flight: int, rpm: int, tpm: int, sizes: Sequence[int]) -> int:
    from lm_deluge import LLMClient
    from lm_deluge.models import register_model

    os.environ["REFEREE_KEY"] = "none"
    register_model(id="referee", name="gpt-4o-mini", api_base=f"{url}/v1", api_key_env_var="REFEREE_KEY")
    client = LLMClient(
        "referee",
        max_requests_per_minute=rpm,
        max_tokens_per_minute=tpm,
        max_concurrent_requests=in_flight,
        max_attempts=ATTEMPTS,
        request_timeout=120,
    )
    replies = await client.process_prompts_async(
        [prompt(index, size) for index, size in enumerate(sizes)], show_progress=False
    )
    return sum(reply is None or not reply.completion for reply in replies)


PEERS = {
    "httpx+tenacity": (httpx_tenacity, ("httpx", "tenacity")),
    "openai-sdk": (openai_sdk, ("openai",)),
    "lm-deluge": (lm_deluge, ("lm_deluge",)),
}


def main() -> None:
    if len(sys.argv) == 1:
        found = (name for name, (_, needs) in PEERS.items() if all(map(importlib.util.find_spec, needs)))
        print(*found)
        return
    name, url, in_flight, rpm, tpm, sizes = sys.argv[1:]
    run, needs = PEERS[name]
    for module in needs:
        importlib.import_module(module)
    before = time.process_time()
    lost = asyncio.run(run(url, int(in_flight), int(rpm), int(tpm), json.loads(sizes)))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"lost": lost, "cpu_s": time.process_time() - before, "peak_mb": peak_mb}))


if __name__ == "__main__":
    main()
