"""A stage of a training run: what one call of the program must do to the memory, and with which code it must exit.

Stage i is op `i mod n` of the tape in update `i div n`. An update is one optimiser step.

*Source*: spec §6.2.
"""

from opml_spec.machine.memory import CARRY_HEIGHT, Memory
from opml_spec.machine.merkle import Node
from opml_spec.model.layout import RECORD_BYTES, Record
from opml_spec.model.stage import DONE, REFUSED, UNKNOWN_OP
from opml_spec.runs.run import CARRY, RunState, RunStatus, stage_memory
from opml_spec.training.layout import FIRST_UPDATE, LAST_UPDATE, TrainingHeader
from opml_spec.training.operations.opcodes import BATCH_OPERATIONS, decode_batch_operation
from opml_spec.training.request import Settings


def run_training_stage(memory: Memory, stage: int) -> tuple[Memory, int]:
    """The memory after the stage, and the exit code. Scratch is not looked at."""
    header, settings = TrainingHeader.read(memory), Settings.read(memory)
    if stage == 0 and not settings.acceptable(memory, header):
        return memory, REFUSED
    update, op = divmod(stage, header.ops)
    record = Record.read(memory, header.tape + RECORD_BYTES * op)
    if not applies(record.condition, update, settings.updates):
        return memory, DONE
    if record.opcode not in BATCH_OPERATIONS:
        return memory, UNKNOWN_OP
    return decode_batch_operation(record).execute(memory, update), DONE


def applies(condition: int, update: int, updates: int) -> bool:
    """Whether an op is done in an update."""
    return {FIRST_UPDATE: update == 0, LAST_UPDATE: update == updates - 1}.get(condition, True)


def train(model: Node, before: RunState, stage: int) -> RunState:
    """The run state after a stage whose program does what this chapter says."""
    if before.status == RunStatus.FAILED:
        return before
    memory, exit_code = run_training_stage(stage_memory(model, before.carry), stage)
    if exit_code == DONE:
        return RunState(memory.subtree(CARRY_HEIGHT, CARRY), RunStatus.OK)
    return RunState(before.carry, RunStatus.FAILED)
