"""Random questions about training: each op on tensors of random sizes, and a few ops that share their tensors, one after the other.

Sizes favour 1 and the neighbourhood of multiples of 16, where code that computes many numbers at once has a rest or none. Operands favour
the ends of their ranges.

*Source*: spec §6.2 to §6.8.
"""

import struct
from collections.abc import Mapping
from math import prod
from random import Random

from attrs import fields
from opml_spec.errors import SpecError
from opml_spec.machine.memory import Memory
from opml_spec.model.layout import REQUEST, REQUEST_BYTES, Record, encode_tape
from opml_spec.training.layout import SETTINGS_BYTES
from opml_spec.training.loader import check_operation
from opml_spec.training.operations.attention import BackwardAttention, ForwardAttention
from opml_spec.training.operations.backward import BackwardRope
from opml_spec.training.operations.batch_operation import BatchOperation
from opml_spec.training.operations.forward import ForwardRope
from opml_spec.training.operations.opcodes import BATCH_OPERATIONS, RANGES
from opml_spec.training.operations.optimisers import Muon
from opml_spec.training.operations.weights import Pictures, Tokens
from opml_spec.training.training_stage import run_training_stage

from opml_fuzz.machine.model_case import Segments
from opml_fuzz.machine.training_case import SETTINGS, TAPE, TrainingStages, header_in, operation_in, training_model, with_training_request
from opml_fuzz.models.training_tensors import TensorPlaces, with_addresses

KINDS = tuple(sorted(BATCH_OPERATIONS.values(), key=lambda kind: kind.opcode))
NEAR_VECTORS = (7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65)
MOST_WORK, MOST_UPDATES, MANY_UPDATES = 1 << 13, 4, 3000  # products of sizes
LARGEST_RATE = (1 << 31) - 1
SHARED_SIZES, CONDITIONS = (2, 4, 6), (0, 0, 1, 2, 3, 1 << 63)
OUT_OF_BOUNDS = (
    *((8, 0), (16, 1 << 31), (16, 4), (20, (1 << 32) - 1), (24, 0), (24, 65537), (28, 0), (28, 65537), (32, 65537), (36, 65537)),
)
"""Offsets of settings and values of theirs that are refused."""

USUAL = {
    **{"rows": 3, "length": 5, "columns": 4, "matrix_rows": 6, "first": 1, "taken": 3, "vocabulary": 7, "count": 9, "sequences": 2},
    **{"period": 3, "heads": 2, "kv_heads": 1, "head_size": 4, "token_bytes": 2, "per_update": 5, "stream": 1, "mean": 1 << 24},
    **{"scale_q16": 1 << 24, "width": 15, "r": 12, "eps_q48": 1 << 31, "frac": 26, "sum_frac": 16, "out_frac": 14},
    **{"vector_frac": 14, "rate_q16": 1 << 16, "decays": 1},
}
"""An operand of each name, as it usually is; all of them fit each other."""


def usual_of(kind: type[BatchOperation]) -> dict[str, int]:
    """Returns the operands of an op that are no addresses, as they usually are."""
    return {each.name: USUAL[each.name] for each in fields(kind) if each.name in RANGES}


def some_size(rng: Random, most: int = 65) -> int:
    """Draws a size: 1, a small one, or one at which a vector is full or nearly."""
    kind = rng.randrange(8)
    if kind == 0:
        return 1
    return min(rng.choice(NEAR_VECTORS), most) if kind < 3 else rng.randint(1, min(11, most))


def operand(rng: Random, name: str) -> int:
    """Draws an operand that stands for itself: the usual one, an end of its range, or anything in it."""
    low, high = RANGES[name]
    return rng.choice((USUAL[name], USUAL[name], low, high, rng.randint(low, high)))


