"""How an instruction becomes LLVM.

A *region* is a stretch of text, some hundred instructions, that becomes one LLVM function. Guest registers are its local
variables, which LLVM keeps in host registers wherever it can; a guest load is a host load at `memory + address`. The region is cut into
*blocks*: straight-line code that starts at a *leader*. Some leaders are *entries*: the only places where the function can be
entered, or re-entered by a jump to a computed address.

The function knows no exceptions. Whatever is not plainly in order (an access out of range, a misaligned jump target, ECALL, an
illegal word) makes it put all registers in place, give back the unused budget and return with pc at that very instruction: the interpreter
takes that step. So this file holds only what instructions do when nothing is wrong.
"""

from dataclasses import dataclass

from opml_min.machine import decode
from opml_min.machine.decode import ACCESS_BYTES, LOAD_IS_SIGNED, Instruction, signed
from opml_min.machine.memory.keccak import BLOCK_BYTES
from opml_min.machine.translator.bounds_checks import Window
from opml_min.machine.translator.operations import ARITHMETIC, CONDITIONS, WORD_DIVISIONS
from opml_min.memory_map import MEMORY_BYTES

BLOCK_SHIFT = BLOCK_BYTES.bit_length() - 1


@dataclass(frozen=True)
class Region:
    """Text to translate: `words[i]` lies at `start + 4i`. `leaders` and `entries` (all of them leaders) are offsets in words."""

    start: int
    words: tuple[int, ...]
    leaders: frozenset[int]
    entries: frozenset[int]

    def pc(self, index: int) -> int:
        return self.start + 4 * index

    def contains(self, pc: int) -> bool:
        return self.start <= pc < self.pc(len(self.words)) and pc % 4 == 0


