"""What a difference is, in words: which step goes wrong, and every field in which the results differ.

An engine that gives hashes alone cannot be asked for fields. It is compared with the others by its hash.

*Source*: spec §2.1.
"""

import struct
from collections.abc import Iterator
from contextlib import suppress
from math import inf

from attrs import asdict, evolve
from opml_spec.errors import SpecError
from opml_spec.machine.decode import disassemble
from opml_spec.machine.memory import Memory
from opml_spec.machine.merkle import DEPTH, LEAF_BYTES, Node, children, hash_of
from opml_spec.machine.state import encode
from opml_spec.machine.witness import make_witness
from opml_spec.model.operations.table import OPERATIONS, decode_operation
from opml_spec.model.stage import run_stage
from opml_spec.training.operations.opcodes import RANGES, operands

from opml_fuzz.engines.protocol import OutOfTime, Telling, TellingTensors, describe
from opml_fuzz.engines.room import Engines
from opml_fuzz.fuzzing.deadline import stopped_at
from opml_fuzz.fuzzing.difference import Difference
from opml_fuzz.fuzzing.shrinking import after, first_wrong_stage, first_wrong_step
from opml_fuzz.machine.case import Program, Step, Witness
from opml_fuzz.machine.edits import ROOT_AT
from opml_fuzz.machine.model_case import OneStage, WholeRun, header_of, records_of
from opml_fuzz.machine.simpler import is_fetchable, word_at
from opml_fuzz.machine.start import Start
from opml_fuzz.machine.training_case import TrainingStages, numbers_in
from opml_fuzz.models.training_tensors import role

MOST_LEAVES = 8  # that are shown
STATUSES = {0: "running", 1: "halted", 2: "trapped"}


def explained(difference: Difference, engines: Engines, origin: str, until: float = inf) -> Difference:
    """Adds where a difference comes from, and what it is, as far as there is time to ask."""
    lines = list[str]()
    with suppress(OutOfTime), stopped_at(until):
        lines += words(difference, engines)
    return evolve(difference, origin=origin, details=tuple(lines))


def words(difference: Difference, engines: Engines) -> Iterator[str]:
    """Yields the lines."""
    case = difference.case
    match case:
        case Step(start):
            yield f"executes {instruction(start)}"
            with suppress(SpecError):
                yield f"witness: {make_witness(start.state()).hex()}"
            yield from fields(start, 1, engines)
        case Program(start):
            wrong_at = first_wrong_step(case, engines)
            if wrong_at is None:
                yield "the states agree where the run is stopped once only: what matters are the stops, or the next witness"
                return
            before = after(start, wrong_at - 1)
            yield f"first differs after step {wrong_at}" + (f", which executes {instruction(before)}" if before else "")
            yield from fields(start, wrong_at, engines)
        case Witness(witness):
            yield f"witness: {witness.hex()}"
            if case.start is not None:
                yield f"of the step that executes {instruction(case.start)}"
                yield from (f"changed: {edit}" for edit in case.edits)
        case OneStage():
            yield from of_stage(case)
        case WholeRun(memory):
            different = [i for i, answers in enumerate(zip(*difference.answers.values(), strict=False)) if len(set(answers)) > 1]
            if different:
                position, op = divmod(different[0], header_of(memory).ops)
                yield f"first differs after stage {different[0]}: op {op} at position {position}"
        case TrainingStages():
            yield from of_training(case, first_wrong_stage(difference.answers), engines)


def of_stage(case: OneStage) -> Iterator[str]:
    """Yields the op of a stage with its operands, or all ops if the stage is a whole run; then the leaves that the specification changes,
    since a target tells but a root."""
    header, before = header_of(case.memory), Memory.from_segments(case.memory)
    position, op = divmod(case.stage, header.ops)
    for number, record in enumerate(records_of(case.memory)):
        if record.opcode in OPERATIONS and (header.single_phase or number == op):
            where = "" if header.single_phase else f" at position {position}"
            operands_of = asdict(decode_operation(record)).items()
            numbers = ", ".join(f"{name} {value if value < header.tape else hex(value)}" for name, value in operands_of)
            yield f"op {number}{where}, condition {record.condition}: {type(decode_operation(record)).__name__}, {numbers}"
    try:
        after, exit_code = run_stage(before, case.stage)
    except Exception as error:  # the specification itself may be what is wrong
        yield f"spec: {describe(error)}"
        return
    changes = [] if exit_code else list(changed_leaves(before.tree, after.tree, DEPTH, 0))
    yield f"spec: exit code {exit_code}, {len(changes) or 'no'} {'leaf' if len(changes) == 1 else 'leaves'} changed"
    for address, old, new in changes[:MOST_LEAVES]:
        yield f"at {address:#x}: {old.hex()} → {new.hex()}"


