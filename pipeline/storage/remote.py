"""Objects in stores (`s3://`, `gs://`, `az://`) and on web servers (`https://`): listed, and fetched to this disk.

All of it goes through obstore, which is imported where an address is met. Credentials come from the environment, as the
stores' own tools take them; no address holds any. A request that fails in passing is made again, RETRIES times at most
and for no longer than RETRY_S; one that says nothing for SILENCE_S has failed. What is read on after a break is the
object of the same ETag, or none."""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from docreduce.storage.local import machine_errors
from docreduce.values.errors import DocumentError, JobError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = ["Address", "fetched", "is_address", "is_plain", "one_line", "open_store", "parse_address", "reason"]

RETRIES = 4
RETRY_S = 60
SILENCE_S = 30
_WHOLE_S = 3600
"""An object that takes longer fails."""
_MEGABYTE = 2**20
_STORES = ("s3", "gs", "az")
_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": (),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
_HINT = "Check the name, the credentials and the region in the environment, and the network."


def is_address(path: str) -> bool:
    """Whether a path names something that does not lie on this machine's disks."""
    return re.match(r"[a-z][a-z0-9+.-]+://", path, re.IGNORECASE) is not None


@dataclass(frozen=True, slots=True)
class Address:
    """An object, or those below a prefix. `root` is the bucket, container or server, with its scheme; `key` the name in
    it, without a slash at its ends; `is_folder`: it was written with one at its end."""

    root: str
    key: str
    is_folder: bool

    @property
    def scheme(self) -> str:
        """s3, gs, az, https or http."""
        return self.root.partition("://")[0]

    def objects(self) -> tuple[str, list[str]]:
        """The key below which was looked, and the keys that the address names, sorted: one object, all below a folder,
        or what fits a glob. A web server cannot be asked: the address itself is the object, there or not.

        Raises JobError where the store does not answer, or refuses."""
        store = open_store(self.root)
        if self.scheme not in _STORES:
            if self.is_folder:
                message = f"{self.root}/{self.key}: what lies on a web server cannot be listed"
                raise JobError(message, hint="Name each file: https://host/file.pdf.")
            return self.key, [self.key]
        import obstore

        with _asked(f"{self.root}/{self.key}"):
            if self.key and not self.is_folder:
                with contextlib.suppress(FileNotFoundError):
                    obstore.head(store, self.key)
                    return self.key, [self.key]
            parts = self.key.split("/") if self.key else []
            magic = [at for at, part in enumerate(parts) if glob.has_magic(part)]
            below = "/".join(parts[: magic[0]] if magic else parts)
            keys = sorted(each["path"] for page in obstore.list(store, below or None) for each in page)
        return below, [key for key in keys if not magic or _fits(key.split("/"), parts)]

    def check(self) -> None:
        """Raises JobError where its store cannot be opened, or what lies below it not be listed."""
        store = open_store(self.root)
        import obstore

        with _asked(f"{self.root}/{self.key}"):
            next(iter(obstore.list(store, self.key or None, chunk_size=1)), None)


def parse_address(path: str) -> Address:
    """The address that `path` is. Raises JobError for one that cannot be read from, or that holds a secret."""
    scheme, _, rest = path.partition("://")
    scheme, (host, _, key) = scheme.lower(), rest.partition("/")
    if scheme not in (*_STORES, "https", "http"):
        raise JobError(
            f"{scheme}://: no store of this kind is known",
            hint="Known are s3://, gs://, az:// and https://; copy other files here first.",
        )
    if "@" in host or not host:
        raise JobError(f"{scheme}://: the address names no host, or holds a password", hint="Leave the password out.")
    if scheme.startswith("http"):
        if "?" in rest or "#" in rest:
            message = f"{scheme}://{host}/{re.split('[?#]', key)[0]}: an address with a query cannot be read"
            raise JobError(message, hint="It may hold a key, and results would keep it: download the file first.")
        if scheme == "http" and not _is_loopback(host):
            raise JobError(f"http://{host}: only https is read", hint="Write https://, or download the file first.")
        key = unquote(key)
    return Address(f"{scheme}://{host}", key.strip("/"), key.endswith("/") or not key)


