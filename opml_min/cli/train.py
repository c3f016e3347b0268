"""`opml train`: trains a language model on a text, or a classifier of digits on pictures, as a job in a folder.

A job that was interrupted goes on with `--resume`, and `opml verify JOB` recomputes it.
"""

import argparse
import sys
import time
from shlex import quote
from typing import Any

from attrs import asdict

from opml_min.cli import INTERRUPTED
from opml_min.cli.arguments import MODEL_HELP, add_json, add_threads, add_tokenizer, positive, word
from opml_min.cli.compiling import announces_compilation
from opml_min.cli.errors import InputError
from opml_min.cli.output import Progress, hexadecimal, print_json, printable
from opml_min.cli.parser import path
from opml_min.cli.train_pictures import picture_plan
from opml_min.cli.train_progress import TrainingProgress, duration
from opml_min.cli.train_text import characters_of, text_plan
from opml_min.cli.trained_model import write_trained_model
from opml_min.model.files.atomic import written_whole
from opml_min.model.image.header import BYTES
from opml_min.model.resolve import resolve
from opml_min.training.jobs.description import PICTURES, TEXT, Score
from opml_min.training.jobs.execution import OpenJob, open_job, train
from opml_min.training.jobs.folder import PLOT, JobFolder
from opml_min.training.jobs.held_out import Examples, scored
from opml_min.training.jobs.making import JobPlan, held_out_examples, make_job
from opml_min.training.jobs.plot import characters, svg
from opml_min.training.recipes.recipe import Method, Optimiser

ONLY_AT_FIRST = ("source", "data", "out", "tokenizer", "eval", *("recipe", "optimizer", "rank", "hidden", "batch", "batches", "length"))
SETTINGS = ("steps", "seed", "rate", "last_rate", "warmup", "decay", "checkpoint_every")


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", nargs="?", metavar="SOURCE", help=f"{MODEL_HELP}; mnist trains a classifier of digits from scratch")
    data = "the text to learn from; for mnist, the folder of the pictures in the IDX format"
    parser.add_argument("--data", type=path, metavar="FILE", help=data)
    parser.add_argument("--out", type=path, metavar="JOB", help="a new folder for the job")
    parser.add_argument("--resume", type=path, metavar="JOB", help="go on with the job in this folder, at its last checkpoint")
    recipe = "what trains: adapters (lora, the default), the last layer, all weights (full), or all from random ones (scratch)"
    parser.add_argument("--recipe", choices=[each.value for each in Method], help=recipe)
    optimizer = "the optimiser (default: adam; for mnist sgd). muon is for the matrices of the layers, with adam for the rest"
    parser.add_argument("--optimizer", choices=[each.value for each in Optimiser], help=optimizer)
    parser.add_argument("--steps", type=positive, metavar="N", help="updates (default: 200; for mnist 3000)")
    parser.add_argument("--batch", type=positive, metavar="B", help="sequences or pictures per update (default: 8; for mnist 32)")
    batches = "compute the sequences of an update in N equal parts, for less memory and shorter stages (default: as few as fit)"
    parser.add_argument("--batches", type=positive, metavar="N", help=batches)
    parser.add_argument("--length", type=positive, metavar="T", help="tokens per sequence (default: 128, or a shorter context)")
    parser.add_argument("--seed", type=word, metavar="S", help="the seed of all random choices (default: 0)")
    rate = "the highest learning rate; for sgd, of the mean gradient (default: depends on recipe and optimiser)"
    parser.add_argument("--rate", type=float, metavar="R", help=rate)
    last_rate = "the rate towards which it falls until the last update (default: a tenth of the highest)"
    parser.add_argument("--last-rate", type=float, metavar="R", help=last_rate)
    parser.add_argument("--warmup", type=int, metavar="N", help="updates in which the rate rises (default: a tenth of all)")
    parser.add_argument("--decay", type=float, metavar="D", help="weight decay, times the rate (default: 0.1 for scratch and full, else 0)")
    parser.add_argument("--rank", type=positive, metavar="N", help="rank of the adapters (default: 8)")
    parser.add_argument("--hidden", type=positive, metavar="N", help="hidden units of the classifier (default: 64)")
    held_out = "measure the loss before and after on this text; without FILE, on the last tenth of --data, which is then held out"
    parser.add_argument("--eval", nargs="?", const=True, type=path, metavar="FILE", help=held_out)
    checkpoint = "keep a checkpoint after every N updates, from which a job goes on and shards are verified (default: a tenth of all)"
    parser.add_argument("--checkpoint-every", type=positive, metavar="N", help=checkpoint)
    add_tokenizer(parser)
    add_threads(parser)
    add_json(parser)
    parser.set_defaults(execute=execute)


@announces_compilation
def execute(options: argparse.Namespace) -> int:
    start = time.perf_counter()
    folder = _folder(options)
    plan = None
    if options.resume is None:
        plan = _plan(options)  # what is refused leaves no folder
        folder.create()
    with folder.locked():
        if plan is not None:
            _make(plan, folder, options.threads)
        opened = open_job(folder, options.threads)
        progress = TrainingProgress(opened.updates_done, opened.job.settings.updates, opened.examples_per_update, _unit(opened.job.kind))
        try:
            train(opened, progress.show)
        except KeyboardInterrupt:
            return _interrupted(options, opened)
        finally:
            progress.clear()
        return _finish(options, opened, progress.examples_per_second, start)


