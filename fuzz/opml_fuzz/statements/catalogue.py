"""The catalogue of all statements, and what they are known to leave out."""

from opml_fuzz.statements import accesses, arithmetic, bytecode, clocks, decoding, money, narrowing, rounding
from opml_fuzz.statements.bytecode import BytecodeStatement
from opml_fuzz.statements.statement import Statement

CHAPTERS = (decoding, arithmetic, accesses, rounding, narrowing, clocks, money)
STATEMENTS: dict[str, Statement] = {statement.name: statement for chapter in CHAPTERS for statement in chapter.STATEMENTS}
BYTECODE: dict[str, BytecodeStatement] = {statement.name: statement for statement in bytecode.STATEMENTS}
EVERY: dict[str, Statement | BytecodeStatement] = {**STATEMENTS, **BYTECODE}

GAPS = (
    "Keccak-256 has no collisions: that a valid witness can only be the true one rests on it.",
    "The EVM: the symbolic one is tested against py-evm and revm, instruction by instruction; that these are the main net's is assumed.",
    "z3, and the few functions that replace Python's while the specification runs on symbols (`proofs/step/specification.py`).",
    "Gas: a step that runs out of it does nothing; measured, not proved.",
    "Witnesses of more than 3,769 bytes: the contract refuses them without a number, the specification with one.",
    "The arbiter's constructor: the proofs are about the code that it leaves. The game contract's copy of `merkle` and `codec`: fuzzed.",
    "opml_min's interpreter tables and its translated code: fuzzed, not proved. Its traps, fetches and roundings are proved.",
    "Division is an unknown function in the proofs about the bytecode; that it rounds toward zero is proved on integers.",
    "Products of bit vectors are exact only within 256 bits; products of 64-bit operands fit.",
    "Elementary functions, binary32, the operations of the model: tested exhaustively or against other implementations, not proved.",
    "Narrowing is proved for every k up to 64 and every length; its logarithm and its number of rounds for k = 2, 3, 8, 16, 64.",
    "The settlement is proved for four shares φ and five depths, a whole fall for a tree of three nodes.",
    "Honest play: searched exhaustively on small disputes and played at random, not proved for all trees.",
    "The game contract: fuzzed against the specification, with all its events and views; not proved.",
)
