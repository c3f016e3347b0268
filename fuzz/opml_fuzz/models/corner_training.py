"""Ops of training at the corners of the code that computes them, the same for every seed.

Each operand is at each end of its range while all others are usual ones; each size is 1, a full vector, or one with a rest; all numbers
are zeros, the largest, the most negative, halfway cases, or far apart. Some stages are so large that native code divides them among
threads, or cuts them into pieces; some fill these pieces.

*Source*: spec §6.3 to §6.8.
"""

from collections.abc import Iterator
from functools import cache
from random import Random

from attrs import evolve, fields
from opml_spec.errors import SpecError
from opml_spec.training.layout import EACH_UPDATE, FIRST_UPDATE, LAST_UPDATE, SETTINGS_BYTES
from opml_spec.training.loader import check_operation
from opml_spec.training.operations.attention import BackwardAttention, ForwardAttention
from opml_spec.training.operations.batch_operation import BatchOperation
from opml_spec.training.operations.forward import ForwardAdd, ForwardMatMul
from opml_spec.training.operations.opcodes import RANGES
from opml_spec.training.operations.optimisers import Muon
from opml_spec.training.operations.products import EmbedWeights, MatMulData, MatMulWeights, TargetWeights
from opml_spec.training.operations.weights import Export, Init, Pictures, Tokens

from opml_fuzz.machine.training_case import SETTINGS, TrainingStages, training_model, with_training_request
from opml_fuzz.models.random_training import KINDS, USUAL, stages_from, training_request, usual_of
from opml_fuzz.models.training_coverage import FULL, SIZES
from opml_fuzz.models.training_tensors import Level, TensorPlaces, with_addresses

UPDATES, LARGEST_RATE = 4, (1 << 31) - 1
STEEP = (7, UPDATES, 0, LARGEST_RATE, LARGEST_RATE, 65536, 65536, 65536, 65536)
"""Settings with which an optimiser changes its weights the most."""

LARGE: tuple[tuple[type[BatchOperation], dict[str, int]], ...] = (
    (Init, {"count": (1 << 14) + 5}),
    (Export, {"rows": 9, "columns": 33}),
    (ForwardMatMul, {"rows": 50, "columns": 259, "matrix_rows": 35, "first": 0, "taken": 35, "out_frac": 30}),
    (ForwardAttention, {"sequences": 1, "period": 49, "heads": 1, "kv_heads": 1, "head_size": 34, "width": 8}),
    (MatMulData, {"rows": 49, "columns": 33, "matrix_rows": 300, "first": 3, "taken": 290}),
    (MatMulWeights, {"rows": 300, "columns": 33, "matrix_rows": 50, "first": 0, "taken": 50, "sum_frac": 0}),
    (BackwardAttention, {"sequences": 1, "period": 29, "heads": 2, "kv_heads": 1, "head_size": 34, "width": 7}),
    (Muon, {"matrix_rows": 29, "columns": 26}),
    (ForwardMatMul, {"rows": 3, "matrix_rows": 600, "first": 500, "taken": 100}),
    (MatMulWeights, {"columns": 10, "matrix_rows": 600, "first": 500, "taken": 20}),
    (TargetWeights, {"rows": 8, "columns": 10, "matrix_rows": 600}),
    (EmbedWeights, {"rows": 8, "columns": 10, "matrix_rows": 600}),
)
"""Several blocks of rows, sums of several pieces, several threads; tensors of which only pages far behind the first are written."""

FITTING: tuple[tuple[type[BatchOperation], dict[str, int]], ...] = (
    (ForwardMatMul, {"rows": 48, "columns": 64, "matrix_rows": 32, "first": 0, "taken": 32}),
    (ForwardAttention, {"sequences": 1, "period": 32, "heads": 1, "kv_heads": 1, "head_size": 32}),
    (MatMulData, {"rows": 48, "columns": 32, "matrix_rows": 64, "first": 0, "taken": 64}),
    (MatMulWeights, {"rows": 64, "columns": 32, "matrix_rows": 48, "first": 0, "taken": 48}),
    (ForwardAttention, {"sequences": 1, "period": 32, "heads": 1, "kv_heads": 1, "head_size": 9}),
    (BackwardAttention, {"sequences": 1, "period": 26, "heads": 2, "kv_heads": 1, "head_size": 32}),
    (BackwardAttention, {"sequences": 1, "period": 26, "heads": 1, "kv_heads": 1, "head_size": 9}),
    (Muon, {"matrix_rows": 24, "columns": 32}),
)
"""Tensors that fill whole blocks, so native code has no memory left over. Behind a period, the gradient reads up to six positions more.
Rows of a head of 9 numbers are paired, so one is left over."""


