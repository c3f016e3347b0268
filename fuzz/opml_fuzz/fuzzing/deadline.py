"""An end in time: whatever an engine is doing when the time is up, it stops.

Python runs the handler of a timer between two instructions of the main thread, and the handler raises. A long act at court, or a long
program, ends there; a call into compiled code ends first. An exception in a destructor is lost, so the timer goes off again and again.

*Source*: POSIX, `setitimer`.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf

from opml_fuzz.engines.protocol import OutOfTime

GRACE_SECONDS = 0.25  # in which an engine that looks at the clock itself ends by itself
AGAIN_SECONDS = 0.25


@contextmanager
def stopped_at(moment: float) -> Iterator[None]:
    """Raises OutOfTime in the block soon after this moment of the monotonic clock, or at once if it is past.

    Only the main thread of a process can be stopped; in another one the block goes on to its end."""
    left = moment + GRACE_SECONDS - time.monotonic()
    if left <= 0:
        raise OutOfTime
    if left == inf or threading.current_thread() is not threading.main_thread():
        yield
        return
    with _stopped_by(signal.SIGALRM, signal.ITIMER_REAL, left):
        yield


@contextmanager
def stopped_after(seconds: float) -> Iterator[None]:
    """Raises OutOfTime in the block when it has used so many seconds of the processor, however busy the computer is. Main thread only."""
    with _stopped_by(signal.SIGPROF, signal.ITIMER_PROF, seconds):
        yield


@contextmanager
def _stopped_by(number: signal.Signals, timer: int, seconds: float) -> Iterator[None]:
    """Raises OutOfTime in the block each time that this timer sends this signal."""
    is_running = True

    def stop(*_: object) -> None:
        if is_running:
            raise OutOfTime

    before = signal.signal(number, stop)
    try:
        signal.setitimer(timer, seconds, AGAIN_SECONDS)  # may go off before anything else is done
        yield
    finally:
        is_running = False
        signal.setitimer(timer, 0)
        signal.signal(number, before)