@contextlib.contextmanager
def fetched(path: str, max_bytes: int | None) -> Iterator[Path]:
    """The object at an address as a file that lies here until the block ends.

    Raises DocumentError for an object that cannot be had whole, that changed meanwhile or holds more than `max_bytes`
    (None: whatever this disk takes),
    MachineError where this disk refuses."""
    import obstore

    address = parse_address(path)
    store = open_store(address.root)
    with tempfile.NamedTemporaryFile(suffix=PurePosixPath(address.key).suffix[:20]) as file:
        with _failed():
            found = obstore.get(store, address.key)
            size, pieces = found.meta["size"], found.stream(min_chunk_size=_MEGABYTE)
            if max_bytes is not None and size > max_bytes:
                raise _too_large(max_bytes)
        count = 0
        while (piece := _next(store, address.key, pieces, found.meta["e_tag"])) is not None:
            count += len(piece)
            if max_bytes is not None and count > max_bytes:
                raise _too_large(max_bytes)
            with machine_errors(Path(file.name)):
                file.write(piece)
        if count != size:
            raise DocumentError(f"the object broke off after {count:,} of {size:,} bytes", kind="remote")
        with machine_errors(Path(file.name)):
            file.flush()
        yield Path(file.name)


def _next(store: ObjectStore, key: str, pieces: Iterator[Any], etag: str | None) -> memoryview | None:
    """The next piece of an object, None after the last. Raises DocumentError, which tells a break from a change."""
    import obstore

    try:
        with _failed():
            piece = next(pieces, None)
    except DocumentError as error:
        now = etag
        with contextlib.suppress(DocumentError), _failed():  # that it cannot be asked now is the same break
            now = obstore.head(store, key)["e_tag"]
        if now != etag:
            raise DocumentError("the object changed while it was read", kind="remote") from error
        raise
    return None if piece is None else memoryview(piece)


def _too_large(max_bytes: int) -> DocumentError:
    message = f"more than {max_bytes // _MEGABYTE} MB"
    return DocumentError(message, kind="too_large", hint="Raise input.max_document_mb or split the file.")


def open_store(root: str) -> ObjectStore:
    """The store at a root, as the environment says how to reach it. Raises JobError without the extra, and where it
    says too little or wrong."""
    try:
        from obstore.store import HTTPStore, from_url
    except ImportError as error:
        raise JobError(
            f"{root}: obstore is not installed", hint="Install the extra: pip install 'docreduce[remote]'."
        ) from error
    scheme = root.partition("://")[0]
    given: dict[str, Any] = {
        "client_options": {
            "connect_timeout": timedelta(seconds=SILENCE_S),
            "read_timeout": timedelta(seconds=SILENCE_S),
            "timeout": timedelta(seconds=_WHOLE_S),
            "allow_http": is_plain(root),
        },
        "retry_config": {
            "max_retries": RETRIES,
            "retry_timeout": timedelta(seconds=RETRY_S),
            "backoff": {"init_backoff": timedelta(seconds=0.5), "max_backoff": timedelta(seconds=15), "base": 2},
        },
    }
    with _asked(root):
        return from_url(root, **given) if scheme in _STORES else HTTPStore.from_url(root, **given)


def is_plain(place: str) -> bool:
    """Whether a place is reached without encryption: at the user's own endpoint, or on this machine."""
    names = _ENDPOINTS.get(place.partition("://")[0], ())
    return next((os.environ[name] for name in names if os.environ.get(name)), place).startswith("http://")


@contextlib.contextmanager
def _asked(place: str) -> Iterator[None]:
    """A block in which what a store refuses is a JobError."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        raise JobError(f"{place}: {reason(error)}", hint=_HINT) from error


@contextlib.contextmanager
def _failed() -> Iterator[None]:
    """A block in which what a store refuses is a DocumentError."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        raise DocumentError(reason(error), kind="remote") from error


def reason(error: Exception) -> str:
    """What went wrong with a store, in one line."""
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

    said = one_line(error)
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return f"the store gives no access: {said}"
    return f"not found: {said}" if isinstance(error, FileNotFoundError) else said


def one_line(error: Exception) -> str:
    """What an error says, in one line without the query of any address: it may be signed; and without a page that a
    server sent for people."""
    said = re.split(r":?\s*<(?:!doctype|html)", str(error).partition("\n\nDebug source")[0], flags=re.IGNORECASE)[0]
    return " ".join(re.sub(r"(https?://[^\s?\"')]+)\?[^\s\"')]*", r"\1", said).split())[:300]


def _fits(key: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether a key's parts fit a glob's: `**` is any number of them, and a hidden one is to be named by its dot."""
    if not parts:
        return not key
    if parts[0] == "**":
        deeper = bool(key) and not key[0].startswith(".")
        return _fits(key, parts[1:] or ["*"]) or (deeper and _fits(key[1:], parts))
    if not key or (key[0].startswith(".") and not parts[0].startswith(".")):
        return False
    return fnmatch.fnmatchcase(key[0], parts[0]) and _fits(key[1:], parts[1:])


def _is_loopback(host: str) -> bool:
    return urlsplit(f"//{host}").hostname in ("127.0.0.1", "localhost", "::1")
