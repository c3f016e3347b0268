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
from opml_min.machine.memory import ENTRY, MEMORY_BYTES

# What an operation computes: {d} from {a} and {b}, with {t}, {u}, … as names for values in between.
SHIFT = "{t} = and i64 {b}, 63\n{d} = %s i64 {a}, {t}"
SET_IF = "{t} = icmp %s i64 {a}, {b}\n{d} = zext i1 {t} to i64"
WORD = "{t} = %s i64 {a}, {b}\n{u} = trunc i64 {t} to i32\n{d} = sext i32 {u} to i64"
WORD_SHIFT = (
    "{t} = trunc i64 {a} to i32\n{u} = trunc i64 {b} to i32\n{v} = and i32 {u}, 31\n{w} = %s i32 {t}, {v}\n{d} = sext i32 {w} to i64"
)
MULTIPLY_HIGH = (
    "{t} = %s i64 {a} to i128\n{u} = %s i64 {b} to i128\n{v} = mul i128 {t}, {u}\n{w} = lshr i128 {v}, 64\n{d} = trunc i128 {w} to i64"
)
# Division by 1 in place of the two cases in which the host has no result; it gives the overflow's result, and {d} picks the other.
SIGNED_SAFE = """{t} = icmp eq {i} {b}, 0
{u} = icmp eq {i} {b}, -1
{v} = icmp eq {i} {a}, {min}
{w} = and i1 {u}, {v}
{x} = or i1 {t}, {w}
{y} = select i1 {x}, {i} 1, {i} {b}
"""
UNSIGNED_SAFE = "{t} = icmp eq {i} {b}, 0\n{y} = select i1 {t}, {i} 1, {i} {b}\n"
QUOTIENT = "{z} = %s {i} {a}, {y}\n{d} = select i1 {t}, {i} -1, {i} {z}"
REMAINDER = "{z} = %s {i} {a}, {y}\n{d} = select i1 {t}, {i} {a}, {i} {z}"
DIVISION = {
    "div": SIGNED_SAFE + QUOTIENT % "sdiv",
    "divu": UNSIGNED_SAFE + QUOTIENT % "udiv",
    "rem": SIGNED_SAFE + REMAINDER % "srem",
    "remu": UNSIGNED_SAFE + REMAINDER % "urem",
}


def _on_64_bits(division: str) -> str:
    return division.replace("{i}", "i64").replace("{min}", str(-(2**63)))


def _on_32_bits(division: str) -> str:
    """The same division between the truncated operands, its result sign-extended."""
    inner = division.replace("{i}", "i32").replace("{min}", str(-(2**31)))
    inner = inner.replace("{a}", "{a}.word").replace("{b}", "{b}.word").replace("{d}", "{d}.word")
    return "{a}.word = trunc i64 {a_} to i32\n{b}.word = trunc i64 {b_} to i32\n" + inner + "\n{d} = sext i32 {d}.word to i64"


ARITHMETIC = {
    "add": "{d} = add i64 {a}, {b}",
    "sub": "{d} = sub i64 {a}, {b}",
    "sll": SHIFT % "shl",
    "slt": SET_IF % "slt",
    "sltu": SET_IF % "ult",
    "xor": "{d} = xor i64 {a}, {b}",
    "srl": SHIFT % "lshr",
    "sra": SHIFT % "ashr",
    "or": "{d} = or i64 {a}, {b}",
    "and": "{d} = and i64 {a}, {b}",
    "addw": WORD % "add",
    "subw": WORD % "sub",
    "sllw": WORD_SHIFT % "shl",
    "srlw": WORD_SHIFT % "lshr",
    "sraw": WORD_SHIFT % "ashr",
    "mul": "{d} = mul i64 {a}, {b}",
    "mulh": MULTIPLY_HIGH % ("sext", "sext"),
    "mulhsu": MULTIPLY_HIGH % ("sext", "zext"),
    "mulhu": MULTIPLY_HIGH % ("zext", "zext"),
    "mulw": WORD % "mul",
    **{name: _on_64_bits(division) for name, division in DIVISION.items()},
    "divw": _on_32_bits(DIVISION["div"]),
    "divuw": _on_32_bits(DIVISION["divu"]),
    "remw": _on_32_bits(DIVISION["rem"]),
    "remuw": _on_32_bits(DIVISION["remu"]),
}
CONDITIONS = {"beq": "eq", "bne": "ne", "blt": "slt", "bge": "sge", "bltu": "ult", "bgeu": "uge"}

