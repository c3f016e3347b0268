"""How an update is divided so that each of its ops fits a stage: into batches of sequences, and the classifier into tiles of rows.

*Source*: spec §4.2 (the limit of a stage) and §6.9.
"""

from collections.abc import Callable, Iterable

from attrs import frozen

from opml_min.memory_map import STAGE_STEP_LIMIT
from opml_min.model.errors import RequestError
from opml_min.training.operations import TrainingOp, TrainingOpcode
from opml_min.training.recipes.recipe import Recipe
from opml_min.training.steps import steps_bound

LEAST_TILE = 64  # rows
MOST_BATCHES = 1 << 12  # each has its own ops on the tape


@frozen
class Division:
    """The batches of an update, and how many of the classifier's rows one op takes."""

    batches: int
    logit_rows: int


def divided(recipe: Recipe, vocabulary: int, ops_of: Callable[[Division], Iterable[TrainingOp]]) -> Division:
    """Return the division with the fewest batches, and then the fewest tiles, all of whose ops fit a stage.

    RequestError is raised if there is none. ops_of: ops of all sizes that a division leads to"""
    if recipe.batches is None:
        batches = [count for count in range(1, min(recipe.sequences, MOST_BATCHES) + 1) if recipe.sequences % count == 0]
    elif recipe.batches > MOST_BATCHES:
        raise RequestError(f"{recipe.batches} batches are impossible; {MOST_BATCHES} is the highest")
    else:
        batches = [recipe.batches]
    tiles = _tiles(vocabulary) if recipe.logit_rows is None else [recipe.logit_rows]
    divisions = [Division(count, rows) for count in batches for rows in tiles]
    for division in divisions:
        longest = longest_op(ops_of(division))
        if steps_bound(longest) <= STAGE_STEP_LIMIT:
            return division
    raise RequestError(_refusal(longest, recipe.batches is not None))


def require_fit(ops: Iterable[TrainingOp]) -> None:
    """Raise RequestError unless each op fits a stage."""
    longest = longest_op(ops)
    if steps_bound(longest) > STAGE_STEP_LIMIT:
        raise RequestError(_refusal(longest, batches_are_given=False))


def longest_op(ops: Iterable[TrainingOp]) -> TrainingOp:
    return max(ops, key=steps_bound)


def _tiles(vocabulary: int) -> list[int]:
    """Return whole, half, quarter, … of the classifier's rows."""
    rows = [vocabulary]
    while rows[-1] > LEAST_TILE:
        rows.append(-(-rows[-1] // 2))
    return rows


def _refusal(op: TrainingOp, batches_are_given: bool) -> str:
    if op.opcode == TrainingOpcode.MUON:
        advice = "another optimiser has shorter stages"
    elif batches_are_given:
        advice = "more batches have shorter stages"
    else:
        advice = "less at once has shorter stages"
    return f"{op.opcode.name} may need {steps_bound(op) / 2**32:.1f} times the steps that a stage has; {advice}"
