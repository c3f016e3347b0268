"""One image and one request in the machine, with the guest as its program."""

import functools
import struct
from collections.abc import Iterable, Mapping, Sequence

from opml_min.guest import build
from opml_min.machine import HALTED, Machine, Memory, Snapshot

HEADER = 0x40_1000_0000
TAPE = 0x40_1001_0000
WEIGHTS = 0x40_2000_0000
REQUEST = 0x80_0000_0000
OUTPUT = 0x80_1000_0000
STATE = 0xC0_0000_0000
A, B, C, D, E = (STATE + k * 0x100_0000 for k in range(5))  # buffers


def i32s(values: Iterable[int]) -> bytes:
    return b"".join(v.to_bytes(4, "little", signed=True) for v in values)


def text_request(prompt: Sequence[int], new_tokens: int, temperature: int = 0, seed: int = 0, zero: int = 0) -> bytes:
    return struct.pack(f"<4IQ{len(prompt)}I", len(prompt), new_tokens, temperature, zero, seed, *prompt)


def memory_with_elf(elf: bytes) -> Memory:
    """A memory with the segments of an ELF in it."""
    memory = Memory()
    table_offset, count = struct.unpack_from("<Q", elf, 32)[0], struct.unpack_from("<H", elf, 56)[0]
    for k in range(count):
        kind, _, offset, address, _, size, _, _ = struct.unpack_from("<IIQQQQQQ", elf, table_offset + 56 * k)
        if kind == 1 and size:  # PT_LOAD
            memory.write(address, elf[offset : offset + size])
    return memory


@functools.cache
def machine_with_program() -> tuple[Machine, Snapshot]:
    """One machine for all tests, with the guest's text in it; and its first state, with scratch, io and state all zero."""
    machine = Machine(memory_with_elf(build.ELF.read_bytes()))
    return machine, machine.snapshot()


class Guest:
    """One image and one request in the machine, which has room for one guest at a time."""

    def __init__(
        self,
        ops: Sequence[Sequence[int]],
        *,
        single: bool = False,
        kind: int = 0,
        context: int = 64,
        vocabulary: int = 300,
        stop_tokens: Sequence[int] = (),
    ) -> None:
        self.machine, first_state = machine_with_program()
        self.machine.restore(first_state)
        stops = [*stop_tokens, 0, 0, 0, 0][:4]
        magic = int.from_bytes(b"OPMLTAPE", "little")
        self.write(HEADER, struct.pack("<13Q", magic, 1, single, kind, len(ops), TAPE, context, vocabulary, len(stop_tokens), *stops))
        for k, (opcode, condition, *operands) in enumerate(ops):
            record = [opcode, condition, *(operand & 2**64 - 1 for operand in operands)]
            self.write(TAPE + 128 * k, struct.pack("<16Q", *record, *[0] * (16 - len(record))))

    def request(self, payload: bytes, stage_count: int, byte_length: int | None = None) -> None:
        self.write(REQUEST, struct.pack("<QQ16x", stage_count, len(payload) if byte_length is None else byte_length) + payload)

    def write(self, address: int, data: bytes) -> None:
        self.machine.memory.write(address, data)

    def read(self, address: int, length: int) -> bytes:
        return self.machine.memory.read(address, length)

    def read_i32s(self, address: int, n: int) -> list[int]:
        return list(struct.unpack(f"<{n}i", self.read(address, 4 * n)))

    def read_activation(self, address: int, n: int) -> tuple[int, list[int]]:
        data = self.read(address, 32 + 2 * n)
        assert data[4:32] == bytes(28)
        return struct.unpack("<i", data[:4])[0], list(struct.unpack(f"<{n}h", data[32:]))

    def output(self) -> tuple[int, int, list[int]]:
        count, done = struct.unpack("<QQ", self.read(OUTPUT, 16))
        return count, done, list(struct.unpack(f"<{count}I", self.read(OUTPUT + 32, 4 * count)))

    def stage(self, index: int) -> int:
        """Runs a stage; returns its exit code."""
        self.machine.begin_stage(index)
        self.machine.run(2**32)
        kind, code = self.machine.status
        assert kind == HALTED
        return code


def run_op(op: int, operands: Sequence[int], buffers: Mapping[int, bytes], position: int = 0) -> Guest:
    """One op at a position of a text request whose prompt is 1, 2, 3, …"""
    guest = Guest([(op, 0, *operands)])
    prompt = range(1, position + 2)
    guest.request(text_request(prompt, 1), stage_count=position + 1)
    for address, data in buffers.items():
        guest.write(address, data)
    assert guest.stage(position) == 0
    return guest


def splitmix64(seed: int, position: int) -> int:
    mask = 2**64 - 1
    z = (seed + (position + 1) * 0x9E3779B97F4A7C15) & mask
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
    return z ^ z >> 31


def seed_of(random_bits: int, position: int) -> int:
    """The seed with which splitmix64 gives these bits: each of its steps backwards."""

    def unshift(z: int, s: int) -> int:
        return z ^ z >> s ^ z >> 2 * s

    z = unshift(random_bits, 31) * pow(0x94D049BB133111EB, -1, 2**64) % 2**64
    z = unshift(z, 27) * pow(0xBF58476D1CE4E5B9, -1, 2**64) % 2**64
    return (unshift(z, 30) - (position + 1) * 0x9E3779B97F4A7C15) % 2**64
