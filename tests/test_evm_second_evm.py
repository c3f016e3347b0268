"""The arbiter's bytecode in a second EVM (revm): the same results, the same revert data, the same gas."""

import random
import re

import pyrevm
import pytest
from evm_machine import ENTRY, HALTED, IO, M64, MODEL, STATE, Machine, Memory, deploy_arbiter, machine, witness

from evm_arbiter.chain import Artefact, Contract

SENDER = "0x" + "11" * 20
OPCODES = (0x03, 0x0F, 0x13, 0x17, 0x1B, 0x23, 0x33, 0x37, 0x3B, 0x63, 0x67, 0x6F, 0x73)
CASES = 400


@pytest.fixture(scope="module")
def arbiter() -> Contract:
    return deploy_arbiter()


def random_step(rng: random.Random) -> bytes:
    """A running machine and a random word of a known group; sometimes a byte is wrong."""
    memory = Memory().write(IO, rng.randbytes(64)).write(STATE - 32, rng.randbytes(64))
    word = rng.getrandbits(25) << 7 | rng.choice(OPCODES)
    if word & 0x7F in (0x33, 0x3B):
        word = word & (1 << 25) - 1 | rng.choice((0, 1, 32)) << 25
    x = {i: rng.choice((rng.getrandbits(64), rng.getrandbits(6), IO + rng.randrange(64), M64)) for i in range(1, 32)}
    before = machine(word, x, pc=ENTRY + 4 * rng.randrange(64), memory=memory)
    immediate = word >> 20 if word & 0x7F == 0x03 else word >> 25 << 5 | word >> 7 & 31
    address = (x.get(word >> 15 & 31, 0) + (immediate ^ 2048) - 2048) & M64
    accesses = []
    if word & 0x7F in (0x03, 0x23) and address < MODEL * 4 - 8:
        size = 1 << (word >> 12 & 3)
        accesses = [address] if address % 32 + size <= 32 else [address, address + size - 1]
    text = bytearray(witness(before, accesses))
    if rng.random() < 0.2:
        text[rng.randrange(len(text))] ^= 1 << rng.randrange(8)
    return bytes(text)


def test_two_machines_agree(arbiter: Contract) -> None:
    chain = arbiter.chain
    other = pyrevm.EVM(spec_id="PRAGUE")
    address = other.deploy(SENDER, arbiter.artefact.creation_bytecode)
    rng = random.Random("two machines")
    succeeded = 0
    for _ in range(CASES):
        data = arbiter.calldata("step", random_step(rng))
        outcome = chain.node.call(bytes.fromhex(SENDER[2:]), bytes.fromhex(arbiter.address[2:]), data, chain.now)
        try:
            output = other.message_call(SENDER, address, calldata=data)
            success = True
        except RuntimeError as revert:
            found = re.search("output: 0x([0-9a-f]*) ", str(revert))
            assert found is not None
            output, success = bytes.fromhex(found[1]), False
        assert (outcome.success, outcome.output) == (success, output), data.hex()
        intrinsic = 21_000 + 4 * data.count(0) + 16 * (len(data) - data.count(0))
        assert outcome.gas_used == other.result.gas_used - intrinsic, data.hex()
        succeeded += success
    assert CASES // 4 < succeeded < CASES  # both kinds of outcome were met


def test_whole_transactions_cost_the_same_but_for_the_floor_that_this_revm_does_not_know(arbiter: Contract) -> None:
    other = pyrevm.EVM(spec_id="PRAGUE")
    address = other.deploy(SENDER, Artefact.load("arbiter").creation_bytecode)
    rng = random.Random("transactions")
    floors = 0
    for number in range(30):
        full = Machine(ENTRY, dict.fromkeys(range(1, 32), M64), kind=HALTED, value=M64).encode()
        text = full if number % 5 == 0 else random_step(rng)
        data = arbiter.calldata("step", text)
        receipt = arbiter.transact("step", text, sender=arbiter.chain.accounts[0])
        if receipt.status:
            other.message_call(SENDER, address, calldata=data)
            floor = 21_000 + 10 * data.count(0) + 40 * (len(data) - data.count(0))  # EIP-7623
            assert receipt.gas_used == max(other.result.gas_used, floor)
            floors += receipt.gas_used == floor
    assert 0 < floors < 30
