"""Tellings of runs: the true one and lies, on small random programs. Some programs trap, exit with an error, or count too many tokens.

The programs are a few random instructions and a little output, so a dispute may end at any instruction. They are made once in a process,
since it is the runs that take time.

*Source*: spec §4.
"""

from functools import cache, partial
from random import Random

from attrs import evolve, frozen
from opml_spec.dispute.honest import Trace, trace
from opml_spec.machine.memory import ENTRY, QUARTER_HEIGHT, STATE, Memory
from opml_spec.machine.merkle import LEAF_BYTES, Node, hash_of
from opml_spec.machine.state import MachineState

from opml_fuzz.machine.encodings import assemble
from opml_fuzz.machine.instructions import A0, A7, EXIT, FIRST_POINTER, computing

MODELS, LIES = 12, 6
STAGE_COUNTS = (1, 1, 2, 3, 5, 9, 40)
DATA = (b"", b"\x01", bytes(range(1, 33)), bytes(range(40)), Random("data").randbytes(1_000))
"""Requests: none, a part of a leaf, a leaf, and several leaves, no two of which are equal."""

EXIT_BIT = 32  # of an error: a court that keeps 32 bits of the exit code takes it for none
ERRORS = (1, 1 << 8, 1 << 32, 1 << 56, (1 << 64) - 1)  # exit codes of which some look like none in fewer bits
MICROSECONDS = (1, 999_999, 1_000_000, 1_000_001, 2_500_000, 7_000_000)
POINTERS = ((3, 38), (2, 38), (0x801, 28), (1, 12))  # state, io, output, scratch: each address as a number and how far it is shifted
COUNT = 30  # the register with the number of tokens
WRITTEN = 1, 2, 4  # leaves of the output that are not zero, whether or not they hold tokens: the last of 2, 3 or 5


@frozen
class Model:
    """A model by its two quarters, and how long a stage takes, as its registrant says."""

    model: Node
    state: Node
    stage_microseconds: int

    @property
    def roots(self) -> tuple[bytes, bytes, int]:
        """The arguments of `register`."""
        return hash_of(self.model), hash_of(self.state), self.stage_microseconds


@cache
def model(number: int) -> Model:
    """Draws the model of this number: a small program and 64 bytes of state."""
    rng = Random(f"model/{number}")
    words = list[int]()
    for register, (value, shift) in enumerate(POINTERS, FIRST_POINTER):
        words += [assemble("lui", register, imm=value << 12), assemble("slli", register, register, 0, shift - 12)]
    words += [computing(rng) for _ in range(rng.randrange(8))]
    count = (0, 1, 1, 9, 2_000, 7)[number % 6]
    words += [assemble("addi", COUNT, 0, 0, count)]
    if number in (1, 5):  # as many tokens as there may be, or more
        words += [assemble("slli", COUNT, COUNT, 0, 12)]
    words += [assemble("sd", 0, FIRST_POINTER + 2, FIRST_POINTER + 2, LEAF_BYTES * leaf) for leaf in WRITTEN]
    words += [assemble("sd", 0, FIRST_POINTER + 2, COUNT), assemble("addi", A7, 0, 0, EXIT)]
    words += [assemble("addi", A0, 0, 0, number % 7 == 6), assemble("slli", A0, A0, 0, EXIT_BIT), assemble("ecall")]
    if number == 8:  # a stage of one step
        words = [assemble("ebreak")]
    text = b"".join(word.to_bytes(4, "little") for word in words)
    memory = Memory.from_segments({ENTRY: text, STATE: rng.randbytes(64)})
    model, state = (memory.subtree(QUARTER_HEIGHT, quarter) for quarter in (1, 3))
    return Model(model, state, MICROSECONDS[number % len(MICROSECONDS)])


@cache
def telling(number: int, stage_count: int, data: bytes, lie: int) -> Trace:
    """Tells a run of a model: the true one for lie 0, else what follows from a wrong machine somewhere."""
    about, rng = model(number), Random(f"telling/{number}/{stage_count}/{lie}")
    where = rng.randrange(min(stage_count, 5)), rng.randrange(1, 16)
    return trace(about.model, about.state, stage_count, data, partial(wrong, rng.randrange(3), rng.getrandbits(64)) if lie else None, where)


def wrong(kind: int, value: int, state: MachineState) -> MachineState:
    """Changes a machine state so that the machine still ends."""
    if kind == 0:
        return state.halt((0, *ERRORS)[value % (len(ERRORS) + 1)])
    if kind == 1:
        return evolve(state, memory=state.memory.store(STATE + value % 64, 8, value))
    register = (FIRST_POINTER, FIRST_POINTER + 1, COUNT)[value % 3]
    return evolve(state, x=(*state.x[:register], state.x[register] ^ 1, *state.x[register + 1 :]))
