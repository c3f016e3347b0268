"""Moments that no signal may interrupt: a program that has started is not yet known to anybody, or is forgotten before it is dead.

Python calls the handler of a signal between two instructions of the main thread, and the handler may raise: Ctrl-C and SIGTERM do, and so
do the timers behind `fuzzing/deadline.py`. A timer that went off while a target started left the target behind.

*Source*: Python's documentation of `signal`, "Execution of Python signal handlers".
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

INTERRUPTING = signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM, signal.SIGPROF
"""The signals whose handlers may raise, the most urgent first: a timer goes off again, and after another one the process ends."""


@contextmanager
def signals_wait() -> Iterator[None]:
    """Calls the handlers of signals that arrive in the block after it."""
    if threading.current_thread() is not threading.main_thread():  # which alone is interrupted
        yield
        return
    heard, handlers = set[int](), dict[signal.Signals, Any]()
    try:
        for number in reversed(INTERRUPTING):
            if (handler := signal.getsignal(number)) is not None:  # one that is not Python's cannot raise
                handlers[number] = handler
                signal.signal(number, lambda number, frame: heard.add(number))
        yield
    finally:
        for number in INTERRUPTING:  # in this order: a timer that raises here finds the others restored
            if number in handlers:
                signal.signal(number, handlers[number])
        for number in INTERRUPTING:
            if number in heard:
                signal.raise_signal(number)
