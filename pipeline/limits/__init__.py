"""The account's limits, kept or found: requests a minute, tokens a minute, calls in flight. Sans-IO."""

from pipeline.limits.limiter import Lease, Limiter

__all__ = ["Lease", "Limiter"]
