"""The fast machine: RV64IM translated to the host's own instructions, on one memory with one Merkle root."""

from opml_min.machine.machine import Machine, Snapshot
from opml_min.machine.memory.memory import Memory
from opml_min.machine.sparse import execute_single
from opml_min.machine.state import HALTED, RUNNING, TRAPPED, Status

__all__ = [
    "HALTED",
    "RUNNING",
    "TRAPPED",
    "Machine",
    "Memory",
    "Snapshot",
    "Status",
    "execute_single",
]
