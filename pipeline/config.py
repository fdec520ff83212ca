"""The job file: TOML in, one frozen `Job` out. Pydantic stays at this edge.

An unknown key, a wrong type or a missing file is a JobError that names the key, the file and what was expected.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from docreduce.values import ProviderName, TokenizerName
from docreduce.values.errors import JobError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

__all__ = [
    "BudgetSettings",
    "ChunkingSettings",
    "ExtractSettings",
    "InputSettings",
    "Job",
    "LimitSettings",
    "ModelSettings",
    "OutputSettings",
    "PricingSettings",
    "SummarizeSettings",
    "job_schema",
    "load_job",
]

Positive = Annotated[int, Field(ge=1)]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class InputSettings(_Table):
    """What to read."""

    paths: list[str] = Field(min_length=1, description="Files, globs and folders; each also as .gz.")
    text_column: str | None = Field(None, description="Tables: the column to work on; each row is a document.")
    id_column: str | None = Field(None, description="Tables: a column that names the row; otherwise path#row.")
    keep_columns: list[str] | None = Field(None, description="Carried into the results; default all but the text.")
    max_document_mb: Positive = Field(256, description="A document larger than this, unpacked, is a failed one.")
    reader_timeout_s: float = Field(300.0, gt=0, description="PDF, HTML or a Parquet batch that takes longer fails.")


class ModelSettings(_Table):
    """Which model answers, and how it is asked."""

    provider: ProviderName = "offline"
    name: str = Field("baidu-ernie-4.5-21b-a3b", min_length=1)
    base_url: str | None = Field(None, description="The API's root; https, or loopback.")
    allow_insecure_base_url: bool = Field(False, description="Allow http to another host: the key travels readable.")
    api_key_env: str | None = Field(None, description="Name of the environment variable that holds the key.")
    api_key_in: Literal["header", "body"] = Field("header", description="modelslab: where the key is sent.")
    temperature: float = Field(0.7, ge=0, le=2)
    top_p: float = Field(0.9, gt=0, le=1)
    max_output_tokens: Positive = 1000
    context_window: Positive | None = Field(None, description="Tokens; default from the catalogue.")
    system: str = Field("", description="Put before our own system prompt.")
    structured_output: Literal["auto", "tools", "json_schema", "json_object", "prompt"] = "auto"
    stream: bool = Field(False, description="Stream answers: time-outs count idle time, loops are cut early.")
    catalogue: str | None = Field(None, description="A TOML file of your own models, added to the catalogue.")


class PricingSettings(_Table):
    """What a call costs, where the catalogue does not know or you know better."""

    mode: Literal["per_token", "per_call", "flat"] = "per_token"
    input_usd_per_million: Price | None = None
    output_usd_per_million: Price | None = None
    cached_input_usd_per_million: Price | None = Field(None, description="Default: the input price.")
    reasoning_usd_per_million: Price | None = Field(None, description="Default: the output price.")
    usd_per_call: Price | None = None
    usd_per_million: Price | None = None

    @model_validator(mode="after")
    def _complete(self) -> PricingSettings:
        needed = {
            "per_token": ("input_usd_per_million", "output_usd_per_million"),
            "per_call": ("usd_per_call",),
            "flat": ("usd_per_million",),
        }[self.mode]
        missing = [name for name in needed if getattr(self, name) is None]
        if missing:
            raise ValueError(f"mode {self.mode!r} needs {' and '.join(missing)}")
        return self


class LimitSettings(_Table):
    """What the account allows; what is left out is found out while running."""

    requests_per_minute: Positive | None = None
    tokens_per_minute: Positive | None = None
    concurrency: Positive | None = None
    timeout_s: float = Field(120.0, gt=0)
    max_attempts: Positive = 6
    grace_s: float = Field(30.0, ge=0, description="After an interrupt, wait this long for calls in flight.")


class ChunkingSettings(_Table):
    """How documents are cut."""

    max_tokens: Positive | None = Field(None, description="Source tokens a chunk; default: what the window leaves.")
    overlap_tokens: Annotated[int, Field(ge=0)] = 0
    tokenizer: TokenizerName | None = Field(None, description="Default from the catalogue.")
    engine: Literal["auto", "fast", "tiktoken"] = "auto"


class SummarizeSettings(_Table):
    """kind = "summarize"."""

    instructions: str = ""
    max_words: Positive = 300
    strategy: Literal["tree", "refine"] = "tree"


class ExtractSettings(_Table):
    """kind = "extract"."""

    schema_: str | dict[str, Any] = Field(alias="schema", description="JSON Schema of one item: a file, or inline.")
    instructions: str = ""
    examples: str | None = Field(None, description="JSON Lines of {text, items}, checked before anything is sent.")
    cardinality: Literal["one", "many"] = "one"
    key: list[str] = Field(default_factory=list, description="many: the fields that make two items the same.")
    conflict: Literal["majority", "first", "longest"] = "majority"
    rows_per_request: Positive | Literal["auto"] = Field(1, description="Tables: pack short rows into one request.")
    max_repairs: Annotated[int, Field(ge=0, le=5)] = 2


class BudgetSettings(_Table):
    """The dollar cap. It covers a run and the runs that continue it."""

    max_cost_usd: Price | None = None


class OutputSettings(_Table):
    """Where results go."""

    path: str = "results"
    csv: bool = Field(False, description="Also write documents.csv and records.csv.")


class Job(_Table):
    """A job file. `folder` is where it lies; `schema` and `examples` are relative to it."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="Names the results' folder.")
    kind: Literal["summarize", "extract"]
    input: InputSettings
    model: ModelSettings = ModelSettings()
    pricing: PricingSettings | None = None
    limits: LimitSettings = LimitSettings()
    chunking: ChunkingSettings = ChunkingSettings()
    summarize: SummarizeSettings = SummarizeSettings()
    extract: ExtractSettings | None = None
    budget: BudgetSettings = BudgetSettings()
    output: OutputSettings = OutputSettings()

    @model_validator(mode="after")
    def _kind_has_its_table(self) -> Job:
        if self.kind == "extract" and self.extract is None:
            raise ValueError('kind = "extract" needs an [extract] table with a schema')
        return self

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) of the settings in canonical JSON, whatever the file's layout."""
        return hashlib.sha256(orjson.dumps(self.model_dump(by_alias=True), option=orjson.OPT_SORT_KEYS)).hexdigest()


