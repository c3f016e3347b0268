"""The symbolic EVM against py-evm and revm: each opcode on known words, each on unknown words that are filled in afterwards, and whole
programs with branches that meet again, whose merged results are filled in likewise."""

from functools import cache
from random import Random
from typing import Any

import pyrevm
import pytest
import z3
from opml_fuzz.machine.states import random_state
from opml_fuzz.machine.wrong_witnesses import wrong_witness
from opml_fuzz.proofs.evm.calldata import CALLDATA, Anything, Known, Unseen
from opml_fuzz.proofs.evm.code import OPCODES, Code
from opml_fuzz.proofs.evm.hashes import Hashes
from opml_fuzz.proofs.evm.machine import Machine
from opml_fuzz.proofs.evm.memory import Memory, merged
from opml_fuzz.proofs.evm.path import End, Path
from opml_fuzz.proofs.evm.pieces import known, value
from opml_fuzz.proofs.evm.words import BINARY, binary, choice, complement, is_zero, vector
from opml_fuzz.proofs.step import arbiter
from opml_fuzz.proofs.step.machine_symbols import UnknownWitness, number
from opml_fuzz.proofs.symbols import DIVISION, PRODUCT, Paths
from opml_fuzz.proofs.unsupported import Unsupported
from opml_spec.machine.witness import make_witness

from evm_arbiter.chain import START_TIME
from evm_arbiter.embedded import EmbeddedNode

TOP = 1 << 256
BYTE = {name: opcode for opcode, name in OPCODES.items()}
SENDER = b"\x11" * 20
UNARY = {"ISZERO": is_zero, "NOT": complement}
WORDS = [z3.BitVec(name, 256) for name in "abcd"]


def push(number: int) -> bytes:
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return bytes([BYTE[f"PUSH{len(data)}"]]) + data


def program(*parts: int | str) -> bytes:
    """Assembles: a number is pushed, a text is an opcode."""
    return b"".join(push(part) if isinstance(part, int) else bytes([BYTE[part]]) for part in parts)


RETURN_WORD = (0, "MSTORE", 32, 0, "RETURN")


def creation(code: bytes) -> bytes:
    """What leaves this code on the chain."""
    head = program(len(code), 0, 0, "CODECOPY", len(code), 0, "RETURN")
    for _ in range(3):  # the place behind this very head
        head = program(len(code), len(head), 0, "CODECOPY", len(code), 0, "RETURN")
    return head + code


def revm(code: bytes, data: bytes = b"") -> bytes:
    evm: Any = pyrevm.EVM(spec_id="PRAGUE")
    address = evm.deploy("0x" + SENDER.hex(), creation(code))
    return bytes(evm.message_call("0x" + SENDER.hex(), address, calldata=data))


def py_evm(code: bytes, data: bytes = b"") -> bytes:
    node = EmbeddedNode([(SENDER, 10**20)], START_TIME)
    created = node.transact(SENDER, None, creation(code), 0, START_TIME).created
    assert created is not None
    return node.call(SENDER, created, data, START_TIME).output


def ours(code: bytes, data: bytes = b"") -> bytes | None:
    (end,) = Machine(Code(code), Known(data), Hashes()).run(Path(0))
    return known(end.data)


def random_word(rng: Random) -> int:
    near = (1 << rng.randrange(257)) + rng.randrange(-2, 3)
    return rng.choice((near, -near, rng.getrandbits(256), rng.randrange(300), rng.getrandbits(64))) % TOP


# Known words ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*BINARY, *UNARY])
def test_an_opcode_on_known_words(name: str) -> None:
    rng = Random(name)
    for turn in range(25):
        a, b = random_word(rng), rng.choice((random_word(rng), rng.randrange(300)))
        a = rng.choice((a, rng.randrange(300)))
        code = program(b, a, name, *RETURN_WORD)
        expected = revm(code)
        assert ours(code) == expected, (a, b)
        if turn < 3:
            assert py_evm(code) == expected


