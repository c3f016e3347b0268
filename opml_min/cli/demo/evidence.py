"""What a dispute was about: the stage and its op, the instruction, and the values it read and wrote, true and as the server claims."""

from attrs import frozen

from opml_min.cli.demo.op_names import OpAt, op_at
from opml_min.cli.demo.play import Match
from opml_min.machine import RUNNING, Machine
from opml_min.machine.decode import ACCESS_BYTES, BRANCH, LOAD, STORE, Instruction, decode
from opml_min.machine.disassemble import REGISTERS, disassemble
from opml_min.machine.interpret import MASK, access_fault, fetch_fault
from opml_min.players.chain import INSTRUCTIONS, stage_at
from opml_min.players.index import NodeEntry

STATUS_NAMES = ("running", "halted", "trapped")
Values = dict[str, str]


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
    return Evidence(stage, op_at(match, stage), step, pc, disassemble(instruction), before, after, claimed)


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
