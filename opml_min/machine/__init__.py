"""The fast machine: RV64IM translated to the host's own instructions, on one memory with one Merkle root."""

from opml_min.machine.machine import Machine, Snapshot
from opml_min.machine.memory.memory import Memory
from opml_min.machine.sparse import execute_single
from opml_min.machine.state import HALTED, RUNNING, TRAPPED, Status
from opml_min.machine.translator.hot_regions import NEVER_TRANSLATE

__all__ = [
    "HALTED",
    "NEVER_TRANSLATE",
    "RUNNING",
    "TRAPPED",
    "Machine",
    "Memory",
    "Snapshot",
    "Status",
    "execute_single",
]
