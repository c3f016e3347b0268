"""A block that jumps to itself: many rounds at once, without a check, in a shape that LLVM can vectorise.

Before a round it is computed how many rounds are certainly in order: the budget covers them, loads stay in the memory, stores stay in the
flagged blocks they are in, and (where a counter or pointer tells) the branch at the end is certainly taken in all but the last. That
many are made by a function of its own, `rounds<first>`, which counts from 0 and does nothing but the instructions. LLVM's whole
pipeline runs on these functions, and only on these; then they become part of the region again. When there is no such round, the
checked block makes one: it records what stores are about to write, or leaves the exception to the interpreter.

Two details let LLVM see sums and counters. Accesses are known to be inside the memory (`inbounds`). And a register that each round
leaves with a sign-extended 32-bit result is carried to the next in 32 bits, if that is what it holds at the start.
"""

from dataclasses import dataclass

from opml_min.machine import decode
from opml_min.machine.decode import BRANCH, IMMEDIATE, REGISTER, Instruction
from opml_min.machine.memory.keccak import BLOCK_BYTES
from opml_min.machine.translator.bounds_checks import Window, loop_windows, moves
from opml_min.machine.translator.emit import Block, Region
from opml_min.machine.translator.operations import CONDITIONS
from opml_min.memory_map import MEMORY_BYTES


@dataclass(frozen=True)
class Counter:
    """The branch compares what nears each other by a constant in each round."""

    step: int  # of the left side towards the right one
    bits: int


@dataclass(frozen=True)
class Loop:
    """A block whose last instruction is a branch to its first."""

    region: Region
    first: int
    instructions: list[Instruction]
    windows: list[Window]
    counter: Counter | None

    @property
    def branch(self) -> Instruction:
        return self.instructions[-1]

    def written(self) -> list[int]:
        """First those that the next round goes on with, in the order of their last writes."""
        last = {instruction.rd: index for index, instruction in enumerate(self.instructions) if instruction.rd}
        carried = set(self.read_first())
        return sorted(last, key=lambda register: (register not in carried, last[register]))

    def read_first(self) -> list[int]:
        """The registers whose values at the beginning of a round matter."""
        result, written = set(), {0}
        for instruction in self.instructions:
            result |= {instruction.rs1, instruction.rs2} - written
            written.add(instruction.rd)
        return sorted(result)

    def words(self) -> list[int]:
        """Those of them that every round leaves with a sign-extended 32-bit result."""
        last = {instruction.rd: instruction for instruction in self.instructions}
        return [r for r in self.read_first() if r in last and _is_word(last[r])]


def _is_word(instruction: Instruction) -> bool:
    return instruction.form in (REGISTER, IMMEDIATE) and instruction.operation.endswith("w")


def loop_at(region: Region, first: int, instructions: list[Instruction]) -> Loop | None:
    """The loop that a block is, if what it accesses can be foretold."""
    if not instructions or instructions[-1].form != BRANCH or instructions[-1].imm != -4 * (len(instructions) - 1):
        return None
    windows = loop_windows(instructions)
    return None if windows is None else Loop(region, first, instructions, windows, _counter(instructions))


def _counter(instructions: list[Instruction]) -> Counter | None:
    """What the branch counts, if one of its sides stands still and the other nears it."""
    _, operation, _, a, b, _ = instructions[-1]
    for adds, bits, operations in (("add", 64, CONDITIONS.keys() - {"beq"}), ("addw", 32, {"bne", "blt", "bge"})):
        moved = moves(instructions, adds)
        by_a, by_b = moved.get(a, 0), moved.get(b, 0)
        if operation in operations and by_a is not None and by_b is not None and (by_a == 0) != (by_b == 0):
            step = by_a - by_b
            nears = step > 0 if operation in ("blt", "bltu") else step < 0 if operation in ("bge", "bgeu") else True
            return Counter(step, bits) if nears else None
    return None


# In the region ---------------------------------------------------------------------------------------------------------------------


def call_ir(loop: Loop) -> list[str]:
    """`block<first>`: as many rounds as are certainly in order, else one in `checked<first>`."""
    first = loop.first
    block = Block(loop.region, first, len(loop.instructions), "c")
    block.label(f"block{first}")
    rounds = _certain_rounds(block, loop)
    block.emit(f"br i1 {block.value(f'icmp eq i64 {rounds}, 0')}, label %checked{first}, label %certain{first}")
    block.label(f"certain{first}")
    values = "".join(f", i64 {block.read(register)}" for register in loop.read_first())
    made = block.value(f"call i64 @rounds{first}(ptr %memory, ptr %results, i64 {rounds}{values})")
    for place, register in enumerate(loop.written()):
        block.write(register, block.value(f"load i64, ptr {_result(block, place)}"))
    steps = block.value(f"mul i64 {made}, {block.length}")
    budget = block.value("load i64, ptr %budget")
    block.emit(f"store i64 {block.value(f'sub i64 {budget}, {steps}')}, ptr %budget")
    block.store_registers()
    block.emit(f"br i1 {_taken(block, loop.branch)}, label %block{first}, label %through{first}")
    block.label(f"through{first}")
    block.go_to(first + block.length)
    return block.lines


def _taken(block: Block, branch: Instruction) -> str:
    return block.value(f"icmp {CONDITIONS[branch.operation]} i64 {block.read(branch.rs1)}, {block.read(branch.rs2)}")


