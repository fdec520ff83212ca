"""The job file: TOML in, one frozen `Job` out. Pydantic stays at this edge.

An unknown key, a wrong type or a missing file is a JobError that names the key, the file and what was expected.
"""

from __future__ import annotations

import hashlib
import importlib
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, cast

import orjson
from docreduce.kinds.registry import OURS, kind_named, kind_names
from docreduce.settings import (
    BudgetSettings,
    ChunkingSettings,
    InputSettings,
    LimitSettings,
    ModelSettings,
    OutputSettings,
    PricingSettings,
    ReduceSettings,
    Table,
)
from docreduce.values.errors import JobError
from docreduce.values.likeness import did_you_mean, path_meant
from docreduce.values.unicode import written
from pydantic import BaseModel, Field, ValidationError, create_model

__all__ = ["Job", "job_schema", "load_job", "parse_job"]

BESIDE = ("schema", "examples", "gold", "catalogue")
"""Keys of any table that name a file beside the job file."""
MODEL_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
"""`module:Model`: a pydantic model in place of a file with a schema."""
SECRETS = ("api_key", "key", "token")
"""What people call a key in the [model] table, where none belongs."""


class Job(Table):
    """A job file. Each kind adds its own table, under its name."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="Names the results' folder.")
    kind: str = Field(description="What is done with each document.")
    input: InputSettings
    model: ModelSettings = ModelSettings()
    pricing: PricingSettings | None = None
    limits: LimitSettings = LimitSettings()
    chunking: ChunkingSettings = ChunkingSettings()
    reduce: ReduceSettings | None = None
    budget: BudgetSettings = BudgetSettings()
    output: OutputSettings = OutputSettings()

    @property
    def settings(self) -> BaseModel:
        """The table of its kind."""
        return cast(BaseModel, getattr(self, self.kind))

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) of the settings in canonical JSON, whatever the file's layout."""
        return hashlib.sha256(orjson.dumps(self.model_dump(by_alias=True), option=orjson.OPT_SORT_KEYS)).hexdigest()


@cache
def _model(kinds: tuple[str, ...]) -> type[Job]:
    """`Job` with a table for each of these kinds."""
    tables: dict[str, Any] = {name: (kind_named(name).settings | None, None) for name in kinds}
    return create_model("Job", __base__=Job, __doc__=Job.__doc__, **tables)


def job_schema() -> dict[str, Any]:
    """JSON Schema of the job file, for editors."""
    return _model(tuple(kind_names())).model_json_schema(by_alias=True)


def load_job(path: Path, overrides: Sequence[tuple[str, Any]] = ()) -> Job:
    """The job in `path`, with `overrides` (dotted key, value) applied. Files beside it come back with absolute paths.

    Raises JobError that names the key, the file and what was expected."""
    return parse_job(_parse(path), overrides, path)


def parse_job(stated: Mapping[str, Any], overrides: Sequence[tuple[str, Any]] = (), path: Path = Path("job")) -> Job:
    """The job that `stated` says, as `load_job`; `path` is where it comes from, for messages and files beside it.

    The JobError names everything that is wrong."""
    data = deepcopy(dict(stated))
    for key, value in overrides:
        _override(data, key, value)
    problems = [*_keys_in(data, path), *_files_beside(data, path)]
    kind, kinds, hint = data.get("kind"), kind_names(), "`docreduce schema` prints every key and its type."
    if isinstance(kind, str) and kind not in kinds:
        near = did_you_mean(kind, kinds)
        problems.append(f"{path}: kind: {kind!r} is none of {', '.join(kinds)}{'. ' + near if near else ''}")
    elif isinstance(kind, str):
        data.setdefault(kind, {})
    # Ours, and what the file names: no other package's kind is loaded, nor changes the job's hash by being there.
    model = _model(tuple(name for name in kinds if name in OURS or name in data))
    try:
        # TOML has arrays and integers where strict mode wants exactly those: only floats need leave to be integers.
        job = model.model_validate(data)
    except ValidationError as error:
        raise JobError("\n".join([*problems, *_explain(error, model, path)]), hint=hint) from error
    if problems:
        raise JobError("\n".join(problems), hint=hint)
    return job


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(written(path.read_bytes()))
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


def _keys_in(data: dict[str, Any], path: Path) -> Iterator[str]:
    """Says that a key stands in the file, and takes it out."""
    model = data.get("model")
    for name in SECRETS:
        if isinstance(model, dict) and model.pop(name, None) is not None:
            yield (
                f"{path}: model.{name}: a key does not belong in a job file: put it in an environment variable and "
                "name that in model.api_key_env"
            )


def _files_beside(data: dict[str, Any], path: Path) -> Iterator[str]:
    """Makes the names of files beside the job file absolute, and says which are not there."""
    for title, table in data.items():
        for key in BESIDE if isinstance(table, dict) else ():
            if isinstance(table.get(key), str):
                found = (path.parent / table[key]).resolve()
                if key == "schema" and MODEL_NAME.fullmatch(table[key]) and not found.exists():
                    try:
                        table[key] = _model_schema(table[key], path.parent)
                    except JobError as error:
                        yield f"{path}: {title}.schema: {error.message}"
                        del table[key]
                    continue
                if not found.is_file():
                    near = path_meant(str(found))
                    said = f"{path}: {title}.{key}: no file {table[key]!r} beside the job file (looked for {found})"
                    yield f"{said}{'. ' + near if near else ''}"
                table[key] = str(found)


def _model_schema(name: str, folder: Path) -> dict[str, Any]:
    """The JSON Schema of the pydantic model that `module:Model` names; modules beside the job file are found, too.

    Raises JobError for what cannot be imported and what is no model."""
    module, _, attribute = name.partition(":")
    sys.path.insert(0, str(folder.resolve()))
    try:
        importlib.invalidate_caches()
        found = importlib.import_module(module)
    except Exception as error:
        raise JobError(f"{name!r} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(folder.resolve()))
    model = getattr(found, attribute, None)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        models = [
            each for each, value in vars(found).items() if isinstance(value, type) and issubclass(value, BaseModel)
        ]
        near = did_you_mean(attribute, models)
        raise JobError(f"{name!r} is no pydantic model{'. ' + near if near else ''}")
    return model.model_json_schema()


def _explain(error: ValidationError, model: type[Job], path: Path) -> list[str]:
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"]) or "job"
        if problem["type"] == "extra_forbidden":
            near = did_you_mean(str(problem["loc"][-1]), _keys_beside(model, problem["loc"]))
            lines.append(f"{path}: {key}: unknown key{'. ' + near if near else ''}")
        elif problem["type"] == "missing":
            lines.append(f"{path}: {key}: missing")
        elif problem["type"] == "value_error":
            lines.append(f"{path}: {key}: {problem['msg'].removeprefix('Value error, ')}")
        else:
            words = re.findall(r"'([^']*)'", problem["ctx"]["expected"]) if problem["type"] == "literal_error" else ()
            near = did_you_mean(str(problem["input"]), words)
            lines.append(f"{path}: {key}: {problem['msg']}, not {problem['input']!r}{'. ' + near if near else ''}")
    return lines


def _keys_beside(model: type[Job], place: tuple[int | str, ...]) -> list[str]:
    """The keys there are in the table where an unknown one stands."""
    table: Any = model
    for part in (each for each in place[:-1] if isinstance(each, str)):
        field = getattr(table, "model_fields", {}).get(part)
        kinds = [] if field is None else [field.annotation, *getattr(field.annotation, "__args__", ())]
        table = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
    fields = getattr(table, "model_fields", {})
    return [each.alias or name for name, each in fields.items()]
