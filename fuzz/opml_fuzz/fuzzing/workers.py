"""Worker processes that end when the first process does: by Ctrl-C, by SIGTERM, or by an error, without a word of their own.

Ctrl-C reaches every process of a terminal. Only the first one acts on it; it ends the others by SIGTERM.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from multiprocessing.util import (  # type: ignore[attr-defined]
    Finalize,
    _run_finalizers,  # what a worker does at its ordinary end
)
from signal import SIG_BLOCK, SIG_IGN, SIG_SETMASK, SIG_UNBLOCK, SIGALRM, SIGINT, SIGPROF, SIGTERM, pthread_sigmask, signal
from typing import Any, TypeVar

ENDING = (SIGINT, SIGTERM)
FIRST_OF_ALL = 9  # of the priorities of what a worker does at its end
END_SECONDS = 5.0  # for a worker that was told to end

S = TypeVar("S")
T = TypeVar("T")


@contextmanager
def workers(count: int) -> Iterator[ProcessPoolExecutor]:
    """Gives a pool of processes. An exception that leaves the block ends them at once."""
    with ProcessPoolExecutor(count, get_context("spawn"), _leave_signals_to_the_first_process) as pool, _ended_with_this_process(pool):
        yield pool


@contextmanager
def processes(count: int) -> Iterator[tuple[Executor, int]]:
    """Gives a pool of processes, and how many there are."""
    with workers(count) as pool:
        yield pool, count


def submitted(pool: Executor, work: Callable[..., T], *arguments: Any) -> "Future[T]":
    """Submits work. A worker that this starts hears no signal before it has said what it does about signals."""
    before = pthread_sigmask(SIG_BLOCK, ENDING)
    try:
        return pool.submit(work, *arguments)
    finally:
        pthread_sigmask(SIG_SETMASK, before)


@contextmanager
def results_in_order(work: Callable[[S], T], subjects: Iterable[S], count: int) -> Iterator[Iterator[T]]:
    """Gives the results of the same work on each subject, in the order of the subjects, each as soon as it is there."""
    with workers(count) as pool:
        futures = [submitted(pool, work, subject) for subject in subjects]
        yield (future.result() for future in futures)


def _leave_signals_to_the_first_process() -> None:
    """Ignores Ctrl-C in a worker, which is told to end by SIGTERM; it then ends a target, too."""
    signal(SIGINT, SIG_IGN)
    signal(SIGTERM, lambda number, frame: _end_worker())
    Finalize(None, _hear_nothing, exitpriority=FIRST_OF_ALL)
    pthread_sigmask(SIG_UNBLOCK, ENDING)


def _hear_nothing() -> None:
    """Lets no signal interrupt the end of a worker, which ends a target: neither the order to end nor the end of the time."""
    for number in (SIGTERM, SIGALRM, SIGPROF):
        signal(number, SIG_IGN)


def _end_worker() -> None:
    _run_finalizers()
    os._exit(128 + SIGTERM)


@contextmanager
def _ended_with_this_process(pool: ProcessPoolExecutor) -> Iterator[None]:
    others = set(active_children())
    try:
        yield
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        ended = set(active_children()) - others
        for worker in ended:
            worker.terminate()
        for worker in ended:
            worker.join(END_SECONDS)
            worker.kill()
        raise