def numbers_of(rng: Random, kind: type[BatchOperation]) -> dict[str, int]:
    """Draws the operands of an operation that are no addresses; most of them fit each other."""
    names = [each.name for each in fields(kind) if each.name in RANGES]
    given = {name: operand(rng, name) for name in names}
    is_long = issubclass(kind, ForwardAttention | BackwardAttention | Muon)
    sizes = [name for name in ("rows", "length", "columns", "matrix_rows", "vocabulary", "sequences", "period") if name in given]
    given |= {name: some_size(rng, 33 if is_long else 65) for name in sizes}
    given |= {name: rng.choice((1, 2, 3, some_size(rng, 17))) for name in ("heads", "kv_heads", "head_size") if name in given}
    if "kv_heads" in given:
        given["heads"] = given["kv_heads"] * rng.randint(1, 3)
    if issubclass(kind, ForwardRope | BackwardRope):
        given["head_size"] *= 2
    if "taken" in given:
        given["first"] = rng.choice((0, rng.randrange(given["matrix_rows"])))
        left = given["matrix_rows"] - given["first"]
        given["taken"] = rng.choice((left, rng.randint(1, left)))
    if issubclass(kind, Tokens | Pictures):
        batch, most = given["sequences" if issubclass(kind, Tokens) else "rows"], RANGES["per_update"][1]
        given["first"] = rng.choice((0, 1, most - batch))
        given["per_update"] = rng.choice((given["first"] + batch, most))
        given["count"] = given.get("period", 0) + rng.choice((1, 2, some_size(rng)))
        if "token_bytes" in given:
            given["token_bytes"] = rng.choice((1, 2, 4))
    elif "count" in given:
        given["count"] = some_size(rng) * rng.choice((1, 1, 7))
    while prod(given[name] for name in (*sizes, *{"heads", "head_size"} & {*given})) > MOST_WORK:
        largest = max((*sizes, *{"head_size"} & {*given}), key=lambda name: given[name])
        given[largest] = max(given[largest] // 4 * 2, 1)
        if "taken" in given:
            given["first"], given["taken"] = 0, given["matrix_rows"]
        if "count" in given and "period" in given:
            given["count"] = given["period"] + 1
        if largest in ("rows", "sequences") and "per_update" in given:
            given["per_update"] = given["first"] + given[largest]
    return given


def operation_without_places(rng: Random, kind: type[BatchOperation]) -> BatchOperation:
    """Draws an operation of this kind that a loader takes, with its tensors far apart."""
    while True:
        operation = with_addresses(kind, numbers_of(rng, kind))
        try:
            check_operation(operation)
        except SpecError:
            continue  # epsilon and r, or sizes, that do not fit each other
        return operation


def training_request(rng: Random, updates: int, data: bytes = b"") -> bytes:
    """Draws settings that stage 0 accepts; the ends of their ranges are as frequent as the middle."""
    rate = rng.choice((LARGEST_RATE, LARGEST_RATE, 171_798_692, 0, rng.getrandbits(31)))
    shares = [rng.choice((1, 6554, 65536, rng.randint(1, 65536))) for _ in range(2)]
    more = [rng.choice((0, 62259, 65536, rng.randint(0, 65536))) for _ in range(2)]
    warmup, last = rng.choice((0, updates, rng.randint(0, updates))), rng.choice((0, rate, rng.randint(0, rate)))
    settings = SETTINGS.pack(rng.choice((0, (1 << 64) - 1, rng.getrandbits(64))), updates, warmup, rate, last, *shares, *more)
    return settings.ljust(SETTINGS_BYTES, b"\0") + data


def one_training_operation(rng: Random, kind: type[BatchOperation]) -> TrainingStages:
    """Draws an operation of this kind, on a tape of its own, in some update of a run."""
    places = TensorPlaces(rng)
    return stages_of(rng, places, [places.placed(operation_without_places(rng, kind))], 1)


def random_training_operation(rng: Random) -> TrainingStages:
    return one_training_operation(rng, rng.choice(KINDS))


def random_training_stages(rng: Random) -> TrainingStages:
    """Draws a few ops that share tensors, and lets each be done twice, if its condition holds."""
    places, tape = TensorPlaces(rng), list[BatchOperation]()
    sizes = {name: rng.choice(SHARED_SIZES) for name in ("rows", "length", "columns", "matrix_rows", "vocabulary")}
    while len(tape) < rng.randint(3, 7):
        if operation := operation_that_shares(rng, rng.choice(KINDS), sizes):
            tape.append(places.placed(operation, reuses=True))
    return stages_of(rng, places, tape, 2)


def operation_that_shares(rng: Random, kind: type[BatchOperation], usual: Mapping[str, int]) -> BatchOperation | None:
    """Draws an operation with tensors of these sizes; None if a loader does not take it."""
    sizes = {**usual, "sequences": 2, "period": usual["rows"] // 2, "heads": 1, "kv_heads": 1, "head_size": usual["length"], "taken": 1}
    given = numbers_of(rng, kind)
    given |= {name: size for name, size in sizes.items() if name in given}
    given |= {"count": sizes["length"] * sizes["columns"]} if "count" in given else {}
    given |= {"first": 0, "per_update": given.get("sequences", given.get("rows", 1))} if "per_update" in given else {}
    given |= {"first": 0} if "taken" in given else {}
    operation = with_addresses(kind, given)
    try:
        check_operation(operation)
    except SpecError:
        return None
    return operation


def stages_of(rng: Random, places: TensorPlaces, tape: list[BatchOperation], times: int) -> TrainingStages:
    """Executes a tape so many times in a row, from some update of a run on."""
    updates = MANY_UPDATES if rng.random() < 0.05 else rng.randint(times, MOST_UPDATES)
    first = rng.choice((0, updates - times, rng.randint(0, updates - times)))
    request = training_request(rng, updates, places.in_request)
    records = [operation.record(rng.choice(CONDITIONS)) for operation in tape]
    if len(tape) == 1 and rng.random() < 0.9:
        records = [tape[0].record(0)]
    return stages_from(places.data, records, request, range(first, first + times), updates)


def stages_from(data: Segments, records: list[Record], request: bytes, wanted: range, updates: int) -> TrainingStages:
    """Executes a tape in the wanted ones of so many updates."""
    memory = with_training_request(training_model(records, data, len(request)), request, len(records) * updates)
    return TrainingStages(memory, len(records) * wanted.start, len(records) * len(wanted))


def refused_request(rng: Random) -> TrainingStages:
    """Draws a first stage whose request is almost always refused, or whose op there is not."""
    return with_refused_request(rng, random_training_operation(rng))


def with_refused_request(rng: Random, case: TrainingStages) -> TrainingStages:
    """Gives a case of one op such a request."""
    updates = rng.randint(1, MOST_UPDATES)
    (record,), data = case.records, case.memory[REQUEST_BYTES][SETTINGS_BYTES:]
    model = {address: content for address, content in case.memory.items() if address not in (REQUEST, REQUEST_BYTES)}
    right = SETTINGS.pack(0, updates, 0, 1 << 20, 5, 1, 1, 0, 0).ljust(SETTINGS_BYTES, b"\0") + data
    request, stages = right, updates
    match rng.randrange(6):
        case 0:
            request = rng.choice((right + b"\0", right[:-1]))
        case 1:
            stages = rng.choice((0, updates + 1, (1 << 64) - 1))
        case 2:
            place = rng.randint(SETTINGS.size, SETTINGS_BYTES - 1)
            request = right[:place] + b"\1" + right[place + 1 :]
        case 3:
            opcode = rng.choice((0, 64, 95, 65 + (1 << 32), (1 << 64) - 1))
            model |= {TAPE: encode_tape([Record(opcode, rng.choice((0, 1, 2)), record.operands)])}
        case _:
            at, value = rng.choice(((12, updates + 1), *OUT_OF_BOUNDS))
            request = right[:at] + struct.pack("<I", value) + right[at + 4 :]
    return TrainingStages(with_training_request(model, request, stages), 0)


def stage_alone(case: TrainingStages, index: int) -> TrainingStages:
    """Returns one of the stages, on a tape of its op and on what the specification's stages before it leave."""
    memory, records = Memory.from_segments(case.memory), case.records
    for stage in range(case.first, case.first + index):
        memory, _ = run_training_stage(memory, stage)
    update, number = divmod(case.first + index, len(records))
    operation, request = operation_in(records[number]), case.memory.get(REQUEST_BYTES, b"")
    in_request = range(REQUEST_BYTES, REQUEST_BYTES + len(request))
    spans = [span for span in operation.spans() if span.address not in in_request] if operation is not None else []
    data = {span.address: memory.load_bytes(span.address, span.size) for span in spans}
    model = training_model([records[number]], data, header_in(case.memory).request_bytes)
    (stages,) = struct.unpack_from("<Q", case.memory[REQUEST])
    return TrainingStages(with_training_request(model, request, stages // len(records)), update)
