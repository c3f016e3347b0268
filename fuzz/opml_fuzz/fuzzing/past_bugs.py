"""Bugs that this or another system once had, each put back into one implementation; the fuzzer must find each within seconds.

Most broke a rule of the game: a check that was never made, a clock that ran against the wrong side, money that could be had twice. The
last two are of the machine. One of them once stood in three implementations at the same time, copied from one another, so comparing them
could not show it. Here it is put into one; that all of them have it is what an outside witness is for (the official RISC-V tests, QEMU).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from opml_fuzz.engines.room import EngineRoom
from opml_fuzz.fuzzing.changed_code import changed
from opml_fuzz.fuzzing.kinds import AT_COURT
from opml_fuzz.fuzzing.mutants import TO_THE_ARBITER, Mutant, wrong_contract, wrong_game, wrong_rule

IN_THE_CONTRACT = (
    ("an honest trace, replayed, won: no check of the result", "    if after == segment.disputed:", "    if False:"),
    (
        "a stage was handed over without proof",
        "if merkle.node(left_root, final_carry) != extract32(final_state, codec.ROOT):",
        "if False:",
    ),
    ("a move was accepted after the claim was decided", "    if turn.claim_word >> STATUS_BIT != PENDING:\n", "    if False:\n"),
    ("a bond was paid twice", " or turn.clock_word >> COLLECTED_BIT != 0:", ":"),
    (
        "the server's lateness was taken from the challengers",
        "clock_word -= turn.late << SERVER_LEFT_BIT",
        "clock_word -= turn.late << CHALLENGERS_LEFT_BIT",
    ),
    ("strangers sniped a challenge before its opener could go on", "if block.timestamp < since + PRIORITY and", "if False and"),
    ("a copied claim was as good as a sealed one", "if self._seal(run_hash, self._server(turn.claim_word)) != disputed:", "if False:"),
    (
        "a fee was had by a claim that was a copy",
        "if self.claims[claim_id].sealed == self._seal(",
        "if True or self.claims[claim_id].sealed == self._seal(",
    ),
    ("bonds came back whole, so exhausting a server cost nothing", "            burned = refund", "            credit += refund"),
    ("true claims came faster than anybody could check", "max(block.timestamp, busy_until) + work", "block.timestamp + work"),
    ("a fee could never leave", "if (progress_word >> PENDING_BIT) & MASK32 != 0:", "if True:"),
)
IN_THE_RULES = (
    ("a bond was paid twice", "ends", " or node.collected:", ":"),
    ("the server's lateness ran against nobody", "clocks", "self.server_left - late", "self.server_left"),
    ("an honest trace, replayed, won: no check of the result", "moves", "after == segment.disputed else fall", "False else fall"),
)
SHIFT, DECODED = "the amount of a shift was not cut", "SRLIW and SRAIW were decoded as SRLI and SRAI"
WORDS = "opml_spec.machine.instructions.integer_word"
IN_THE_ARBITER = (
    (SHIFT, "amount: uint256 = b & unsafe_sub(width, 1)", "amount: uint256 = b"),
    (DECODED, "narrow: bool = opcode & 8 != 0", "narrow: bool = opcode & 8 != 0 and instruction >> 12 & 7 != 5"),
)
IN_PYTHON = (
    (SHIFT, WORDS, "bits(a, 31, 0) >> bits(b, 4, 0)", "bits(a, 31, 0) >> b"),
    (SHIFT, "opml_min.machine.interpret", '"srl": lambda a, b: a >> (b & 63)', '"srl": lambda a, b: a >> b'),
    (DECODED, WORDS, "return signed(bits(a, 31, 0) >> bits(b, 4, 0), 32)", "return a >> bits(b, 4, 0)"),
    (DECODED, "opml_min.machine.decode", "SHIFT_IMMEDIATE_WORD.get((funct3, funct7))", "SHIFT_IMMEDIATE.get((funct3, word >> 26))"),
)


def past_bugs() -> Iterator[Mutant]:
    """Yields each bug, at each place where it is put back."""
    for what, right, wrong in IN_THE_CONTRACT:
        yield Mutant(f"past, contract: {what}", partial(wrong_game, right, wrong), AT_COURT)
    for what, module, right, wrong in IN_THE_RULES:
        yield Mutant(f"past, spec: {what}", partial(wrong_rule, module, right, wrong), AT_COURT)
    for what, right, wrong in IN_THE_ARBITER:
        yield Mutant(f"past, arbiter: {what}", partial(wrong_contract, right, wrong), TO_THE_ARBITER)
    for what, module, right, wrong in IN_PYTHON:
        yield Mutant(f"past, {module.partition('.')[0]}: {what}", partial(wrong_text, module, right, wrong))


@contextmanager
def wrong_text(module: str, right: str, wrong: str, room: EngineRoom) -> Iterator[EngineRoom]:
    with changed(module, right, wrong):
        yield room
