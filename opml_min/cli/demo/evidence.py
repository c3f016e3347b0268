"""What a dispute was about: the stage and its op, the instruction, and the values it read and wrote, true and as the server claims."""

from attrs import frozen

from opml_min.cli.demo.play import Match
from opml_min.machine import RUNNING, Machine
from opml_min.machine.decode import ACCESS_BYTES, BRANCH, LOAD, STORE, Instruction, decode
from opml_min.machine.disassemble import REGISTERS, disassemble
from opml_min.machine.interpret import MASK, access_fault, fetch_fault
from opml_min.model.image.image import Image
from opml_min.model.image.ops import Opcode
from opml_min.players.chain import INSTRUCTIONS, stage_at
from opml_min.players.index import NodeEntry

STATUS_NAMES = ("running", "halted", "trapped")
Values = dict[str, str]


@frozen
class OpAt:
    """An op of the tape, with its layer and the position of the text that it computes."""

    name: str
    layer: int | None
    position: int | None

    def __str__(self) -> str:
        layer = "" if self.layer is None else f", layer {self.layer}"
        return self.name + layer + ("" if self.position is None else f", position {self.position}")


def op_at(image: Image, stage: int, is_own_program: bool) -> OpAt:
    """The op that a stage computes; PROGRAM if the image brings its own program, ALL if one stage is the whole run."""
    header, tape = image.header, image.tape.tolist()
    if is_own_program:
        return OpAt("PROGRAM", None, None)
    if header.single_phase:
        return OpAt("ALL", None, None)
    index = stage % len(tape)
    try:
        name = Opcode(tape[index][0]).name
    except ValueError:
        name = f"OP {tape[index][0]}"
    in_layers = len(tape) - 1 - sum(words[1] for words in tape)  # all but the first one and those that only drawing a token needs
    layer = (index - 1) * header.layers // in_layers if header.layers and 0 < index <= in_layers else None
    return OpAt(name, layer, stage // len(tape))


@frozen
class Evidence:
    """The first instruction that was still in dispute in the end."""

    stage: int
    op: OpAt
    step: int
    pc: int
    instruction: str
    before: Values
    after: Values
    claimed: Values | None  # after it, as a lying server has it; None if several instructions were left or the server is honest


def evidence(match: Match, node: NodeEntry | None = None) -> Evidence | None:
    """Recomputes the disputed instruction, by default that of the decided dispute; None if no stage was opened."""
    if node is None and match.dispute is not None:
        node = match.dispute.node
    if node is None or node.segment.phase != INSTRUCTIONS:
        return None
    stage, step, honest = stage_of(match, node), node.segment.lo, match.setup.honest
    machine = honest.machine_at(stage, step)
    pc = machine.pc
    instruction = decode(0 if fetch_fault(pc) else machine.memory.load(pc, 4))
    address = _address(machine, instruction)
    before = _values(machine, instruction, address, reads=True)
    after = _values(honest.machine_at(stage, step + 1), instruction, address)
    claimed = None
    claim = match.index.claims[node.claim_id]
    server = next(player for player in match.players if player.address == claim.server)
    if not server.honest and node.segment.length == 1:
        computation = server.runs.of(match.index.requests[claim.request_id])
        claimed = _values(computation.machine_at(stage, step + 1), instruction, address)
    op = op_at(match.setup.scene.image, stage, match.setup.scene.image is not match.model)
    return Evidence(stage, op, step, pc, disassemble(instruction), before, after, claimed)


def stage_of(match: Match, node: NodeEntry) -> int:
    """The stage that a node lies in, or begins with."""
    stored = match.court.node_of(node.node_id)
    stage_count = match.index.requests[match.index.claims[node.claim_id].request_id].stage_count
    return stage_at(stored.path, stored.depth, stage_count, match.court.parameters.k)


def _address(machine: Machine, instruction: Instruction) -> int | None:
    """The address that a load or store accesses; None for other instructions and for accesses that trap."""
    if instruction.kind not in (LOAD, STORE):
        return None
    address = (int(machine.registers[instruction.rs1]) + instruction.imm) & MASK
    size = ACCESS_BYTES[instruction.operation]
    return None if access_fault(address, size, instruction.kind == STORE) else address


def _values(machine: Machine, instruction: Instruction, address: int | None, *, reads: bool = False) -> Values:
    """What the instruction touches: the registers it writes (and, if `reads`, reads), memory, pc, status and the memory's root."""
    numbers = {instruction.rd} | ({instruction.rs1, instruction.rs2} if reads else set())
    if instruction.kind == BRANCH:
        numbers |= {instruction.rs1, instruction.rs2}
    values = {REGISTERS[number]: f"{int(machine.registers[number]):#x}" for number in sorted(numbers) if number}
    if address is not None:
        values[f"memory[{address:#x}]"] = "0x" + machine.memory.read(address, ACCESS_BYTES[instruction.operation])[::-1].hex()
    values["pc"] = f"{machine.pc:#x}"
    kind, value = machine.status
    values["status"] = STATUS_NAMES[kind] + ("" if kind == RUNNING else f" ({value})")
    values["memory root"] = "0x" + machine.memory.root().hex()
    return values