def _certain_rounds(block: Block, loop: Loop) -> str:
    """For how many rounds all is certainly in order; 0 if not even for the first."""
    rounds = block.value(f"udiv i64 {block.value('load i64, ptr %budget')}, {block.length}")
    if loop.counter is not None:
        taken = _rounds_until_not_taken(block, loop, loop.counter)
        rounds = block.value(f"call i64 @llvm.umin.i64(i64 {rounds}, i64 {taken})")
    for window in loop.windows:
        lowest = block.address(window.base, window.low)
        if window.form == decode.LOAD:
            good = block.in_range(lowest, window.size)
            below, above = lowest, block.value(f"sub i64 {MEMORY_BYTES - window.size}, {lowest}")
        else:
            highest = block.value(f"add i64 {lowest}, {window.size - 1}")
            good = block.storable(lowest, highest, window.size)
            below = block.value(f"and i64 {lowest}, {BLOCK_BYTES - 1}")
            above = block.value(f"sub i64 {BLOCK_BYTES - 1}, {block.value(f'and i64 {highest}, {BLOCK_BYTES - 1}')}")
        if window.step:
            further = block.value(f"udiv i64 {above if window.step > 0 else below}, {abs(window.step)}")
            rounds = block.value(f"call i64 @llvm.umin.i64(i64 {rounds}, i64 {block.value(f'add i64 {further}, 1')})")
        rounds = block.value(f"select i1 {good}, i64 {rounds}, i64 0")
    for register in loop.words():
        value = block.read(register)
        same = block.value(f"icmp eq i64 {value}, {_sign_extended(block, value)}")
        rounds = block.value(f"select i1 {same}, i64 {rounds}, i64 0")
    return rounds


def _sign_extended(block: Block, value: str) -> str:
    return block.value(f"sext i32 {block.value(f'trunc i64 {value} to i32')} to i64")


def _rounds_until_not_taken(block: Block, loop: Loop, counter: Counter) -> str:
    """A number of rounds, at least 1, in all of which but the last the branch is certainly taken.

    It is what is between the two that the branch compares, divided by how much they near each other in a round. Until then neither
    64 bits nor, where the comparison is signed or for equality, 32 bits overflow.
    """
    operation, a, b = loop.branch.operation, loop.branch.rs1, loop.branch.rs2
    low, high = (a, b) if counter.step > 0 else (b, a)
    between = block.value(f"sub i64 {block.read(high)}, {block.read(low)}")
    if operation in ("bne", "blt", "bltu"):  # not taken when they meet
        between = block.value(f"sub i64 {between}, 1")
    if operation == "bne" and counter.bits == 32:
        between = block.value(f"and i64 {between}, {2**32 - 1}")
    further = block.value(f"udiv i64 {between}, {abs(counter.step)}")
    return block.value(f"add i64 {block.value(f'select i1 {_taken(block, loop.branch)}, i64 {further}, i64 0')}, 1")


# The function ----------------------------------------------------------------------------------------------------------------------


def _result(block: Block, place: int) -> str:
    """Where the function leaves what a register is in the end. Sums that lie side by side may become one vector."""
    return block.value(f"getelementptr i64, ptr %results, i64 {place}")


def function_ir(loop: Loop) -> str:
    """`rounds<first>(memory, rounds, registers…)`: makes `rounds` of them, at least 1, or fewer if the branch is not taken before."""
    first, read_first, words = loop.first, loop.read_first(), loop.words()
    carried = {r: "i32" if r in words else "i64" for r in {*read_first, *loop.written()}}
    body = Block(loop.region, first, len(loop.instructions), "l", in_memory=True)
    for register, kind in carried.items():
        body.emit(f"%x{register} = alloca {kind}")
    for register in read_first:
        value = body.value(f"trunc i64 %x{register}.in to i32") if register in words else f"%x{register}.in"
        body.emit(f"store {carried[register]} {value}, ptr %x{register}")
    body.emit("br label %round")
    body.label("round")
    body.emit("%made = phi i64 [ 0, %entry ], [ %next, %round ]")
    for register in words:
        word = body.value(f"load i32, ptr %x{register}")
        body.values[register] = body.value(f"sext i32 {word} to i64")
    for body.index, instruction in enumerate(loop.instructions[:-1], first):
        body.instruction(instruction)
    for register, value in body.written.items():
        stored = body.value(f"trunc i64 {value} to i32") if register in words else value
        body.emit(f"store {carried[register]} {stored}, ptr %x{register}")
    body.emit("%next = add nuw i64 %made, 1")
    end = body.value("icmp eq i64 %next, %rounds")
    if loop.counter is None:
        end = body.value(f"or i1 {end}, {body.value(f'xor i1 {_taken(body, loop.branch)}, true')}")
    body.emit(f"br i1 {end}, label %out, label %round")
    body.label("out")
    for place, register in enumerate(loop.written()):
        body.emit(f"store i64 {body.written[register]}, ptr {_result(body, place)}")
    body.emit("ret i64 %next")
    parameters = "".join(f", i64 %x{register}.in" for register in read_first)
    kind = "internal " if loop.counter is None else ""
    head = f"define {kind}i64 @rounds{first}(ptr noalias %memory, ptr noalias %results, i64 %rounds{parameters})"
    return "\n".join([f'{head} alwaysinline "no-builtins" {{', "entry:", *body.lines, "}"])


def declaration_ir(loop: Loop) -> str:
    return f"declare i64 @rounds{loop.first}(ptr, ptr, i64{', i64' * len(loop.read_first())})"
