"""What the tests of the arbiter need: machine states, a naive Merkle tree, witnesses, instruction words.

The tests state the expected outcome of each step themselves, in plain integers; nothing here executes an instruction.
"""

from collections.abc import Iterable, Mapping

from attrs import evolve, field, frozen

from evm_arbiter.chain import Artefact, Chain, Contract, keccak256

DEPTH = 35
SCRATCH, MODEL, IO, STATE = (quarter << 38 for quarter in range(4))
ENTRY = MODEL
TEXT_BYTES = 1 << 28
M64 = (1 << 64) - 1
RUNNING, HALTED, TRAPPED = range(3)
MISALIGNED, FETCH_FAULT, ILLEGAL, BREAKPOINT, LOAD_FAULT, STORE_FAULT, ECALL_TRAP = 0, 1, 2, 3, 5, 7, 8

ZERO = [bytes(32)]
for _ in range(DEPTH):
    ZERO.append(keccak256(ZERO[-1] + ZERO[-1]))


@frozen
class Memory:
    """Leaves by index, absent ones zero; every root is computed anew from all of them."""

    leaves: Mapping[int, bytes] = field(factory=dict)

    def levels(self) -> list[dict[int, bytes]]:
        levels = [dict(self.leaves)]
        for height in range(DEPTH):
            below = levels[-1]
            parents = {index >> 1 for index in below}
            levels.append({p: keccak256(below.get(2 * p, ZERO[height]) + below.get(2 * p + 1, ZERO[height])) for p in parents})
        return levels

    def root(self) -> bytes:
        return self.levels()[DEPTH].get(0, ZERO[DEPTH])

    def access(self, index: int) -> bytes:
        """Leaf, bitmap and siblings of one leaf."""
        levels, sent, siblings = self.levels(), 0, []
        for height in range(DEPTH):
            sibling = levels[height].get(index >> height ^ 1, ZERO[height])
            if sibling != ZERO[height]:
                sent |= 1 << height
                siblings.append(sibling)
        return self.leaves.get(index, bytes(32)) + sent.to_bytes(5, "big") + b"".join(siblings)

    def read(self, address: int, size: int) -> bytes:
        return bytes(self.leaves.get(a // 32, bytes(32))[a % 32] for a in range(address, address + size))

    def write(self, address: int, data: bytes) -> "Memory":
        leaves = dict(self.leaves)
        for a, byte in enumerate(data, address):
            leaf = bytearray(leaves.get(a // 32, bytes(32)))
            leaf[a % 32] = byte
            leaves[a // 32] = bytes(leaf)
        return Memory(leaves)


@frozen
class Machine:
    """A machine state; `x` holds the registers that are not zero."""

    pc: int = ENTRY
    x: Mapping[int, int] = field(factory=dict)
    memory: Memory = field(factory=Memory)
    kind: int = RUNNING
    value: int = 0

    def encode(self) -> bytes:
        registers = b"".join((self.x.get(i, 0) & M64).to_bytes(8, "big") for i in range(1, 32))
        status = bytes([self.kind]) + self.value.to_bytes(8, "big")
        return self.pc.to_bytes(8, "big") + registers + status + self.memory.root()

    def hash(self) -> bytes:
        return keccak256(self.encode())

    def then(self, rd: int | None = None, result: int = 0, *, pc: int | None = None, memory: Memory | None = None) -> "Machine":
        """The next state: pc + 4 unless `pc` is given, `result` in `rd` unless that is x0."""
        x = {**self.x, **({rd: result & M64} if rd else {})}
        next_pc = (self.pc + 4 if pc is None else pc) & M64
        return evolve(self, x=x, pc=next_pc, memory=self.memory if memory is None else memory)

    def trap(self, cause: int) -> "Machine":
        return evolve(self, kind=TRAPPED, value=cause)

    def halt(self) -> "Machine":
        return evolve(self, kind=HALTED, value=self.x.get(10, 0))


def machine(instruction: int, x: Mapping[int, int] | None = None, *, pc: int = ENTRY, memory: Memory | None = None) -> Machine:
    """A running machine that is about to execute `instruction`."""
    return Machine(pc, x or {}, (memory or Memory()).write(pc, instruction.to_bytes(4, "little")))


def witness(before: Machine, accesses: Iterable[int] = (), after: Memory | None = None) -> bytes:
    """The fetch and then the leaves with these addresses; for a store, `after` is the memory that it leaves."""
    text = before.encode()
    memory = before.memory
    for number, address in enumerate((before.pc, *accesses)):
        text += memory.access(address // 32)
        if number and after is not None:
            memory = Memory({**memory.leaves, address // 32: after.leaves[address // 32]})
    return text


def deploy_arbiter() -> Contract:
    chain = Chain()
    return chain.deploy(Artefact.load("arbiter"), sender=chain.accounts[0])


# Instruction words: manual, "Base Instruction Formats"


def r_type(opcode: int, funct3: int, funct7: int, rd: int = 3, rs1: int = 1, rs2: int = 2) -> int:
    return funct7 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode


def i_type(opcode: int, funct3: int, immediate: int, rd: int = 3, rs1: int = 1) -> int:
    return (immediate & 0xFFF) << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode


def s_type(opcode: int, funct3: int, immediate: int, rs1: int = 1, rs2: int = 2) -> int:
    return (immediate >> 5 & 0x7F) << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | (immediate & 31) << 7 | opcode


def b_type(funct3: int, offset: int, rs1: int = 1, rs2: int = 2) -> int:
    high = (offset >> 12 & 1) << 6 | (offset >> 5 & 63)
    low = (offset >> 1 & 15) << 1 | (offset >> 11 & 1)
    return high << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | low << 7 | 0x63


def u_type(opcode: int, immediate: int, rd: int = 3) -> int:
    return (immediate & 0xFFFFF) << 12 | rd << 7 | opcode


def j_type(offset: int, rd: int = 3) -> int:
    bits = (offset >> 20 & 1) << 19 | (offset >> 1 & 0x3FF) << 9 | (offset >> 11 & 1) << 8 | (offset >> 12 & 0xFF)
    return bits << 12 | rd << 7 | 0x6F
