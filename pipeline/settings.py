"""The tables of a job file that are no kind's own, as frozen values."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = [
    "DELTA",
    "BudgetSettings",
    "ChunkingSettings",
    "FallbackSettings",
    "InputSettings",
    "LimitSettings",
    "ModelSettings",
    "OutputSettings",
    "Positive",
    "PricingSettings",
    "ProviderName",
    "ReduceSettings",
    "Retry",
    "StructuredOutput",
    "Table",
    "TierSettings",
    "TokenizerName",
    "state_folder",
]

Positive = Annotated[int, Field(ge=1)]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


ProviderName: TypeAlias = Literal["offline", "modelslab", "openai", "anthropic"]
TokenizerName: TypeAlias = Literal["o200k_base", "cl100k_base"]
Retry: TypeAlias = Literal["transient", "all", "never"]
StructuredOutput: TypeAlias = Literal["tools", "json_schema", "json_object", "prompt"]


DELTA = "delta://"
"""What stands before the folder or address of Delta tables."""
_FORMATS = ("csv", "jsonl")
"""What is written beside Parquet in the same folder."""


def state_folder(address: str) -> Path:
    """The folder of the user's own state (XDG) where runs are made whose results go to `address`."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "docreduce" / hashlib.sha256(address.rstrip("/").encode()).hexdigest()[:16]


