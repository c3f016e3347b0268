"""`opml verify embedded`: repeats the training that made the embedded model, from the text, and compares it with what is documented."""

import argparse
import time

from opml_min.cli.errors import InputError
from opml_min.cli.output import Progress, hexadecimal, print_json
from opml_min.embedded.documented_run import DocumentedRun, load
from opml_min.embedded.verification import ComparedValue, recomputed
from opml_min.model.files.sealed import sha256_of

NAME = "embedded"


def is_meant(options: argparse.Namespace) -> bool:
    """Tell whether the model is to be verified, and no file of that name."""
    return str(options.file) == NAME and not options.file.exists()


def execute(options: argparse.Namespace) -> int:
    start = time.perf_counter()
    documented = load()
    updates = _updates(options, documented)
    progress, compared = Progress("updates", updates), list[ComparedValue]()
    for comparison in recomputed(documented, options.data, updates, options.threads, progress.show):
        compared.append(comparison)
        if not comparison.holds:
            break
    progress.clear()
    last, holds = compared[-1], compared[-1].holds
    if options.json:
        print_json(
            {
                "holds": holds,
                "updates": updates,
                "updates_in_all": documented.settings.updates,
                "compared": {each.what: hexadecimal(each.recomputed) for each in compared},
                "mismatch": None if holds else {"what": last.what, "documented": hexadecimal(last.documented)},
                "seconds": time.perf_counter() - start,
            }
        )
        return 0 if holds else 1
    for each in compared:
        if each.holds:
            print(f"{each.what}: {hexadecimal(each.recomputed)} holds")
        else:
            print(f"{each.what} does NOT hold: documented {hexadecimal(each.documented)}, recomputed {hexadecimal(each.recomputed)}")
    if holds and updates < documented.settings.updates:
        print(f"the model itself was not compared: it comes after {documented.settings.updates} updates")
    return 0 if holds else 1


def _updates(options: argparse.Namespace, documented: DocumentedRun) -> int:
    """Return how many updates are repeated. InputError is raised for options that do not fit, and for another text."""
    given = [name for name in ("model", "tokenizer", "shard", "scheduler") if getattr(options, name) is not None]
    if given or options.workers != 1:
        raise InputError(f"--{(given or ['workers'])[0]} is not for {NAME}, whose training is repeated as a whole")
    if options.device != "cpu":
        raise InputError(f"the training of {NAME} is recomputed on the processor, not with --device {options.device}")
    if options.data is None:
        raise InputError(f"{NAME} is verified from the text that it learned; name {documented.text} with --data")
    if sha256_of(options.data) != documented.text_sha256:
        raise InputError(f"{options.data} is another text than {NAME} learned, whose SHA-256 is {documented.text_sha256.hex()}")
    updates: int = options.updates or documented.settings.updates
    if updates > documented.settings.updates:
        raise InputError(f"--updates is {updates}, and {NAME} was trained in {documented.settings.updates}")
    return updates
