"""Statements about decoding: no word is two instructions, the table agrees with the manual, and fields are read as they were assembled.

*Source*: The RISC-V Instruction Set Manual, Volume I, "Instruction Set Listings", "Immediate Encoding Variants"; spec §2.3.
"""

from functools import reduce
from operator import and_
from typing import Any

from opml_spec.machine.instructions import INSTRUCTIONS
from opml_spec.machine.table import Instruction
from opml_spec.words import signed

from opml_fuzz.machine.encodings import ENCODINGS, assemble
from opml_fuzz.statements.statement import Statement, Word

ROWS = tuple((row,) for row in INSTRUCTIONS)
IMMEDIATES = {"I": (12, 0), "S": (12, 0), "B": (13, 1), "J": (21, 1), "U": (32, 12)}
"""Bits of the immediate by format, its sign included, and how many of the lowest are always 0."""


def immediate(name: str, imm: Any) -> Any:
    """The immediate of an instruction, made of the lowest bits of `imm`; 0 if it has none."""
    form = ENCODINGS[name].format
    if form in IMMEDIATES:
        width, zeros = IMMEDIATES[form]
        return signed(imm >> zeros << zeros, width)
    return imm & (1 << int(form)) - 1 if form in ("5", "6") else 0


def matches(row: Instruction, word: Any) -> Any:
    return word & row.mask == row.match


def only_this(row: Instruction, word: Any) -> Any:
    """No other row of the table matches the word."""
    return reduce(and_, (word & other.mask != other.match for other in INSTRUCTIONS if other is not row))


def as_listed(row: Instruction, word: Any) -> Any:
    """The specification's row and the listing's match the same words."""
    listed = ENCODINGS[row.name]
    return (word & row.mask == row.match) == (word & listed.mask == listed.match)


def fields_return(row: Instruction, rd: Any, rs1: Any, rs2: Any, imm: Any) -> Any:
    """The row matches an assembled word, and reads its fields as they were given."""
    listed = ENCODINGS[row.name]
    word, given = assemble(row.name, rd, rs1, rs2, imm), dict[str, Any]()
    if listed.format in ("5", "6", *IMMEDIATES):
        given["imm"] = immediate(row.name, imm)
    given |= {"rd": rd} if listed.format in ("R", "I", "5", "6", "U", "J") else {}
    given |= {"rs1": rs1} if listed.format in ("R", "I", "5", "6", "S", "B") else {}
    given |= {"rs2": rs2} if listed.format in ("R", "S", "B") else {}
    operands = row.operands(word)
    return reduce(and_, (getattr(operands, name) == value for name, value in given.items()), matches(row, word))


STATEMENTS = (
    Statement("decode.disjoint", "no word matches two rows of the table", {"word": Word(32)}, only_this, matches, ROWS),
    Statement("decode.listing", "each row matches the words that the manual's listing gives it", {"word": Word(32)}, as_listed, cases=ROWS),
    Statement(
        "decode.fields",
        "fields and immediates of an assembled word are read as they were given",
        {"rd": Word(5), "rs1": Word(5), "rs2": Word(5), "imm": Word(32)},
        fields_return,
        cases=ROWS,
    ),
)
