"""The top level of every command: whatever happens becomes an exit code and at most one line on stderr.

Scripts act on exit codes: a validator challenges on 1. So 1 means that a check was made and does not hold, and nothing else.

*Source*: sysexits.h (70, 74); POSIX shells (128 + the number of a signal).
"""

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable
from math import inf
from typing import Any

from opml_min.cli.output import printable
from opml_min.cli.signals import Ended, Signals

BAD_INPUT = 2
UNEXPECTED = 70  # EX_SOFTWARE
UNWRITTEN = 74  # EX_IOERR
INTERRUPTED = 128 + signal.SIGINT  # (= 130)
UNREAD = 128 + 13  # SIGPIPE (= 141)
TRACEBACK = "--traceback"
LEAST_ADDRESSES = 1 << 30  # bytes
MEANINGS = (
    "Exit codes: 0 success; 1 what was checked does not hold; 2 bad input; 70 an unexpected error; 74 the output cannot be written; "
    "130 interrupted by Ctrl-C; 141 nobody reads the output; 143 ended by SIGTERM."
)


class OutputLost(Exception):
    """Standard output cannot be written."""


class _Output:
    """Standard output whose errors cannot be mistaken for those of other files."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return int(self._stream.write(text))
        except OSError as error:
            raise OutputLost from error

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            raise OutputLost from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Messages:
    """Standard error. What cannot be written there changes no exit code."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return int(self._stream.write(text))
        except OSError:
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            return

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def exit_code(name: str, execute: Callable[[list[str]], int], refusals: tuple[type[Exception], ...], arguments: list[str] | None) -> int:
    """Executes a command and returns its exit code. An argument parser's exit still raises SystemExit.

    name: of the program, which begins each line; refusals: the errors that mean bad input, each with a message of one line; arguments: by
    default those of the process"""
    arguments = sys.argv[1:] if arguments is None else arguments
    out, err = sys.stdout, sys.stderr
    null = open(os.devnull, "w", encoding="utf-8") if out is None or err is None else None  # noqa: SIM115  # closed below
    for stream in (out, err):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    sys.stdout, sys.stderr = _Output(out or null), _Messages(err or null)
    try:
        signals = Signals()
        with signals.delivered():
            try:
                if out is None:
                    raise OutputLost("it is closed")
                if _address_limit() < LEAST_ADDRESSES:  # libraries do not fail cleanly; OpenBLAS sends its own process SIGINT
                    raise MemoryError("not even the libraries can be loaded")
                try:
                    code = execute(arguments)
                finally:
                    sys.stdout.flush()
                signals.are_too_late = True
                return code if signals.last is None else 128 + signals.last  # also if somebody swallowed it
            except SystemExit:
                raise
            except BaseException as error:
                signals.are_too_late = True
                code, line = _meaning(error, refusals, signals.last)
                if code in (BAD_INPUT, UNEXPECTED) and TRACEBACK in arguments:
                    traceback.print_exception(error)
                if line:
                    print("\n" * (code == INTERRUPTED and sys.stderr.isatty()) + f"{name}: {printable(line)}", file=sys.stderr)
                return code
    finally:
        sys.stdout, sys.stderr = out, err
        for stream in (out, err):
            _leave_nothing_unwritten(stream)
        if null is not None:
            null.close()


def _meaning(error: BaseException, refusals: tuple[type[Exception], ...], received: int | None) -> tuple[int, str]:
    """The exit code of an error, and what to say about it. received: the last signal, which may have become another error on its way"""
    if isinstance(error, KeyboardInterrupt) or received is not None:
        number = error.number if isinstance(error, Ended) else received or signal.SIGINT
        how = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
        return 128 + number, "; ".join((how, *getattr(error, "__notes__", ())))
    if isinstance(error, refusals):
        return BAD_INPUT, str(error)
    if isinstance(error, OutputLost):
        if isinstance(error.__cause__, BrokenPipeError):
            return UNREAD, ""
        return UNWRITTEN, f"cannot write the output: {getattr(error.__cause__, 'strerror', None) or error}"
    if is_for_want_of_memory(error):
        limit = f"; `ulimit -v` allows {_address_limit():,} bytes of addresses, and the machine reserves 2^40"
        return BAD_INPUT, f"not enough memory: {error}{limit if _address_limit() < inf else ''}"
    if isinstance(error, OSError) and error.filename is not None:
        return BAD_INPUT, f"cannot use {os.fsdecode(error.filename)}: {error.strerror}"
    return UNEXPECTED, f"unexpected {type(error).__name__}: {error} ({TRACEBACK} shows where)"


def is_for_want_of_memory(error: BaseException) -> bool:
    """Whether the error says that memory or addresses are used up; under a limit, libraries and threads that cannot be had say so, too."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    is_likely = isinstance(error, ImportError | RuntimeError | SystemError) or (isinstance(error, OSError) and error.filename is None)
    return _address_limit() < inf and is_likely


def _address_limit() -> float:
    """The limit that this process has on its addresses, in bytes."""
    try:
        import resource
    except ImportError:  # not on this system
        return inf
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return inf if soft == resource.RLIM_INFINITY else soft


def _leave_nothing_unwritten(stream: Any) -> None:
    """Points a stream that cannot be written elsewhere, so that the interpreter does not fail over it when it ends."""
    if stream is None:
        return
    try:
        stream.flush()
    except (OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
