"""The guest of training computes what spec §6 says: every op, a whole update and the page's example, against the specification.

All of io and state is compared, by its root: what an op must not write counts as much as what it writes.
"""

import math
import random
import re
import struct
from collections.abc import Callable

import pytest
from attrs import evolve
from min_training_guest import Guest, memory_of
from opml_spec.machine.memory import CARRY_HEIGHT, MODEL, STATE, Memory
from opml_spec.machine.merkle import hash_of
from opml_spec.model.layout import REQUEST
from opml_spec.model.llama import Shape
from opml_spec.training.layout import TENSORS
from opml_spec.training.loader import check_operation
from opml_spec.training.operations.attention import BackwardAttention, ForwardAttention, Heads
from opml_spec.training.operations.backward import BackwardNorm, BackwardRelu, BackwardRope, BackwardSwiGlu, CrossEntropy, Round, Sum
from opml_spec.training.operations.batch_operation import BatchOperation
from opml_spec.training.operations.forward import (
    ForwardAdd,
    ForwardEmbed,
    ForwardMatMul,
    ForwardNorm,
    ForwardRelu,
    ForwardRope,
    ForwardSwiGlu,
)
from opml_spec.training.operations.opcodes import BATCH_OPERATIONS
from opml_spec.training.operations.optimisers import Adam, Muon, Sgd
from opml_spec.training.operations.products import EmbedWeights, MatMulData, MatMulWeights, TargetData, TargetWeights
from opml_spec.training.operations.weights import Cast, Export, Init, Pictures, Tokens
from opml_spec.training.tensors import RowTensor
from opml_spec.training.training_stage import run_training_stage
from spec_training import ROPE, TEXT, settings, start
from test_spec_page import CHAPTERS

from opml_min.machine.hashing import keccak256

A, B, C, D, E, F, G = (TENSORS + (i << 22) for i in range(7))
DATA = MODEL + (1 << 29)
UPDATES = 4


def carry_root(memory: Memory) -> bytes:
    return hash_of(memory.subtree(CARRY_HEIGHT, 1))


# Any op with any operands ----------------------------------------------------------------------------------------------------------------


def drawn_op(kind: type[BatchOperation], rng: random.Random) -> BatchOperation:
    """An op of this kind, small, with operands anywhere in their ranges."""
    rows, length, columns, matrix_rows = (rng.randint(1, most) for most in (6, 11, 9, 9))
    first = rng.randrange(matrix_rows)
    part = first, rng.randint(1, matrix_rows - first)
    sequences, period, kv_heads, group, size = (rng.randint(1, most) for most in (2, 6, 2, 2, 5))
    heads = kv_heads * group
    width, r, stream = rng.choice([7, 15, rng.randint(7, 15)]), rng.randint(4, 18), rng.getrandbits(32)
    eps = rng.choice([0, 2815, min(2**36 - 1, 2 ** (64 - 2 * r))])
    frac, sum_frac, any_frac, factor = rng.randint(18, 30), rng.randint(0, 24), rng.randint(0, 30), rng.choice([0, 1 << 16, 1 << 24])
    update = rng.randint(0, 3), 9
    examples: list[Callable[[], BatchOperation]] = [
        lambda: Init(STATE, length, rng.choice([0, 2**31 - 1]), rng.choice([0, 116248, 2**31 - 1]), stream),
        lambda: Tokens(A, B, DATA, rng.choice([1, 2, 4]), 60, sequences, period, *update, stream),
        lambda: Pictures(A, B, DATA, DATA + 4096, 60, rows, length, *update, stream),
        lambda: Cast(A, STATE, length, frac, width),
        lambda: Export(STATE + 4096, STATE, rows, columns * 8, frac),
        lambda: ForwardEmbed(C, B, A, rows, columns, matrix_rows, r),
        lambda: ForwardNorm(D, A, B, rows, length, r, eps, width),
        lambda: ForwardMatMul(D, A, C, rows, columns, matrix_rows, *part, any_frac),
        lambda: ForwardRope(A, rows, period, heads, 2 * size, DATA),
        lambda: Heads(A, B, sequences, period, heads, size, any_frac, width),
        lambda: ForwardAttention(F, B, C, D, sequences, period, heads, kv_heads, size, width),
        lambda: ForwardSwiGlu(D, A, B, rows, length, width),
        lambda: ForwardAdd(rng.choice([A, B, C]), A, B, length),
        lambda: ForwardRelu(D, A, rows, length, any_frac, width),
        lambda: CrossEntropy(C, D, A, B, rows, length, width),
        lambda: Round(C, A, rows, length, width),
        lambda: Sum(rng.choice([A, B, C]), A, B, rows, length),
        lambda: MatMulData(E, B, C, rows, columns, matrix_rows, *part),
        lambda: MatMulWeights(F, B, A, rows, columns, matrix_rows, *part, sum_frac),
        lambda: TargetData(F, D, B, E, rows, columns, matrix_rows),
        lambda: TargetWeights(A, D, B, F, rows, columns, matrix_rows, sum_frac),
        lambda: EmbedWeights(D, E, A, rows, columns, matrix_rows, sum_frac),
        lambda: BackwardNorm(E, F, C, A, B, rows, length, r, eps, sum_frac),
        lambda: BackwardRope(C, B, rows, period, heads, 2 * size, DATA, width),
        lambda: BackwardAttention(E, F, G, B, C, D, A, sequences, period, heads, kv_heads, size, width),
        lambda: BackwardSwiGlu(E, F, C, A, B, rows, length, width),
        lambda: BackwardRelu(C, B, A, rows, length, width),
        lambda: Adam(STATE, A, B, C, length * 8, frac, factor, rng.randint(0, 1)),
        lambda: Sgd(STATE, A, length, frac, sum_frac, factor, rng.randint(0, 1)),
        lambda: Muon(STATE, A, B, matrix_rows, columns, frac, factor, rng.randint(0, 1)),
    ]
    return examples[list(BATCH_OPERATIONS.values()).index(kind)]()


