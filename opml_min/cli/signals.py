"""Makes sure that Ctrl-C and a polite request to end arrive, and that the command ends by them and leaves no temporary file.

Each signal becomes an exception in the main thread, so that what is open is cleaned up. Python drops an exception that is raised in a
destructor or in a callback of native code, and both run often while code is compiled. Such a signal is sent again a moment later.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

DELAY_SECONDS = 0.05  # by then the destructor has returned
ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Ended(KeyboardInterrupt):
    """A signal asks the process to end; for Ctrl-C it is SIGINT."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Signals:
    """The signals that a command received while it was executed."""

    def __init__(self) -> None:
        self.last: int | None = None
        self.are_too_late = False
        """Whether the command has ended, so that a signal must not disturb how this is told."""

    @contextmanager
    def delivered(self) -> Iterator[None]:
        """Raises Ended in the main thread for each signal, until one arrives where it is not dropped. Ignored ones stay ignored."""
        if threading.current_thread() is not threading.main_thread():  # only that thread may set handlers, and only it is interrupted
            yield
            return
        hook, handlers = sys.unraisablehook, {number: signal.getsignal(number) for number in ENDING}
        heard = [number for number, handler in handlers.items() if handler != signal.SIG_IGN]

        def repeat(unraisable: Any) -> None:
            if isinstance(unraisable.exc_value, KeyboardInterrupt):
                number = getattr(unraisable.exc_value, "number", signal.SIGINT)
                again = threading.Timer(DELAY_SECONDS, signal.pthread_kill, (threading.main_thread().ident, number))
                again.daemon = True
                again.start()
            else:
                hook(unraisable)

        sys.unraisablehook = repeat
        for number in heard:
            signal.signal(number, self._receive)
        try:
            yield
        finally:
            sys.unraisablehook = hook
            for number in heard:
                signal.signal(number, handlers[number])

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if not self.are_too_late:
            self.last = number
            raise Ended(number)