def operands_at_ends(kind: type[BatchOperation]) -> Iterator[dict[str, int]]:
    """Yields the numbers of operations of this kind of which one is at an end."""
    names = [each.name for each in fields(kind) if each.name in RANGES]
    usual = usual_of(kind)
    for name in names:
        low, high = RANGES[name]
        if name in SIZES:
            for size in (low, FULL, 2 * FULL + 1, 2 * FULL):
                yield usual | _fitting(kind, name, size)
        elif name == "token_bytes":
            yield from (usual | {name: each} for each in (1, 2, 4))
        elif name == "first" and issubclass(kind, Tokens | Pictures):
            batch = USUAL["sequences" if issubclass(kind, Tokens) else "rows"]
            yield from (usual | {"first": first, "per_update": first + batch} for first in (0, high - batch))
        elif name == "first":
            yield usual | {name: 0}
        elif name == "eps_q48":
            yield from (usual | {name: each, "r": 4} for each in (low, high))
        elif name != "per_update":
            yield from (usual | {name: each} | ({"eps_q48": 0} if name == "r" else {}) for each in (low, high))


def _fitting(kind: type[BatchOperation], name: str, size: int) -> dict[str, int]:
    """Returns a size, and others without which it would not fit."""
    match name:
        case "matrix_rows":
            return {name: size, "first": 0, "taken": min(size, 3)}
        case "taken":
            return {name: size, "first": 1, "matrix_rows": size + 1}
        case "heads":
            return {name: size, "kv_heads": 1}
        case "kv_heads":
            return {name: size, "heads": 2 * size}
        case "head_size":
            return {name: size + (size % 2 if "Rope" in kind.__name__ else 0)}
        case "rows" | "sequences" if issubclass(kind, Tokens | Pictures):
            return {name: size, "per_update": size + 2}
        case "count" if issubclass(kind, Tokens):
            return {name: max(size, USUAL["period"] + 1)}
        case "period" if issubclass(kind, Tokens):
            return {name: size, "count": size + 2}
    return {name: size}


def corner_training_of(kind: type[BatchOperation]) -> Iterator[TrainingStages]:
    """Yields the stages of an operation at its corners."""
    rng = Random(f"corners of {kind.__name__}")
    usual = usual_of(kind)
    for numbers in operands_at_ends(kind):
        names = usual.keys()
        yield stage(rng, kind, {name: numbers[name] for name in names})
    for level in Level:
        yield stage(rng, kind, usual, level)
        yield stage(rng, kind, usual | _ends_of_shifts(usual), level, STEEP)
    for condition in (EACH_UPDATE, FIRST_UPDATE, LAST_UPDATE):
        for update in (0, 1, UPDATES - 1):
            yield stage(rng, kind, usual, None, None, condition, update)
    for other, sizes in (*LARGE, *FITTING):
        if other is kind:
            yield stage(rng, kind, usual | sizes)


def other_rows_in_each_update(rng: Random) -> TrainingStages:
    """Builds some updates of three ops in a row. The tokens that the first one draws say to which rows, pages apart, the second adds."""
    kinds: tuple[tuple[type[BatchOperation], dict[str, int]], ...] = (
        (Tokens, {"token_bytes": 1, "count": 50, "sequences": 2, "period": 2}),
        (EmbedWeights, {"rows": 4, "columns": 10, "matrix_rows": 256}),
        (ForwardAdd, {"count": 5}),
    )
    places = TensorPlaces(rng)
    drawn, adds, last = (places.placed(with_addresses(kind, usual_of(kind) | numbers)) for kind, numbers in kinds)
    assert isinstance(drawn, Tokens)
    assert isinstance(adds, EmbedWeights)
    records = [each.record() for each in (drawn, evolve(adds, tokens=drawn.out), last)]
    return stages_from(places.data, records, training_request(rng, UPDATES, places.in_request), range(UPDATES), UPDATES)


def _ends_of_shifts(usual: dict[str, int]) -> dict[str, int]:
    """Returns the operands with which results are shifted to the left the most, and weights change the most."""
    ends = {"out_frac": 30, "sum_frac": 24, "r": 18, "eps_q48": 0, "scale_q16": RANGES["scale_q16"][1]}
    ends |= {"rate_q16": 1 << 24, "frac": 30, "decays": 0}
    return {name: value for name, value in ends.items() if name in usual}


def stage(
    rng: Random,
    kind: type[BatchOperation],
    numbers: dict[str, int],
    level: Level | None = None,
    settings: tuple[int, ...] | None = None,
    condition: int = EACH_UPDATE,
    update: int = 1,
) -> TrainingStages:
    """Makes one stage, on a tape of its op. numbers: the operands that are no addresses; settings: drawn if not given"""
    operation = with_addresses(kind, numbers)
    try:
        check_operation(operation)
    except SpecError as error:
        raise AssertionError(f"a corner of {kind.__name__} that a loader refuses: {numbers}") from error
    places = TensorPlaces(rng, level)
    tape = [places.placed(operation).record(condition)]
    drawn = training_request(rng, UPDATES)
    given = SETTINGS.pack(*settings).ljust(SETTINGS_BYTES, b"\0") if settings else drawn
    request = given + places.in_request
    return TrainingStages(with_training_request(training_model(tape, places.data, len(request)), request, UPDATES), update)


@cache
def corner_training() -> tuple[TrainingStages, ...]:
    """Builds the corners of all ops, and updates in which they depend on one another."""
    alone = (case for kind in KINDS for case in corner_training_of(kind))
    return (*alone, other_rows_in_each_update(Random("rows")))
