"""The folder of a job: which file holds what, and who may write there.

| file | holds |
|---|---|
| `job.json` | what the job is; written last when a job is made, so a folder without it is no job |
| `training.opml` | the training image |
| `updates.jsonl` | the evidence: the run hash after each update, and the loss |
| `checkpoint-N` | all that the run had written after N updates |
| `held_out` | what the loss is measured on before and after training |
| `loss.svg` | a plot of the loss |
| `trained.opml` | the trained model |
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote

from attrs import frozen

from opml_min.model.errors import WriteFailed
from opml_min.model.files.atomic import check_writable
from opml_min.training.jobs.errors import JobError

JOB, IMAGE, UPDATES, HELD_OUT, PLOT, TRAINED = "job.json", "training.opml", "updates.jsonl", "held_out", "loss.svg", "trained.opml"
FILES = (JOB, IMAGE, UPDATES, HELD_OUT, PLOT, TRAINED)
CHECKPOINT_NAME = re.compile(r"checkpoint-([1-9][0-9]{0,8})")


@frozen
class JobFolder:
    """A folder that is a job, or is to become one."""

    path: Path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def checkpoint(self, updates: int) -> Path:
        return self.path / f"checkpoint-{updates}"

    def checkpoints(self) -> list[int]:
        """Return after how many updates there is a checkpoint, ascending."""
        try:
            found = (CHECKPOINT_NAME.fullmatch(name) for name in os.listdir(self.path))
        except OSError as error:
            raise JobError(f"cannot read {self.path}: {error.strerror}") from error
        return sorted(int(match[1]) for match in found if match)

    def require_plain_files(self) -> None:
        """Raise JobError if a file of the job is a pipe, which may never end, or a link, which may lead out of the folder."""
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    is_ours = entry.name in FILES or CHECKPOINT_NAME.fullmatch(entry.name)
                    if is_ours and not entry.is_file(follow_symlinks=False):
                        raise JobError(f"{self.path} is damaged: {entry.name} is not a plain file")
        except OSError as error:
            raise JobError(f"cannot read {self.path}: {error.strerror}") from error

    def require_new(self) -> None:
        """Raise an error unless a job can be made here: in a new folder, an empty one, or one where the making of a job was ended."""
        try:
            there = [name for name in os.listdir(self.path) if not name.startswith((".", IMAGE, HELD_OUT))]
        except FileNotFoundError:
            return check_writable(self.path)
        except OSError as error:
            raise WriteFailed(f"cannot write {self.path}: {error.strerror}") from error
        if JOB in there:
            raise JobError(f"{self.path} is a job already; `opml train --resume {quote(str(self.path))}` goes on with it")
        if there:
            raise JobError(f"{self.path} is not empty; name a new folder")

    def create(self) -> None:
        """Make the folder, if it is not there."""
        self.require_new()
        try:
            self.path.mkdir(exist_ok=True)
        except OSError as error:
            raise WriteFailed(f"cannot write {self.path}: {error.strerror}") from error

    def tidy(self) -> None:
        """Delete temporary files of a process that was killed. Call it only while the folder is locked, as others may be another's."""
        for left in self.path.glob(".*"):
            if left.name[1:].startswith((*FILES, "checkpoint-")):
                left.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing. The system ends the lock with the process, however that ends."""
        try:
            import fcntl
        except ImportError:  # not on this system
            yield
            return
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise JobError(f"cannot read {self.path}: {error.strerror}") from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise JobError(f"{self.path} is in use by another process") from error
            yield
        finally:
            os.close(descriptor)
