"""Makes sure that Ctrl-C arrives. Python drops an exception that is raised in a destructor, and Ctrl-C is an exception like any other.

While native code is compiled, destructors run often, so a command could otherwise go on as if nobody had pressed the keys.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

DELAY_SECONDS = 0.05  # by then the destructor has returned


@contextmanager
def undropped_interrupts() -> Iterator[None]:
    """Repeats a Ctrl-C that a destructor swallowed, until one arrives elsewhere."""
    previous = sys.unraisablehook

    def repeat(unraisable: Any) -> None:
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            again = threading.Timer(DELAY_SECONDS, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
            again.daemon = True
            again.start()
        else:
            previous(unraisable)

    sys.unraisablehook = repeat
    try:
        yield
    finally:
        sys.unraisablehook = previous
