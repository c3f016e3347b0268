"""A job under way: it computes update after update, leaves the evidence, and can go on after its process was killed at any time.

Evidence is on the disk before the checkpoint that relies on it. So whatever checkpoint is there, the lines up to it are there, too, and
what comes after them is computed again.
"""

import time
from collections.abc import Callable

import numpy as np
from attrs import frozen

from opml_min.model.image.request import MAX_STAGES
from opml_min.model.staged_run import OK
from opml_min.training.image import TrainingImage
from opml_min.training.jobs.checkpoint import load_checkpoint, save_checkpoint
from opml_min.training.jobs.description import TrainingJob, load_job
from opml_min.training.jobs.errors import JobError
from opml_min.training.jobs.evidence import UpdateRecord, append_evidence, read_evidence, rewrite_evidence
from opml_min.training.jobs.folder import IMAGE, JOB, UPDATES, JobFolder
from opml_min.training.jobs.loss import losses_of
from opml_min.training.operations import TrainingOpcode
from opml_min.training.run import TrainingRun

APPEND_SECONDS = 1.0  # the longest time for which evidence waits in memory


@frozen(eq=False)
class OpenJob:
    """A job with its run, which stands after the last update that is kept."""

    folder: JobFolder
    job: TrainingJob
    run: TrainingRun
    records: list[UpdateRecord]

    @property
    def updates_done(self) -> int:
        return len(self.records)

    @property
    def examples_per_update(self) -> int:
        """Return how many tokens or pictures an update learns from."""
        return sum(op["rows"] for op in self.run.ops if op.opcode == TrainingOpcode.CROSS_ENTROPY)


def start_of_run(folder: JobFolder, job: TrainingJob, threads: int) -> TrainingRun:
    """Return the run of a job before its first stage."""
    run = TrainingRun(TrainingImage(folder / IMAGE), job.request, threads=threads)
    if run.model_root != job.model_root:
        raise JobError(f"{folder / IMAGE} is not the image that the job names: its model root is 0x{run.model_root.hex()}")
    if run.stage_count > MAX_STAGES:
        raise JobError(f"{folder / JOB} is damaged: {job.settings.updates} updates have {run.stage_count} stages, and a run at most 2^24")
    return run


def open_job(folder: JobFolder, threads: int) -> OpenJob:
    """Open a job, which must be locked, at its last checkpoint."""
    job = load_job(folder)
    folder.tidy()
    run = start_of_run(folder, job, threads)
    records = read_evidence(folder / UPDATES, job.settings.updates)
    kept = [updates for updates in folder.checkpoints() if updates <= len(records)]
    updates = kept[-1] if kept else 0
    if updates:
        load_checkpoint(folder.checkpoint(updates), run, updates)
        if run.run_hash() != records[updates - 1].run_hash:
            raise JobError(
                f"{folder.checkpoint(updates)} does not have the run hash of update {updates}; without that file, the job goes on before it"
            )
    rewrite_evidence(folder / UPDATES, records[:updates])  # without a last line that was cut off
    return OpenJob(folder, job, run, records[:updates])


def train(opened: OpenJob, watch: Callable[[UpdateRecord], None] = lambda record: None) -> None:
    """Compute the updates that are left, with the evidence and the checkpoints.

    watch: called after each update"""
    run, records, every = opened.run, opened.records, opened.job.checkpoint_every
    updates, waiting, last_append = opened.job.settings.updates, list[UpdateRecord](), time.monotonic()
    while len(records) < updates:
        loss = compute_update(run)
        record = UpdateRecord(len(records) + 1, run.run_hash(), loss)
        records.append(record)
        waiting.append(record)
        is_due = record.update % every == 0 or record.update == updates
        if is_due or time.monotonic() - last_append >= APPEND_SECONDS:
            append_evidence(opened.folder / UPDATES, waiting)
            waiting, last_append = [], time.monotonic()
        if is_due:
            save_checkpoint(opened.folder.checkpoint(record.update), run)
        watch(record)


def compute_update(run: TrainingRun) -> float:
    """Compute the stages of one update, and return its loss per token or picture."""
    losses, begin = [], run.stage
    for index, op in enumerate(run.ops):
        if op.opcode == TrainingOpcode.CROSS_ENTROPY:
            run.run_to(begin + index + 1)
            losses.append(losses_of(run.memory, op)[0])
    run.run_to(begin + len(run.ops))
    if run.state().status != OK:
        raise JobError("the run failed: its first stage refused the request")
    return float(np.concatenate(losses).mean()) if losses else 0.0
