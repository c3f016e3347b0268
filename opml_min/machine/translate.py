"""How an instruction becomes LLVM.

A *region* is a stretch of text, some hundred instructions, that becomes one LLVM function. Guest registers are its local
variables, which LLVM keeps in host registers wherever it can; a guest load is a host load at `memory + address`. The region is cut into
*blocks*: straight-line code that starts at a *leader*. A block first takes its length from the step budget, all at once; if the budget
does not suffice, the function returns before the block. Some leaders are *entries*: the only places where the function can be
entered, or re-entered by a jump to a computed address.

The function knows no exceptions. Whatever is not plainly in order (an access out of range, a misaligned jump target, ECALL, an
illegal word) makes it put all registers in place, give back the unused budget and return with pc at that very instruction: the interpreter
takes that step. So this file holds only what instructions do when nothing is wrong.
"""

from dataclasses import dataclass

from opml_min.machine import decode
from opml_min.machine.decode import ACCESS_BYTES, LOAD_IS_SIGNED, Instruction, signed
from opml_min.machine.keccak import BLOCK_BYTES
from opml_min.machine.memory import MEMORY_BYTES
from opml_min.machine.operations import ARITHMETIC, CONDITIONS, WORD_DIVISIONS

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


@dataclass(frozen=True)
class Window:
    """Bytes `[x[base] + low, x[base] + low + size)`, which several accesses of a block share."""

    base: int
    low: int
    size: int


def windows(instructions: list[Instruction], first: int) -> dict[int, Window]:
    """What to check before which instruction, so that all accesses of a block are checked before they are made.

    Loads that use the same register with the same value in it are checked together, before the first of them; stores too. If the check
    fails, the interpreter takes over there and finds the one that traps. So one check does for a whole stack frame.
    """
    result: dict[int, Window] = {}
    checked_at: dict[tuple[str, int], int] = {}  # (form, base register): where the window that can still grow is checked
    for index, instruction in enumerate(instructions, first):
        if instruction.form in (decode.LOAD, decode.STORE):
            low, high = instruction.imm, instruction.imm + ACCESS_BYTES[instruction.operation]
            key = instruction.form, instruction.rs1
            if key in checked_at:
                window = result[checked_at[key]]
                low, high = min(low, window.low), max(high, window.low + window.size)
            if key not in checked_at or high - low > BLOCK_BYTES:  # a longer one could span blocks that are looked at from neither end
                checked_at[key] = index
                low, high = instruction.imm, instruction.imm + ACCESS_BYTES[instruction.operation]
            result[checked_at[key]] = Window(instruction.rs1, low, high - low)
        if instruction.rd:
            checked_at.pop((decode.LOAD, instruction.rd), None)
            checked_at.pop((decode.STORE, instruction.rd), None)
    return result