BLOCK_SHIFT = BLOCK_BYTES.bit_length() - 1

# Words of the array through which native code and Python exchange a machine: x0 … x31, then these.
PC, BUDGET, RECORD_WRITE, CONTROL, STATE_WORDS = 32, 33, 34, 35, 36
LEAVE, INTERPRET = 0, 1  # what a region returns: go on at pc wherever that is; or let the interpreter take at least one step at pc
LOCALS = [*(f"x{i}" for i in range(1, 32)), "pc", "budget"]
HOME = {f"x{i}": i for i in range(32)} | {"pc": PC, "budget": BUDGET}


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
            if operation in ("divw", "divuw", "remw", "remuw"):
                operands = {"a": self.name(), "b": self.name(), "a_": a, "b_": b}
            for line in ARITHMETIC[operation].format(**operands, **names).split("\n"):
                self.emit(line)
            self.write(rd, names["d"])

    def address(self, register: int, offset: int) -> str:
        base = self.read(register)
        return self.value(f"add i64 {base}, {offset}") if offset else base

    def check_loads(self, window: "Window") -> None:
        """Every address up to 2^40 − size is in order, misaligned ones too."""
        lowest = self.address(window.base, window.low)
        self.unless(self.value(f"icmp ugt i64 {lowest}, {MEMORY_BYTES - window.size}"))

    def check_stores(self, window: "Window") -> None:
        """In order if the window is in the memory and both its ends lie in flagged blocks, which are writable and known as written.

        Otherwise `record_write` flags the blocks, unless a store there must trap. Flags are looked up at an address mod 2^40, so that
        they can be looked up before the range is known to be right.
        """
        lowest = self.address(window.base, window.low)
        good = self.value(f"icmp ule i64 {lowest}, {MEMORY_BYTES - window.size}")
        for end in {0, window.size - 1}:
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


def _block_ir(region: Region, first: int) -> str:
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


def region_ir(region: Region) -> str:
    """The module with `i64 region(state, memory, flags)`, which returns LEAVE or INTERPRET."""
    leaders = sorted(region.leaders)
    variables = "\n".join(f"  %{name} = alloca i64" for name in LOCALS)
    homes = "\n".join(f"  %{name}.home = getelementptr i64, ptr %state, i64 {HOME[name]}" for name in LOCALS)
    fill = "\n".join(f"  %{name}.in = load i64, ptr %{name}.home\n  store i64 %{name}.in, ptr %{name}" for name in LOCALS)
    spill = "\n".join(f"  %{name}.out = load i64, ptr %{name}\n  store i64 %{name}.out, ptr %{name}.home" for name in LOCALS)
    cases = " ".join(f"i64 {index}, label %block{index}" for index in sorted(region.entries))
    blocks = "\n".join(_block_ir(region, first) for first in leaders)
    return f"""
declare i64 @llvm.fshr.i64(i64, i64, i64)
define i64 @region(ptr noalias %state, ptr noalias %memory, ptr noalias %flags) {{
{variables}
{homes}
  %record_write.home = getelementptr i64, ptr %state, i64 {RECORD_WRITE}
  %record_write = load ptr, ptr %record_write.home
  %control.home = getelementptr i64, ptr %state, i64 {CONTROL}
  %control = load ptr, ptr %control.home
{fill}
  br label %dispatch
dispatch:
  %target = load i64, ptr %pc
  %offset = sub i64 %target, {region.start}
  %index = call i64 @llvm.fshr.i64(i64 %offset, i64 %offset, i64 2)
  switch i64 %index, label %leave [ {cases} ]
leave:
  br label %out
interpret:
  br label %out
out:
  %result = phi i64 [ {LEAVE}, %leave ], [ {INTERPRET}, %interpret ]
{spill}
  ret i64 %result
{blocks}
}}
!0 = !{{!"branch_weights", i32 1, i32 100000}}
!1 = !{{!"branch_weights", i32 100000, i32 1}}
"""


