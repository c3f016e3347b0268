"""Work of z3 that a signal can stop. Python hears no signal while its main thread is inside z3, so z3 works on another thread.

Python's collector may run on any thread, and would free terms while z3 works on another, which z3 does not allow. So it is off meanwhile.

By itself z3 takes Ctrl-C for its own: a query then ends as `unknown`, and the program goes on. The solvers here leave it alone (`ctrl_c`).
"""

import gc
import threading
from collections.abc import Callable
from typing import TypeVar

import z3

POLL_SECONDS = 0.05
Result = TypeVar("Result")


class Stopped(BaseException):
    """The work was told to stop. No predicate can cause it, so nothing takes it for an outcome."""


def stoppable(work: Callable[[threading.Event], Result]) -> Result:
    """Returns what the work returns. An exception in this thread stops it; the work raises Stopped soon after its event is set."""
    stop, done, results, errors = threading.Event(), threading.Event(), list[Result](), list[BaseException]()

    def run() -> None:
        try:
            results.append(work(stop))
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()  # not `is_alive`: after Ctrl-C in `join`, Python 3.11 takes the thread for dead (bpo-45274)

    thread = threading.Thread(target=run)
    was_on = gc.isenabled()
    gc.disable()
    try:
        thread.start()
        while not done.wait(POLL_SECONDS):
            pass
    except BaseException:
        stop.set()
        while not done.wait(POLL_SECONDS):
            z3.main_ctx().interrupt()
        raise
    finally:
        if was_on:
            gc.enable()
    if errors:
        raise errors[0]
    return results[0]