class _Block:
    """Writes one block. Register values live in `self.values` until the block ends; only then are the local variables set."""

    def __init__(self, region: Region, first: int) -> None:
        self.region, self.index, self.first = region, first, first
        self.values: dict[int, str] = {0: "0"}
        self.written: dict[int, str] = {}
        self.lines: list[str] = []
        self._names = 0
        self.length = 0  # instructions that the block is charged for
        self.windows: dict[int, Window] = {}

    def name(self) -> str:
        self._names += 1
        return f"%b{self.first}.{self._names}"

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
        if index in self.region.leaders and 0 <= index < len(self.region.words):
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

    def check_loads(self, window: Window) -> None:
        """Every address up to 2^40 − size is in order, misaligned ones too."""
        lowest = self.address(window.base, window.low)
        self.unless(self.value(f"icmp ugt i64 {lowest}, {MEMORY_BYTES - window.size}"))

    def check_stores(self, window: Window) -> None:
        """In order if the window is in the memory and both its ends lie in flagged blocks, which are writable and known as written.

        Otherwise `record_write` flags the blocks, unless a store there must trap. Flags are looked up at an address mod 2^40, so that
        they can be looked up before the range is known to be right.
        """
        lowest = self.address(window.base, window.low)
        good = self.value(f"icmp ule i64 {lowest}, {MEMORY_BYTES - window.size}")
        for end in sorted({0, window.size - 1}):
            address = self.value(f"add i64 {lowest}, {end}") if end else lowest
            block = self.value(f"and i64 {self.value(f'lshr i64 {address}, {BLOCK_SHIFT}')}, {(MEMORY_BYTES >> BLOCK_SHIFT) - 1}")
            flag = self.value(f"load i8, ptr {self.value(f'getelementptr i8, ptr %flags, i64 {block}')}")
            good = self.value(f"and i1 {good}, {self.value(f'trunc i8 {flag} to i1')}")
        tag = f"b{self.first}.store{self._names}"
        self.emit(f"br i1 {good}, label %{tag}, label %{tag}.record, !prof !1")
        self.label(f"{tag}.record")
        fine = self.value(f"call preserve_mostcc i1 %record_write(ptr %control, ptr %flags, i64 {lowest}, i64 {window.size})")
        self.emit(f"br i1 {fine}, label %{tag}, label %{tag}.bad, !prof !1")
        self.label(f"{tag}.bad")
        self.interpret_from(self.index, self.first + self.length - self.index)
        self.label(tag)

    def pointer(self, instruction: Instruction) -> str:
        return self.value(f"getelementptr i8, ptr %memory, i64 {self.address(instruction.rs1, instruction.imm)}")

    def load(self, instruction: Instruction) -> None:
        if window := self.windows.get(self.index):
            self.check_loads(window)
        bits = 8 * ACCESS_BYTES[instruction.operation]
        value = self.value(f"load i{bits}, ptr {self.pointer(instruction)}, align 1")
        if bits < 64:
            value = self.value(f"{'sext' if instruction.operation in LOAD_IS_SIGNED else 'zext'} i{bits} {value} to i64")
        self.write(instruction.rd, value)

    def store(self, instruction: Instruction) -> None:
        if window := self.windows.get(self.index):
            self.check_stores(window)
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
        """JAL; a misaligned target makes the block end before it (see `_ends_before`)."""
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
        """Anything that does not end a block."""
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


def _ends_before(instruction: Instruction) -> bool:
    """The interpreter takes this one, always."""
    misaligned_jump = instruction.form == decode.JAL and instruction.imm % 4 != 0
    return misaligned_jump or instruction.form in (decode.ECALL, decode.EBREAK, decode.ILLEGAL)


def block_ir(region: Region, first: int) -> str:
    instructions = []
    for index in range(first, len(region.words)):
        if index > first and index in region.leaders:
            break
        instruction = decode.decode(region.words[index])
        if _ends_before(instruction):
            break
        instructions.append(instruction)
        if instruction.form in (decode.BRANCH, decode.JAL, decode.JALR):
            break
    block = _Block(region, first)
    block.label(f"block{first}")
    block.length = len(instructions)
    block.windows = windows(instructions, first)
    if not instructions:
        block.interpret_from(first, 0)
        return "\n".join(block.lines)
    budget = block.value("load i64, ptr %budget")
    short = block.value(f"icmp ult i64 {budget}, {block.length}")
    block.emit(f"br i1 {short}, label %short{first}, label %paid{first}, !prof !0")
    block.label(f"short{first}")
    block.interpret_from(first, 0)
    block.label(f"paid{first}")
    block.emit(f"store i64 {block.value(f'sub i64 {budget}, {block.length}')}, ptr %budget")
    for block.index, instruction in enumerate(instructions, first):
        if instruction.form == decode.BRANCH:
            block.branch(instruction)
        elif instruction.form == decode.JAL:
            block.jump(instruction)
        elif instruction.form == decode.JALR:
            block.jump_to_register(instruction)
        else:
            block.instruction(instruction)
    end = first + block.length
    if instructions[-1].form not in (decode.BRANCH, decode.JAL, decode.JALR):
        block.index = end
        if end in region.leaders or end == len(region.words):
            block.store_registers()
            block.go_to(end)
        else:
            block.interpret_from(end, 0)
    return "\n".join(block.lines)
