"""A counterexample as a test that can be pasted: a witness on which specification and bytecode differ.

z3's model gives the state, the instruction word and the leaves that it reads; the memory's root and the Merkle paths are computed anew, so
the witness is a real one. What the model says of unknown functions, as that an access fails, has no witness of its own: then it is spoiled
in many ways, as the fuzzer does. Only a witness on which both were run and did differ is printed.
"""

from collections.abc import Iterator
from random import Random
from typing import Any

import z3
from opml_spec.machine.decode import decode
from opml_spec.machine.memory import ENTRY, MEMORY_BYTES
from opml_spec.machine.witness import make_witness
from opml_spec.words import wrap

from opml_fuzz.engines.bytecode import EmbeddedEvm, fastest
from opml_fuzz.engines.specification import SpecWitness
from opml_fuzz.machine.instructions import put_word
from opml_fuzz.machine.start import REGISTERS, Leaves, Start
from opml_fuzz.machine.states import random_state
from opml_fuzz.machine.wrong_witnesses import spoil, wrong_witness
from opml_fuzz.proofs import access
from opml_fuzz.proofs.arbiter import STATE_BYTES, Bytecode

LEAF_BYTES = 32
SPOILED, RANDOM = 50, 300

TEST = """
from opml_fuzz.engines.bytecode import EmbeddedEvm
from opml_fuzz.engines.specification import SpecWitness


def test_a_step_that_differs() -> None:
    witness = bytes.fromhex("{witness}")
    assert SpecWitness().execute(witness) == EmbeddedEvm().execute(witness)  # {ours} and {theirs}
"""


def pasteable(model: Any, word: Any, bytecode: Bytecode) -> str:
    """Makes the test; empty if no witness is found on which the two differ. word: the instruction word, as the model's names have it"""
    ours, theirs = SpecWitness(), fastest(EmbeddedEvm(bytecode.contract.artefact))
    for witness in witnesses(model, word):
        one, other = ours.execute(witness), theirs.execute(witness)
        if one != other:
            return TEST.format(witness=witness.hex(), ours=one, theirs=other)
    return ""


def witnesses(model: Any, word: Any) -> Iterator[bytes]:
    """Yields the witness that the model means, then spoiled ones of it, then any."""
    try:
        start = meant(model, word)
        witness = make_witness(start.state())
    except Exception:  # the model means no decodable state, or no instruction
        start, witness = random_state(Random(0)), b""
    yield witness
    for seed in range(SPOILED):
        yield spoil(Random(seed), witness)
    for seed in range(RANDOM):
        yield wrong_witness(Random(seed), random_state(Random(seed)))
        yield make_witness(random_state(Random(seed)).state())


def meant(model: Any, named: Any) -> Start:
    """The state that the model means."""
    if model is None:
        return random_state(Random(0))
    values = {one.name(): model[one].as_long() for one in model.decls() if one.arity() == 0 and z3.is_bv_value(model[one])}
    pc = values.get("pc", ENTRY + 4 * values.get("text", 0))
    word = 0 if named is None else model.eval(named, model_completion=True).as_long()
    rs1, rs2 = word >> 15 & 31, word >> 20 & 31
    x = [0, *(values.get(f"x{i}", 0) for i in range(1, REGISTERS))]
    x[rs2] = values.get("b", x[rs2])
    x[rs1] = values.get("a", x[rs1])
    leaves: dict[int, bytes] = {}
    row = decode(word)
    if "address" in values and row is not None:
        x[rs1] = wrap(values["address"] - row.operands(word).imm)
        leaves = read_leaves(model, values["address"])
    x[0] = 0
    put_word(leaves, pc, word)
    return Start(pc, tuple(x), Leaves(leaves), values.get("kind", 0), values.get("value", 0))


def read_leaves(model: Any, address: int) -> dict[int, bytes]:
    """The leaves that the step reads after its instruction."""
    leaves, place = {}, access.following(STATE_BYTES)
    for index in (address // LEAF_BYTES, address // LEAF_BYTES + 1):
        if index < MEMORY_BYTES // LEAF_BYTES:
            leaves[index] = model.eval(access.leaf(place), model_completion=True).as_long().to_bytes(LEAF_BYTES, "big")
        place = access.following(place)
    return leaves
