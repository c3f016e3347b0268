"""A basic block that jumps to itself: many iterations at once, without a check, in a shape that LLVM can vectorise.

The code first computes how many iterations certainly need no check: the budget covers them, loads stay in the memory, stores stay in the
flagged pages they are in, and (if a counter or pointer shows it) the branch at the end is taken in all but the last. A function of its own,
`iterations<first>`, executes that many; it counts from 0 and does nothing but the instructions. LLVM's whole pipeline runs on these
functions only; then they are inlined into the region. If not even one is safe, the checked basic block executes one iteration: it records
what stores are about to write, or leaves the exception to the interpreter.

Two details let LLVM see sums and counters. Accesses are known to be inside the memory (`inbounds`). A register that each iteration leaves
with a sign-extended 32-bit result is carried to the next in 32 bits, if that is what it holds at the start.
"""

from attrs import frozen

from opml_min.machine import decode
from opml_min.machine.decode import BRANCH, IMMEDIATE, REGISTER, Instruction
from opml_min.machine.translator.bounds_checks import AccessRange, loop_ranges, moves
from opml_min.machine.translator.control_flow import Region
from opml_min.machine.translator.emit import BasicBlock
from opml_min.machine.translator.operations import CONDITIONS
from opml_min.memory_map import MEMORY_BYTES, PAGE_BYTES


@frozen
class Counter:
    """What the branch compares: one side nears the other by a constant per iteration."""

    stride: int  # of the left side towards the right one
    bits: int


@frozen
class Loop:
    """A basic block whose last instruction is a branch to its first."""

    region: Region
    first: int
    instructions: list[Instruction]
    ranges: list[AccessRange]
    counter: Counter | None

    @property
    def branch(self) -> Instruction:
        return self.instructions[-1]

    def written(self) -> list[int]:
        """The registers that an iteration writes: first those that the next iteration reads, in the order of their last writes."""
        last = {instruction.rd: index for index, instruction in enumerate(self.instructions) if instruction.rd}
        carried = set(self.read_first())
        return sorted(last, key=lambda register: (register not in carried, last[register]))

    def read_first(self) -> list[int]:
        """The registers whose values at the beginning of an iteration matter."""
        result, written = set(), {0}
        for instruction in self.instructions:
            result |= {instruction.rs1, instruction.rs2} - written
            written.add(instruction.rd)
        return sorted(result)

    def words(self) -> list[int]:
        """The registers of `read_first` that every iteration leaves with a sign-extended 32-bit result."""
        last = {instruction.rd: instruction for instruction in self.instructions}
        return [r for r in self.read_first() if r in last and _is_word(last[r])]


def _is_word(instruction: Instruction) -> bool:
    return instruction.kind in (REGISTER, IMMEDIATE) and instruction.operation.endswith("w")


def loop_at(region: Region, first: int, instructions: list[Instruction]) -> Loop | None:
    """The basic block as a loop; None if it is not a loop, or if its accesses cannot be predicted."""
    if not instructions or instructions[-1].kind != BRANCH or instructions[-1].imm != -4 * (len(instructions) - 1):
        return None
    ranges = loop_ranges(instructions)
    return None if ranges is None else Loop(region, first, instructions, ranges, _counter(instructions))


def _counter(instructions: list[Instruction]) -> Counter | None:
    """What the branch compares, if one side is constant and the other nears it."""
    _, operation, _, a, b, _ = instructions[-1]
    for adds, bits, operations in (("add", 64, CONDITIONS.keys() - {"beq"}), ("addw", 32, {"bne", "blt", "bge"})):
        moved = moves(instructions, adds)
        by_a, by_b = moved.get(a, 0), moved.get(b, 0)
        if operation in operations and by_a is not None and by_b is not None and (by_a == 0) != (by_b == 0):
            stride = by_a - by_b
            nears = stride > 0 if operation in ("blt", "bltu") else stride < 0 if operation in ("bge", "bgeu") else True
            return Counter(stride, bits) if nears else None
    return None


# In the region ---------------------------------------------------------------------------------------------------------------------


def call_ir(loop: Loop) -> list[str]:
    """Writes `block<first>`, which executes the iterations that need no check, or goes to `checked<first>` if there are none."""
    first = loop.first
    block = BasicBlock(loop.region, first, len(loop.instructions), "c")
    block.label(f"block{first}")
    iterations = _certain_iterations(block, loop)
    block.emit(f"br i1 {block.value(f'icmp eq i64 {iterations}, 0')}, label %checked{first}, label %certain{first}")
    block.label(f"certain{first}")
    values = "".join(f", i64 {block.read(register)}" for register in loop.read_first())
    executed = block.value(f"call i64 @iterations{first}(ptr %memory, ptr %results, i64 {iterations}{values})")
    for place, register in enumerate(loop.written()):
        block.write(register, block.value(f"load i64, ptr {_result(block, place)}"))
    steps = block.value(f"mul i64 {executed}, {block.length}")
    budget = block.value("load i64, ptr %budget")
    block.emit(f"store i64 {block.value(f'sub i64 {budget}, {steps}')}, ptr %budget")
    block.store_registers()
    block.emit(f"br i1 {_taken(block, loop.branch)}, label %block{first}, label %through{first}")
    block.label(f"through{first}")
    block.go_to(first + block.length)
    return block.lines


def _taken(block: BasicBlock, branch: Instruction) -> str:
    return block.value(f"icmp {CONDITIONS[branch.operation]} i64 {block.read(branch.rs1)}, {block.read(branch.rs2)}")