class Block:
    """Writes one block. Register values live in `self.values` until the block ends; only then are the local variables set."""

    def __init__(self, region: Region, first: int, length: int, part: str = "b", *, in_memory: bool = False) -> None:
        self.region, self.index, self.first = region, first, first
        self.length = length  # in instructions; what the block is charged for
        self.values: dict[int, str] = {0: "0"}
        self.written: dict[int, str] = {}
        self.lines: list[str] = []
        self.windows: dict[int, Window] = {}
        self._names, self._part = 0, part
        self._in_memory = in_memory  # whether all accesses are known to be

    def name(self) -> str:
        self._names += 1
        return f"%{self._part}{self.first}.{self._names}"

    def emit(self, line: str) -> None:
        self.lines.append("  " + line)

    def value(self, expression: str) -> str:
        name = self.name()
        self.emit(f"{name} = {expression}")
        return name

    def label(self, label: str) -> None:
        self.lines.append(f"{label}:")

    def read(self, register: int) -> str:
        if register not in self.values:
            self.values[register] = self.value(f"load i64, ptr %x{register}")
        return self.values[register]

    def write(self, register: int, value: str) -> None:
        if register:
            self.values[register] = self.written[register] = value

    def store_registers(self) -> None:
        for register, value in self.written.items():
            self.emit(f"store i64 {value}, ptr %x{register}")

    # The ways out of a block --------------------------------------------------------------------------------------------

    def go_to(self, index: int) -> None:
        """To a place whose address is known now."""
        if index in self.region.leaders:
            self.emit(f"br label %block{index}")
        else:
            self.emit(f"store i64 {self.region.pc(index)}, ptr %pc")
            self.emit("br label %leave")

    def interpret_from(self, index: int, charged: int) -> None:
        """Let the interpreter go on at instruction `index`; `charged` instructions of the block were paid but not executed."""
        self.store_registers()
        self.emit(f"store i64 {self.region.pc(index)}, ptr %pc")
        if charged:
            budget = self.value("load i64, ptr %budget")
            self.emit(f"store i64 {self.value(f'add i64 {budget}, {charged}')}, ptr %budget")
        self.emit("br label %interpret")

    def unless(self, exception: str) -> None:
        """Goes on only if the condition `exception` is false; otherwise this instruction is the interpreter's."""
        bad, good = f"b{self.first}.bad{self._names}", f"b{self.first}.good{self._names}"
        self.emit(f"br i1 {exception}, label %{bad}, label %{good}, !prof !0")
        self.label(bad)
        self.interpret_from(self.index, self.first + self.length - self.index)
        self.label(good)

    # The forms ----------------------------------------------------------------------------------------------------------

    def arithmetic(self, operation: str, rd: int, a: str, b: str) -> None:
        if rd == 0:
            return
        if operation == "add" and (a == "0" or b == "0"):
            self.write(rd, b if a == "0" else a)
        elif operation == "add" and not a.startswith("%") and not b.startswith("%"):
            self.write(rd, str(signed(int(a) + int(b), 64)))
        else:
            names = {letter: self.name() for letter in "dtuvwxyz"}
            operands = {"a": a, "b": b}
            if operation in WORD_DIVISIONS:
                operands = {"a": self.name(), "b": self.name(), "a_": a, "b_": b}
            for line in ARITHMETIC[operation].format(**operands, **names).split("\n"):
                self.emit(line)
            self.write(rd, names["d"])

    def address(self, register: int, offset: int) -> str:
        base = self.read(register)
        return self.value(f"add i64 {base}, {offset}") if offset else base

    def in_range(self, lowest: str, size: int) -> str:
        """Whether `size` bytes from `lowest` are in the memory; aligned or not makes no difference."""
        return self.value(f"icmp ule i64 {lowest}, {MEMORY_BYTES - size}")

    def flagged(self, address: str) -> str:
        """Whether the block of an address is writable and recorded as written; the address counts mod 2^40."""
        block = self.value(f"and i64 {self.value(f'lshr i64 {address}, {BLOCK_SHIFT}')}, {(MEMORY_BYTES >> BLOCK_SHIFT) - 1}")
        flag = self.value(f"load i8, ptr {self.value(f'getelementptr i8, ptr %flags, i64 {block}')}")
        return self.value(f"trunc i8 {flag} to i1")

    def storable(self, lowest: str, highest: str, size: int) -> str:
        """Whether bytes `lowest` … `highest`, `size` of them, are in the memory and all in flagged blocks."""
        good = self.in_range(lowest, size)
        for address in dict.fromkeys((lowest, highest)):
            good = self.value(f"and i1 {good}, {self.flagged(address)}")
        return good

    def check(self) -> None:
        """If a window is to be checked before this instruction: goes on only if it is in order."""
        window = self.windows.get(self.index)
        if window is None:
            return
        lowest = self.address(window.base, window.low)
        if window.form == decode.LOAD:
            self.unless(self.value(f"xor i1 {self.in_range(lowest, window.size)}, true"))
            return
        highest = self.value(f"add i64 {lowest}, {window.size - 1}") if window.size > 1 else lowest
        tag = f"b{self.first}.store{self._names}"
        self.emit(f"br i1 {self.storable(lowest, highest, window.size)}, label %{tag}, label %{tag}.record, !prof !1")
        self.label(f"{tag}.record")  # flags the blocks, unless a store there must trap
        fine = self.value(f"call preserve_mostcc i1 %record_write(ptr %control, ptr %flags, i64 {lowest}, i64 {window.size})")
        self.emit(f"br i1 {fine}, label %{tag}, label %{tag}.bad, !prof !1")
        self.label(f"{tag}.bad")
        self.interpret_from(self.index, self.first + self.length - self.index)
        self.label(tag)

    def pointer(self, instruction: Instruction) -> str:
        known = "inbounds nuw " if self._in_memory else ""
        return self.value(f"getelementptr {known}i8, ptr %memory, i64 {self.address(instruction.rs1, instruction.imm)}")

    def load(self, instruction: Instruction) -> None:
        self.check()
        bits = 8 * ACCESS_BYTES[instruction.operation]
        value = self.value(f"load i{bits}, ptr {self.pointer(instruction)}, align 1")
        if bits < 64:
            value = self.value(f"{'sext' if instruction.operation in LOAD_IS_SIGNED else 'zext'} i{bits} {value} to i64")
        self.write(instruction.rd, value)

    def store(self, instruction: Instruction) -> None:
        self.check()
        bits = 8 * ACCESS_BYTES[instruction.operation]
        value = self.read(instruction.rs2)
        narrow = value if bits == 64 else self.value(f"trunc i64 {value} to i{bits}")
        self.emit(f"store i{bits} {narrow}, ptr {self.pointer(instruction)}, align 1")

    def branch(self, instruction: Instruction) -> None:
        a, b = self.read(instruction.rs1), self.read(instruction.rs2)
        taken = self.value(f"icmp {CONDITIONS[instruction.operation]} i64 {a}, {b}")
        if instruction.imm % 4:
            self.unless(taken)
            self.store_registers()
        else:
            self.store_registers()
            tag = f"b{self.first}.taken"
            self.emit(f"br i1 {taken}, label %{tag}, label %{tag}.not")
            self.label(tag)
            self.go_to(self.index + instruction.imm // 4)
            self.label(f"{tag}.not")
        self.go_to(self.index + 1)

    def jump(self, instruction: Instruction) -> None:
        """JAL; a misaligned target makes the block end before it (see `blocks.ends_before`)."""
        self.write(instruction.rd, str(self.region.pc(self.index + 1)))
        self.store_registers()
        self.go_to(self.index + instruction.imm // 4)

    def jump_to_register(self, instruction: Instruction) -> None:
        target = self.value(f"and i64 {self.address(instruction.rs1, instruction.imm)}, -2")
        self.unless(self.value(f"trunc i64 {self.value(f'lshr i64 {target}, 1')} to i1"))
        self.write(instruction.rd, str(self.region.pc(self.index + 1)))
        self.store_registers()
        self.emit(f"store i64 {target}, ptr %pc")
        self.emit("br label %dispatch")

    def instruction(self, instruction: Instruction) -> None:
        """Anything but a FENCE, which does nothing."""
        form, operation, rd, rs1, rs2, imm = instruction
        if form == decode.REGISTER:
            self.arithmetic(operation, rd, self.read(rs1), self.read(rs2))
        elif form == decode.IMMEDIATE:
            self.arithmetic(operation, rd, self.read(rs1), str(imm))
        elif form == decode.AUIPC:
            self.write(rd, str(self.region.pc(self.index) + imm))
        elif form == decode.LOAD:
            self.load(instruction)
        elif form == decode.STORE:
            self.store(instruction)
        elif form == decode.BRANCH:
            self.branch(instruction)
        elif form == decode.JAL:
            self.jump(instruction)
        elif form == decode.JALR:
            self.jump_to_register(instruction)
