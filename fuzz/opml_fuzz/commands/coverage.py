"""Functional coverage on the command line: `opml-fuzz coverage`."""

import argparse
from itertools import islice
from random import Random

from opml_fuzz.commands.output import print_json
from opml_fuzz.machine.states import random_state
from opml_fuzz.sweep.coverage import Table
from opml_fuzz.sweep.order import points


def coverage(options: argparse.Namespace) -> int:
    """Prints which corners the sweep reaches, or with `--random` that many random steps. Exits 1 if a corner is missing."""
    table, rng = Table(), Random(f"coverage/{options.seed}")
    starts = (each.start for each in points()) if options.random is None else (random_state(rng) for _ in range(options.random))
    for start in starts:
        table.add(start)
    rows, missing = list(table.rows()), list(table.missing())
    if options.json:
        counts = {name: {"steps": steps, **{point: [hit, all_] for point, hit, all_ in cells}} for name, steps, cells in rows}
        print_json({"instructions": counts, "missing": len(missing)})
    else:
        for name, steps, cells in rows:
            print(f"{name:12} {steps:6} steps  " + "  ".join(f"{point} {hit}/{all_}" for point, hit, all_ in cells))
        hits, bins = (sum(counts) for counts in zip(*((hit, all_) for _, _, cells in rows for _, hit, all_ in cells), strict=True))
        print(f"{hits} of {bins} bins hit")
        for name, point, which in islice(missing, options.show):
            print(f"missing: {name} {point} {which}")
    return 1 if missing else 0
