"""binary32 by the guest: soft float in C, compiled for RV64IM and run in opml_min's machine.

A small program around the guest's C applies one operation to a list of operands in the io quarter. The compiler is a developer extra.
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
OPERAND_WORDS = 3  # 64-bit words per case
MOST_STEPS = 1 << 40
EXPRESSIONS = {
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
    "f32_to_i64": "f32_equal(a, a) ? f32_to_i64(a) : INT64_MAX",  # the guest converts a NaN to 0, so it gets no NaN here
}
"""The operations that the guest has, in C, by TestFloat's names."""

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


def is_available(operation: str) -> bool:
    """Tells whether the guest has the operation and can be compiled here."""
    return operation in EXPRESSIONS and find_spec("ziglang") is not None


class GuestFloat:
    """One operation of the guest, compiled with the program around it."""

    def __init__(self, operation: str) -> None:
        text = SOURCE.format(count=COUNT, operands=OPERANDS, results=RESULTS, words=OPERAND_WORDS, expression=EXPRESSIONS[operation])
        with TemporaryDirectory() as folder:
            source, elf = Path(folder) / "program.c", Path(folder) / "program.elf"
            source.write_text(text, encoding="utf-8")
            files = [build.FOLDER / "program.S", source, build.FOLDER / "binary32.c"]
            build.compile_elf(files, build.FOLDER / "program.ld", elf, [f"-I{build.FOLDER}"])
            segments = elf_segments(elf.read_bytes())
        memory = Memory()
        for address, data in segments:
            memory.write(address, data)
        self._machine = Machine(memory)

    def __call__(self, cases: Sequence[tuple[int, ...]]) -> list[int]:
        """Runs the program on a list of operands and returns the results, 64 bits each."""
        words = array("Q", [word for case in cases for word in (*case, 0, 0)[:OPERAND_WORDS]])
        machine = self._machine
        machine.memory.write(COUNT, len(cases).to_bytes(8, "little"))
        machine.memory.write(OPERANDS, words.tobytes())
        machine.begin_stage(0)
        machine.pc = ENTRY
        machine.run(MOST_STEPS)
        if machine.status != (HALTED, 0):
            raise InputError(f"the guest's program did not end well: {machine.status}")
        return list(array("Q", machine.memory.read(RESULTS, 8 * len(cases))))