def changed_leaves(old: Node, new: Node, height: int, index: int) -> Iterator[tuple[int, bytes, bytes]]:
    """Yields the leaves in which two trees differ: address, and what is there in either."""
    if hash_of(old) == hash_of(new):
        return
    if height:
        for side, (one, other) in enumerate(zip(children(old, height), children(new, height), strict=True)):
            yield from changed_leaves(one, other, height - 1, 2 * index + side)
    elif isinstance(old, bytes) and isinstance(new, bytes):
        yield index * LEAF_BYTES, old, new


def of_training(case: TrainingStages, wrong: int, engines: Engines) -> Iterator[str]:
    """Yields the stage of training that goes wrong, its op, and of each tensor the first number that the engines leave differently."""
    update, op = divmod(case.first + wrong, len(case.records))
    operation = case.operation(case.first + wrong)
    yield f"first differs after stage {case.first + wrong}: op {op} in update {update}"
    if operation is None:
        return
    numbers = ", ".join(f"{name} {value}" for name, value in operands(operation) if name in RANGES)
    yield f"{type(operation).__name__}: {numbers}"
    to_here = evolve(case, count=wrong + 1)
    told = {engine.name: engine.tensors(to_here) for engine in engines.of_models if isinstance(engine, TellingTensors)}
    left = {name: tensors for name, tensors in told.items() if tensors}
    for span in {span.address: span for span in operation.spans()}.values():
        each = {name: [value for _, _, value in numbers_in(span, tensors[span.address])] for name, tensors in left.items()}
        for place, values in enumerate(zip(*each.values(), strict=True)):
            if len(set(values)) > 1:
                said = ", ".join(f"{value} in {name}" for name, value in zip(each, values, strict=True))
                yield f"number {place} of {role(operation, span.address)}: {said}"
                break


def instruction(start: Start) -> str:
    """Writes what is executed in a state."""
    if start.kind:
        return f"nothing: the machine is {STATUSES[start.kind]}"
    if not is_fetchable(start.pc):
        return f"nothing: {start.pc:#x} cannot be fetched"
    word = word_at(start, start.pc)
    return f"{disassemble(word)} ({word:#010x}) at {start.pc:#x}"


def fields(start: Start, steps: int, engines: Engines) -> Iterator[str]:
    """Yields the fields after some steps in which the engines that can tell them differ from the first one."""
    asked = engines.of_states if steps == 1 else engines.of_programs
    told = dict[str, bytes]()
    for engine in asked:
        with suppress(Exception):  # an engine that raises has said so in its answer
            if isinstance(engine, Telling):
                told[engine.name] = engine.preimage(start, steps)
    if not told:
        return
    (first, expected), *others = told.items()
    state = encode(start.state())
    changes = [f"{old} → {new.partition(' = ')[2]}" for old, new in zip(written(state), written(expected), strict=True) if old != new]
    yield f"{first}: {'; '.join(changes) or 'nothing changes'}"
    for name, got in others:
        different = [line for line, right in zip(written(got), written(expected), strict=True) if line != right]
        rights = [right for line, right in zip(written(got), written(expected), strict=True) if line != right]
        for right, wrong in zip(rights, different, strict=True):
            yield f"{right} in {first}, {wrong} in {name}"


def written(preimage: bytes) -> Iterator[str]:
    """Yields the fields of a state: pc, registers, status, root of the memory."""
    pc, *x = struct.unpack_from(">32Q", preimage)
    yield f"pc = {pc:#x}"
    yield from (f"x{i} = {value:#x}" for i, value in enumerate(x, 1))
    kind, value = struct.unpack_from(">BQ", preimage, 256)
    yield f"status = {STATUSES.get(kind, kind)}, {value:#x}"
    yield f"memory = {preimage[ROOT_AT:].hex()}"
