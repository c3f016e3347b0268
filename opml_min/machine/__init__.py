"""The fast machine: RV64IM translated to the host's own instructions, on one memory with one Merkle root."""

from opml_min.machine.machine import Machine, Snapshot
from opml_min.machine.memory import ENTRY, IO, MODEL, SCRATCH, STATE, Memory
from opml_min.machine.single import execute_single
from opml_min.machine.state import HALTED, RUNNING, TRAPPED, Status

__all__ = [
    "ENTRY",
    "HALTED",
    "IO",
    "MODEL",
    "RUNNING",
    "SCRATCH",
    "STATE",
    "TRAPPED",
    "Machine",
    "Memory",
    "Snapshot",
    "Status",
    "execute_single",
]
