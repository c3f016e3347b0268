"""`opml verify JOB`: recomputes the updates of a training job, whole or in shards that processes or a cluster share.

Whoever recomputes the last update also compares what the job says of itself: its image with its source and recipe, and its trained model.
"""

import argparse
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager

from attrs import evolve, frozen

from opml_min.cli.errors import InputError
from opml_min.cli.job_origin import fault_of_origin
from opml_min.cli.output import Progress, hexadecimal, print_json, printable
from opml_min.cli.trained_model import is_all_as_trained, state_root_of
from opml_min.training.jobs.description import PICTURES, TrainingJob
from opml_min.training.jobs.errors import JobError, SourceAbsent
from opml_min.training.jobs.folder import IMAGE, TRAINED, JobFolder
from opml_min.training.jobs.verification import Checked, Mismatch, Shard, check_shard, evidence_of, part_of, shards_of
from opml_min.training.jobs.workers import Workers, cluster, processes


@frozen
class Comparison:
    """What came out about a job's description and its trained model, which need not be there."""

    state_root: bytes | None = None
    fault: str = ""
    skipped: str = ""  # why not everything could be compared


def execute(options: argparse.Namespace) -> int:
    start = time.perf_counter()
    if options.device != "cpu":
        raise InputError(f"training jobs are recomputed on the processor, not with --device {options.device}")
    folder = JobFolder(options.file)
    job, records = evidence_of(folder)
    job = _with_source(job, options)
    shards = shards_of(folder, records)
    chosen = shards if options.shard is None else part_of(shards, *options.shard)
    if not chosen:
        number, parts = options.shard
        raise InputError(f"--shard {number}/{parts} is empty: the job's checkpoints make only {len(shards)} shards")
    checked = sorted(_checked(folder, job, chosen, options), key=lambda each: each.shard.first)
    if len({each.first_state_root for each in checked}) > 1:  # a cluster's computers may have folders of their own
        raise JobError(f"not everybody who recomputed shards had the same {IMAGE}")
    mismatches = [each.mismatch for each in checked if each.mismatch is not None]
    last, is_finished = checked[-1], len(records) == job.settings.updates
    reaches_end = last.shard.end == len(records) and not mismatches
    root = last.state_root if is_finished and reaches_end else None
    compared = _compared(folder, job, root) if reaches_end else Comparison()
    holds = None if compared.skipped and not compared.fault else not mismatches and not compared.fault
    first_root, run_hash = checked[0].first_state_root, chosen[-1].claimed[-1]
    if options.json:
        print_json(
            {
                "holds": holds,
                "updates": [chosen[0].first + 1, chosen[-1].end],
                "updates_done": len(records),
                "updates_in_all": job.settings.updates,
                "shards": len(chosen),
                "mismatches": [_as_json(each) for each in mismatches],
                "fault": compared.fault or None,
                "run_hash": hexadecimal(run_hash),
                "model_root": hexadecimal(job.model_root),
                "first_state_root": hexadecimal(first_root),
                "state_root": None if root is None else hexadecimal(root),
                "state_root_of_trained_model": None if compared.state_root is None else hexadecimal(compared.state_root),
                "not_compared": compared.skipped or None,
                "seconds": time.perf_counter() - start,
            }
        )
    else:
        for each in mismatches:
            print(_line(each))
        if not mismatches:
            print(f"the run hashes of updates {chosen[0].first + 1} to {chosen[-1].end} hold")
            print(f"run hash   {hexadecimal(run_hash)}")
            print(f"model root {hexadecimal(job.model_root)}")
            print(f"first root {hexadecimal(first_root)} of the state quarter, before the first update")
            if root is not None:
                print(f"state root {hexadecimal(root)}")
        if compared.fault:
            print(printable(compared.fault))
        if not is_finished:
            print(f"the job is not finished: {len(records)} of {job.settings.updates} updates are done")
    if holds is None:
        raise InputError(f"nothing was found wrong, but not everything was compared: {compared.skipped}; --model names the source")
    return 0 if holds else 1


def _with_source(job: TrainingJob, options: argparse.Namespace) -> TrainingJob:
    """Return the job with its source under the name that it has here. It must have the job's hash of the source whatever its name."""
    if options.model is None and options.tokenizer is None:
        return job
    if job.kind == PICTURES:
        raise InputError(f"{options.file} is a training job without a source; --model and --tokenizer name that of other jobs")
    tokenizer = options.tokenizer if options.model is not None else options.tokenizer or job.tokenizer
    return evolve(job, source=options.model or job.source, tokenizer=None if tokenizer is None else str(tokenizer))


def _compared(folder: JobFolder, job: TrainingJob, root: bytes | None) -> Comparison:
    """Compare the job with its source, and what the run left, if it is finished, with the trained model, if there is one."""
    fault = skipped = ""
    try:
        fault = fault_of_origin(folder, job)
    except SourceAbsent as error:
        skipped = str(error)
    if fault or root is None or not (folder / TRAINED).exists():
        return Comparison(None, fault, skipped)
    found = state_root_of(folder)
    if found != root:
        fault = f"{folder / TRAINED} does NOT begin with what the run left: its state root is {hexadecimal(found)}"
    elif not skipped and not is_all_as_trained(folder, job):
        fault = f"{folder / TRAINED} does NOT compute what was trained: it differs beside its weights"
    return Comparison(found, fault, skipped)


def _checked(folder: JobFolder, job: TrainingJob, shards: list[Shard], options: argparse.Namespace) -> Iterator[Checked]:
    """Check shards here one after another, or hand them to workers."""
    threads: int = options.threads
    if options.scheduler is None and options.workers == 1:
        first = shards[0].first
        progress = Progress("updates", shards[-1].end - first)
        for shard in shards:
            yield check_shard(folder.path, job, shard, threads, lambda update: progress.show(update - first))
        progress.clear()
        return
    there: AbstractContextManager[Workers]
    there = processes(min(options.workers, len(shards))) if options.scheduler is None else cluster(options.scheduler)
    progress = Progress("shards", len(shards))
    each_threads = max(1, threads // options.workers) if options.scheduler is None else threads
    with there as workers:
        futures = [workers.executor.submit(check_shard, folder.path.absolute(), job, shard, each_threads) for shard in shards]
        for done, checked in enumerate(workers.results(futures), start=1):
            yield checked
            progress.show(done)
    progress.clear()


def _line(mismatch: Mismatch) -> str:
    hashes = f"claimed {hexadecimal(mismatch.claimed)}, recomputed {hexadecimal(mismatch.recomputed)}"
    if mismatch.is_checkpoint:
        return f"the checkpoint after update {mismatch.update} does NOT have the claimed run hash: {hashes}"
    return f"the run hash of update {mismatch.update} does NOT hold: {hashes}"


def _as_json(mismatch: Mismatch) -> dict[str, object]:
    return {
        "update": mismatch.update,
        "is_checkpoint": mismatch.is_checkpoint,
        "claimed": hexadecimal(mismatch.claimed),
        "recomputed": hexadecimal(mismatch.recomputed),
    }
