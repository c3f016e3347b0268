"""Processes that may be lost: work whose code is broken on purpose may loop for ever in compiled code, or end its process.

Each thread has a worker process of its own, gives it one task after the other and waits for the answer, but not for ever. A worker may use
the processor for so many seconds per task, then the system ends it. One that does not even use the processor is killed much later, since a
computer may be busy with other things. A worker that has died is replaced, and the task has `LOST` as its answer.

*Source*: POSIX, `setrlimit`.
"""

import resource
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from math import ceil
from multiprocessing import get_context
from multiprocessing.connection import Connection
from signal import SIG_IGN, SIGINT, signal
from threading import local
from typing import Any, Generic, TypeVar

Task = TypeVar("Task")
Answer = TypeVar("Answer")
LOST = "lost"
BUSY = 10  # times as long as with a processor of its own, a task may take


class ExpendableWorkers(Generic[Task, Answer]):
    """Worker processes that compute `work(task)`; a function that can be imported."""

    def __init__(self, work: Callable[[Task], Answer], jobs: int, seconds: float) -> None:
        """seconds: of the processor, for a task, after which its worker is ended"""
        self._work, self._jobs, self._seconds = work, jobs, seconds
        self._of_thread = local()
        self._all: list[Any] = []

    def answers(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Answer | str]]:
        """Yields each task with its answer, as they come."""
        with ThreadPoolExecutor(self._jobs) as threads:
            futures = {threads.submit(self._ask, task): task for task in tasks}
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            finally:
                for future in futures:
                    future.cancel()
                for process in self._all:
                    process.kill()

    def _ask(self, task: Task) -> Answer | str:
        connection = getattr(self._of_thread, "connection", None) or self._start()
        try:
            connection.send(task)
            if connection.poll(BUSY * self._seconds):
                answer: Answer = connection.recv()
                return answer
        except (EOFError, OSError):
            pass
        self._of_thread.process.kill()
        self._of_thread.connection = None
        return LOST

    def _start(self) -> Connection:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self._work, self._seconds), daemon=True)
        process.start()
        theirs.close()
        ours.recv()  # it has imported its work; from now on time counts
        self._all.append(process)
        self._of_thread.process, self._of_thread.connection = process, ours
        return ours


def _serve(connection: Connection, work: Callable[[Any], Any], seconds: float) -> None:
    signal(SIGINT, SIG_IGN)  # the first process tells when to end
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a process that is ended leaves no file
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    connection.send(None)
    try:
        while True:
            task = connection.recv()
            resource.setrlimit(resource.RLIMIT_CPU, (ceil(time.process_time() + seconds), most))
            connection.send(work(task))
    except EOFError:
        return
