"""The guest of training computes what spec §6 says: ADAM's root, a whole update and the page's example, against the specification.

All of io and state is compared, by its root: what an op must not write counts as much as what it writes.
"""

import math
import random
import re
import struct

import pytest
from attrs import evolve
from min_training_guest import Guest, memory_of
from opml_spec.machine.memory import CARRY_HEIGHT, MODEL, STATE, Memory
from opml_spec.machine.merkle import hash_of
from opml_spec.model.layout import REQUEST
from opml_spec.model.llama import Shape
from opml_spec.training.layout import TENSORS
from opml_spec.training.operations.forward import (
    ForwardAdd,
)
from opml_spec.training.operations.optimisers import Adam
from opml_spec.training.training_stage import run_training_stage
from spec_training import ROPE, TEXT, settings, start
from test_spec_page import CHAPTERS

from opml_min.machine.hashing import keccak256

A, B, C, D, E, F, G = (TENSORS + (i << 22) for i in range(7))
DATA = MODEL + (1 << 29)
UPDATES = 4


def carry_root(memory: Memory) -> bytes:
    return hash_of(memory.subtree(CARRY_HEIGHT, 1))


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
