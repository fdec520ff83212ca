"""The account's limits, kept or found: requests a minute, tokens a minute, calls in flight. Sans-IO.

Theory of operation. Four things hold a call back, and each has one owner: a rest of the account (`Limiter`), the
window of calls in flight (`Limiter`), and a token bucket each for requests and tokens (`Bucket`).

1. A limit that is given, or told by headers, is known: the bucket mirrors the service's and is never overrun. A call
   that was turned away took nothing and is given back to it.
2. Some calls fail by chance. `Chance` learns the share of these and sums, failure by failure, how much likelier a pace
   twice too high would be (Page's CUSUM). Calls count in the order they were sent, as a refusal is known long before
   an answer. Until the sum passes ALARM a failure is that call's own: it waits its own Retry-After, and the line goes
   on. Refusals and failures (5xx, connections, time-outs) are summed apart: the latter say nothing of a rate.
3. An alarm of two or more in a row rests the account, for the wait that is asked for, else 1 s, 2 s, … 60 s; then
   single probes go. So an outage, a pause that is meant and a wall are met alike.
4. An alarm by refusals starts the `Experiment`, the only place where a rate is found. What is accepted between two
   refusals of an empty bucket, over the time between them, is the rate itself. Where nothing was refused by chance
   before, each further refusal is such a measurement. A pace that is lowered twice below what was measured and still
   is refused is not to blame: the experiment begins anew and takes only alarms for refusals.
5. The window grows by one an answer (slow start, Jacobson 1988) while it is what holds back, shrinks where a depth was
   refused that never was answered, and where answers take three times as long as they did.
"""

from docreduce.desk.limits.enqueued import Enqueued
from docreduce.desk.limits.limiter import Bound, Lease, Limiter

__all__ = ["Bound", "Enqueued", "Lease", "Limiter"]
