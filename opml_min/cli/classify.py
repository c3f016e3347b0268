"""`opml run` and `opml eval` on a model that takes bytes: what digit is in a picture, and how often the answer is right."""

import argparse
import time

from opml_min.cli.errors import InputError
from opml_min.cli.output import Progress, hexadecimal, print_json
from opml_min.cli.saved_run import save_run
from opml_min.mnist.accuracy import count_right
from opml_min.mnist.pictures import SIDE, drawn_request, picture_request, read_idx, read_pictures, shown
from opml_min.model.resolve import Model
from opml_min.model.run import OK, Run


def run_picture(model: Model, options: argparse.Namespace) -> int:
    """One picture of a file, or the drawn one if no file is named."""
    start = time.perf_counter()
    if options.prompt:
        raise InputError(f"{options.model} takes a picture, not a text")
    if options.index and options.input is None:
        raise InputError("--index is the number of a picture in a file, and no file is named with --input")
    request = drawn_request() if options.input is None else picture_request(options.input, options.index)
    run = Run(model.image, request, device=options.device, threads=options.threads)
    timing = run.run_all()
    if run.state().status != OK:
        raise InputError("the run failed: a stage of this model does not end well")
    (digit,) = run.tokens()
    run_hash, model_root = run.run_hash(), run.model_root
    if options.save is not None:
        save_run(options.save, run, options.model, model)
    speed = 1 / (timing.prefill_seconds + timing.decode_seconds)
    if options.json:
        print_json(
            {
                "text": str(digit),
                "tokens": [digit],
                "tokens_per_second": speed,
                "prefill_tokens_per_second": speed,
                "run_hash": hexadecimal(run_hash),
                "model_root": hexadecimal(model_root),
                "device": options.device,
                "machine_steps": run.machine_steps if options.device == "vm" else None,
                "stages": run.stage_count,
                "seconds": time.perf_counter() - start,
            }
        )
    else:
        if len(request) == SIDE * SIDE:
            print(shown(request))
        steps = f", {run.machine_steps:,} machine steps" if options.device == "vm" else ""
        print(f"the digit is {digit}{steps}\nrun hash {hexadecimal(run_hash)}")
    return 0


def eval_pictures(model: Model, options: argparse.Namespace) -> int:
    """The share of right answers on the last pictures of a file."""
    start = time.perf_counter()
    if options.labels is None:
        raise InputError(f"{options.model} needs a file of pictures and one of labels")
    pictures, labels = read_pictures(options.text), read_idx(options.labels, 1)
    if len(pictures) != len(labels):
        raise InputError(f"there are {len(pictures)} pictures and {len(labels)} labels")
    first = max(0, len(pictures) - (options.last or len(pictures)))
    pictures, labels = pictures[first:], labels[first:]
    progress = Progress("pictures", len(pictures))
    right = count_right(model.image, pictures, labels, progress.show)
    progress.clear()
    accuracy = right / max(len(pictures), 1)
    if options.json:
        print_json({"pictures": len(pictures), "right": right, "accuracy": accuracy, "seconds": time.perf_counter() - start})
    else:
        print(f"{right} of {len(pictures)} right: {accuracy:.2%}")
    return 0
