"""What the command says and where: errors as one message and their exit code, streams whose reader may go away."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast

import click
from docreduce import __version__
from docreduce.values.errors import DocreduceError, MachineError

__all__ = ["Fault", "leave", "outlet", "print_json", "reported"]


MACHINE = "Make room on the disk, or mend what it says, and give the same command again: what is done is kept."
"""The hint of an error of this machine that has none of its own."""
LEFT_BEHIND = ("read_", "step_")
"""Threads of a run that are still at work after its end were left behind."""


@dataclass(slots=True)
class Fault:
    """Where the trace of a fault of our own is written: `folder`, stderr where there is none."""

    folder: Path | None = None
    log_json: bool = False

    def report(self, error: Exception, as_json: bool) -> None:
        """The trace into a log, and where it is to stderr (or as one JSON object)."""
        import traceback
        from datetime import UTC, datetime

        trace = "".join(traceback.format_exception(error))
        place = "stderr"
        try:
            if self.folder is None:
                raise FileNotFoundError
            log = self.folder / f"fault-{datetime.now(UTC):%Y%m%dT%H%M%S%f}Z.log"
            log.touch(mode=0o600)
            log.write_text(f"docreduce {__version__}, Python {sys.version}\n\n{trace}", encoding="utf-8")
            place = str(log)
        except OSError:  # no folder yet, or a disk that takes nothing: then the trace is shown
            click.echo(trace, err=True)
        message = f"a fault of docreduce itself: {type(error).__name__}: {error}"
        hint = f"The trace is in {place}. What was paid for is kept: the same command goes on."
        _say("fault", message, hint, as_json, log_json=self.log_json)


def _say(kind: str, message: str, hint: str, as_json: bool, *, log_json: bool = False) -> None:
    """An error to stderr, as one line of the JSON log where there is one, or as one JSON object to stdout."""
    if log_json:
        from docreduce.cli.lines import JsonLines

        JsonLines(sys.stderr).say("error", "error", kind=kind, message=message, hint=hint)
        if not as_json:
            return
    if as_json:
        print_json({"error": {"kind": kind, "message": message, "hint": hint}})
        return
    from docreduce.values.unicode import printable

    click.echo(printable(f"docreduce: {message}"), err=True)
    if hint:
        click.echo(printable(f"  {hint}"), err=True)


@contextmanager
def reported(as_json: bool, *, log_json: bool = False) -> Iterator[Fault]:
    """Errors of ours as one clear message (or one JSON object) and their exit code; 70 for a fault of our own, whose
    trace goes where the caller says.

    An interrupt ends the process on the spot: raised within an import it can come out as any error. A run listens to
    signals itself as soon as there is something to finish."""
    before = [(number, signal.signal(number, _end)) for number in (signal.SIGINT, signal.SIGTERM)]
    fault = Fault(log_json=log_json)
    try:
        yield fault
    except DocreduceError as error:
        hint = error.hint or (MACHINE if isinstance(error, MachineError) else "")
        _say(error.kind, error.message, hint, as_json, log_json=log_json)
        sys.exit(error.exit_code)
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except Exception as error:  # noqa: BLE001 - the last one there is: whatever it is, it is told with its trace
        fault.report(error, as_json)
        sys.exit(70)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def leave(code: int) -> NoReturn:
    """End with this exit code, and wait for no thread: a text that is still being cut for nobody ends with us."""
    sys.stdout.flush()
    sys.stderr.flush()
    if any(thread.name.startswith(LEFT_BEHIND) for thread in threading.enumerate()):
        os._exit(code)
    sys.exit(code)


def _end(_number: int, _frame: object) -> None:
    os._exit(130)


class _Outlet:
    """A stream whose reader may go away (`| head`, a terminal that closes): what is written then goes nowhere, and the
    command goes on to its own end and exit code. A disk that refuses what stdout holds is a MachineError."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream = stream
        self._name = name

    def write(self, text: str) -> int:
        if text != "":  # click asks with an empty one what the stream takes, and hears no error
            with self._patient():
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._patient():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _patient(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # What is still in the stream's buffer must not fail again when the interpreter ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            if self._name == "stdout" and error.errno not in (errno.EPIPE, errno.EIO):
                raise MachineError(f"{self._name}: {error.strerror}") from error


def outlet(stream: TextIO | None, name: str) -> TextIO:
    """The stream, or nowhere where there is none, patient with readers that go away."""
    return cast(TextIO, _Outlet(stream or open(os.devnull, "w", encoding="utf-8"), name))  # noqa: PTH123


def print_json(value: Any) -> None:
    """One JSON object on stdout."""
    import orjson

    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_DATACLASS, default=str).decode())
