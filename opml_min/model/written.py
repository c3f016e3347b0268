"""What a range of stages may have written, for whoever keeps a record or a copy of the memory.

*Source*: spec §3.3 and §3.5.
"""

from collections.abc import Iterator

from opml_min.memory_map import OUTPUT
from opml_min.model.image.ops import Buffer, Op, Opcode, writes


def written_ranges(ops: list[Op], first: int, end: int, output_count: int) -> Iterator[Buffer]:
    """Yield the bytes that the stages [first, end) may have written. output_count: how many tokens there are afterwards"""
    first_position, last_position = first // len(ops), (end - 1) // len(ops)
    for op_index in {stage % len(ops) for stage in range(first, min(end, first + len(ops)))}:
        op = ops[op_index]
        if op.opcode.kind == Opcode.CACHE:
            for begin, finish in zip(writes(op, first_position), writes(op, last_position), strict=True):
                yield begin[0], finish[0] + finish[1] - begin[0]
        elif op.opcode.kind == Opcode.SAMPLE:
            yield OUTPUT, 32 + 4 * output_count
        else:
            yield from writes(op)
