"""A counterexample as a test that can be pasted: a witness on which specification and bytecode differ.

z3's model gives the state, the instruction word and the leaves that it reads; the memory's root and the Merkle paths are computed anew, so
the witness is a real one. What the model says of unknown functions, as that an access fails, has no witness of its own: then it is spoiled
in many ways, as the fuzzer does. Only a witness on which both were run and did differ is printed.
"""

from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Any

import z3
from opml_spec.machine.decode import decode
from opml_spec.machine.memory import ENTRY, MEMORY_BYTES
from opml_spec.machine.table import Instruction
from opml_spec.machine.witness import make_witness
from opml_spec.words import wrap

from opml_fuzz.engines.bytecode import EmbeddedEvm, fastest
from opml_fuzz.engines.opml_min import interpreted
from opml_fuzz.engines.specification import SpecWitness
from opml_fuzz.machine.instructions import put_word
from opml_fuzz.machine.start import REGISTERS, Leaves, Start
from opml_fuzz.machine.states import random_state
from opml_fuzz.machine.wrong_witnesses import spoil, with_sibling, wrong_witness
from opml_fuzz.proofs.evm.memory import variables
from opml_fuzz.proofs.step import access
from opml_fuzz.proofs.step.arbiter import STATE_BYTES, Bytecode
from opml_fuzz.statements.bytecode import TEST_NAME

LEAF_BYTES = 32
RD, RS1, RS2 = 4, 5, 6
SPOILED, RANDOM = 250, 250

TEST = """
from opml_fuzz.engines.bytecode import EmbeddedEvm
from opml_fuzz.engines.specification import SpecWitness


def {name}() -> None:
    witness = bytes.fromhex("{witness}")
    assert SpecWitness().execute(witness) == EmbeddedEvm().execute(witness)  # {ours} and {theirs}
"""


def reproducer(model: Any, word: Any, bytecode: Bytecode) -> str:
    """Makes the test; empty if no witness is found on which the two differ. word: the instruction word, as the model's names have it"""
    ours, theirs = SpecWitness(), fastest(EmbeddedEvm(bytecode.contract.artefact))
    for witness in witnesses(model, word):
        one, other = ours.execute(witness), theirs.execute(witness)
        if one != other:
            return TEST.format(name=TEST_NAME, witness=witness.hex(), ours=one, theirs=other)
    return ""


def witnesses(model: Any, named: Any) -> Iterator[bytes]:
    """Yields the witness that the model means, then spoiled ones of it, then those of random states that execute such a word."""
    witness = make_witness(random_state(Random(0)).state())
    for rd in (None, RD):
        try:
            start = meant(model, named, rd)
        except Exception:  # the model means no decodable state, or there is none
            continue
        for found in made(start):
            yield (witness := found)
    for seed in range(SPOILED):
        yield spoil(Random(seed), witness)
        if len(witness) > STATE_BYTES:
            yield with_sibling(Random(seed), witness, STATE_BYTES)
    for seed in range(RANDOM):
        rng = Random(seed)
        start = random_state(rng)
        if named is not None:
            start = executing(rng, start, named)
        yield make_witness(start.state())
        yield wrong_witness(rng, start)


def made(start: Start) -> Iterator[bytes]:
    """Yields the witness of the specification, if it can make one, and that of opml_min, which may have other accesses."""
    with suppress(Exception):
        yield make_witness(start.state())
    with suppress(Exception):
        yield interpreted().machine_at(start).witness()


def meant(model: Any, named: Any, rd: int | None) -> Start:
    """The state that the model means. rd: another register for the result, since that may have been x0 for want of a reason"""
    if model is None:
        raise ValueError("no model")
    values = {one.name(): model[one].as_long() for one in model.decls() if one.arity() == 0 and z3.is_bv_value(model[one])}
    pc = values.get("pc", ENTRY + 4 * values.get("text", 0))
    x = [0, *(values.get(f"x{i}", 0) for i in range(1, REGISTERS))]
    leaves: dict[int, bytes] = {}
    if named is not None:
        word = model.eval(named, model_completion=True).as_long()
        row = decode(word)
        if row is not None:
            word = apart(row, word, rd)
            operands = row.operands(word)
            x[operands.rs2], x[operands.rs1] = values.get("b", 0), values.get("a", 0)
            if "address" in values:
                x[operands.rs1] = wrap(values["address"] - operands.imm)
                leaves = read_leaves(model, values["address"])
        put_word(leaves, pc, word)
    x[0] = 0
    return Start(pc, tuple(x), Leaves(leaves), values.get("kind", 0), values.get("value", 0))


def apart(row: Instruction, word: int, rd: int | None) -> int:
    """The word with other registers rs1 and rs2, neither of them x0: the values in them have names, and the model may give them any."""
    for format_names, at, register in (("RISB", 15, RS1), ("RSB", 20, RS2), ("RIUJ", 7, rd)):
        if register is not None and row.format in format_names and not row.mask >> at & 31:
            word = word & ~(31 << at) | register << at
    return word


def executing(rng: Random, start: Start, named: Any) -> Start:
    """A state that executes a random word of those that are named."""
    names = variables(named)
    word = z3.simplify(z3.substitute(named, *((one, z3.BitVecVal(rng.getrandbits(one.size()), one.size())) for one in names))).as_long()
    pc = ENTRY + 4 * rng.randrange(1 << 26)
    leaves = dict(start.leaves.by_index)
    put_word(leaves, pc, word)
    return Start(pc, start.x, Leaves(leaves))


def read_leaves(model: Any, address: int) -> dict[int, bytes]:
    """The leaves that the step reads after its instruction."""
    leaves, place = {}, access.following(STATE_BYTES)
    for index in (address // LEAF_BYTES, address // LEAF_BYTES + 1):
        if index < MEMORY_BYTES // LEAF_BYTES:
            leaves[index] = model.eval(access.leaf(place), model_completion=True).as_long().to_bytes(LEAF_BYTES, "big")
        place = access.following(place)
    return leaves
