"""What a validator checks of a job: it recomputes updates, and compares the run hash after each one with the evidence.

A shard is the updates between two checkpoints. It begins with its first checkpoint, whose run hash is compared before anything is computed.
So the shards of a job can be checked apart from one another. Together they check as much as the recomputation of the whole job.

The job and its evidence are read once, and each shard carries what it claims. So it does not matter what another process, or another
computer's folder of the same name, holds later.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from attrs import field, frozen

from opml_min.training.jobs.checkpoint import load_checkpoint
from opml_min.training.jobs.description import TrainingJob, load_job
from opml_min.training.jobs.errors import JobError
from opml_min.training.jobs.evidence import UpdateRecord, read_evidence
from opml_min.training.jobs.execution import start_of_run
from opml_min.training.jobs.folder import UPDATES, JobFolder


@frozen
class Shard:
    """Updates between two checkpoints, or the run's two ends: how many are done where it begins, and where it ends."""

    first: int
    end: int
    claimed: tuple[bytes, ...] = field(repr=False)  # the run hashes after `first` updates, …, after `end`; b"" after none

    def claim(self, update: int) -> bytes:
        return self.claimed[update - self.first]


@frozen
class Mismatch:
    """The first thing in a shard that does not hold."""

    update: int  # how many were done where the run hash should have been the claimed one
    is_checkpoint: bool  # whether the checkpoint is wrong with which the shard begins
    claimed: bytes
    recomputed: bytes


@frozen
class Checked:
    """What came out for a shard."""

    shard: Shard
    mismatch: Mismatch | None
    first_state_root: bytes  # of the training image
    state_root: bytes  # of the last update that was recomputed


def evidence_of(folder: JobFolder) -> tuple[TrainingJob, list[UpdateRecord]]:
    """Read what a job claims. A job under way claims the updates that it has done so far."""
    job = load_job(folder)
    records = read_evidence(folder / UPDATES, job.settings.updates)
    if not records:
        raise JobError(f"{folder.path} has no evidence yet: no update is finished")
    return job, records


def shards_of(folder: JobFolder, records: Sequence[UpdateRecord]) -> list[Shard]:
    """Return the shards of a job with this evidence."""
    claimed = (b"", *(record.run_hash for record in records))
    inner = [updates for updates in folder.checkpoints() if updates < len(records)]
    return [Shard(first, end, claimed[first : end + 1]) for first, end in pairwise([0, *inner, len(records)])]


def part_of(shards: list[Shard], number: int, parts: int) -> list[Shard]:
    """Return part `number`, from 1, of the shards in nearly equal parts."""
    return shards[len(shards) * (number - 1) // parts : len(shards) * number // parts]


def check_shard(path: Path, job: TrainingJob, shard: Shard, threads: int, watch: Callable[[int], None] = lambda update: None) -> Checked:
    """Recompute the updates of a shard of the job at `path`, up to the first mismatch.

    watch: called after each update with its number"""
    folder = JobFolder(path)
    folder.require_plain_files()
    run = start_of_run(folder, job, threads)
    first_state_root = run.state_root

    def mismatch(update: int, *, is_checkpoint: bool) -> Mismatch | None:
        claimed, recomputed = shard.claim(update), run.run_hash()
        return None if claimed == recomputed else Mismatch(update, is_checkpoint, claimed, recomputed)

    found = None
    if shard.first:
        load_checkpoint(folder.checkpoint(shard.first), run, shard.first)
        found = mismatch(shard.first, is_checkpoint=True)
    for update in range(shard.first + 1, shard.end + 1):
        if found is not None:
            break
        run.run_to(update * len(run.ops))
        found = mismatch(update, is_checkpoint=False)
        watch(update)
    run.require_unchanged_image()
    return Checked(shard, found, first_state_root, run.state_root)
