"""The catalogue of all statements, and what they are known to leave out."""

from opml_fuzz.statements import accesses, arithmetic, checks, clocks, decoding, floats, iterations, loops, memory, money, narrowing, rounding, translator
from opml_fuzz.statements.statement import Statement

CHAPTERS = (decoding, arithmetic, translator, checks, loops, iterations, accesses, memory, rounding, floats, narrowing, clocks, money)
STATEMENTS: dict[str, Statement] = {statement.name: statement for chapter in CHAPTERS for statement in chapter.STATEMENTS}

GAPS = (
    "Keccak-256 has no collisions: assumed.",
    "Merkle proofs, witnesses and their errors: fuzzed and tested, not proved.",
    "The arbiter outside of _compute, _compare, _extend and reverse (decoding, reading of witnesses, memory): fuzzed, not proved.",
    "The Vyper compiler: the proofs are about the contract's text, the fuzzer runs its bytecode.",
    "opml_min's interpreter tables and its translated code: fuzzed, not proved. Its traps, fetches and roundings are proved.",
    "Division is an unknown function in the arbiter's proofs; that it rounds toward zero is proved on integers.",
    "Products of bit vectors are exact only within 256 bits; products of 64-bit operands fit.",
    "Elementary functions, binary32, the operations of the model: tested exhaustively or against other implementations, not proved.",
    "Narrowing is proved for every k up to 64 and every length; its logarithm and its number of rounds for k = 2, 3, 8, 16, 64.",
    "The settlement is proved for four shares φ and five depths, a whole fall for a tree of three nodes.",
    "Honest play: searched exhaustively on small disputes and played at random, not proved for all trees.",
    "The game contract: fuzzed against the specification, with all its events and views; not proved.",
)
