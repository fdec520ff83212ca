"""Where files lie: opened, listed, fetched, committed."""

from docreduce.storage.delta import check_delta, write_delta
from docreduce.storage.local import commit_folder, fsync_folder, machine_errors, replacing
from docreduce.storage.publish import publish
from docreduce.storage.remote import fetched, is_address, parse_address

__all__ = [
    "check_delta", "commit_folder", "fetched", "fsync_folder", "is_address", "machine_errors",
    "parse_address", "publish", "replacing", "write_delta",
]  # fmt: skip
