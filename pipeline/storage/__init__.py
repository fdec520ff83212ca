"""Where files lie: opened, listed, fetched, committed."""

from docreduce.storage.local import commit_folder, fsync_folder, machine_errors
from docreduce.storage.publish import publish
from docreduce.storage.remote import fetched, is_address, parse_address

__all__ = ["commit_folder", "fetched", "fsync_folder", "is_address", "machine_errors", "parse_address", "publish"]
