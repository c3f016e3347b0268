"""The page of training: its calls, its worked example, its tables of operations and ranges are those of the code."""

import ast
import re

import pytest
from attrs import fields
from opml_spec.arithmetic.elementary import sigmoid
from opml_spec.machine.memory import MODEL, STATE, Memory
from opml_spec.machine.merkle import hash_of
from opml_spec.model.layout import HEADER, encode_tape, encode_words
from opml_spec.model.tensors import load_vector
from opml_spec.runs.run import RunState, first_state, io_quarter, stage_memory
from opml_spec.training import request, tensors
from opml_spec.training.layout import TENSORS, TrainingHeader
from opml_spec.training.loader import check_training
from opml_spec.training.operations import attention, backward, optimisers, weights
from opml_spec.training.operations.backward import CrossEntropy
from opml_spec.training.operations.batch_operation import BatchOperation
from opml_spec.training.operations.forward import ForwardMatMul
from opml_spec.training.operations.opcodes import BATCH_OPERATIONS, RANGES, operands
from opml_spec.training.operations.optimisers import Sgd
from opml_spec.training.operations.products import MatMulWeights, TargetWeights
from opml_spec.training.operations.weights import Cast, Init, Pictures
from opml_spec.training.tensors import activation, working
from opml_spec.training.training_stage import train
from spec_training import settings
from test_spec_page import CALL, CHAPTERS, code, row

PAGE = CHAPTERS["training"].read_text()
NAMES = {"sigmoid": sigmoid} | {
    name: value for module in (attention, backward, optimisers, request, tensors, weights) for name, value in vars(module).items()
}


@pytest.mark.parametrize(("call", "result"), CALL.findall(PAGE))
def test_a_call_gives_what_the_page_says(call: str, result: str) -> None:
    assert eval(call, {"__builtins__": {}}, NAMES) == ast.literal_eval(result)


def test_functions_that_round_in_a_way_of_their_own_have_an_example() -> None:
    shown = {call.split("(")[0] for call, _ in CALL.findall(PAGE)}
    assert shown == {
        *("align", "accumulate", "gradient_row", "quantise", "next_half", "root_q30", "scale_q24"),
        *("silu_slope", "power", "adam_step", "orthogonal"),
    }


# Tables ----------------------------------------------------------------------------------------------------------------------------------

WORDS = {"Mat Mul": "MATMUL", "Swi Glu": "SWIGLU"}


def page_name(kind: type[BatchOperation]) -> str:
    """`BackwardNorm` is NORM_BACKWARD on the page, `ForwardNorm` is NORM, `MatMulData` is MATMUL_DATA."""
    name = kind.__name__.removeprefix("Forward")
    name = name.removeprefix("Backward") + ("Backward" if name.startswith("Backward") else "")
    spaced = re.sub(r"(?<!^)(?=[A-Z])", " ", name)
    for words, joined in WORDS.items():
        spaced = spaced.replace(words, joined)
    return spaced.upper().replace(" ", "_")


def test_the_tables_list_every_operation_with_as_many_operands() -> None:
    listed = re.findall(r"^\| (\d\d) \| ([A-Z_]+) \| ([^|]+) \|", PAGE, re.M)
    assert [(int(opcode), name) for opcode, name, _ in listed] == [(kind.opcode, page_name(kind)) for kind in ordered()]
    for (_, name, given), kind in zip(listed, ordered(), strict=True):
        assert len(re.sub(r"\([^)]*\)", "", given).split(",")) == len(fields(kind)), name


def ordered() -> list[type[BatchOperation]]:
    return [BATCH_OPERATIONS[opcode] for opcode in sorted(BATCH_OPERATIONS)]


def test_the_operands_that_are_no_addresses_have_the_names_of_the_page() -> None:
    listed = dict(re.findall(r"^\| \d\d \| ([A-Z_]+) \| ([^|]+) \|", PAGE, re.M))
    for kind in ordered():
        given = [word.strip() for word in re.sub(r"\([^)]*\)", "", listed[page_name(kind)]).split(",")]
        for word, field in zip(given, fields(kind), strict=True):
            assert (word == field.name) == (field.name in RANGES) or word == field.name, (kind, word)


def test_the_ranges_are_those_of_the_page() -> None:
    table = PAGE.split("| operand | range |\n|---|---|\n")[1].split("\n\n")[0]
    listed: dict[str, tuple[int, int]] = {}
    for names, bounds in re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", table, re.M):
        numbers = [eval(number.replace("−", "-").replace("^", "**")) for number in re.split(r" … |, ", bounds)]
        listed |= dict.fromkeys(names.split(", "), (numbers[0], numbers[-1]))
    assert listed == RANGES


# The worked example ----------------------------------------------------------------------------------------------------------------------

