"""Work of which each piece has a process of its own, so that no answer depends on what was asked before.

z3 numbers its terms as they are made, and how it searches depends on these numbers: the same question has taken it 29 s in a new process,
and more than 434 s behind other proofs. So every process here is forked from one that has imported the work and has done nothing else:
the fork server of Python's multiprocessing, which is started for this and runs no thread that holds a lock. What this process has done is
not in it.

Ctrl-C reaches every process of a terminal. Only the first one acts on it: it kills the others, which have nothing to tidy up.

*Source*: Python, `multiprocessing`, "Contexts and start methods"; POSIX, `fork`.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from signal import SIG_BLOCK, SIG_SETMASK, SIG_UNBLOCK, SIGINT, SIGTERM, Signals, pthread_sigmask
from typing import Any, Generic, TypeVar

from attrs import frozen

ENDING = (SIGINT, SIGTERM)
GRACE_SECONDS = 0.2  # in which a signal that ended a process reaches this one, too

S = TypeVar("S")
T = TypeVar("T")


@frozen
class Lost:
    """What stands for the result of work whose process has died."""

    exit_code: int

    def __str__(self) -> str:
        if self.exit_code < 0:
            return f"its process was ended by {Signals(-self.exit_code).name}"
        return f"its process ended with exit code {self.exit_code}"


@contextmanager
def fresh_results(work: Callable[[S], T], subjects: Iterable[S], count: int, imports: str) -> Iterator[Iterator[T | Lost]]:
    """Gives the results of the same work on each subject, in the order of the subjects, each as soon as it is there.

    count: of processes at a time; imports: the module that is imported before anything is forked. Leaving the block ends all processes"""
    pieces = _Pieces[S, T](work, imports)
    with closing(pieces):
        yield pieces.results(list(subjects), count)


class _Pieces(Generic[S, T]):
    def __init__(self, work: Callable[[S], T], imports: str) -> None:
        self._work, self._context = work, get_context("forkserver")
        self._context.set_forkserver_preload([imports])
        self._running: dict[Connection, tuple[int, ForkServerProcess]] = {}

    def results(self, subjects: list[S], count: int) -> Iterator[T | Lost]:
        found, begun = dict[int, T | Lost](), 0
        for place in range(len(subjects)):
            while place not in found:
                while begun < len(subjects) and len(self._running) < count:
                    self._begin(begun, subjects[begun])
                    begun += 1
                for one in wait(list(self._running)):
                    assert isinstance(one, Connection)
                    number, result = self._end(one)
                    found[number] = result
            yield found.pop(place)

    def _begin(self, number: int, subject: S) -> None:
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_piece, args=(theirs, self._work, subject), daemon=True)
        resource_tracker.ensure_running()  # which the fork server needs; were it started below, it would end the block too early
        before = pthread_sigmask(SIG_BLOCK, ENDING)  # the fork server, and what it forks, inherit this
        try:
            process.start()
            self._running[ours] = number, process
        finally:
            pthread_sigmask(SIG_SETMASK, before)
        theirs.close()

    def _end(self, connection: Connection) -> tuple[int, T | Lost]:
        """Receives the result of a piece, or finds that it has none; raises what the work raised."""
        number, process = self._running[connection]
        try:
            error, result = connection.recv()
        except (EOFError, OSError):
            time.sleep(GRACE_SECONDS)
            process.join()
            error, result = None, Lost(process.exitcode or 0)
        process.join()
        del self._running[connection]
        connection.close()
        if error is not None:
            raise error
        return number, result

    def close(self) -> None:
        for _, process in self._running.values():
            process.kill()
        for connection, (_, process) in self._running.items():
            process.join()
            connection.close()
        self._running.clear()


def _piece(connection: Connection, work: Callable[[Any], Any], subject: Any) -> None:
    pthread_sigmask(SIG_UNBLOCK, (SIGTERM,))
    try:
        answer = None, work(subject)
    except Exception as error:
        answer = error, None  # type: ignore[assignment]
    try:
        connection.send(answer)
    except BrokenPipeError:  # the first process was killed
        return
