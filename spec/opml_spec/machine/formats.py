"""Instruction formats: a row of the manual's instruction listing, read as a program.

A row is written as the manual prints it, highest bit first: `imm[12|10:5] rs2 rs1 000 imm[4:1|11] 1100011`. Digits are fixed bits, names
are fields; the brackets say which bits of the field stand there. From the row follow

- `mask` and `match`: a word is this instruction iff `word & mask == match`;
- the fields' values: registers and `shamt` unsigned, `imm` sign-extended from its highest bit, bits that no row names are 0;
- the format, by which fields there are and where.

*Source*: The RISC-V Instruction Set Manual, Volume I, "Base Instruction Formats", "Immediate Encoding Variants",
"Instruction Set Listings".
"""

from attrs import frozen

from opml_spec.words import bits, signed

WORD_BITS = 32
REGISTER_FIELD = "4:0"

FORMATS = {
    "rs2 rs1 rd": "R",
    "imm[11:0] rs1 rd": "I",
    "shamt[5:0] rs1 rd": "I",
    "shamt[4:0] rs1 rd": "I",
    "": "I",  # ECALL and EBREAK: every field is fixed
    "imm[11:5] rs2 rs1 imm[4:0]": "S",
    "imm[12|10:5] rs2 rs1 imm[4:1|11]": "B",
    "imm[31:12] rd": "U",
    "imm[20|10:1|11|19:12] rd": "J",
}


@frozen
class Operands:
    """The fields of one instruction word; a shift amount is an `imm` too."""

    rd: int = 0
    rs1: int = 0
    rs2: int = 0
    imm: int = 0


@frozen
class Piece:
    """Some bits of a field: `field[high:low]` stands in the instruction word from bit `at` up."""

    field: str
    high: int
    low: int
    at: int


@frozen
class Row:
    """A row of the listing, parsed."""

    mask: int
    match: int
    format: str
    pieces: tuple[Piece, ...]

    def operands(self, word: int) -> Operands:
        """The fields of a word that this row matches."""
        fields: dict[str, int] = {}
        for piece in self.pieces:
            part = bits(word, piece.at + piece.high - piece.low, piece.at) << piece.low
            fields[piece.field] = fields.get(piece.field, 0) | part
        if "imm" in fields:
            width = 1 + max(piece.high for piece in self.pieces if piece.field == "imm")
            return Operands(**{**fields, "imm": signed(fields["imm"], width)})
        return Operands(imm=fields.pop("shamt", 0), **fields)


def parse(text: str) -> Row:
    """Parse a row as the manual prints it."""
    mask = match = 0
    pieces = []
    at = WORD_BITS  # what is left of the word, from the top down
    for token in text.split():
        if set(token) <= set("01"):
            at -= len(token)
            mask |= ((1 << len(token)) - 1) << at
            match |= int(token, 2) << at
            continue
        field, _, ranges = token.rstrip("]").partition("[")
        for part in (ranges or REGISTER_FIELD).split("|"):
            high, _, low = part.partition(":")
            piece = Piece(field, int(high), int(low or high), at=0)
            at -= piece.high - piece.low + 1
            pieces.append(Piece(field, piece.high, piece.low, at))
    if at != 0:
        raise ValueError(f"{text!r} has {WORD_BITS - at} bits")
    variable = " ".join(token for token in text.split() if set(token) - set("01"))
    return Row(mask, match, FORMATS[variable], tuple(pieces))
