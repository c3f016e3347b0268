"""What a statement about the bytecode claims, in words for somebody who knows RISC-V: `opml-prove --explain sraiw`."""

from opml_spec.errors import SpecError
from opml_spec.machine.instructions import INSTRUCTIONS
from opml_spec.machine.table import Instruction

from opml_fuzz.statements.bytecode import BytecodeStatement
from opml_fuzz.statements.game_bytecode import CONSTRUCTOR, REFUSED, GameStatement

ENDS = (
    "Then for every such call",
    "- either both sides give the same two hashes, of the state before and of the state after: pc, x1 … x31, status, memory root;",
    "- or both fail with the same error number: an access that is cut short (101), {state}a bitmap of",
    "  siblings with a bit above the tree (103), a sibling that should have been left out (104), a path that does not lead to the",
    "  root (105), bytes behind the last access (106).",
)
UNDECODABLE = "a state that does not decode (102), "
SIDES = (
    "One side is the specification's own `execute_witness`, run on symbols. The other is the bytecode that the constructor of",
    "`contracts/arbiter.vy` leaves on the chain, run on a symbolic EVM.",
)
ACCESS_SIDES = (
    "One side is the specification's own `{ours}`, run on symbols. The other is the function `access` in the",
    "bytecode that the constructor of `contracts/arbiter.vy` leaves on the chain, run on a symbolic EVM. Both climb the 35 heights of",
    "the Merkle tree together: at each, they begin with the same unknown hashes and must come to the same ones.",
)
REFUSAL_SIDES = (
    "The specification knows nothing of calls. Only the bytecode is run, that which the constructor of `contracts/arbiter.vy` leaves on",
    "the chain, on a symbolic EVM: such a call must end with a REVERT of no bytes.",
)
OTHER_SIDES = {
    "access_read": [line.format(ours="WitnessReader.access") for line in ACCESS_SIDES],
    "access_write": [line.format(ours="WitnessReader.access` and `merkle.graft") for line in ACCESS_SIDES],
    "calldata": REFUSAL_SIDES,
}
"""What is compared by the statements that do not run `execute_witness`."""
ALIKE = (
    "- either both accept: then they store the same in every word, log the same events with the same data in the same order, return the",
    "  same, and pay the same amount to the same address, if anything;",
)
DEPLOYMENT = (
    "Then for all parameters",
    "- either both accept: then the code that is left has the same bytes for all parameters, and behind them the immutables: the roots of",
    "  the zero subtrees, the arbiter, every parameter, the bits of a part in a path, and how long a pending claim may hold the fee;",
    "- or both refuse them with PARAMETERS (232).",
    "A deployment that sends money reverts without data.",
    "",
    "One side is the specification's `deploy`, run on symbols. The other is the constructor of `contracts/game.vy`, run on a symbolic EVM",
    "with its arguments behind its code. What depends on k alone is computed for each k from 2 to 64; products and quotients of other",
    "unknown numbers are unknown functions, the same ones on both sides.",
)
"""What the statement about the constructor says."""
FORMATS = {
    "R": "Registers rd, rs1 and rs2 are any of the 32, equal ones and x0 included, with any 64-bit values.",
    "I": "Registers rd and rs1 are any of the 32, equal ones and x0 included, rs1 with any 64-bit value; the {immediate} is any.",
    "S": "Registers rs1 and rs2 are any of the 32, with any 64-bit values; the 12-bit offset is any.",
    "B": "Registers rs1 and rs2 are any of the 32, with any 64-bit values; the offset is any, also one whose target is no multiple of 4.",
    "U": "Register rd is any of the 32, x0 included; the upper 20 bits are any.",
    "J": "Register rd is any of the 32, x0 included; the offset is any, also one whose target is no multiple of 4.",
}
MEMORY = (
    "The address is any 64-bit number: aligned or not, within one leaf of 32 bytes or across two, at the borders of the quarters,",
    "beyond the memory. Where a byte of the access is outside of the 2^40 bytes, or a byte of a store is in the model quarter, both",
    "trap with the same cause. Leaves and Merkle paths are whatever the witness has.",
)
LOAD, STORE, SYSTEM, JALR = 0b0000011, 0b0100011, 0b1110011, 0b1100111
DIVISIONS = {"div", "divu", "rem", "remu", "divw", "divuw", "remw", "remuw"}
NOTES = {
    SYSTEM: "All registers hold any 64-bit values. What ends the program and what traps is as in the specification.",
    JALR: "The target is any, also one that is no multiple of 4 and one outside of the text.",
}
QUOTIENTS = (
    "Division by zero and the overflow of the signed ones are included. Other quotients are one unknown function in both; that it is",
    "division rounding toward zero is the chapter `division`.",
)


def explained_of_game(statement: GameStatement) -> str:
    """The text for one statement about the game."""
    if statement.subject == CONSTRUCTOR:
        return "\n".join((f"{statement.name}: {statement.says}.", "", "It is assumed that:", *(f"- {one}" for one in statement.assumes),
                          "", *DEPLOYMENT))  # fmt: skip
    numbers = sorted(one for one in statement.reaches if isinstance(one, int))
    names = {one.number: one.name for one in SpecError.__subclasses__()}
    lines = [f"{statement.name}: {statement.says}.", "", "It is assumed that:", *(f"- {one}" for one in statement.assumes)]
    lines += ["", "Then for every such call, and whatever is stored,", *ALIKE]
    if numbers:
        lines += [f"- or both fail with the same error: {', '.join(f'{names[number]} ({number})' for number in numbers)}."]
    if REFUSED in statement.reaches:
        lines += ["A call that sends money reverts without data."]
    lines += [
        "", "One side is the specification's own act, run on symbols. The other is the bytecode that the constructor of",
        "`contracts/game.vy` leaves on the chain, run on a symbolic EVM with storage.",
    ]  # fmt: skip
    return "\n".join(lines)


def explained(statement: BytecodeStatement) -> str:
    """The text for one statement."""
    row = next((row for row in INSTRUCTIONS if row.name == statement.subject), None)
    lines = [f"{statement.name}: {statement.says}.", ""]
    if row is not None:
        lines += [*about_row(row), ""]
    lines += ["It is assumed that:", *(f"- {one}" for one in statement.assumes)]
    if statement.uses:
        ends = [line.format(state=UNDECODABLE if statement.subject == "prefix" else "") for line in ENDS]
        lines += ["", *ends, "", f"It rests on {' and '.join(statement.uses)}: what an access to the memory reads, checks and writes."]
    return "\n".join([*lines, "", *OTHER_SIDES.get(statement.subject, SIDES)])


def about_row(row: Instruction) -> list[str]:
    """What is open in an instruction."""
    bits = "".join(str(row.match >> i & 1) if row.mask >> i & 1 else "." for i in reversed(range(32)))
    opcode, shift = row.match & 0x7F, bits[:12].count(".")
    lines = [
        f"Encoding, bits 31 to 0: {bits[:7]} {bits[7:12]} {bits[12:17]} {bits[17:20]} {bits[20:25]} {bits[25:]}  (a dot is any bit)",
        f"What it does stands in `{row.execute.__module__}`.", "",
    ]  # fmt: skip
    if bits.count("."):
        lines.append(FORMATS[row.format].format(immediate="12-bit immediate" if shift == 12 else f"{shift}-bit shift amount"))
    if opcode in NOTES:
        lines.append(NOTES[opcode])
    return [*lines, *(MEMORY if opcode in (LOAD, STORE) else QUOTIENTS if row.name in DIVISIONS else ())]
