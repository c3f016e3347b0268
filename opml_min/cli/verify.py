"""`opml verify`: recomputes a saved run and compares its hash, as a validator does before it challenges a claim."""

import argparse
import time

from opml_min.cli.arguments import MODEL_HELP, add_device, add_json, add_tokenizer, settle_device
from opml_min.cli.compiling import announces_compilation
from opml_min.cli.output import Progress, hexadecimal, print_json
from opml_min.cli.parser import path
from opml_min.model.resolve import resolve
from opml_min.model.run import Run
from opml_min.model.run_file import RunOfAnotherModel, load


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=path, metavar="FILE", help="the file that `opml run --save` wrote")
    parser.add_argument("--model", metavar="MODEL", help=f"{MODEL_HELP} (default: the one that FILE names)")
    add_tokenizer(parser)
    add_device(parser)
    add_json(parser)
    parser.set_defaults(execute=execute)


@announces_compilation
def execute(options: argparse.Namespace) -> int:
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
