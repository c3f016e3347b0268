"""The machine as its users see it: registers, a memory, and `run`.

`run` alternates between translated code, which covers nearly all steps, and the interpreter, which takes the rest. Both work on the same
memory, and either can stop after any step, so the number of steps asked for is met exactly.
"""

import ctypes
from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt
from attrs import frozen

from opml_min.machine import interpret, native
from opml_min.machine.hashing import keccak256
from opml_min.machine.memory.address_space import reserve_table
from opml_min.machine.memory.memory import Memory
from opml_min.machine.memory.snapshot import MemorySnapshot
from opml_min.machine.state import RUNNING, STATUS_RUNNING, Status, encode_state, state_hash
from opml_min.machine.translator.hot_regions import TranslatedText
from opml_min.machine.translator.region import BUDGET, CONTROL, INTERPRET, PC, RECORD_WRITE, STATE_WORDS, run_ir
from opml_min.machine.witness import witness
from opml_min.memory_map import ENTRY, PROGRAM_BYTES

TRANSLATE_AFTER_STEPS = 5_000  # interpreting these takes some milliseconds, translating their region some hundred
INTERPRET_STEPS = 256  # between two looks at what is worth translating
NATIVE_STEPS = 1 << 31  # about a second: how long translated code runs before Python can handle an interrupt


@cache
def _code() -> native.Code:
    ir = run_ir()
    return native.load(ir, lambda: ir)


@cache
def _native_run() -> tuple[Callable[..., int], int]:
    """`run` as a callable, and the address of `record_write`."""
    p = ctypes.c_void_p
    return _code().function("run", ctypes.c_int64, p, p, p, p), _code().function("record_write_address", ctypes.c_int64)()


@frozen
class Snapshot:
    """One point of a run."""

    registers: tuple[int, ...]
    pc: int
    status: Status
    steps: int
    memory: MemorySnapshot


class Machine:
    """One hart on a memory. A machine that has not begun a stage stands at ENTRY with all registers 0."""

    def __init__(self, memory: Memory, translate_after_steps: int = TRANSLATE_AFTER_STEPS) -> None:
        self.memory = memory
        self.status = STATUS_RUNNING
        self.steps = 0
        """Steps executed since the stage began."""
        self._native_run, record_write = _native_run()
        self._state = np.zeros(STATE_WORDS, dtype=np.uint64)
        self._state[RECORD_WRITE] = record_write
        self._state[CONTROL] = memory.written.control_address
        self._state[PC] = ENTRY
        entry_points = np.frombuffer(reserve_table(PROGRAM_BYTES // 4 * 8), dtype=np.uint64)
        self._text = TranslatedText(memory.view(ENTRY, PROGRAM_BYTES, np.uint8), entry_points, translate_after_steps)
        flags = memory.written.flags_address
        self._run_arguments = (self._state.ctypes.data, memory.base_address, flags, entry_points.ctypes.data)

    @property
    def registers(self) -> npt.NDArray[np.uint64]:
        """x0 … x31, writable."""
        return self._state[:32]

    @property
    def pc(self) -> int:
        return int(self._state[PC])

    @pc.setter
    def pc(self, value: int) -> None:
        self._state[PC] = value

    def begin_stage(self, index: int) -> None:
        """Puts the machine into the state in which a stage begins: fresh registers, a0 = index, scratch all zero."""
        self.memory.forget_scratch()
        self._state[:32] = 0
        self._state[10] = index
        self.pc, self.status, self.steps = ENTRY, STATUS_RUNNING, 0

    def run(self, most_steps: int) -> int:
        """Executes up to `most_steps` steps, fewer only if the machine halts or traps before; returns their number."""
        self._text.forget_unless(self.memory.text_version)
        self._state[0] = 0
        left = most_steps
        while left and self.status[0] == RUNNING:
            wanted = INTERPRET
            if self._text.can_be_entered(self.pc):
                wanted, steps = self._run_native(min(left, NATIVE_STEPS))
                left -= steps
            if left and wanted == INTERPRET:
                pc = self.pc
                steps = self._interpret(min(left, INTERPRET_STEPS))
                self._text.was_interpreted(pc, steps)
                left -= steps
        self.steps += most_steps - left
        return most_steps - left

    def _run_native(self, budget: int) -> tuple[int, int]:
        """Runs translated code; returns why it stopped, and how many steps it executed."""
        self._state[BUDGET] = budget
        reason = self._native_run(*self._run_arguments)
        return reason, budget - int(self._state[BUDGET])

    def _interpret(self, budget: int) -> int:
        x = self._state[:32].tolist()
        pc, status, steps = interpret.interpret(self.pc, x, self.memory, budget, self._text.entries)
        self._state[:32] = x
        self.pc, self.status = pc, status
        return steps

    # The state as others see it ----------------------------------------------------------------------------------------

    def state_bytes(self) -> bytes:
        """The 297 bytes of the state encoding."""
        return encode_state(self.pc, self._state[:32].tolist(), self.status, self.memory.root())

    def state_hash(self) -> bytes:
        return keccak256(self.state_bytes())

    def state_hash_later(self) -> Callable[[], bytes]:
        """Starts to compute the state's hash as of now, while the machine goes on; calling the result waits for it."""
        pc, registers, status, root = self.pc, self._state[:32].tolist(), self.status, self.memory.root_later()
        return lambda: state_hash(pc, registers, status, root.result())

    def witness(self) -> bytes:
        """The witness of the next step."""
        return witness(self.pc, self._state[:32].tolist(), self.status, self.memory)

    # Going back ----------------------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Records this point of the run; the cost grows with what was written since the last snapshot."""
        return Snapshot(tuple(self._state[:32].tolist()), self.pc, self.status, self.steps, self.memory.snapshot())

    def restore(self, snapshot: Snapshot) -> None:
        """Goes back, or forward, to a point at which a snapshot of this memory was taken."""
        self.memory.restore(snapshot.memory)
        self._state[:32] = snapshot.registers
        self.pc, self.status, self.steps = snapshot.pc, snapshot.status, snapshot.steps
