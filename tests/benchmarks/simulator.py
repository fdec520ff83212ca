"""What a request costs the simulator in CPU, over real sockets: `python tests/benchmarks/simulator.py`.

The raw layer is HTTP alone (an unknown path); "bytes" parses the request, keeps the books and answers; "o200k" also
counts tokens. Every body is new to the server."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import orjson

CASES = [
    # path, body bytes, requests, options
    ("/raw", 500_000, 800, ["--tokenizer", "bytes"]),
    ("/raw", 4_000, 16_000, ["--tokenizer", "bytes"]),
    ("/v1/chat/completions", 500_000, 800, ["--tokenizer", "bytes"]),
    ("/v1/chat/completions", 4_000, 8_000, ["--tokenizer", "bytes"]),
    ("/v1/chat/completions", 500_000, 160, ["--tokenizer", "o200k_base"]),
    ("/v1/chat/completions", 4_000, 4_000, ["--tokenizer", "o200k_base"]),
]
CONNECTIONS = 8


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def send(port: int, path: str, size: int, requests: int, name: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    text = ("The quick brown fox jumps over the lazy dog. " * (size // 45 + 1))[:size]
    for n in range(requests):
        message = {"role": "user", "content": f"{name} {n} {text}"}
        body = orjson.dumps({"model": "m", "max_tokens": 100, "messages": [message]})
        head = b"POST %b HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % (path.encode(), len(body))
        writer.write(head + body)
        head = await reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"(?i)content-length: (\d+)", head)
        assert found is not None, head
        await reader.readexactly(int(found[1]))
    writer.close()


async def measure(path: str, size: int, requests: int, options: list[str]) -> None:
    command = [sys.executable, "-m", "docreduce.simulator", "--output-words", "50", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline().rsplit(":", 1)[1])
        await send(port, path, size, 4, "warm")
        before = cpu_s(server.pid)
        each = requests // CONNECTIONS
        await asyncio.gather(*(send(port, path, size, each, f"client {n}") for n in range(CONNECTIONS)))
        used_s = cpu_s(server.pid) - before
        server.terminate()
    print(f"{path:22} {size:>8,} {options[1]:>11} {requests / used_s:>10,.0f} {used_s / requests * 1000:>9.3f}")


if __name__ == "__main__":
    print(f"{'path':22} {'bytes':>8} {'tokenizer':>11} {'per CPU s':>10} {'CPU ms':>9}")
    for case in CASES:
        asyncio.run(measure(*case))
