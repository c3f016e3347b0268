"""A stage: what one call of the program must do to the memory, and with which code it must exit.

Stage i is op `i mod n` of the tape at position `i div n`; in single phase, stage 0 is all ops at all positions. On chain the program
defines the model; this is what the program has to agree with.

*Source*: spec §3.3.
"""

from opml_spec.machine.memory import Memory
from opml_spec.model.layout import RECORD_BYTES, WHEN_DRAWING, Header, Record
from opml_spec.model.operations.table import OPERATIONS, decode_operation
from opml_spec.model.request import RequestHeader, is_done

DONE, REFUSED, UNKNOWN_OP = 0, 1, 2  # exit codes


def run_stage(memory: Memory, stage: int) -> tuple[Memory, int]:
    """The memory after the stage, and the exit code. Scratch is not looked at."""
    header = Header.read(memory)
    request = RequestHeader.read(memory, header)
    if stage == 0 and not request.acceptable(memory, header):
        return memory, REFUSED
    indices = range(header.ops * request.positions) if header.single_phase else [stage]
    for index in indices:
        position, op = divmod(index, header.ops)
        memory, exit_code = run_op(memory, header, request, op, position)
        if exit_code != DONE:
            return memory, exit_code
    return memory, DONE


def run_op(memory: Memory, header: Header, request: RequestHeader, op: int, position: int) -> tuple[Memory, int]:
    """The memory after one op of the tape at one position, and the exit code."""
    if is_done(memory) or position >= request.positions:
        return memory, DONE
    record = Record.read(memory, header.tape + RECORD_BYTES * op)
    if record.condition == WHEN_DRAWING and not request.draws_at(position):
        return memory, DONE
    if record.opcode not in OPERATIONS:
        return memory, UNKNOWN_OP
    return decode_operation(record).execute(memory, position), DONE
