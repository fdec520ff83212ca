"""Where files lie: opened, listed, committed."""

from docreduce.storage.local import commit_folder, fsync_folder, machine_errors

__all__ = ["commit_folder", "fsync_folder", "machine_errors"]
