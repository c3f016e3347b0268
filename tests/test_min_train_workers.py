"""Who recomputes shards: processes end with the one that began them, and a cluster that has nobody left is given up."""

import errno
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from opml_min.training.jobs import workers
from opml_min.training.jobs.errors import JobError
from opml_min.training.jobs.workers import Workers, cluster, processes

PARENT = """
import os, time
from opml_min.training.jobs.workers import processes
if __name__ == "__main__":
    with processes(1) as workers:
        print(workers.executor.submit(os.getpid).result(), flush=True)
        time.sleep(600)
"""


def is_running(process: int) -> bool:
    """Tell whether there is such a process that is more than an entry for somebody to wait for."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_process_does_not_outlive_the_one_that_began_it(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    with subprocess.Popen([sys.executable, str(tmp_path / "parent.py")], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_running(child)
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        end = time.monotonic() + 60
        while is_running(child) and time.monotonic() < end:
            time.sleep(0.05)
        assert not is_running(child)


def test_results_come_as_they_are_ready() -> None:
    with processes(2) as there:
        assert sorted(there.results([there.executor.submit(abs, -n) for n in range(5)])) == [0, 1, 2, 3, 4]


def test_processes_that_cannot_begin() -> None:
    def too_many() -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    with pytest.raises(JobError, match="cannot begin 3 processes: Resource temporarily unavailable; use fewer --workers"), processes(3):
        too_many()


class Client:
    """A cluster without workers, or without a scheduler."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def nthreads(self) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize("answer", [{}, OSError("no scheduler")])
def test_a_cluster_without_workers_is_given_up(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    monkeypatch.setattr(workers, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(workers, "LOST_SECONDS", 0.1)
    client = Client({"one": 1})
    there = Workers(executor=None, look=workers._look_at(client, "tcp://there"))  # type: ignore[arg-type]
    looks, real = [], there.look

    def look() -> None:
        looks.append(time.monotonic())
        if len(looks) == 30:  # longer than it would be given up
            client.answer = answer
        real()

    never: Future[int] = Future()
    with pytest.raises(JobError, match="the Dask cluster at tcp://there has lost all its workers"):
        list(Workers(there.executor, look).results([never]))
    assert len(looks) > 30


def test_a_real_cluster_without_workers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(workers, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(workers, "LOST_SECONDS", 0.5)
    alone = distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None)
    with alone as local, cluster(local.scheduler_address) as there:
        assert list(there.results([there.executor.submit(abs, -1)])) == [1]
        local.scale(0)
        with pytest.raises(JobError, match="has lost all its workers"):
            list(there.results([there.executor.submit(time.sleep, 600)]))