def _certain_iterations(block: BasicBlock, loop: Loop) -> str:
    """How many iterations certainly need no check; possibly 0."""
    iterations = block.value(f"udiv i64 {block.value('load i64, ptr %budget')}, {block.length}")
    if loop.counter is not None:
        taken = _iterations_until_not_taken(block, loop, loop.counter)
        iterations = block.value(f"call i64 @llvm.umin.i64(i64 {iterations}, i64 {taken})")
    for accessed in loop.ranges:
        lowest = block.address(accessed.base, accessed.low)
        if accessed.kind == decode.LOAD:
            good = block.in_range(lowest, accessed.size)
            below, above = lowest, block.value(f"sub i64 {MEMORY_BYTES - accessed.size}, {lowest}")
        else:
            highest = block.value(f"add i64 {lowest}, {accessed.size - 1}")
            good = block.storable(lowest, highest, accessed.size)
            below = block.value(f"and i64 {lowest}, {PAGE_BYTES - 1}")
            above = block.value(f"sub i64 {PAGE_BYTES - 1}, {block.value(f'and i64 {highest}, {PAGE_BYTES - 1}')}")
        if accessed.stride:
            further = block.value(f"udiv i64 {above if accessed.stride > 0 else below}, {abs(accessed.stride)}")
            iterations = block.value(f"call i64 @llvm.umin.i64(i64 {iterations}, i64 {block.value(f'add i64 {further}, 1')})")
        iterations = block.value(f"select i1 {good}, i64 {iterations}, i64 0")
    for register in loop.words():
        value = block.read(register)
        same = block.value(f"icmp eq i64 {value}, {_sign_extended(block, value)}")
        iterations = block.value(f"select i1 {same}, i64 {iterations}, i64 0")
    return iterations


def _sign_extended(block: BasicBlock, value: str) -> str:
    return block.value(f"sext i32 {block.value(f'trunc i64 {value} to i32')} to i64")


def _iterations_until_not_taken(block: BasicBlock, loop: Loop, counter: Counter) -> str:
    """A number of iterations, at least 1, in all of which but the last the branch is certainly taken.

    It is the distance between the two sides that the branch compares, divided by the stride. Until then neither 64 bits nor, where the
    comparison is signed or for equality, 32 bits overflow.
    """
    operation, a, b = loop.branch.operation, loop.branch.rs1, loop.branch.rs2
    low, high = (a, b) if counter.stride > 0 else (b, a)
    between = block.value(f"sub i64 {block.read(high)}, {block.read(low)}")
    if operation in ("bne", "blt", "bltu"):  # not taken when they meet
        between = block.value(f"sub i64 {between}, 1")
    if operation == "bne" and counter.bits == 32:
        between = block.value(f"and i64 {between}, {2**32 - 1}")
    further = block.value(f"udiv i64 {between}, {abs(counter.stride)}")
    return block.value(f"add i64 {block.value(f'select i1 {_taken(block, loop.branch)}, i64 {further}, i64 0')}, 1")


# The function ----------------------------------------------------------------------------------------------------------------------


def _result(block: BasicBlock, place: int) -> str:
    """Where the function stores a register's last value. Sums that lie side by side may become one vector."""
    return block.value(f"getelementptr i64, ptr %results, i64 {place}")


def function_ir(loop: Loop) -> str:
    """Writes `iterations<first>(memory, results, iterations, registers…)`, which returns how many iterations it executed.

    They are `iterations`, which is at least 1, or fewer if the branch is not taken before.
    """
    first, read_first, words = loop.first, loop.read_first(), loop.words()
    carried = {r: "i32" if r in words else "i64" for r in {*read_first, *loop.written()}}
    body = BasicBlock(loop.region, first, len(loop.instructions), "l", in_memory=True)
    for register, kind in carried.items():
        body.emit(f"%x{register} = alloca {kind}")
    for register in read_first:
        value = body.value(f"trunc i64 %x{register}.in to i32") if register in words else f"%x{register}.in"
        body.emit(f"store {carried[register]} {value}, ptr %x{register}")
    body.emit("br label %iteration")
    body.label("iteration")
    body.emit("%executed = phi i64 [ 0, %entry ], [ %next, %iteration ]")
    for register in words:
        word = body.value(f"load i32, ptr %x{register}")
        body.values[register] = body.value(f"sext i32 {word} to i64")
    for index, instruction in enumerate(loop.instructions[:-1], first):
        body.instruction(index, instruction)
    for register, value in body.written.items():
        stored = body.value(f"trunc i64 {value} to i32") if register in words else value
        body.emit(f"store {carried[register]} {stored}, ptr %x{register}")
    body.emit("%next = add nuw i64 %executed, 1")
    end = body.value("icmp eq i64 %next, %iterations")
    if loop.counter is None:
        end = body.value(f"or i1 {end}, {body.value(f'xor i1 {_taken(body, loop.branch)}, true')}")
    body.emit(f"br i1 {end}, label %out, label %iteration")
    body.label("out")
    for place, register in enumerate(loop.written()):
        body.emit(f"store i64 {body.written[register]}, ptr {_result(body, place)}")
    body.emit("ret i64 %next")
    parameters = "".join(f", i64 %x{register}.in" for register in read_first)
    kind = "internal " if loop.counter is None else ""
    head = f"define {kind}i64 @iterations{first}(ptr noalias %memory, ptr noalias %results, i64 %iterations{parameters})"
    return "\n".join([f'{head} alwaysinline "no-builtins" {{', "entry:", *body.lines, "}"])


def declaration_ir(loop: Loop) -> str:
    return f"declare i64 @iterations{loop.first}(ptr, ptr, i64{', i64' * len(loop.read_first())})"
