"""The 65 instructions of RV64IM, one file per family.

*Source*: The RISC-V Instruction Set Manual, Volume I: "RV32I", "RV64I", "M", "Instruction Set Listings"; spec §2.3 and §2.4.
"""

from opml_spec.machine.instructions import control, integer, integer_word, loads_stores, multiply, system, upper
from opml_spec.machine.table import TABLE, Instruction

INSTRUCTIONS: tuple[Instruction, ...] = tuple(TABLE)
"""In the order of the families. No word matches two rows (proved in `fuzz/`)."""

__all__ = ["INSTRUCTIONS", "control", "integer", "integer_word", "loads_stores", "multiply", "system", "upper"]
