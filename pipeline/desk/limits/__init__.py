"""The account's limits, kept or found: requests a minute, tokens a minute, calls in flight. Sans-IO."""

from docreduce.desk.limits.limiter import Lease, Limiter

__all__ = ["Lease", "Limiter"]
