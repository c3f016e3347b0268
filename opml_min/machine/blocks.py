"""Blocks: straight-line code, what it costs, and its loop if it jumps to itself.

A block first takes its length from the step budget, all at once; if the budget does not suffice, the interpreter goes on before the
block. A block that jumps to itself gets a second version of its code. It is entered from the first one's end, after computing for how
many rounds all is certainly in order: the budget covers them, loads stay in the memory, stores stay in the flagged blocks they are in. It
makes that many rounds without any check, then the computation is made again. When stores leave their block, the first version makes one
round and records the next block.
"""

from opml_min.machine import decode
from opml_min.machine.checks import Window, loop_windows, windows
from opml_min.machine.decode import Instruction
from opml_min.machine.keccak import BLOCK_BYTES
from opml_min.machine.memory import MEMORY_BYTES
from opml_min.machine.operations import CONDITIONS
from opml_min.machine.translate import Block, Region

ENDS_BLOCK = (decode.BRANCH, decode.JAL, decode.JALR)
ROUNDS_WORTH_WHILE = 4


def ends_before(instruction: Instruction) -> bool:
    """The interpreter takes this one, always."""
    misaligned_jump = instruction.form == decode.JAL and instruction.imm % 4 != 0
    return misaligned_jump or instruction.form in (decode.ECALL, decode.EBREAK, decode.ILLEGAL)


def instructions_of(region: Region, first: int) -> list[Instruction]:
    """The instructions of the block that begins at `first`; none if the interpreter takes the first one."""
    instructions: list[Instruction] = []
    for index in range(first, len(region.words)):
        instruction = decode.decode(region.words[index])
        if (instructions and index in region.leaders) or ends_before(instruction):
            break
        instructions.append(instruction)
        if instruction.form in ENDS_BLOCK:
            break
    return instructions


def block_ir(region: Region, first: int) -> str:
    instructions = instructions_of(region, first)
    block = Block(region, first, len(instructions))
    block.label(f"block{first}")
    if not instructions:
        block.interpret_from(first, 0)
        return "\n".join(block.lines)
    block.windows = windows(instructions, first)
    jumps_to_itself = instructions[-1].form == decode.BRANCH and instructions[-1].imm == -4 * (len(instructions) - 1)
    moving = loop_windows(instructions) if jumps_to_itself else None
    block.loop_label = None if moving is None else f"again{first}"
    budget = block.value("load i64, ptr %budget")
    block.emit(f"br i1 {block.value(f'icmp ult i64 {budget}, {block.length}')}, label %short{first}, label %paid{first}, !prof !0")
    block.label(f"short{first}")
    block.interpret_from(first, 0)
    block.label(f"paid{first}")
    block.emit(f"store i64 {block.value(f'sub i64 {budget}, {block.length}')}, ptr %budget")
    for block.index, instruction in enumerate(instructions, first):
        block.instruction(instruction)
    if instructions[-1].form not in ENDS_BLOCK:
        end = first + block.length
        if end in region.leaders or end == len(region.words):
            block.store_registers()
            block.go_to(end)
        else:
            block.interpret_from(end, 0)
    loop = [] if moving is None else _loop_ir(region, first, instructions, moving)
    return "\n".join(block.lines + loop)


def _loop_ir(region: Region, first: int, instructions: list[Instruction], moving: list[Window]) -> list[str]:
    """The second version of a block that jumps to itself."""
    check = Block(region, first, len(instructions), "c")
    check.label(f"again{first}")
    rounds = _certain_rounds(check, moving)
    many = check.value(f"icmp uge i64 {rounds}, {ROUNDS_WORTH_WHILE}")
    check.emit(f"br i1 {many}, label %round{first}, label %block{first}")

    body, branch = Block(region, first, len(instructions), "l"), instructions[-1]
    body.label(f"round{first}")
    body.emit(f"%left{first} = phi i64 [ {rounds}, %again{first} ], [ %next{first}, %round{first} ]")
    for body.index, instruction in enumerate(instructions[:-1], first):
        body.instruction(instruction)
    taken = body.value(f"icmp {CONDITIONS[branch.operation]} i64 {body.read(branch.rs1)}, {body.read(branch.rs2)}")
    body.store_registers()
    body.emit(f"%next{first} = sub i64 %left{first}, 1")
    more = body.value(f"and i1 {taken}, {body.value(f'icmp ne i64 %next{first}, 0')}")
    body.emit(f"br i1 {more}, label %round{first}, label %made{first}")
    body.label(f"made{first}")
    budget = body.value("load i64, ptr %budget")
    steps = body.value(f"mul i64 {body.value(f'sub i64 {rounds}, %next{first}')}, {body.length}")
    body.emit(f"store i64 {body.value(f'sub i64 {budget}, {steps}')}, ptr %budget")
    body.emit(f"br i1 {taken}, label %again{first}, label %through{first}")
    body.label(f"through{first}")
    body.go_to(first + body.length)
    return check.lines + body.lines


def _certain_rounds(block: Block, moving: list[Window]) -> str:
    """For how many rounds budget, loads and stores are certainly in order; 0 if not even for the first."""
    rounds = block.value(f"udiv i64 {block.value('load i64, ptr %budget')}, {block.length}")
    for window in moving:
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
            moves = block.value(f"udiv i64 {above if window.step > 0 else below}, {abs(window.step)}")
            rounds = block.value(f"call i64 @llvm.umin.i64(i64 {rounds}, i64 {block.value(f'add i64 {moves}, 1')})")
        rounds = block.value(f"select i1 {good}, i64 {rounds}, i64 0")
    return rounds
