"""Loads and stores: every width, every place in a leaf, every boundary of the memory map."""

import random

import pytest
from evm_machine import (
    ENTRY,
    ILLEGAL,
    IO,
    LOAD_FAULT,
    M64,
    MODEL,
    SCRATCH,
    STATE,
    STORE_FAULT,
    Machine,
    Memory,
    deploy_arbiter,
    i_type,
    machine,
    s_type,
    witness,
)

from evm_arbiter.chain import Contract

LOADS = {"lb": (0, 1, True), "lh": (1, 2, True), "lw": (2, 4, True), "ld": (3, 8, True)} | {
    "lbu": (4, 1, False),
    "lhu": (5, 2, False),
    "lwu": (6, 4, False),
}
STORES = {"sb": (0, 1), "sh": (1, 2), "sw": (2, 4), "sd": (3, 8)}
END = 1 << 40
LOAD, STORE = 0x03, 0x23


@pytest.fixture(scope="module")
def arbiter() -> Contract:
    return deploy_arbiter()


@pytest.fixture(scope="module")
def filled() -> Memory:
    """Random bytes around every border that an access may cross."""
    rng = random.Random("memory")
    memory = Memory()
    for place in (SCRATCH, MODEL - 64, MODEL + 64, IO - 64, IO, STATE - 64, STATE, END - 64):
        memory = memory.write(place, rng.randbytes(64))
    return memory


def touched(address: int, size: int) -> list[int]:
    """One address in each leaf, the lower first."""
    return [address] if address % 32 + size <= 32 else [address, address + size - 1]


def check_load(arbiter: Contract, name: str, memory: Memory, address: int, immediate: int = 0, rd: int = 3) -> None:
    funct3, size, signed = LOADS[name]
    before = machine(i_type(LOAD, funct3, immediate, rd), {1: (address - immediate) & M64}, memory=memory)
    value = int.from_bytes(before.memory.read(address, size), "little", signed=signed)
    assert arbiter.call("step", witness(before, touched(address, size))) == (before.hash(), before.then(rd, value).hash())


def check_store(arbiter: Contract, name: str, memory: Memory, address: int, immediate: int = 0) -> None:
    funct3, size = STORES[name]
    value = 0x88_77_66_55_84_83_82_81
    before = machine(s_type(STORE, funct3, immediate), {1: (address - immediate) & M64, 2: value}, memory=memory)
    after = before.memory.write(address, value.to_bytes(8, "little")[:size])
    post = before.then(memory=after)
    assert arbiter.call("step", witness(before, touched(address, size), after)) == (before.hash(), post.hash())


@pytest.mark.parametrize("name", LOADS)
def test_load_anywhere_in_a_leaf(arbiter: Contract, filled: Memory, name: str) -> None:
    for offset in (0, 1, 7, 12, 24, 25, 28, 29, 30, 31):
        check_load(arbiter, name, filled, IO + offset)


@pytest.mark.parametrize("name", STORES)
def test_store_anywhere_in_a_leaf(arbiter: Contract, filled: Memory, name: str) -> None:
    for offset in (0, 1, 7, 12, 24, 25, 28, 29, 30, 31):
        check_store(arbiter, name, filled, IO + offset)


@pytest.mark.parametrize("immediate", [0, 1, -1, 2047, -2048])
def test_immediates(arbiter: Contract, filled: Memory, immediate: int) -> None:
    check_load(arbiter, "lw", filled, IO + 20, immediate)
    check_store(arbiter, "sw", filled, IO + 20, immediate)


def test_addresses_wrap(arbiter: Contract, filled: Memory) -> None:
    check_load(arbiter, "ld", filled, 5, 2047)
    check_store(arbiter, "sd", filled, 5, 2047)


@pytest.mark.parametrize("border", [MODEL, IO, STATE])
def test_a_load_may_cross_a_quarter(arbiter: Contract, filled: Memory, border: int) -> None:
    for name, back in (("ld", 1), ("lh", 1), ("lw", 3), ("lwu", 2), ("ld", 8)):
        check_load(arbiter, name, filled, border - back)


def test_a_store_may_cross_from_io_to_state(arbiter: Contract, filled: Memory) -> None:
    for name, back in (("sd", 1), ("sh", 1), ("sw", 3), ("sd", 7)):
        check_store(arbiter, name, filled, STATE - back)


@pytest.mark.parametrize("name", ["lb", "ld"])
def test_load_to_x0_writes_nothing(arbiter: Contract, filled: Memory, name: str) -> None:
    check_load(arbiter, name, filled, IO + 3, rd=0)


def test_load_may_replace_its_own_base(arbiter: Contract, filled: Memory) -> None:
    check_load(arbiter, "ld", filled, IO + 30, rd=1)


def test_program_may_read_its_own_text(arbiter: Contract, filled: Memory) -> None:
    check_load(arbiter, "lwu", filled, ENTRY)


def test_access_to_memory_that_is_all_zero(arbiter: Contract) -> None:
    check_load(arbiter, "ld", Memory(), STATE + 31)
    check_store(arbiter, "sd", Memory(), STATE + 31)
    check_store(arbiter, "sb", Memory(), SCRATCH)


def test_a_store_may_make_a_subtree_zero_again(arbiter: Contract) -> None:
    before = machine(s_type(STORE, 3, 0), {1: IO + 28}, memory=Memory().write(IO + 28, b"\x07" * 8))
    after = before.memory.write(IO + 28, bytes(8))
    got = arbiter.call("step", witness(before, [IO + 28, IO + 35], after))
    alone = Memory({index: leaf for index, leaf in after.leaves.items() if any(leaf)})
    assert got == (before.hash(), before.then(memory=alone).hash())


def test_the_last_byte_of_memory(arbiter: Contract, filled: Memory) -> None:
    for name, (_, size, _) in LOADS.items():
        check_load(arbiter, name, filled, END - size)
    for name, (_, size) in STORES.items():
        check_store(arbiter, name, filled, END - size)


def check_trap(arbiter: Contract, before: Machine, cause: int) -> None:
    assert arbiter.call("step", witness(before)) == (before.hash(), before.trap(cause).hash())


@pytest.mark.parametrize("name", LOADS)
def test_load_beyond_the_end(arbiter: Contract, filled: Memory, name: str) -> None:
    funct3, size, _ = LOADS[name]
    for address in (END - size + 1, END, END + IO, 1 << 63, M64 - size + 1, M64):  # the last wraps unless it is one byte
        for rd in (0, 3):
            check_trap(arbiter, machine(i_type(LOAD, funct3, 0, rd), {1: address}, memory=filled), LOAD_FAULT)


@pytest.mark.parametrize("name", STORES)
def test_store_beyond_the_end_or_into_the_model(arbiter: Contract, filled: Memory, name: str) -> None:
    funct3, size = STORES[name]
    for address in (END - size + 1, END, M64, MODEL - size + 1, MODEL, ENTRY + 0x1000, IO - size, IO - 1):
        check_trap(arbiter, machine(s_type(STORE, funct3, 0), {1: address, 2: 9}, memory=filled), STORE_FAULT)
    check_store(arbiter, name, filled, MODEL - size)
    check_store(arbiter, name, filled, IO)


def test_an_illegal_width_is_illegal_whatever_the_address(arbiter: Contract) -> None:
    check_trap(arbiter, machine(i_type(LOAD, 7, 0), {1: M64}), ILLEGAL)
    for funct3 in (4, 5, 6, 7):
        check_trap(arbiter, machine(s_type(STORE, funct3, 0), {1: MODEL}), ILLEGAL)
