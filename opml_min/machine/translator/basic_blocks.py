"""Basic blocks: where they end, and what they do before their first instruction.

A basic block first takes its length from the step budget, all at once; if the budget does not suffice, the interpreter goes on before the
block. Accesses are checked together, as `bounds_checks` plans it.
"""

from opml_min.machine import decode
from opml_min.machine.decode import Instruction
from opml_min.machine.translator.bounds_checks import ranges_to_check
from opml_min.machine.translator.control_flow import Region
from opml_min.machine.translator.emit import BasicBlock

JUMPS = (decode.BRANCH, decode.JAL, decode.JALR)


def is_left_to_interpreter(instruction: Instruction) -> bool:
    """Whether the interpreter takes this instruction whatever the registers hold."""
    misaligned_jump = instruction.kind == decode.JAL and instruction.imm % 4 != 0
    return misaligned_jump or instruction.kind in (decode.ECALL, decode.EBREAK, decode.ILLEGAL)


def instructions_of(region: Region, first: int) -> list[Instruction]:
    """The instructions of the basic block that begins at `first`; none if the interpreter takes the first one."""
    instructions: list[Instruction] = []
    for index in range(first, len(region.words)):
        instruction = decode.decode(region.words[index])
        if (instructions and index in region.leaders) or is_left_to_interpreter(instruction):
            break
        instructions.append(instruction)
        if instruction.kind in JUMPS:
            break
    return instructions


def block_ir(region: Region, first: int, instructions: list[Instruction], label: str) -> list[str]:
    """Writes the basic block that begins at `first`, under a label."""
    block = BasicBlock(region, first, len(instructions))
    block.label(label)
    if not instructions:
        block.interpret_from(first, 0)
        return block.lines
    budget = block.value("load i64, ptr %budget")
    block.emit(f"br i1 {block.value(f'icmp ult i64 {budget}, {block.length}')}, label %short{first}, label %paid{first}, !prof !0")
    block.label(f"short{first}")
    block.interpret_from(first, 0)
    block.label(f"paid{first}")
    block.emit(f"store i64 {block.value(f'sub i64 {budget}, {block.length}')}, ptr %budget")
    checked = ranges_to_check(instructions, first)
    for index, instruction in enumerate(instructions, first):
        if index in checked:
            accessed = checked[index]
            check = block.check_load if accessed.kind == decode.LOAD else block.check_store
            check(index, block.address(accessed.base, accessed.low), accessed.size)
        block.instruction(index, instruction)
    if instructions[-1].kind not in JUMPS:
        end = first + block.length
        if end in region.leaders or end == len(region.words):
            block.store_registers()
            block.go_to(end)
        else:
            block.interpret_from(end, 0)
    return block.lines
