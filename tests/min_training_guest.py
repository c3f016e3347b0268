"""A training run in the machine, with the guest of training as its program; and the same stages of the specification beside it."""

import functools

from min_guest import memory_with_elf
from opml_spec.machine.memory import Memory as SpecMemory
from opml_spec.machine.merkle import hash_of
from opml_spec.model.layout import HEADER, REQUEST, encode_tape, encode_words
from opml_spec.training.layout import SETTINGS_BYTES, TrainingHeader
from opml_spec.training.operations.batch_operation import BatchOperation
from opml_spec.training.training_stage import run_training_stage
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


def memory_of(records: list[list[int]], request: bytes, updates: int) -> SpecMemory:
    """A memory with header, tape and request; a record is an opcode, a condition and operands."""
    header = TrainingHeader(ops=len(records), tape=TAPE)
    memory = SpecMemory.from_segments({HEADER: encode_words(header.words)})
    words = [word & 2**64 - 1 for record in records for word in record + [0] * (16 - len(record))]
    return with_request(memory.store_bytes(TAPE, encode_words(words)), len(records) * updates, request)


class Guest:
    """The machine with the bytes of a memory of the specification in some places."""

    def __init__(self, memory: SpecMemory, spans: dict[int, int]) -> None:
        self.machine, first_state = machine_with_program()
        self.machine.restore(first_state)
        for address, size in ({HEADER: 4096, REQUEST: 32 + SETTINGS_BYTES} | spans).items():
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
