"""What the command does before it loads anything, as that takes a while: SIGUSR1 ("read the limits anew") kills no
process that has no run yet to hear it. Whatever imports this package is the command."""

from __future__ import annotations

import signal
import threading

__all__: list[str] = []

if threading.current_thread() is threading.main_thread():  # no other may say so
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