def drawn_int(rng: random.Random, most: int) -> int:
    """An integer of any bit length, the largest among them."""
    return rng.choice([-1, 1]) * rng.choice([most, most, most - 1, 0, 1, rng.getrandbits(rng.randint(0, most.bit_length())) % (most + 1)])


def drawn_row(rng: random.Random, length: int, most: int) -> list[int]:
    """Numbers of one size or of many; all zero now and then."""
    most = rng.choice([0, 1, most, most, most >> 4, rng.randint(0, most)])
    return [drawn_int(rng, most) for _ in range(length)] if most else [0] * length


def drawn_exponents(rng: random.Random, rows: int) -> list[int]:
    """Near one another, or far apart."""
    ends = rng.choice([(10, 20), (-8, 126), (-300, 300), (-5000, 5000)])
    return [rng.choice([*ends, rng.randint(*ends)]) for _ in range(rows)]


def drawn_memory(op: BatchOperation, request: bytes, rng: random.Random) -> Memory:
    """All tensors filled: those that an op writes with garbage, which shows what is not written."""
    memory = memory_of([op.record()], request, UPDATES)
    for span in op.spans():
        if isinstance(span.form, RowTensor):
            memory = memory.store_bytes(span.address, rng.randbytes(span.size))
            most = (1 << {2: 15, 4: 30}[span.form.value_bytes]) - 1
            exponents = drawn_exponents(rng, span.form.rows)
            memory = span.form.store(memory, [(drawn_row(rng, span.form.length, most), e) for e in exponents])
        elif span.form == 4 and span.address != DATA and rng.random() < 0.3:  # indices, for an op that reads such; some are too large
            indices = [rng.randrange(13) for _ in range(span.size // 4)]
            memory = memory.store_bytes(span.address, struct.pack(f"<{len(indices)}I", *indices))
        else:
            most = 1 << 30 if span.address == DATA and span.form == 4 else {1: 127, 4: (1 << 31) - 1, 8: 1 << 46}[span.form]
            numbers = drawn_row(rng, span.size // span.form, most)
            numbers = [abs(v) for v in numbers] if span.form == 8 else numbers
            memory = memory.store_bytes(span.address, b"".join(v.to_bytes(span.form, "little", signed=True) for v in numbers))
    return memory


def drawn_settings(rng: random.Random) -> bytes:
    rate, last_rate = rng.choice([(2**31 - 1, 0), (2**31 - 1, 2**31 - 1), (171798692, 5)])
    given = {"warmup": rng.randint(0, UPDATES), "rate_q34": rate, "last_rate_q34": last_rate}
    given |= {name: rng.choice([1, 6554, 65536]) for name in ("first_moment_q16", "second_moment_q16")}
    given |= {name: rng.choice([0, 62259, 65536]) for name in ("momentum_q16", "decay_q16")}
    return settings(1, UPDATES, **given)


@pytest.mark.parametrize("kind", BATCH_OPERATIONS.values(), ids=lambda kind: kind.__name__)
def test_every_op(kind: type[BatchOperation]) -> None:
    rng = random.Random(kind.__name__)
    for _ in range(25):
        op, update = drawn_op(kind, rng), rng.randrange(UPDATES)
        check_operation(op)
        memory = drawn_memory(op, drawn_settings(rng), rng)
        guest = Guest(memory, {span.address: span.size for span in op.spans()})
        assert guest.carry_root() == carry_root(memory)
        after, code = run_training_stage(memory, update)
        assert (guest.stage(update), code) == (0, 0)
        differing = [span for span in op.spans() if guest.read(span.address, span.size) != after.load_bytes(span.address, span.size)]
        assert not differing, op
        assert guest.carry_root() == carry_root(after), op


def test_adams_root_is_exact() -> None:
    """m / sqrt(v + 1) in 31 bits, where one unit of the root shows; often the root is hardly more than an integer.

    The corrected rate is 2^28, and with 30 fraction bits of the weights they become minus the step itself.
    """
    rng, n = random.Random(1), 4000
    op = Adam(STATE, A, B, C, n, 30, 1 << 16, 0)
    memory = memory_of([op.record()], settings(1, 1, rate_q34=1 << 20, first_moment_q16=1, second_moment_q16=1), 1)

    def value() -> int:
        """A v which the update, by a2 = 2^-16, turns into the wanted one."""
        above_an_integer = ((1 << 124) // rng.randint(1 << 30, 1 << 31) ** 2 >> 18) - 1
        wanted = rng.choice([rng.getrandbits(rng.randint(0, 45)), above_an_integer, (1 << rng.randint(0, 45)) - 1])
        near = wanted * 65536 // 65535
        return next(v for v in (near, near - 1, near + 1) if v + (-v + 32768 >> 16) == wanted)

    v = [value() for _ in range(n)]
    m = [min(2**30, math.isqrt(square) * rng.randint(64, 127)) for square in v]
    memory = memory.store_bytes(B, struct.pack(f"<{n}i", *m)).store_bytes(C, struct.pack(f"<{n}q", *v))
    guest = Guest(memory, {B: 4 * n, C: 8 * n})
    after, _ = run_training_stage(memory, 0)
    assert guest.stage(0) == 0
    assert guest.read(STATE, 4 * n) == after.load_bytes(STATE, 4 * n) != bytes(4 * n)


# Stages and requests ---------------------------------------------------------------------------------------------------------------------


def test_every_stage_of_a_run() -> None:
    """A LLaMA of one layer in two updates, with its ops that are done in one of them only."""
    shape, updates = Shape(8, 8, 1, 2, 1, 4, 4, 11, 12, round(1e-5 * 2**48)), 2
    text = bytes(random.Random(1).randrange(11) for _ in range(60))
    plan, memory = start(shape, updates, text)
    stages = updates * len(plan.tape())
    guest = Guest(memory, {TEXT: len(text), ROPE: 4 * shape.context * shape.head_size})
    opcodes = {record.opcode for record in plan.tape()}
    assert len(opcodes) >= 20
    for stage in range(stages):
        memory, code = run_training_stage(memory, stage)
        assert (guest.stage(stage), code) == (0, 0)
        assert guest.carry_root() == carry_root(memory), stage


def test_the_worked_example_of_the_page() -> None:
    """From the page alone: its records, its request, and the run hash after each stage."""
    page = CHAPTERS["training"].read_text().split("## 6.10")[1]
    records = [[int(word, 0) for word in words.split(", ")] for words in re.findall(r"^\| [A-Z_]+ \| `([0-9a-fx, ]+)` \|$", page, re.M)]
    request = bytes.fromhex(re.findall(r"^`([0-9a-f]{128})`", page, re.M)[0])
    hashes = re.findall(r"^\| (\d) \| `([0-9a-f]{64})` \| `([0-9a-f]{64})` \|$", page, re.M)
    assert (len(records), len(hashes)) == (8, 9)
    guest = Guest(Memory(), {})
    write = guest.machine.memory.write
    write(0x40_1000_0000, b"OPMLTRNG" + struct.pack("<4Q", 1, len(records), 0x40_1000_1000, len(request)))
    write(0x40_1000_1000, b"".join(struct.pack("<16Q", *words, *[0] * (16 - len(words))) for words in records))
    write(0x40_2000_0000, bytes([200, 0, 100, 10, 250, 30, 0, 0, 128]))
    write(0x40_2000_0100, bytes([0, 1, 1]))
    write(REQUEST, struct.pack("<QQ16x", len(records), len(request)) + request)
    for stage, (after, root, run_hash) in enumerate(hashes):
        assert (stage, guest.carry_root().hex()) == (int(after), root)
        assert keccak256(guest.carry_root() + b"\0").hex() == run_hash
        if stage < len(records):
            assert guest.stage(stage) == 0
    assert guest.machine.memory.quarter_root(3).hex() in page


def test_conditions_come_before_opcodes_and_the_request_before_both() -> None:
    """In the first of three updates and in the last; an unknown opcode is nothing to an op that is not done."""
    add = ForwardAdd(A, A, B, 1).record()
    unknown = evolve(add, opcode=64)
    tape = [evolve(op, condition=condition) for op in (add, unknown) for condition in (0, 1, 2, 3, 2**63)]
    memory = memory_of(tape, settings(1, 3), 3).store(B, 4, 1)
    guest = Guest(memory, {B: 32})
    for stage in range(3 * len(tape)):
        memory, code = run_training_stage(memory, stage)
        assert guest.stage(stage) == code
        assert guest.carry_root() == carry_root(memory), stage


@pytest.mark.parametrize(
    ("offset", "size", "values"),
    [
        (8, 4, [0, 2**32 - 1]),  # updates, which N contradicts
        (12, 4, [4, 2**32 - 1]),
        (16, 4, [2**31, 4]),  # the rate, then below the last one
        (20, 4, [171798693, 2**32 - 1]),
        (24, 4, [0, 65537]),
        (28, 4, [0, 65537]),
        (32, 4, [65537, 2**32 - 1]),
        (36, 4, [65537, 2**32 - 1]),
        (40, 1, [1]),
        (63, 1, [128]),
        (-24, 8, [63, 65]),  # the byte length
        (-32, 8, [0, 2, 4]),  # N
    ],
)
def test_requests_that_are_refused(offset: int, size: int, values: list[int]) -> None:
    valid = memory_of([ForwardAdd(A, A, B, 1).record()], settings(1, 3, last_rate_q34=5), 3).store(B, 4, 1)
    guest = Guest(valid, {B: 32})
    assert [guest.stage(stage) for stage in range(3)] == [0, 0, 0]
    for value in values:
        memory = valid.store(REQUEST + 32 + offset, size, value)
        guest = Guest(memory, {B: 32})
        assert guest.stage(0) == 1 == run_training_stage(memory, 0)[1]
        assert guest.carry_root() == carry_root(memory)
        assert guest.stage(1) == 0  # only stage 0 checks


def test_the_largest_settings_that_are_accepted() -> None:
    largest = {"warmup": 3, "rate_q34": 2**31 - 1, "last_rate_q34": 2**31 - 1} | dict.fromkeys(
        ("first_moment_q16", "second_moment_q16", "momentum_q16", "decay_q16"), 65536
    )
    memory = memory_of([ForwardAdd(A, A, B, 1).record()], settings(1, 3, **largest), 3)
    assert Guest(memory, {}).stage(0) == 0