MASTER, DATA, TAPE = STATE, MODEL + (1 << 29), HEADER + 4096
X, TARGETS, WORKING, LOGITS, G, OF_TARGET, SUMS = (TENSORS + 0x100 * i for i in range(7))
OPS: dict[str, BatchOperation] = {
    "INIT": Init(MASTER, 6, 0, 1 << 23, 1),
    "PICTURES": Pictures(X, TARGETS, DATA, DATA + 0x100, 3, 2, 3, 0, 2, 0),
    "CAST": Cast(WORKING, MASTER, 6, 26, 15),
    "MATMUL": ForwardMatMul(LOGITS, X, WORKING, 2, 3, 2, 0, 2, 12),
    "CROSS_ENTROPY": CrossEntropy(G, OF_TARGET, LOGITS, TARGETS, 2, 2, 15),
    "MATMUL_WEIGHTS": MatMulWeights(SUMS, G, X, 2, 3, 2, 0, 2, 16),
    "TARGET_WEIGHTS": TargetWeights(SUMS, OF_TARGET, TARGETS, X, 2, 3, 2, 16),
    "SGD": Sgd(MASTER, SUMS, 6, 26, 16, 1 << 16, 1),
}
REQUEST = settings(len(OPS), 1)


def example() -> list[RunState]:
    """The run states of the worked example."""
    header = TrainingHeader(ops=len(OPS), tape=TAPE)
    tape = encode_tape([op.record(1 if name == "INIT" else 0) for name, op in OPS.items()])
    pictures = bytes([200, 0, 100, 10, 250, 30, 0, 0, 128])
    memory = Memory.from_segments({HEADER: encode_words(header.words), TAPE: tape, DATA: pictures, DATA + 0x100: bytes([0, 1, 1])})
    check_training(memory)
    states = [first_state(io_quarter(len(OPS), REQUEST), memory.subtree(33, 3))]
    for stage in range(len(OPS)):
        states.append(train(memory.subtree(33, 1), states[-1], stage))
    return states


def written(stage: int, memory: Memory) -> str:
    """What a stage of the example has written."""

    def vector(address: int, count: int) -> str:
        return ", ".join(map(str, load_vector(memory, address, count)))

    def rows(tensor: tensors.RowTensor) -> str:
        return "; ".join(f"{', '.join(map(str, values))} with e = {e}" for values, e in zip(*tensor.load(memory), strict=True))

    texts = {
        "INIT": f"master: {vector(MASTER, 6)}",
        "PICTURES": f"x: {rows(activation(X, 2, 3))}; targets: {vector(TARGETS, 2)}",
        "CAST": f"working: {rows(working(WORKING, 6))}",
        "MATMUL": f"logits: {vector(LOGITS, 4)}",
        "CROSS_ENTROPY": f"g: {rows(activation(G, 2, 2))}; of_target: {vector(OF_TARGET, 2)}",
        "MATMUL_WEIGHTS": f"sums: {vector(SUMS, 6)}",
        "TARGET_WEIGHTS": f"sums: {vector(SUMS, 6)}",
        "SGD": f"master: {vector(MASTER, 6)}; sums: {vector(SUMS, 6)}",
    }
    return texts[list(OPS)[stage]]


def worked_rows() -> dict[str, list[str]]:
    """The rows of the example's three tables."""
    states = example()
    memories = [stage_memory(Memory().subtree(33, 1), state.carry) for state in states]
    tape = []
    for name, op in OPS.items():
        words = [op.opcode, 1 if name == "INIT" else 0, *(value for _, value in operands(op))]
        tape.append(row(name, code(", ".join(str(word) if word < 1 << 33 else hex(word) for word in words))))
    stages = [row(i, name, written(i, memories[i + 1])) for i, name in enumerate(OPS)]
    roots = [row(i, code(hash_of(state.carry)), code(state.run_hash)) for i, state in enumerate(states)]
    return {"tape": tape, "stages": stages, "roots": roots}


def test_the_worked_example() -> None:
    for table, lines in worked_rows().items():
        assert "".join(lines) in PAGE, table
    assert f"`{REQUEST.hex()}`" in PAGE
    read = request.Settings.read(stage_memory(Memory().subtree(33, 1), example()[0].carry))
    assert f"`rate_0` is {read.rate(0, 1 << 16)}, `decay_0 = round_shift(171798692·6554, 18) = {read.decay(171798692)}`" in PAGE
    last = example()[-1]
    memory = stage_memory(Memory().subtree(33, 1), last.carry)
    assert f"state_root is `{hash_of(memory.subtree(33, 3)).hex()}`" in PAGE
    assert f"io_root is `{hash_of(io_quarter(len(OPS), REQUEST)).hex()}`" in PAGE
    alone = Memory().store_bytes(MASTER, memory.load_bytes(MASTER, 24))
    assert hash_of(alone.subtree(33, 3)) == hash_of(memory.subtree(33, 3))
