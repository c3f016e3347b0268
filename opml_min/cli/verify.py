"""`opml verify`: recomputes a saved run or a training job and compares its hashes, as a validator does before it challenges a claim.

It also repeats the training of the embedded model.
"""

import argparse
import time

from opml_min.cli import verify_embedded, verify_job
from opml_min.cli.arguments import MODEL_HELP, add_device, add_json, add_tokenizer, positive, settle_device
from opml_min.cli.compiling import announces_compilation
from opml_min.cli.errors import InputError
from opml_min.cli.output import Progress, hexadecimal, print_json
from opml_min.cli.parser import path
from opml_min.model.resolve import resolve
from opml_min.model.run import Run
from opml_min.model.run_file import RunOfAnotherModel, load


def register(parser: argparse.ArgumentParser) -> None:
    file = "the file that `opml run --save` wrote, the folder of a training job, or embedded, the model whose training is documented"
    parser.add_argument("file", type=path, metavar="FILE", help=file)
    parser.add_argument("--model", metavar="MODEL", help=f"{MODEL_HELP} (default: the one that FILE names)")
    add_tokenizer(parser)
    shard = "of a training job: check only part I of N equal parts of the updates between its checkpoints, such as 2/4"
    parser.add_argument("--shard", type=part, metavar="I/N", help=shard)
    workers = "of a training job: check its shards in N processes at once"
    parser.add_argument("--workers", type=positive, default=1, metavar="N", help=workers)
    cluster = "of a training job: let a Dask cluster check its shards; its workers must see JOB under the same path (needs `opml[dask]`)"
    parser.add_argument("--scheduler", metavar="ADDRESS", help=cluster)
    parser.add_argument("--data", type=path, metavar="TEXT", help="of embedded: the text that it has learned")
    parser.add_argument("--updates", type=positive, metavar="N", help="of embedded: repeat only the first N updates (default: all)")
    add_device(parser)
    add_json(parser)
    parser.set_defaults(execute=execute)


def part(text: str) -> tuple[int, int]:
    """Parse a part of equal parts, counted from 1."""
    number, _, parts = text.partition("/")
    if not (number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts) < 1 << 32):
        raise argparse.ArgumentTypeError(f"{text!r} is no part such as 2/4")
    return int(number), int(parts)


@announces_compilation
def execute(options: argparse.Namespace) -> int:
    if verify_embedded.is_meant(options):
        return verify_embedded.execute(options)
    if options.data is not None or options.updates is not None:
        raise InputError("--data and --updates are for `opml verify embedded`")
    if options.file.is_dir():
        return verify_job.execute(options)
    if options.shard is not None or options.workers != 1 or options.scheduler is not None:
        raise InputError("--shard, --workers and --scheduler are for the folder of a training job")
    start = time.perf_counter()
    saved = load(options.file)
    model = resolve(options.model or saved.model, options.tokenizer or saved.tokenizer, saved.arithmetic)
    settle_device(options, model.image)
    run = Run(model.image, saved.request, stages=saved.stages, device=options.device, threads=options.threads)
    if run.model_root != saved.model_root:
        raise RunOfAnotherModel(f"{options.file} is a run of another model, whose root is {hexadecimal(saved.model_root)}")
    progress = Progress("stages", run.stage_count)
    run.run_all(lambda: progress.show(run.stage))
    progress.clear()
    holds = run.run_hash() == saved.run_hash
    seconds = time.perf_counter() - start
    if options.json:
        print_json(
            {
                "holds": holds,
                "run_hash": hexadecimal(saved.run_hash),
                "recomputed_run_hash": hexadecimal(run.run_hash()),
                "model_root": hexadecimal(saved.model_root),
                "device": options.device,
                "machine_steps": run.machine_steps if options.device == "vm" else None,
                "seconds": seconds,
            }
        )
    elif holds:
        print(f"the run hash holds: {hexadecimal(saved.run_hash)}")
    else:
        print(f"the run hash does NOT hold: claimed {hexadecimal(saved.run_hash)}, recomputed {hexadecimal(run.run_hash())}")
    return 0 if holds else 1
