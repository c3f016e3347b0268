"""All statements, and what is known to be missing from them."""

from opml_fuzz.statements import accesses, arithmetic, clocks, decoding, money, narrowing, rounding
from opml_fuzz.statements.statement import Statement

CHAPTERS = (decoding, arithmetic, accesses, rounding, narrowing, clocks, money)
STATEMENTS: dict[str, Statement] = {statement.name: statement for chapter in CHAPTERS for statement in chapter.STATEMENTS}

GAPS = (
    "Keccak-256 has no collisions: assumed.",
    "Merkle proofs, witnesses and their errors: fuzzed and tested, not proved.",
    "The judge outside of _compute, _compare, _extend and reverse (decoding, reading of witnesses, memory): fuzzed, not proved.",
    "The Vyper compiler: what is proved is the contract's text, what is fuzzed is its bytecode.",
    "opml_min's interpreter tables and its translated code: fuzzed, not proved; its traps, fetches and roundings are proved.",
    "In the judge's proofs division is an unknown function; that it rounds toward zero is proved on integers.",
    "Products of vectors are exact only within 256 bits, which operands of 64 bits cannot leave.",
    "Elementary functions, binary32, the operations of the model: tested exhaustively or against other implementations, not proved.",
    "Narrowing is proved for every k up to 64 and every length; its logarithm and its rounds for k = 2, 3, 8, 16, 64.",
    "The settlement of a rejected claim is proved for up to three games; the game contract itself is tested against the specification.",
)
