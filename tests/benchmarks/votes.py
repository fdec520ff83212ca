"""What a vote of several models is worth: stored answers of three real systems, merged by `extract.vote`.

    python tests/benchmarks/votes.py [--data DIR]

Each document of DocuBench is one run of the command on its own schema; a server on loopback gives each of the three
models of the vote the answer that this system gave. The score is DocuBench's own, of each system alone and of the
merged record, in each order in which the models can be named. Left out is a document none of whose answers fits its
schema. Documents are read as files; one without text (a picture) is a text of its name.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import permutations
from pathlib import Path
from statistics import fmean
from threading import Thread
from typing import Any

import jsonschema_rs
import polars as pl
from places import DATA

COMMAND = [sys.executable, "-m", "docreduce"]
SYSTEMS = ("claude", "gemini", "gpt")


@contextmanager
def answering(folder: Path) -> Iterator[str]:
    """A service whose model `system` answers at /NAME/v1 with the stored answer of that system to document NAME."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            stored = json.loads((folder / asked["model"] / f"{self.path.split('/')[1]}.json").read_text())
            choice = {"message": {"role": "assistant", "content": json.dumps({"items": [stored["data"]]})}}
            usage = {"prompt_tokens": 1000, "completion_tokens": 1000, "total_tokens": 2000}
            body = json.dumps({"choices": [{**choice, "index": 0, "finish_reason": "stop"}], "usage": usage}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing on the screen for each call."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def merged(place: Path, document: Path, schema: Path, url: str, order: Sequence[str]) -> tuple[Any, str]:
    """The record that the vote of the systems in that order comes to, and the document's status."""
    route = f'provider = "openai"\nbase_url = "{url}/{document.stem}/v1"\ncontext_window = 200_000'
    priced = "pricing = { input_usd_per_million = 0.1, output_usd_per_million = 0.1 }"
    others = "".join(f'[[model.fallback]]\n{route}\nname = "{name}"\n{priced}\n' for name in order[1:])
    job = place / "job.toml"
    job.write_text(
        f'name = "vote"\nkind = "extract"\n[input]\npaths = ["{document}"]\n'
        f'[extract]\nschema = "{schema}"\nvote = {json.dumps(order)}\nmax_repairs = 0\nrows_per_request = 1\n'
        f'[model]\n{route}\nname = "{order[0]}"\nmax_output_tokens = 30_000\nstructured_output = "prompt"\n{others}'
        "[pricing]\ninput_usd_per_million = 0.1\noutput_usd_per_million = 0.1\n"
        f'[output]\npath = "{place / "results"}"\n'
    )
    done = subprocess.run([*COMMAND, "run", job, "--json", "--quiet"], capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    folder = Path(json.loads(done.stdout)["run_dir"])
    (status,) = pl.read_parquet(folder / "documents.parquet")["status"].to_list()
    kinds = json.loads(schema.read_text())["properties"]
    columns = pl.read_parquet(folder / "records.parquet").to_dicts()[0] if status != "failed" else {}
    record = {name: columns.get(f"field_{name}", columns.get(name)) for name in kinds}
    return json.loads(json.dumps(record, default=str)), status


def fits(answer: Any, schema: Any) -> bool:
    """Whether it is an answer to that schema, but for what is missing or null, as a part of a document may have it."""
    errors = [error for error in schema.iter_errors(answer) if error.instance is not None]
    return all("required property" in error.message for error in errors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA / "nested" / "docubench")
    parser.add_argument("--orders", type=int, default=6, help="how many of the six orders of the models")
    options = parser.parse_args()
    data = options.data
    spec = importlib.util.spec_from_file_location("scorer", data / "scorer.py")
    assert spec
    assert spec.loader
    scorer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scorer)
    documents = {path.stem: path for path in sorted((data / "documents").iterdir())}
    names = [path.stem for path in sorted((data / "answers" / SYSTEMS[0]).glob("*.json"))]
    scores: dict[str, list[float]] = {}
    orders = list(permutations(SYSTEMS))[: options.orders]
    with tempfile.TemporaryDirectory() as made, answering(data / "answers") as url:
        for name in names:
            schema, label = (json.loads((data / kind / f"{name}.json").read_text()) for kind in ("schemas", "labels"))
            fitting = jsonschema_rs.validator_for(schema, validate_formats=True)
            stored = {
                system: json.loads((data / "answers" / system / f"{name}.json").read_text())["data"]
                for system in SYSTEMS
            }
            if not any(fits(stored[system], fitting) for system in SYSTEMS):
                print(f"{name}: no answer fits the schema")
                continue

            def score(record: Any, schema: Any = schema, label: Any = label) -> float:
                return float(scorer.score_standardization(record, schema, label)["final"])

            line = {system: score(stored[system]) for system in SYSTEMS}
            for order in orders:
                place = Path(made) / name / "-".join(order)
                place.mkdir(parents=True)
                record, status = merged(place, documents[name], data / "schemas" / f"{name}.json", url, order)
                if status in {"skipped", "failed"}:
                    text = place / f"{name}.txt"
                    text.write_text(f"Document {name}.")
                    record, status = merged(place, text, data / "schemas" / f"{name}.json", url, order)
                line[">".join(order)] = score(record)
            print(f"{name} {status:8}", *(f"{key} {value:.3f}" for key, value in line.items()), flush=True)
            for key, value in line.items():
                scores.setdefault(key, []).append(value)
    for key, values in scores.items():
        print(f"{key:22} {fmean(values):.4f} over {len(values)} documents")


if __name__ == "__main__":
    main()
