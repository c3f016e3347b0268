"""Says that kernels are being compiled, so that nobody takes the first run for one that hangs."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

from opml_min.model.native import kernel_cache

TERMINAL_SECONDS, LOG_SECONDS = 1.0, 10.0  # between two messages
NOTICE = "compiling native code, which is kept for later runs; this can take a minute"

P = ParamSpec("P")
R = TypeVar("R")


def announces_compilation(execute: Callable[P, R]) -> Callable[P, R]:
    """Makes a command say on stderr that it has to compile first, and for how long it has been doing so."""

    @wraps(execute)
    def announced(*arguments: P.args, **named: P.kwargs) -> R:
        with _observed():
            return execute(*arguments, **named)

    return announced


@contextmanager
def _observed() -> Iterator[None]:
    done = threading.Event()

    def observe(begins: bool) -> None:
        if begins:
            done.clear()
            threading.Thread(target=_tell, args=(done,), daemon=True).start()
        else:
            done.set()

    kernel_cache.observers.append(observe)
    try:
        yield
    finally:
        done.set()
        kernel_cache.observers.remove(observe)


def _tell(done: threading.Event) -> None:
    """Tells the time until it is done: in one line that is overwritten on a terminal, in a line now and then elsewhere."""
    begin, is_terminal = time.monotonic(), sys.stderr.isatty()
    if is_terminal:
        print(NOTICE, end="", file=sys.stderr, flush=True)
    while not done.wait(TERMINAL_SECONDS if is_terminal else LOG_SECONDS):
        line = f"{NOTICE}: {time.monotonic() - begin:.0f} s"
        print(f"\r\033[K{line}" if is_terminal else f"opml: {line}", end="" if is_terminal else "\n", file=sys.stderr, flush=True)
    if is_terminal:
        print("\r\033[K", end="", file=sys.stderr, flush=True)
