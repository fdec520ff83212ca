"""One file a dialect, and the registry that finds them by the job file's `model.provider`."""
