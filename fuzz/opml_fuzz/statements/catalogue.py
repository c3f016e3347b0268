"""The catalogue of all statements, and what they are known to leave out."""

from opml_fuzz.statements import (
    accesses,
    arithmetic,
    arithmetic_facts,
    bounds,
    bytecode,
    checks,
    clocks,
    counted_loops,
    decoding,
    fees,
    floats,
    game_bytecode,
    iterations,
    memory,
    money,
    narrowing,
    rounding,
    rules_bounds,
    rules_exits,
    rules_money,
    rules_nodes,
    rules_server,
    rules_validator,
    training,
    translator,
)
from opml_fuzz.statements.bytecode import BytecodeStatement
from opml_fuzz.statements.game_bytecode import GameStatement
from opml_fuzz.statements.statement import Statement
from opml_fuzz.statements.world import Rule

CHAPTERS = (
    *(decoding, arithmetic, arithmetic_facts, translator, checks, counted_loops, iterations),
    *(accesses, memory, rounding, bounds, training, floats, narrowing, clocks, money, fees),
)
STATEMENTS: dict[str, Statement] = {statement.name: statement for chapter in CHAPTERS for statement in chapter.STATEMENTS}
RULE_CHAPTERS = (rules_server, rules_validator, rules_money, rules_bounds, rules_exits, rules_nodes)
RULES: dict[str, Rule] = {rule.name: rule for chapter in RULE_CHAPTERS for rule in chapter.RULES}
BYTECODE: dict[str, BytecodeStatement] = {statement.name: statement for statement in bytecode.STATEMENTS}
GAME: dict[str, GameStatement] = {statement.name: statement for statement in game_bytecode.STATEMENTS}
EVERY: dict[str, Statement | BytecodeStatement | GameStatement | Rule] = {**STATEMENTS, **BYTECODE, **GAME, **RULES}

LONG = (
    "game.finalise_disputed", "game.open_ran", "game.finalise_undisputed", "game.collect_on_the_way", "game.constructor", "game.claim",
    "game.collect_elsewhere", "game.choose", "rules.independent", "iterations.executed", "translator.steps", "floats.to_integer",
    "game.claim_of", "game.open_failed", "game.request",
)  # fmt: skip
"""They take longest, so they are proved first: at the end no core waits for one of them."""

GAPS = (
    "Keccak-256 has no collisions: that a valid witness can only be the true one rests on it.",
    "The EVM: the symbolic one is tested against py-evm and revm, instruction by instruction; that these are the main net's is assumed.",
    "z3, and the few functions that replace Python's while the specification runs on symbols: the tables in "
    "`proofs/step/specification.py`, `proofs/symbolic_world.py` and `proofs/game/court.py`, and the symbols themselves.",
    "Gas: a step that runs out of it does nothing; measured, not proved.",
    "Witnesses of more than 3,769 bytes: the contract refuses them without a number, the specification with one.",
    "The arbiter's constructor: the proofs are about the code that it leaves. The game contract's copy of `merkle` and `codec`: fuzzed.",
    "Division is an unknown function in the proofs about the bytecode; that it rounds toward zero is proved on integers.",
    "opml_min's decoder, its interpreter outside of its tables, and there mulh, mulhsu, div, rem, divw and remw: fuzzed, not proved.",
    "The planning of checks is proved for all blocks of two instructions and some of three; regions and their dispatch: fuzzed.",
    "That stores of iterations without a check stay in flagged pages is proved for five strides, that they stay in the memory for all.",
    "The functions of loops are proved for five loops and two iterations; LLVM's optimiser and code generator are trusted.",
    "That a Merkle proof can be grafted in two parts is proved up to five siblings.",
    "Sums, products and shifts to the left of bit vectors are exact only within 256 bits, in the specification too; 64-bit operands fit.",
    "What statements without condition, and rules, assume of their values stands in their text (`assuming`, `world.assume`), not here.",
    "binary32: arithmetic and conversions from integers are proved for formats of 5 to 8 bits; for 32 bits they are tested.",
    "Bounds: ROPE's rotations, the ranges of rsqrt and reciprocal, and that a sum of n terms is at most n times the largest: not proved.",
    "Training: sums of attention are proved for head sizes up to 128 and for 256, 512 and 1,024; accumulated gradients for six shifts.",
    "Training: MUON's iterations beyond their first sums, ADAM's root and rates, and what normalises: run on extremes, not proved.",
    "Elementary functions and the operations of the model: tested exhaustively or against other implementations, not proved.",
    "Narrowing is proved for every k up to 64 and every length; its logarithm and its number of rounds for k = 2, 3, 8, 16, 64.",
    "The settlement is proved for four shares φ and five depths, a whole fall for a tree of three nodes.",
    "The rules of the game: each act keeps the invariants. That they hold in every play, and sums over all nodes, is induction on paper.",
    "The rules of the game are proved for k = 2, 3 or 5, as each says, those about clocks for 32; others are searched, played and fuzzed.",
    "In the rules, what bytes hold (a state of 297 bytes, a witness, request bytes, an output and its proof) is taken as read.",
    "Honest play is proved move by move. To which stage a path leads (honest.stage_of) is tested; that a move takes E at most is assumed.",
    *game_bytecode.GAPS,
)
