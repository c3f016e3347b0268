"""Statements about the arbiter's deployed bytecode: whatever the call, it ends as the specification's `execute_witness` ends.

Each statement is about a part of all calls, and together they are about all: a call is refused, or its witness does not come to an
instruction (`prefix`), or the word is no instruction (`illegal`), or it is one of the 65. The two about accesses are the lemma that the
others use. Ends are the same if both give the same two state hashes, or an error of the same number.

*Source*: spec §2; `evm_arbiter/README.md` (the call).
"""

from attrs import frozen
from opml_spec.machine.instructions import INSTRUCTIONS

TEST_NAME = "test_a_step_that_differs"  # how a counterexample is called that can be pasted
LEMMAS = ("bytecode.access_read", "bytecode.access_write")
ASSUMED = (
    "Keccak-256 is any function. Equal bytes have equal hashes; that other bytes have other hashes is used nowhere.",
    "Gas suffices.",
)
CALLED = "The call names `step` and sends no money, and its argument has at most 3,769 bytes; what is cut short reads as zeros."


@frozen
class BytecodeStatement:
    """A statement that `proofs/` proves by running both worlds. subject: which calls it is about"""

    name: str
    says: str
    subject: str
    assumes: tuple[str, ...] = ASSUMED
    uses: tuple[str, ...] = ()  # other statements


def about(subject: str, says: str, *assumes: str) -> BytecodeStatement:
    return BytecodeStatement(f"bytecode.{subject}", says, subject, (CALLED, *assumes, *ASSUMED), LEMMAS)


TEXT = "The state decodes and is running, and its pc is a multiple of 4 in the first 2^28 bytes of the model quarter."
AT_PC = "The word at the pc is"
FETCHED = "The first access of the witness is the leaf of the memory that holds the word at the pc, with its valid Merkle path."

STATEMENTS = (
    BytecodeStatement(
        "bytecode.calldata", "a call that is not of `step`, sends money or has a longer argument reverts without data", "calldata"
    ),
    BytecodeStatement(LEMMAS[0], "the contract reads a leaf as the specification does, or fails with the same error", "access_read"),
    BytecodeStatement(LEMMAS[1], "the contract writes a leaf as the specification does, or fails with the same error", "access_write"),
    about("prefix", "a witness that comes to no instruction ends alike: stopped, undecodable, truncated, cannot fetch, wrong first access"),
    about("illegal", "a word that is no instruction traps alike", TEXT, FETCHED, f"{AT_PC} none of the 65 instructions."),
    *(
        about(
            row.name, f"the contract executes {row.name} as specified, whatever else the witness holds",
            TEXT, FETCHED, f"{AT_PC} {row.name}.",
        )
        for row in INSTRUCTIONS
    ),
)  # fmt: skip