@pytest.mark.parametrize("seed", range(12))
def test_memory_and_data_of_the_call(seed: int) -> None:
    """Words and bytes stored one over the other, copied within memory, from the code and from the call; then all of it is returned."""
    rng = Random(seed)
    parts: list[int | str] = []
    for at in range(0, 256, 32):
        parts += [random_word(rng), at, "MSTORE"]
    for _ in range(12):
        to, source, size = rng.randrange(190), rng.randrange(190), rng.randrange(60)
        parts += rng.choice((
            [random_word(rng), to, "MSTORE"], [random_word(rng), to, "MSTORE8"], [source, "MLOAD", to, "MSTORE"],
            [size, source, to, "MCOPY"],
            [size, source, to, "CODECOPY"], [size, source, to, "CALLDATACOPY"], [source, "CALLDATALOAD", to, "MSTORE"],
            ["CALLDATASIZE", to, "MSTORE"], ["CALLVALUE", to, "MSTORE"], [size, source, "KECCAK256", to, "MSTORE"],
            [1, 2, 3, "DUP3", "SWAP2", "POP", "POP", "ADD", to, "MSTORE"],
        ))  # fmt: skip
    code, data = program(*parts, 256, 0, "RETURN"), rng.randbytes(rng.randrange(250))
    assert ours(code, data) == revm(code, data) == py_evm(code, data)


def test_the_arbiter_on_known_witnesses() -> None:
    bytecode = arbiter.deployed()
    for seed in range(40):
        rng = Random(seed)
        start = random_state(rng)
        data = bytecode.contract.calldata("step", wrong_witness(rng, start) if seed % 2 else make_witness(start.state()))
        try:
            expected = revm(bytecode.code.data, data)
        except RuntimeError as revert:
            expected = bytes.fromhex(str(revert).partition("output: 0x")[2].partition(" ")[0])
        assert ours(bytecode.code.data, data) == expected


# Unknown words, filled in afterwards --------------------------------------------------------------------------------------------------


def filled(term: Any, values: dict[Any, int]) -> int:
    """The term with numbers in place of names, and real products and quotients in place of unknown functions."""
    a, b = z3.Var(0, z3.BitVecSort(256)), z3.Var(1, z3.BitVecSort(256))
    term = z3.substitute_funs(vector(term), (DIVISION, z3.UDiv(a, b)), (PRODUCT, a * b))
    term = z3.substitute(term, *((name, z3.BitVecVal(number, 256)) for name, number in values.items()))
    result = z3.simplify(term)
    assert z3.is_bv_value(result), result
    return int(result.as_long())


@pytest.mark.parametrize("name", [*BINARY, *UNARY])
def test_an_opcode_on_unknown_words(name: str) -> None:
    rng, a, b = Random(name), *WORDS[:2]
    for _ in range(25):
        one, other = rng.choice((random_word(rng), rng.randrange(300))), rng.choice((random_word(rng), rng.randrange(300)))
        expected = int.from_bytes(revm(program(other, one, name, *RETURN_WORD)), "big")
        if name in UNARY:
            assert filled(UNARY[name](a), {a: one}) == expected
            continue
        for first, second in ((a, b), (a, other), (one, b)):
            for knows_products in (True, False):
                assert filled(binary(name, first, second, knows_products), {a: one, b: other}) == expected


def test_truth_values_are_words() -> None:
    a, b = WORDS[:2]
    for name in ("AND", "OR", "XOR", "EQ", "ADD", "SHL"):
        for one in range(2):
            for other in range(2):
                word = binary(name, binary("LT", a, 5), binary("GT", b, 5))
                expected = int.from_bytes(revm(program(other, one, name, *RETURN_WORD)), "big")
                assert filled(word, {a: 4 if one else 5, b: 6 if other else 5}) == expected


