"""Blocks: straight-line code, and what it costs.

A block first takes its length from the step budget, all at once; if the budget does not suffice, the interpreter goes on before the
block. A block that jumps to itself has a second version in front of it that makes many rounds at once (see `loops`).
"""

from opml_min.machine import decode
from opml_min.machine.decode import Instruction
from opml_min.machine.translator.bounds_checks import windows
from opml_min.machine.translator.emit import Block, Region
from opml_min.machine.translator.loops import Loop, call_ir, loop_at

ENDS_BLOCK = (decode.BRANCH, decode.JAL, decode.JALR)


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


def loops_of(region: Region) -> list[Loop]:
    """The blocks of which many rounds can be made at once."""
    found = (loop_at(region, first, instructions_of(region, first)) for first in sorted(region.leaders))
    return [loop for loop in found if loop is not None]


def block_ir(region: Region, first: int) -> str:
    instructions = instructions_of(region, first)
    loop = loop_at(region, first, instructions)
    block = Block(region, first, len(instructions))
    block.lines = [] if loop is None else call_ir(loop)
    block.label(f"block{first}" if loop is None else f"checked{first}")
    if not instructions:
        block.interpret_from(first, 0)
        return "\n".join(block.lines)
    block.windows = windows(instructions, first)
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
    return "\n".join(block.lines)
