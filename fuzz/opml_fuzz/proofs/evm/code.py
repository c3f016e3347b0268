"""Bytecode: its instructions, where a jump may go, and the place of one loop.

*Source*: Ethereum Yellow Paper, "Execution Model" and appendix H.2; EIP-145 (shifts), EIP-3855 (PUSH0), EIP-5656 (MCOPY).
"""

from functools import cached_property
from itertools import pairwise

from attrs import field, frozen

OPCODES = {
    0x00: "STOP", 0x01: "ADD", 0x02: "MUL", 0x03: "SUB", 0x04: "DIV", 0x05: "SDIV", 0x06: "MOD", 0x07: "SMOD",
    0x10: "LT", 0x11: "GT", 0x12: "SLT", 0x13: "SGT", 0x14: "EQ", 0x15: "ISZERO", 0x16: "AND", 0x17: "OR", 0x18: "XOR", 0x19: "NOT",
    0x1A: "BYTE", 0x1B: "SHL", 0x1C: "SHR", 0x1D: "SAR", 0x20: "KECCAK256", 0x34: "CALLVALUE", 0x35: "CALLDATALOAD",
    0x36: "CALLDATASIZE", 0x37: "CALLDATACOPY", 0x39: "CODECOPY", 0x50: "POP", 0x51: "MLOAD", 0x52: "MSTORE", 0x53: "MSTORE8",
    0x56: "JUMP", 0x57: "JUMPI", 0x5B: "JUMPDEST", 0x5E: "MCOPY", 0xF3: "RETURN", 0xFD: "REVERT", 0xFE: "INVALID",
    **{0x5F + i: f"PUSH{i}" for i in range(33)}, **{0x80 + i: f"DUP{i + 1}" for i in range(16)},
    **{0x90 + i: f"SWAP{i + 1}" for i in range(16)},
}  # fmt: skip
"""Those for which `instructions.py` has a rule. Any other ends the proof."""


@frozen
class Instruction:
    """An instruction, with the operand that a PUSH has in the code."""

    name: str
    operand: int
    following: int  # where the next instruction begins


@frozen
class Loop:
    """A loop, and the function around it."""

    entry: int
    head: int
    end: int  # where the code goes on after the last round


@frozen
class Code:
    """The bytecode of a contract. `executed` are the places where a machine has executed an instruction, `copied` those that it copied."""

    data: bytes
    executed: set[int] = field(factory=set, eq=False, repr=False)
    copied: set[int] = field(factory=set, eq=False, repr=False)

    def is_used(self, byte: int) -> bool:
        """Tells whether a machine has copied this byte, or executed the instruction that it belongs to."""
        return byte in self.copied or max(at for at in self.instructions if at <= byte) in self.executed

    def executes_alike(self, other: "Code") -> bool:
        """Tells whether, wherever a machine has executed this code, the other has the same instruction."""
        return all(other.instructions.get(at) == self.instructions[at] for at in self.executed)

    @cached_property
    def instructions(self) -> dict[int, Instruction]:
        """All instructions by place, read from the beginning."""
        found, at = dict[int, Instruction](), 0
        while at < len(self.data):
            name = OPCODES.get(self.data[at], f"0x{self.data[at]:02x}")
            size = int(name[4:]) if name.startswith("PUSH") else 0
            operand = int.from_bytes(self.data[at + 1 : at + 1 + size].ljust(size, b"\0"), "big")
            found[at] = Instruction(name, operand, at + 1 + size)
            at += 1 + size
        return found

    def is_destination(self, at: object) -> bool:
        """Tells whether a jump may go there."""
        return isinstance(at, int) and at in self.instructions and self.instructions[at].name == "JUMPDEST"

    def calls(self, entry: int) -> tuple[tuple[int, int], ...]:
        """Finds the calls of a function that gives back results in memory: where each returns to, and where it wants the results."""
        places = list(self.instructions)
        found = []
        for buffer, target, jump, back in zip(places, places[1:], places[2:], places[3:], strict=False):
            names = tuple(self.instructions[at].name for at in (buffer, target, jump))
            if names[2] == "JUMP" and all(name.startswith("PUSH") for name in names[:2]) and self.instructions[target].operand == entry:
                found.append((back, self.instructions[buffer].operand))
        return tuple(found)

    def only_loop(self) -> Loop:
        """Finds the only conditional jump backwards, and the function that it is in: the last one before that is called.

        A call pushes the place after its jump. Whoever relies on this must find it confirmed: a wrong loop makes the lemma fail."""
        places = list(self.instructions)
        before = {at: self.instructions[place] for place, at in pairwise(places)}
        backward = [
            (before[at].operand, one.following)
            for at, one in self.instructions.items()
            if one.name == "JUMPI" and before[at].name.startswith("PUSH") and self.is_destination(before[at].operand)
            and before[at].operand < at
        ]  # fmt: skip
        if len(backward) != 1:
            raise ValueError(f"the bytecode has {len(backward)} loops")
        ((head, end),) = backward
        pushed = {one.operand for one in self.instructions.values() if one.name.startswith("PUSH")}
        called = {
            before[at].operand
            for at, one in self.instructions.items()
            if one.name == "JUMP" and before[at].name.startswith("PUSH") and one.following in pushed and self.is_destination(one.following)
        }
        return Loop(max(at for at in called if at < head and self.is_destination(at)), head, end)