class Table(BaseModel):
    """A table of the job file: every key known, every type as written, never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class InputSettings(Table):
    """What to read."""

    paths: list[str] = Field(min_length=1, description="Files, globs and folders; s3://, gs://, az://, https://.")
    text_column: str | None = Field(None, description="Tables: the column to work on; each row is a document.")
    id_column: str | None = Field(None, description="Tables: a column that names the row; else a hash of its cells.")
    keep_columns: list[str] | None = Field(None, description="Carried into the results; default all but the text.")
    types: dict[str, str] = Field({}, description='Tables: types of kept columns, as amount = "decimal(10,2)".')
    include: list[str] | None = Field(None, description='Of what lies in a folder: only these, as "*.pdf" or "a/**".')
    exclude: list[str] = Field(
        default_factory=list, description="Of what lies in a folder: not these; they are counted."
    )
    encoding: str | None = Field(None, description="Of text files; default: as they declare it, or detected.")
    password_env: str | None = Field(None, description="Variable that holds the password of encrypted files.")
    running_heads: Literal["once", "drop", "keep"] = Field("once", description="Heads and feet that pages repeat.")
    ocr: Literal["never", "auto", "always"] = Field("never", description="auto: pages and pictures without text.")
    max_document_mb: Positive = Field(256, description="A document larger than this, unpacked, is a failed one.")
    reader_timeout_s: float = Field(300.0, gt=0, description="A file, or a batch of a table, that takes longer fails.")

    @field_validator("encoding")
    @classmethod
    def _is_an_encoding(cls, name: str | None) -> str | None:
        try:
            b"".decode(name or "utf-8")
        except LookupError as error:
            raise ValueError(
                f"no text encoding is called {name!r}; give a name as utf-8, cp1255 or shift_jis"
            ) from error
        return name

    @field_validator("types")
    @classmethod
    def _known_types(cls, types: dict[str, str]) -> dict[str, str]:
        if types:
            from docreduce.values.columns import type_of

            for word in types.values():
                type_of(word)
        return types


class EndpointSettings(Table):
    """A model at an address, and how it is asked."""

    provider: ProviderName = "offline"
    name: str = Field("baidu-ernie-4.5-21b-a3b", min_length=1)
    base_url: str | None = Field(None, description="The API's root; https, or loopback.")
    dialect: Literal["openai", "anthropic"] | None = Field(None, description="modelslab: which of its two forms.")
    allow_insecure_base_url: bool = Field(False, description="Allow http to another host: the key travels readable.")
    api_key_env: str | None = Field(None, description="Name of the environment variable that holds the key.")
    api_key_in: Literal["header", "body"] = Field("header", description="modelslab: where the key is sent.")
    temperature: float | None = Field(None, ge=0, le=2, description="Left out: the service's own.")
    top_p: float | None = Field(None, gt=0, le=1, description="Left out: the service's own.")
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    max_output_tokens: Positive = 1000
    context_window: Positive | None = Field(None, description="Tokens; default from the catalogue.")
    structured_output: Literal["auto", "tools", "json_schema", "json_object", "prompt"] = "auto"
    stream: bool = Field(False, description="Stream answers: time-outs count idle time, loops are cut early.")
    service_tier: Literal["flex"] | None = Field(None, description="flex: batch prices, answers may take minutes.")
    flex_patience_s: float = Field(900.0, gt=0, description="Refused as flex for so long, a call is asked as standard.")
    mode: Literal["live", "batch", "auto"] = Field("live", description="batch: through the provider's batch service.")
    catalogue: str | None = Field(None, description="A TOML file of your own models, added to the catalogue.")


class _Rates(Table):
    input_usd_per_million: Price | None = None
    output_usd_per_million: Price | None = None
    cached_input_usd_per_million: Price | None = Field(None, description="Default: the input price.")
    cache_write_5m_usd_per_million: Price | None = Field(None, description="Left out: a written token has no price.")
    cache_write_1h_usd_per_million: Price | None = Field(None, description="Left out: a written token has no price.")
    reasoning_usd_per_million: Price | None = Field(None, description="Default: the output price.")


class TierSettings(_Rates):
    """Prices of all tokens of a call whose input is longer; what is left out stays as in the tier below."""

    above_input_tokens: Positive


class PricingSettings(_Rates):
    """What a call costs, where the catalogue does not know or you know better."""

    mode: Literal["per_token", "per_call", "flat"] = "per_token"
    tiers: list[TierSettings] = Field(default_factory=list, description="per_token: dearer prices of long inputs.")
    usd_per_call: Price | None = Field(None, description="per_call: for each call.")
    usd_per_million: Price | None = Field(None, description="flat: for every token.")
    min_usd_per_call: Price | None = Field(None, description="A call costs at least this.")
    batch_discount: Share | None = Field(None, description="Share taken off in provider batches; 0.5: half price.")
    flex_discount: Share | None = Field(None, description="Share taken off where the flex tier served.")

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
        starts = [tier.above_input_tokens for tier in self.tiers]
        if len(set(starts)) < len(starts):
            raise ValueError("two tiers begin above the same number of input tokens")
        return self


class LimitSettings(Table):
    """What the account allows; what is left out is found out while running."""

    requests_per_minute: Positive | None = None
    tokens_per_minute: Positive | None = None
    concurrency: Positive | None = None
    timeout_s: float | None = Field(None, gt=0, description="Default 120, less where answers are seen to be quick.")
    max_attempts: Positive = 6
    give_up_s: float = Field(900.0, gt=0, description="Seconds of nothing but failure after which the run ends.")
    grace_s: float = Field(30.0, ge=0, description="After an interrupt, wait this long for calls in flight.")


class FallbackSettings(EndpointSettings):
    """A model that is tried where the one before it refuses."""

    pricing: PricingSettings | None = None
    limits: LimitSettings = LimitSettings()


class ModelSettings(EndpointSettings):
    """Which model answers, how it is asked, and which others where it refuses."""

    system: str = Field("", description="Put before our own system prompt.")
    fallback: list[FallbackSettings] = Field(default_factory=list, description="Tried in order.")


class ChunkingSettings(Table):
    """How documents are cut."""

    max_tokens: Positive | None = Field(None, description="Source tokens a chunk; default: what the window leaves.")
    overlap_tokens: Annotated[int, Field(ge=0)] | None = Field(None, description="Default: 0; extraction: 400.")
    context_tokens: Annotated[int, Field(ge=0)] = Field(0, description="Of what stands before a chunk, told with it.")
    tokenizer: TokenizerName | None = Field(None, description="Default from the catalogue.")
    engine: Literal["auto", "fast", "tiktoken"] = "auto"


class ReduceSettings(Table):
    """One more result, of many documents."""

    by: str = Field("all", min_length=1, description='"all": of all documents; else a kept column: of each value.')


class BudgetSettings(Table):
    """The dollar cap. It covers a run and the runs that continue it."""

    max_cost_usd: Price | None = None


class OutputSettings(Table):
    """Where results go."""

    path: str = Field("results", description="A folder; or s3://, gs://, az://: uploaded there once written.")
    csv: bool = Field(False, description='As "csv" in also.')
    also: list[str] = Field(
        default_factory=list, description="csv, jsonl, delta://FOLDER: documents and records in these formats, too."
    )
    ledger: str | None = Field(
        None, description="Where what was paid for is kept, on a local disk; default: ledger.sqlite in the folder."
    )
    report: bool = Field(True, description="Write report.html beside the results.")
    promote: str | None = Field(
        None, description="When `latest` moves, over statuses: ok >= 0.99; default: a complete run."
    )
    retry: Retry = Field("transient", description="Which failures of unchanged input the next run asks again.")

    @property
    def formats(self) -> list[str]:
        """What is written beside Parquet, each once."""
        return list(dict.fromkeys([*(["csv"] if self.csv else []), *(each for each in self.also if each in _FORMATS)]))

    @property
    def ledger_path(self) -> Path:
        """The file that holds what was paid for."""
        return self.folder / "ledger.sqlite" if self.ledger is None else Path(self.ledger)

    @property
    def deltas(self) -> list[str]:
        """Folders and addresses that Delta tables are written to, each once, without the DELTA before it."""
        return list(dict.fromkeys(each.removeprefix(DELTA) for each in self.also if each not in _FORMATS))

    @property
    def places(self) -> list[str]:
        """All folders and addresses that results are written to: none of it is input."""
        return [self.path, *self.deltas]

    @property
    def folder(self) -> Path:
        """The folder on this machine where runs are made: `path`, or where that is an address a folder of the user's
        own state (XDG), by the address."""
        return state_folder(self.path) if "://" in self.path else Path(self.path)

    @field_validator("path")
    @classmethod
    def _is_writable(cls, path: str) -> str:
        if "://" in path and not re.match(r"(s3|gs|az)://[^/@?#]+(/|$)", path):
            raise ValueError("results go to a local folder, or to s3://bucket/…, gs://bucket/… or az://container/…")
        return path

    @field_validator("ledger")
    @classmethod
    def _is_local(cls, ledger: str | None) -> str | None:
        if ledger is not None and "://" in ledger:
            raise ValueError("a ledger lies on a local disk: name a file")
        return ledger

    @field_validator("also")
    @classmethod
    def _are_formats(cls, also: list[str]) -> list[str]:
        for each in also:
            if each not in _FORMATS and not re.match(rf"{DELTA}((s3|gs|az)://)?[^@?#:]+$", each):
                raise ValueError(f"{each!r} is none of csv, jsonl, delta://FOLDER, delta://s3://BUCKET/PREFIX")
        return also

    @field_validator("promote")
    @classmethod
    def _a_condition(cls, promote: str | None) -> str | None:
        if promote is not None:
            from docreduce.values.condition import parse_condition

            parse_condition(promote)
        return promote