def job_schema() -> dict[str, Any]:
    """JSON Schema of the job file, for editors."""
    return Job.model_json_schema(by_alias=True)


def load_job(path: Path, overrides: Sequence[tuple[str, Any]] = ()) -> Job:
    """The job in `path`, with `overrides` (dotted key, value) applied. Schema and examples paths come back absolute.

    Raises JobError that names the key, the file and what was expected."""
    data = _parse(path)
    for key, value in overrides:
        _override(data, key, value)
    _refuse_keys(data, path)
    extract = data.get("extract")
    if isinstance(extract, dict):
        for key in ("schema", "examples"):
            if isinstance(extract.get(key), str):
                extract[key] = _beside(path, extract[key], f"extract.{key}")
    model = data.get("model")
    if isinstance(model, dict) and isinstance(model.get("catalogue"), str):
        model["catalogue"] = _beside(path, model["catalogue"], "model.catalogue")
    try:
        # TOML has arrays and integers where strict mode wants exactly those: only floats need leave to be integers.
        return Job.model_validate(data)
    except ValidationError as error:
        raise JobError(_explain(error, path), hint="`docreduce schema` prints every key and its type.") from error


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise JobError(f"{path}: {error.strerror}", hint="`docreduce init` writes a job file to start from.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise JobError(f"{path}: not valid TOML: {error}") from error


def _override(data: dict[str, Any], key: str, value: Any) -> None:
    *tables, last = key.split(".")
    place = data
    for table in tables:
        nested = place.setdefault(table, {})
        if not isinstance(nested, dict):
            raise JobError(f"--set {key}: {table} is not a table")
        place = nested
    place[last] = value


def _refuse_keys(data: Mapping[str, Any], path: Path) -> None:
    model = data.get("model")
    if isinstance(model, dict):
        for name in ("api_key", "key", "token"):
            if name in model:
                raise JobError(
                    f"{path}: model.{name}: a key does not belong in a job file",
                    hint="Put it in an environment variable and name that in model.api_key_env.",
                )


def _beside(path: Path, name: str, key: str) -> str:
    found = (path.parent / name).resolve()
    if not found.is_file():
        raise JobError(f"{path}: {key}: no file {name!r} beside the job file", hint=f"Looked for {found}.")
    return str(found)


def _explain(error: ValidationError, path: Path) -> str:
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"]) or "job"
        if problem["type"] == "extra_forbidden":
            lines.append(f"{path}: {key}: unknown key")
        elif problem["type"] == "missing":
            lines.append(f"{path}: {key}: missing")
        elif problem["type"] == "value_error":
            lines.append(f"{path}: {key}: {problem['msg'].removeprefix('Value error, ')}")
        else:
            lines.append(f"{path}: {key}: {problem['msg']}, not {problem['input']!r}")
    return "\n".join(lines)