def random_program(rng: Random, depth: int = 2) -> list[int | str | tuple[str, int]]:
    """A program with branches: stores of results, and ifs whose arms meet. ("label", n) marks a place, ("goto", n) pushes it."""
    parts: list[Any] = []
    for _ in range(rng.randrange(2, 5)):
        operands: list[Any] = []
        for _ in range(2):
            read = [32 * rng.randrange(8) + rng.choice((0, 0, 5)), "MLOAD"]
            operands += rng.choice(([32 * rng.randrange(4), "CALLDATALOAD"], read, [rng.randrange(300)]))
        name = rng.choice([one for one in BINARY if one not in ("DIV", "SDIV", "MOD", "SMOD")])
        parts += [*operands, name, 32 * rng.randrange(7) + rng.choice((0, 0, 0, 7)), "MSTORE"]
    if depth:
        label = rng.getrandbits(60)
        read = "CALLDATALOAD" if depth == 2 else "MLOAD"  # so one branch at least is unknown
        condition = [32 * rng.randrange(4), read, rng.choice((1, 100, TOP // 2)), rng.choice(("LT", "GT", "EQ", "SLT", "AND"))]
        parts += [*condition, ("goto", label), "JUMPI", *random_program(rng, depth - 1), ("goto", label + 1), "JUMP"]
        parts += [("label", label), *random_program(rng, depth - 1), ("label", label + 1), *random_program(rng, depth - 1)]
    return parts


def assembled(parts: list[Any]) -> bytes:
    code, places, wanted = b"", dict[int, int](), list[tuple[int, int]]()
    for part in parts:
        if isinstance(part, tuple) and part[0] == "label":
            places[part[1]] = len(code)
            code += program("JUMPDEST")
        elif isinstance(part, tuple):
            wanted.append((len(code) + 1, part[1]))
            code += bytes([BYTE["PUSH2"], 0, 0])
        else:
            code += program(part)
    for at, label in wanted:
        code = code[:at] + places[label].to_bytes(2, "big") + code[at + 2 :]
    return code


@pytest.mark.parametrize("seed", range(25))
def test_programs_whose_paths_meet(seed: int) -> None:
    """Run once on unknown data, the program's paths are one at its end, and what it returns there is right for any data."""
    rng = Random(seed)
    zeros: list[Any] = [part for at in range(0, 320, 32) for part in (0, at, "MSTORE")]
    code = assembled([*zeros, *random_program(rng), 288, 0, "RETURN"])
    paths = Paths()
    machine = Machine(Code(code), Anything(0, WORDS[3], UnknownWitness(number(WORDS[3], paths), paths)), Hashes())
    (end,) = machine.run(Path(0))
    assert machine.merges >= 1
    for _ in range(10):
        data = [random_word(rng) for _ in range(4)]
        names = {CALLDATA(z3.BitVecVal(32 * i, 256)): one for i, one in enumerate(data)}
        found = b"".join(
            (piece if isinstance(piece, int) else filled_bytes(piece, size, names)).to_bytes(size, "big") for piece, size in end.data
        )
        assert found == revm(code, b"".join(one.to_bytes(32, "big") for one in data))


def filled_bytes(term: Any, size: int, values: dict[Any, int]) -> int:
    return filled(z3.ZeroExt(256 - 8 * size, term) if size < 32 else term, values)


def test_a_choice_of_two_memories() -> None:
    rng = Random(1)
    condition = z3.Bool("condition")
    for _ in range(40):
        memories = []
        for _ in range(2):
            memory = Memory().store_pieces(0, ((0, 160),))
            for _ in range(rng.randrange(6)):
                memory = memory.store(rng.randrange(128), rng.choice((*WORDS, random_word(rng), rng.randrange(3), WORDS[0] == WORDS[1])))
            memories.append(memory)
        both = merged(condition, *memories)
        for at in range(0, 128, 9):
            values = {word: random_word(rng) for word in WORDS}
            for is_first, memory in zip((True, False), memories, strict=True):
                chosen = z3.substitute(vector(both.load(at, bool)), (condition, z3.BoolVal(is_first)))
                assert filled(chosen, values) == filled(memory.load(at, bool), values)
        assert filled(choice(z3.BoolVal(True), 3, WORDS[0]), {WORDS[0]: 4}) == 3


def test_an_unknown_length_splits_the_path() -> None:
    """MCOPY of as many bytes as the low 3 bits of the data say."""
    length = (0, "CALLDATALOAD", 7, "AND")
    code = program(TOP - 1, 0, "MSTORE", 0, 32, "MSTORE", *length, 0, 32, "MCOPY", 32, 32, "RETURN")
    few = z3.BitVec("few", 3)

    class Few(Known):
        def load(self, at: Any) -> Any:
            return z3.ZeroExt(253, few)

    ends = Machine(Code(code), Few(b""), Hashes()).run(Path(0))
    assert sorted(end.path.split[0][1] for end in ends) == list(range(8))
    for end in ends:
        number_of_bytes = end.path.split[0][1]
        assert value(end.data) == int.from_bytes(revm(code, number_of_bytes.to_bytes(32, "big")), "big")


@pytest.mark.parametrize("target", [0, 1, 1000])
def test_a_jump_to_no_jumpdest_ends_the_path(target: int) -> None:
    """So does one that is made on a condition, where that holds; where it does not, the place is never looked at."""
    (halted,) = run_on_anything(code := program(target, "JUMP"))
    assert (halted.how, halted.data) == ("INVALID", ())
    with pytest.raises(RuntimeError, match="InvalidJump"):
        revm(code)
    code = program(0, "CALLDATALOAD", target, "JUMPI", 7, *RETURN_WORD)
    jumped, went_on = sorted(run_on_anything(code), key=lambda end: end.how)
    assert (jumped.how, went_on.how) == ("INVALID", "RETURN")
    with pytest.raises(RuntimeError, match="InvalidJump"):
        revm(code, bytes(31) + b"\1")
    assert revm(code, bytes(32)) == known(went_on.data)
    for end, data in ((jumped, 1), (went_on, 0)):
        assert [filled_conditions(end, one) for one in (data, 1 - data)] == [True, False]
    (only,) = run_on_anything(program(0, target, "JUMPI", 7, *RETURN_WORD))
    assert only.how == "RETURN"


def filled_conditions(end: End, data: int) -> bool:
    """Whether the path is taken if the first word of the data is this one."""
    names = (CALLDATA(z3.BitVecVal(0, 256)), z3.BitVecVal(data, 256))
    return all(z3.is_true(z3.simplify(z3.substitute(one, names))) for one in end.path.conditions)


# What proves nothing -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parts",
    [
        ("POP",), (1, "ADD"), ("DUP1",), (1, "SWAP1"),  # the stack is empty
        (0, "MLOAD"), (32, 0, "RETURN"),  # memory that was never written
        (0, "CALLDATALOAD", "JUMP"), (1, 0, "CALLDATALOAD", "JUMPI"),  # unknown places to jump to
        (1, 0, "CALLDATALOAD", "MSTORE"), (0, "CALLDATALOAD", 0, "KECCAK256"), (0, "CALLDATALOAD", 1, 0, "MCOPY"),  # unknown addresses
    ],
)  # fmt: skip
def test_what_has_no_rule_is_an_error(parts: tuple[Any, ...]) -> None:
    with pytest.raises(Unsupported):
        run_on_anything(program(*parts))


@pytest.mark.parametrize("opcode", [0x0A, 0x30, 0x31, 0x40, 0x46, 0x54, 0x55, 0x5A, 0xF1, 0xFA, 0xFF])
def test_an_opcode_without_a_rule_is_an_error(opcode: int) -> None:
    with pytest.raises(Unsupported):
        run_on_anything(program(*[1] * 7) + bytes([opcode]))


@cache
def anything() -> Anything:
    paths = Paths()
    return Anything(0, WORDS[3], UnknownWitness(number(WORDS[3], paths), paths))


def run_on_anything(code: bytes) -> list[End]:
    return Machine(Code(code), anything(), Hashes()).run(Path(0))


# What depends on the world around the code -----------------------------------------------------------------------------------------

CALL = ("CALLVALUE", "CALLDATALOAD", "CALLDATASIZE", "CALLDATACOPY")
PURE = {*BYTE} - {*CALL}


@pytest.mark.parametrize("opcode", sorted({*range(256)} - {BYTE[name] for name in PURE}))
def test_what_the_code_does_not_hold_has_no_rule(opcode: int) -> None:
    """A rule for the call is what the proof says of it; for the chain, the account and the gas there is none."""
    machine = Machine(Code(program(*7 * [0]) + bytes([opcode])), Unseen(), Hashes())
    with pytest.raises(Unsupported):
        machine.run(Path(0))


def test_the_opcodes_with_a_rule_are_those_that_need_no_chain() -> None:
    around = {*range(0x30, 0x4B), 0x54, 0x55, 0x58, 0x59, 0x5A, 0x5C, 0x5D, *range(0xA0, 0xA5), *range(0xF0, 0xFB), 0xFF}
    assert {OPCODES[code] for code in around if code in OPCODES} == {*CALL, "CODECOPY", "RETURN"}
