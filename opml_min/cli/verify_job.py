"""`opml verify JOB`: recomputes the updates of a training job, whole or in shards that processes or a cluster share."""

import argparse
import time
from collections.abc import Iterator
from concurrent.futures import Executor, as_completed
from contextlib import AbstractContextManager

from attrs import frozen

from opml_min.cli.errors import InputError
from opml_min.cli.output import Progress, hexadecimal, print_json
from opml_min.cli.trained_model import is_all_as_trained, state_root_of
from opml_min.model.errors import ModelError
from opml_min.training.jobs.description import TrainingJob
from opml_min.training.jobs.folder import TRAINED, JobFolder
from opml_min.training.jobs.verification import Checked, Mismatch, Shard, check_shard, evidence_of, part_of, shards_of
from opml_min.training.jobs.workers import cluster, processes


@frozen
class Comparison:
    """What came out about the trained model, which need not be there."""

    state_root: bytes | None = None
    fault: str = ""
    skipped: str = ""  # what could not be compared, and why


def execute(options: argparse.Namespace) -> int:
    start = time.perf_counter()
    if options.model is not None or options.tokenizer is not None:
        raise InputError(f"{options.file} is a training job, which holds its model; --model and --tokenizer are for saved runs")
    if options.device != "cpu":
        raise InputError(f"training jobs are recomputed on the processor, not with --device {options.device}")
    folder = JobFolder(options.file)
    job, records = evidence_of(folder)
    shards = shards_of(folder, len(records))
    chosen = shards if options.shard is None else part_of(shards, *options.shard)
    if not chosen:
        number, parts = options.shard
        raise InputError(f"--shard {number}/{parts} is empty: the job's checkpoints make only {len(shards)} shards")
    checked = sorted(_checked(folder, chosen, options), key=lambda each: each.shard.first)
    mismatches = [each.mismatch for each in checked if each.mismatch is not None]
    last, is_finished = checked[-1], len(records) == job.settings.updates
    root = last.state_root if is_finished and last.shard.end == len(records) and not mismatches else None
    trained = Comparison() if root is None else _compared(folder, job, root)
    holds = not mismatches and not trained.fault
    if options.json:
        print_json(
            {
                "holds": holds,
                "updates": [chosen[0].first + 1, chosen[-1].end],
                "updates_done": len(records),
                "updates_in_all": job.settings.updates,
                "shards": len(chosen),
                "mismatches": [_as_json(each) for each in mismatches],
                "run_hash": hexadecimal(records[-1].run_hash),
                "model_root": hexadecimal(job.model_root),
                "state_root": None if root is None else hexadecimal(root),
                "state_root_of_trained_model": None if trained.state_root is None else hexadecimal(trained.state_root),
                "not_compared": trained.skipped or None,
                "seconds": time.perf_counter() - start,
            }
        )
    else:
        for each in mismatches:
            print(_line(each))
        if not mismatches:
            print(f"the run hashes of updates {chosen[0].first + 1} to {chosen[-1].end} hold")
            print(f"run hash   {hexadecimal(records[chosen[-1].end - 1].run_hash)}")
            print(f"model root {hexadecimal(job.model_root)}")
            if root is not None:
                print(f"state root {hexadecimal(root)}")
        if trained.fault:
            print(f"{folder / TRAINED} {trained.fault}")
        if trained.skipped:
            print(trained.skipped)
        if not is_finished:
            print(f"the job is not finished: {len(records)} of {job.settings.updates} updates are done")
    return 0 if holds else 1


def _compared(folder: JobFolder, job: TrainingJob, root: bytes) -> Comparison:
    """Compare the trained model with what the run left, if it is there."""
    if not (folder / TRAINED).exists():
        return Comparison()
    found = state_root_of(folder / TRAINED)
    if found != root:
        return Comparison(found, f"does NOT begin with what the run left: its state root is {hexadecimal(found)}")
    try:
        is_right = is_all_as_trained(folder, job)
        return Comparison(found, "" if is_right else "does NOT compute what was trained: it differs beside its weights")
    except ModelError as error:
        return Comparison(found, skipped=f"only the weights of {folder / TRAINED} were compared: {error}")


def _checked(folder: JobFolder, shards: list[Shard], options: argparse.Namespace) -> Iterator[Checked]:
    """Check shards here one after another, or hand them to workers."""
    threads: int = options.threads
    if options.scheduler is None and options.workers == 1:
        first = shards[0].first
        progress = Progress("updates", shards[-1].end - first)
        for shard in shards:
            yield check_shard(folder.path, shard, threads, lambda update: progress.show(update - first))
        progress.clear()
        return
    workers: AbstractContextManager[Executor]
    workers = processes(min(options.workers, len(shards))) if options.scheduler is None else cluster(options.scheduler)
    progress = Progress("shards", len(shards))
    each_threads = max(1, threads // options.workers) if options.scheduler is None else threads
    with workers as executor:
        futures = [executor.submit(check_shard, folder.path.absolute(), shard, each_threads) for shard in shards]
        for done, future in enumerate(as_completed(futures), start=1):
            yield future.result()
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
