"""A training run in the machine, with the guest of training as its program; and the same stages of the specification beside it."""

import functools

from min_guest import memory_with_elf
from opml_spec.machine.memory import Memory as SpecMemory
from opml_spec.model.layout import HEADER, RECORD_BYTES, REQUEST, Record, encode_tape, encode_words
from opml_spec.training.layout import SETTINGS_BYTES, TrainingHeader
from spec_llama import with_request

from opml_min.guest import build
from opml_min.machine import HALTED, Machine, Snapshot

TAPE = HEADER + 4096
STEP_LIMIT = 1 << 32


@functools.cache
def machine_with_program() -> tuple[Machine, Snapshot]:
    """One machine for all tests, with the guest's text in it; and its first state, with scratch, io and state all zero."""
    machine = Machine(memory_with_elf(build.TRAINING_ELF.read_bytes()))
    return machine, machine.snapshot()


def memory_of(tape: list[Record], request: bytes, updates: int) -> SpecMemory:
    """A memory with header, tape and request."""
    header = TrainingHeader(ops=len(tape), tape=TAPE)
    memory = SpecMemory.from_segments({HEADER: encode_words(header.words), TAPE: encode_tape(tape)})
    return with_request(memory, len(tape) * updates, request)


class Guest:
    """The machine with the header, the tape, the request and some more bytes of a memory of the specification."""

    def __init__(self, memory: SpecMemory, spans: dict[int, int]) -> None:
        self.machine, first_state = machine_with_program()
        self.machine.restore(first_state)
        tape_bytes = RECORD_BYTES * memory.load(HEADER + 16, 8)
        for address, size in ({HEADER: 64, TAPE: tape_bytes, REQUEST: 32 + SETTINGS_BYTES} | spans).items():
            self.machine.memory.write(address, memory.load_bytes(address, size))

    def stage(self, index: int) -> int:
        """Runs a stage; returns its exit code."""
        self.machine.begin_stage(index)
        self.machine.run(STEP_LIMIT)
        kind, code = self.machine.status
        assert kind == HALTED
        self.machine.memory.forget_scratch()
        return code

    @property
    def steps(self) -> int:
        return self.machine.steps

    def read(self, address: int, size: int) -> bytes:
        return self.machine.memory.read(address, size)

    def carry_root(self) -> bytes:
        return self.machine.memory.carry_root()
