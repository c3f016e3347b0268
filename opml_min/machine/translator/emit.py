"""How an instruction becomes LLVM.

A region becomes one LLVM function. Guest registers are its local variables, which LLVM keeps in host registers wherever it can; a guest
load is a host load at `memory + address`.

The function knows no exceptions. Before an instruction that might trap, jump to a misaligned target or halt, it stores all registers,
gives back the unused budget and returns with pc at that very instruction: the interpreter takes that step. So this file holds only what
instructions do when nothing is wrong.

*Source*: LLVM Language Reference.
"""

from opml_min.machine import decode
from opml_min.machine.decode import ACCESS_BYTES, LOAD_IS_SIGNED, Instruction, signed
from opml_min.machine.translator.control_flow import Region
from opml_min.machine.translator.operations import ARITHMETIC, CONDITIONS, WORD_DIVISIONS
from opml_min.memory_map import MEMORY_BYTES, PAGE_BYTES

PAGE_SHIFT = PAGE_BYTES.bit_length() - 1


class BasicBlock:
    """Writes one basic block. Register values live in `self.values` until it ends; only then are the local variables set."""

    def __init__(self, region: Region, first: int, length: int, part: str = "b", *, in_memory: bool = False) -> None:
        """length: in instructions. part: makes names unique in the function. in_memory: whether all accesses are known to be valid."""
        self.region, self.first, self.length = region, first, length
        self.values: dict[int, str] = {0: "0"}
        self.written: dict[int, str] = {}
        self.lines: list[str] = []
        self._names, self._part = 0, part
        self._in_memory = in_memory

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

    # The ways out of a basic block --------------------------------------------------------------------------------------

    def go_to(self, index: int) -> None:
        """Jumps to the instruction at `index`, inside the region or not."""
        if index in self.region.leaders:
            self.emit(f"br label %block{index}")
        else:
            self.emit(f"store i64 {self.region.pc(index)}, ptr %pc")
            self.emit("br label %leave")

    def interpret_from(self, index: int, charged: int) -> None:
        """Lets the interpreter go on at instruction `index`; `charged` instructions of the block were paid but not executed."""
        self.store_registers()
        self.emit(f"store i64 {self.region.pc(index)}, ptr %pc")
        if charged:
            budget = self.value("load i64, ptr %budget")
            self.emit(f"store i64 {self.value(f'add i64 {budget}, {charged}')}, ptr %budget")
        self.emit("br label %interpret")

    def unless(self, index: int, exception: str) -> None:
        """Goes on only if the condition `exception` is false; otherwise the interpreter takes instruction `index`."""
        bad, good = f"b{self.first}.bad{self._names}", f"b{self.first}.good{self._names}"
        self.emit(f"br i1 {exception}, label %{bad}, label %{good}, !prof !0")
        self.label(bad)
        self._leave_to_interpreter(index)
        self.label(good)

    def _leave_to_interpreter(self, index: int) -> None:
        """Leaves instruction `index` and the rest of the block, all of which are paid."""
        self.interpret_from(index, self.first + self.length - index)

    # Checks of accesses -------------------------------------------------------------------------------------------------

    def address(self, register: int, offset: int) -> str:
        base = self.read(register)
        return self.value(f"add i64 {base}, {offset}") if offset else base

    def in_range(self, lowest: str, size: int) -> str:
        """Whether `size` bytes from `lowest` are in the memory; aligned or not makes no difference."""
        return self.value(f"icmp ule i64 {lowest}, {MEMORY_BYTES - size}")

    def flagged(self, address: str) -> str:
        """Whether the page of an address is writable and recorded as written; the address counts mod 2^40."""
        page = self.value(f"and i64 {self.value(f'lshr i64 {address}, {PAGE_SHIFT}')}, {(MEMORY_BYTES >> PAGE_SHIFT) - 1}")
        flag = self.value(f"load i8, ptr {self.value(f'getelementptr i8, ptr %flags, i64 {page}')}")
        return self.value(f"trunc i8 {flag} to i1")

    def storable(self, lowest: str, highest: str, size: int) -> str:
        """Whether bytes `lowest` … `highest`, `size` of them, are in the memory and all in flagged pages."""
        good = self.in_range(lowest, size)
        for address in dict.fromkeys((lowest, highest)):
            good = self.value(f"and i1 {good}, {self.flagged(address)}")
        return good

    def check_load(self, index: int, lowest: str, size: int) -> None:
        """Goes on only if `size` bytes from `lowest` can be loaded; otherwise the interpreter takes instruction `index`."""
        self.unless(index, self.value(f"xor i1 {self.in_range(lowest, size)}, true"))

    def check_store(self, index: int, lowest: str, size: int) -> None:
        """Goes on only if `size` bytes from `lowest` can be stored, and are then recorded; otherwise the interpreter takes `index`."""
        highest = self.value(f"add i64 {lowest}, {size - 1}") if size > 1 else lowest
        tag = f"b{self.first}.store{self._names}"
        self.emit(f"br i1 {self.storable(lowest, highest, size)}, label %{tag}, label %{tag}.record, !prof !1")
        self.label(f"{tag}.record")  # flags the pages, unless a store there must trap
        fine = self.value(f"call preserve_mostcc i1 %record_write(ptr %control, ptr %flags, i64 {lowest}, i64 {size})")
        self.emit(f"br i1 {fine}, label %{tag}, label %{tag}.bad, !prof !1")
        self.label(f"{tag}.bad")
        self._leave_to_interpreter(index)
        self.label(tag)

    # The kinds of instructions ------------------------------------------------------------------------------------------

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

    def pointer(self, instruction: Instruction) -> str:
        known = "inbounds nuw " if self._in_memory else ""
        return self.value(f"getelementptr {known}i8, ptr %memory, i64 {self.address(instruction.rs1, instruction.imm)}")

    def load(self, instruction: Instruction) -> None:
        bits = 8 * ACCESS_BYTES[instruction.operation]
        value = self.value(f"load i{bits}, ptr {self.pointer(instruction)}, align 1")
        if bits < 64:
            value = self.value(f"{'sext' if instruction.operation in LOAD_IS_SIGNED else 'zext'} i{bits} {value} to i64")
        self.write(instruction.rd, value)

    def store(self, instruction: Instruction) -> None:
        bits = 8 * ACCESS_BYTES[instruction.operation]
        value = self.read(instruction.rs2)
        narrow = value if bits == 64 else self.value(f"trunc i64 {value} to i{bits}")
        self.emit(f"store i{bits} {narrow}, ptr {self.pointer(instruction)}, align 1")

    def branch(self, index: int, instruction: Instruction) -> None:
        a, b = self.read(instruction.rs1), self.read(instruction.rs2)
        taken = self.value(f"icmp {CONDITIONS[instruction.operation]} i64 {a}, {b}")
        if instruction.imm % 4:
            self.unless(index, taken)
            self.store_registers()
        else:
            self.store_registers()
            tag = f"b{self.first}.taken"
            self.emit(f"br i1 {taken}, label %{tag}, label %{tag}.not")
            self.label(tag)
            self.go_to(index + instruction.imm // 4)
            self.label(f"{tag}.not")
        self.go_to(index + 1)

    def jump(self, index: int, instruction: Instruction) -> None:
        """JAL to an aligned target; one to a misaligned target is left to the interpreter (`basic_blocks.is_left_to_interpreter`)."""
        self.write(instruction.rd, str(self.region.pc(index + 1)))
        self.store_registers()
        self.go_to(index + instruction.imm // 4)

    def jump_to_register(self, index: int, instruction: Instruction) -> None:
        target = self.value(f"and i64 {self.address(instruction.rs1, instruction.imm)}, -2")
        self.unless(index, self.value(f"trunc i64 {self.value(f'lshr i64 {target}, 1')} to i1"))
        self.write(instruction.rd, str(self.region.pc(index + 1)))
        self.store_registers()
        self.emit(f"store i64 {target}, ptr %pc")
        self.emit("br label %dispatch")

    def instruction(self, index: int, instruction: Instruction) -> None:
        """Writes instruction `index` of the region, whose accesses have been checked; a FENCE does nothing."""
        kind, operation, rd, rs1, rs2, imm = instruction
        if kind == decode.REGISTER:
            self.arithmetic(operation, rd, self.read(rs1), self.read(rs2))
        elif kind == decode.IMMEDIATE:
            self.arithmetic(operation, rd, self.read(rs1), str(imm))
        elif kind == decode.AUIPC:
            self.write(rd, str(self.region.pc(index) + imm))
        elif kind == decode.LOAD:
            self.load(instruction)
        elif kind == decode.STORE:
            self.store(instruction)
        elif kind == decode.BRANCH:
            self.branch(index, instruction)
        elif kind == decode.JAL:
            self.jump(index, instruction)
        elif kind == decode.JALR:
            self.jump_to_register(index, instruction)