def _folder(options: argparse.Namespace) -> JobFolder:
    if options.resume is not None:
        given = [name for name in (*ONLY_AT_FIRST, *SETTINGS) if getattr(options, name) is not None]
        if given:
            raise InputError(f"--resume goes on with a job as it was begun; leave out {_flag(given[0])}")
        return JobFolder(options.resume)
    for name in ("source", "data", "out"):
        if getattr(options, name) is None:
            raise InputError(f"a new job needs {_flag(name)}; an interrupted one goes on with --resume JOB")
    folder = JobFolder(options.out)
    folder.require_new()
    return folder


def _flag(name: str) -> str:
    return "SOURCE" if name == "source" else "--" + name.replace("_", "-")


def _plan(options: argparse.Namespace) -> JobPlan:
    model = resolve(options.source, options.tokenizer)
    return (picture_plan if model.image.header.request_kind == BYTES else text_plan)(model, options)


def _make(plan: JobPlan, folder: JobFolder, threads: int) -> None:
    progress = _scoring(plan.held_out, _unit(plan.kind))
    make_job(folder, plan, threads, progress.show)
    progress.clear()


def _scoring(examples: Examples | None, unit: str) -> Progress:
    """Say that what is held out is scored, in a log by a line, and return the bar for a terminal."""
    if examples is None:
        return Progress("", 0)
    if not sys.stderr.isatty():
        print(f"opml: scoring {examples.targets.size:,} held-out {unit}s", file=sys.stderr, flush=True)
    return Progress("held-out examples", len(examples.inputs))


def _interrupted(options: argparse.Namespace, opened: OpenJob) -> int:
    kept = max((updates for updates in opened.folder.checkpoints() if updates <= opened.updates_done), default=0)
    if options.json:
        print_json({"interrupted": True, "job": str(opened.folder.path), "updates_kept": kept})
    how = f"`opml train --resume {quote(str(opened.folder.path))}` goes on after update {kept}"
    done = f"{opened.updates_done} update{'' if opened.updates_done == 1 else 's'}"
    print(f"opml: interrupted after {done}; {how}", file=sys.stderr)
    return INTERRUPTED


def _finish(options: argparse.Namespace, opened: OpenJob, speed: float, start: float) -> int:
    """Plot and score a job whose updates are all done, and say what came out."""
    folder, job, run = opened.folder, opened.job, opened.run
    losses, unit = [record.loss for record in opened.records], _unit(job.kind)
    with written_whole(folder / PLOT) as file:
        file.write(svg(losses, printable(f"{job.source}, {job.recipe}, {job.optimizer}: loss per {unit} in nats")).encode())
    roots = {"run_hash": run.run_hash(), "model_root": job.model_root, "state_root": run.state_root}
    model, after, per_character = write_trained_model(folder, job, run), None, None
    if job.before is not None:
        examples = held_out_examples(folder, run)
        progress = _scoring(examples, unit)
        after = scored(run, examples, options.threads, progress.show)
        progress.clear()
        if job.kind == TEXT:
            per_character = after.loss * after.examples / characters_of(examples, job)
    if options.json:
        print_json(
            {
                "job": str(folder.path),
                "updates": len(losses),
                "stages": run.stage_count,
                "first_loss": losses[0],
                "last_loss": losses[-1],
                "held_out_before": _as_json(job.before),
                "held_out_after": _as_json(after),
                "held_out_after_per_character": per_character,
                **{name: hexadecimal(value) for name, value in roots.items()},
                f"{unit}s_per_second": speed or None,
                "plot": str(folder / PLOT),
                "trained_model": str(model),
                "seconds": time.perf_counter() - start,
            }
        )
        return 0
    print(characters(losses))
    last = losses[-max(1, len(losses) // 10) :]
    print(f"nats per {unit}: {losses[0]:.4f} in the first of {len(losses)} updates, {sum(last) / len(last):.4f} in the last tenth")
    if job.before is not None and after is not None:
        change = f"{job.before.loss:.4f} before, {after.loss:.4f} after"
        print(f"held out, {after.examples} {unit}s: {change}; {after.accuracy:.2%} right")
    if per_character is not None:
        print(f"nats per character of what is held out: {per_character:.4f}")
    if speed:
        print(f"{speed:,.0f} {unit}s per second, {duration(time.perf_counter() - start)} in all; the plot is {folder / PLOT}")
    how = "--input PICTURES" if job.kind == PICTURES else "--prompt TEXT"
    print(f"the trained model: opml run {quote(str(model))} {how}")
    for name, value in roots.items():
        print(f"{name.replace('_', ' '):10} {hexadecimal(value)}")
    return 0


def _unit(kind: str) -> str:
    return "picture" if kind == PICTURES else "token"


def _as_json(score: Score | None) -> dict[str, Any] | None:
    return None if score is None else asdict(score)
