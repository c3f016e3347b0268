"""The tree of all vectors: one file per source of cases, and the page that tells a consumer what to check.

The cases of a file depend on the seed and on the file's own name, so a new file changes no other.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from opml_fuzz.errors import InputError
from opml_fuzz.vectors import arithmetic, court, losses_and_holds, machine, merkle, operations, runs, training
from opml_fuzz.vectors.notation import Json

PAGE = Path(__file__).with_name("README.md")
FILES: dict[str, Callable[[Random], Iterator[Json]]] = {
    "machine/steps.json": machine.steps,
    "machine/corners.json": machine.corners,
    "machine/wrong_witnesses.json": machine.wrong_witnesses,
    "machine/forged_witnesses.json": machine.forged_witnesses,
    "machine/programs.json": machine.programs,
    "merkle/roots.json": merkle.roots,
    "merkle/proofs.json": merkle.proofs,
    "arithmetic/binary32.json": arithmetic.binary32_cases,
    "arithmetic/fixed.json": arithmetic.fixed_cases,
    "operations/fixed.json": operations.fixed_operations,
    "operations/float.json": operations.float_operations,
    "operations/training.json": training.training_operations,
    "runs/stages.json": runs.machine_stages,
    "runs/models.json": runs.model_runs,
    "court/parameters.json": court.parameters_at_bounds,
    "court/undisputed.json": court.undisputed,
    "court/honest_server.json": court.honest_server,
    "court/lying_server.json": court.lying_server,
    "court/silent_server.json": court.silent_server,
    "court/late_sides.json": court.late_sides,
    "court/failed_run.json": court.failed_run,
    "court/expired.json": court.expired,
    "court/lost_server.json": losses_and_holds.lost_server,
    "court/held_fees.json": losses_and_holds.held_fees,
    "court/last_claims.json": losses_and_holds.last_claims,
}


def write_tree(folder: Path, seed: int) -> dict[str, int]:
    """Writes the tree and returns the number of cases in each file."""
    counts: dict[str, int] = {}
    try:
        for name, cases in FILES.items():
            lines = [json.dumps(case, separators=(",", ":")) for case in cases(Random(f"vectors/{seed}/{name}"))]
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
            counts[name] = len(lines)
        (folder / PAGE.name).write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {error.filename or folder}: {error.strerror}") from error
    return counts
