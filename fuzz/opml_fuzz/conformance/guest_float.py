"""opml_min's binary32: the C of its guest, compiled for RV64IM and run in its machine.

The compiler is a developer extra. A small program around the C applies one operation to a list of operands in the io quarter.
"""

from array import array
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from opml_fuzz.errors import InputError
from opml_min.guest import build
from opml_min.machine import HALTED, Machine, Memory
from opml_min.memory_map import ENTRY
from opml_min.model.image.program import elf_segments

COUNT, OPERANDS, RESULTS = 0x80_0000_0000, 0x80_0000_0020, 0x90_0000_0000
OPERAND_WORDS = 3  # of 64 bits, for each case
MOST_STEPS = 1 << 40
OPERATIONS = {
    "f32_add": "f32_add(a, b)",
    "f32_sub": "f32_sub(a, b)",
    "f32_mul": "f32_mul(a, b)",
    "f32_div": "f32_div(a, b)",
    "f32_mulAdd": "f32_fma(a, b, c)",
    "f32_sqrt": "f32_sqrt(a)",
    "f32_eq": "f32_equal(a, b)",
    "f32_le": "f32_less_or_equal(a, b)",
    "f32_lt": "f32_less(a, b)",
    "i32_to_f32": "f32_from_i64((int32_t)a)",
    "ui32_to_f32": "f32_from_i64((uint32_t)a)",
    "i64_to_f32": "f32_from_i64((int64_t)a)",
    "f32_to_i64": "f32_equal(a, a) ? f32_to_i64(a) : INT64_MAX",  # the guest makes a NaN 0, RISC-V the largest: here only numbers are asked
}
"""What the guest has, by TestFloat's names."""

SOURCE = """
#include "binary32.h"
int main(void)
{{
    const uint64_t count = *(const uint64_t *){count};
    for (uint64_t i = 0; i < count; i++) {{
        const uint64_t *operand = (const uint64_t *){operands} + {words} * i;
        const uint64_t a = operand[0], b = operand[1], c = operand[2];
        (void)a, (void)b, (void)c;
        ((uint64_t *){results})[i] = (uint64_t)({expression});
    }}
    return 0;
}}
"""


def is_there(operation: str) -> bool:
    """The guest has it, and it can be compiled here."""
    return operation in OPERATIONS and find_spec("ziglang") is not None


class GuestFloat:
    """One operation."""

    def __init__(self, operation: str) -> None:
        text = SOURCE.format(count=COUNT, operands=OPERANDS, results=RESULTS, words=OPERAND_WORDS, expression=OPERATIONS[operation])
        with TemporaryDirectory() as folder:
            source, elf = Path(folder) / "program.c", Path(folder) / "program.elf"
            source.write_text(text)
            files = [build.FOLDER / "program.S", source, build.FOLDER / "binary32.c"]
            build.compile_elf(files, build.FOLDER / "program.ld", elf, [f"-I{build.FOLDER}"])
            segments = elf_segments(elf.read_bytes())
        memory = Memory()
        for address, data in segments:
            memory.write(address, data)
        self._machine = Machine(memory)

    def __call__(self, cases: Sequence[tuple[int, ...]]) -> list[int]:
        """The results, 64 bits each."""
        words = array("Q", [word for case in cases for word in (*case, 0, 0)[:OPERAND_WORDS]])
        machine = self._machine
        machine.memory.write(COUNT, len(cases).to_bytes(8, "little"))
        machine.memory.write(OPERANDS, words.tobytes())
        machine.begin_stage(0)
        machine.pc = ENTRY
        machine.run(MOST_STEPS)
        if machine.status != (HALTED, 0):
            raise InputError(f"the guest's float did not come to its end: {machine.status}")
        return list(array("Q", machine.memory.read(RESULTS, 8 * len(cases))))
