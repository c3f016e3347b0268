"""Says that kernels are being compiled, so that nobody takes the first run for one that hangs."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

from opml_min.model.native import kernel_cache

TICK_SECONDS = 1.0
NOTICE = "compiling native code, which is kept for later runs; this can take a minute"

P = ParamSpec("P")
R = TypeVar("R")


def announces_compilation(execute: Callable[P, R]) -> Callable[P, R]:
    """Makes a command say on stderr when it has to compile first; a terminal also shows for how long it has been doing so."""

    @wraps(execute)
    def announced(*arguments: P.args, **named: P.kwargs) -> R:
        with _observed():
            return execute(*arguments, **named)

    return announced


@contextmanager
def _observed() -> Iterator[None]:
    done = threading.Event()

    def observe(begins: bool) -> None:
        if not begins:
            done.set()
        elif not sys.stderr.isatty():
            print(f"opml: {NOTICE}", file=sys.stderr, flush=True)
        else:
            done.clear()
            threading.Thread(target=_tick, args=(done,), daemon=True).start()

    kernel_cache.observers.append(observe)
    try:
        yield
    finally:
        done.set()
        kernel_cache.observers.remove(observe)


def _tick(done: threading.Event) -> None:
    begin = time.monotonic()
    while True:
        print(f"\r\033[K{NOTICE}: {time.monotonic() - begin:.0f} s", end="", file=sys.stderr, flush=True)
        if done.wait(TICK_SECONDS):
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            return
