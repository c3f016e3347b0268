"""How a machine starts: with bytes in memory, a pc, and the registers that are not 0."""

from collections.abc import Mapping

from opml_spec.machine.memory import ENTRY, Memory
from opml_spec.machine.state import REGISTERS, RUNNING, MachineState
from opml_spec.words import wrap


def start_state(memory: Memory | Mapping[int, bytes], pc: int = ENTRY, registers: Mapping[int, int] | None = None) -> MachineState:
    """A running machine; `memory` may be given as segments, bytes by address. A value for x0 is ignored."""
    x = [0] * REGISTERS
    for number, value in (registers or {}).items():
        x[number] = wrap(value) if number else 0
    return MachineState(pc, tuple(x), RUNNING, memory if isinstance(memory, Memory) else Memory.from_segments(memory))
