"""What a step costs, by class. The witness is that of a busy memory: 15 siblings a quarter and two above.

Ceilings for the execution of the arbiter alone; the whole transaction that decides a game is measured with the game.
"""

import random

import pytest
from evm_machine import ENTRY, IO, STATE, Machine, Memory, deploy_arbiter, i_type, machine, r_type, s_type, witness

from evm_arbiter.chain import Contract

X = {i: random.Random("gas").getrandbits(64) | 1 << 63 for i in range(2, 32)}


@pytest.fixture(scope="module")
def arbiter() -> Contract:
    return deploy_arbiter()


@pytest.fixture(scope="module")
def busy() -> Memory:
    rng = random.Random("busy")
    near = {1 << height for height in range(15)} | {0, 1}
    return Memory({(quarter << 33) ^ index: rng.randbytes(32) for quarter in range(4) for index in sorted(near)})


def cases(busy: Memory) -> dict[str, tuple[Machine, list[int], Memory | None, int]]:
    """By class: machine, leaves, memory after a store, ceiling in gas."""
    x = {**X, 1: IO + 8}
    load, store = machine(i_type(0x03, 3, 0), x, memory=busy), machine(s_type(0x23, 3, 0), x, memory=busy)
    wide_load = machine(i_type(0x03, 3, 21), x, memory=busy)
    wide_store = machine(s_type(0x23, 3, 21), x, memory=busy)
    value = X[2].to_bytes(8, "little")
    return {
        "register": (machine(r_type(0x33, 0, 0, 3, 4, 5), x, memory=busy), [], None, 18_500),
        "division": (machine(r_type(0x3B, 6, 1, 3, 4, 5), x, memory=busy), [], None, 19_000),
        "load": (load, [IO + 8], None, 32_500),
        "store": (store, [IO + 8], store.memory.write(IO + 8, value), 36_500),
        "load of two leaves": (wide_load, [IO + 29, IO + 36], None, 46_000),
        "store to two leaves": (wide_store, [IO + 29, IO + 36], wide_store.memory.write(IO + 29, value), 54_500),
    }


@pytest.mark.parametrize("name", ["register", "division", "load", "store", "load of two leaves", "store to two leaves"])
def test_gas_of_a_step(arbiter: Contract, busy: Memory, name: str) -> None:
    before, leaves, after, ceiling = cases(busy)[name]
    text = witness(before, leaves, after)
    _, gas = arbiter.measured_call("step", text)
    print(f"{name}: {gas} gas, witness {len(text)} bytes, {text.count(0)} of them zero")
    assert gas <= ceiling


def test_gas_of_the_longest_witness(arbiter: Contract) -> None:
    leaves = {}
    for address in (0, ENTRY, IO, STATE - 1, STATE):
        leaves |= {address // 32 ^ 1 << height: bytes([height + 1]) * 32 for height in range(33)}
    before = machine(s_type(0x23, 3, 0), {**X, 1: STATE - 4}, memory=Memory(leaves))
    text = witness(before, [STATE - 4, STATE + 3], before.memory.write(STATE - 4, X[2].to_bytes(8, "little")))
    assert len(text) == 3768
    _, gas = arbiter.measured_call("step", text)
    print(f"longest witness: {gas} gas")
    assert gas <= 62_500