def run_ir() -> str:
    """`record_write`, the slow way of a store, and `run`, which goes from region to region.

    `run(state, memory, flags, entry_points)` returns LEAVE when pc is at no entry point of translated code, INTERPRET as a region does;
    `entry_points[i]` is the code of the region that has an entry at ENTRY + 4i, or null.
    """
    return f"""
declare i64 @llvm.fshr.i64(i64, i64, i64)
define internal void @flag(ptr %control, ptr %flags, i64 %block) noinline {{
  %place = getelementptr i8, ptr %flags, i64 %block
  %flag = load i8, ptr %place
  %new = icmp eq i8 %flag, 0
  br i1 %new, label %append, label %done
append:
  store i8 1, ptr %place
  %length = load i64, ptr %control
  %list.home = getelementptr i64, ptr %control, i64 1
  %list = load ptr, ptr %list.home
  %end = getelementptr i64, ptr %list, i64 %length
  store i64 %block, ptr %end
  %more = add i64 %length, 1
  store i64 %more, ptr %control
  br label %done
done:
  ret void
}}
define preserve_mostcc i1 @record_write(ptr %control, ptr %flags, i64 %address, i64 %size) {{
  %most = sub i64 {MEMORY_BYTES}, %size
  %outside = icmp ugt i64 %address, %most
  %end = add i64 %address, %size
  %after = icmp ugt i64 %end, {ENTRY}
  %before = icmp ult i64 %address, {2 * ENTRY}
  %model = and i1 %after, %before
  %bad = or i1 %outside, %model
  br i1 %bad, label %refuse, label %accept
refuse:
  ret i1 false
accept:
  %first = lshr i64 %address, {BLOCK_SHIFT}
  %last = sub i64 %end, 1
  %second = lshr i64 %last, {BLOCK_SHIFT}
  call void @flag(ptr %control, ptr %flags, i64 %first)
  call void @flag(ptr %control, ptr %flags, i64 %second)
  ret i1 true
}}
define i64 @record_write_address() {{
  %address = ptrtoint ptr @record_write to i64
  ret i64 %address
}}
define i64 @run(ptr %state, ptr %memory, ptr %flags, ptr %entry_points) {{
entry:
  %pc.home = getelementptr i64, ptr %state, i64 {PC}
  br label %next
next:
  %pc = load i64, ptr %pc.home
  %offset = sub i64 %pc, {ENTRY}
  %index = call i64 @llvm.fshr.i64(i64 %offset, i64 %offset, i64 2)
  %in_window = icmp ult i64 %index, {(1 << 28) // 4}
  br i1 %in_window, label %look, label %done
look:
  %place = getelementptr ptr, ptr %entry_points, i64 %index
  %region = load ptr, ptr %place
  %missing = icmp eq ptr %region, null
  br i1 %missing, label %done, label %call
call:
  %result = call i64 %region(ptr %state, ptr %memory, ptr %flags)
  %go_on = icmp eq i64 %result, {LEAVE}
  br i1 %go_on, label %next, label %done
done:
  %reason = phi i64 [ {LEAVE}, %next ], [ {LEAVE}, %look ], [ {INTERPRET}, %call ]
  ret i64 %reason
}}
"""
