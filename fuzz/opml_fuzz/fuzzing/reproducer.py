"""A failing case as a Python program that uses public interfaces alone; acts at court also need the code that draws them."""

from opml_spec.machine.merkle import LEAF_BYTES

from opml_fuzz.machine.case import Acts, Case, Deployment, Disputes, Step, Witness
from opml_fuzz.machine.relation import Related
from opml_fuzz.machine.start import Start

STEP = """\
from attrs import evolve
from evm_arbiter.chain import Artefact, Chain, Reverted
from opml_min.machine import execute_single
from opml_spec.machine.memory import Memory
from opml_spec.machine.start import start_state
from opml_spec.machine.state import decode_status, encode, state_hash
from opml_spec.machine.step import step
from opml_spec.machine.witness import make_witness

{state}
state = evolve(start_state(memory, pc, registers), status=decode_status({kind}, {value:#x}))
after = step(state)
print("spec", state_hash(after).hex(), after.pc, after.x, after.status)
leaves = {{address // 32 + i: memory.leaf(address // 32 + i) for address, data in segments.items() for i in range(len(data) // 32)}}
print("opml_min agrees:", execute_single(pc, list(state.x), ({kind}, {value:#x}), leaves) == encode(after))
chain = Chain()
arbiter = chain.deploy(Artefact.load("arbiter"), sender=chain.accounts[0])
try:
    print("EVM", arbiter.call("step", make_witness(state))[1].hex())
except Reverted as error:
    print("EVM error", error.number)
"""

PROGRAM = """\
from opml_min.machine import Machine, Memory as FastMemory, Status
from opml_spec.machine.memory import Memory
from opml_spec.machine.start import start_state
from opml_spec.machine.state import state_hash
from opml_spec.machine.step import step

{state}
for name, translate_after_steps in (("interpreted", 1 << 62), ("translated", 0)):
    fast_memory = FastMemory()
    for address, data in segments.items():
        fast_memory.write(address, data)
    machine = Machine(fast_memory, translate_after_steps)
    machine.pc, state, steps = pc, start_state(memory, pc, registers), 0
    for number, value in registers.items():
        machine.registers[number] = value
    for stop in {stops}:
        machine.run(stop - steps)
        for steps in range(steps, stop):
            state = step(state)
        steps = stop
        print(name, stop, state_hash(state) == machine.state_hash(), hex(state.pc), hex(machine.pc))
        print([(i, hex(x), hex(y)) for i, (x, y) in enumerate(zip(state.x, machine.registers.tolist())) if x != y])
"""

WITNESS = """\
from evm_arbiter.chain import Artefact, Chain, Reverted
from opml_spec.errors import SpecError
from opml_spec.machine.witness import execute_witness

witness = bytes.fromhex("{witness}")
try:
    print("spec", execute_witness(witness)[1].hex())
except SpecError as error:
    print("spec", error)
chain = Chain()
arbiter = chain.deploy(Artefact.load("arbiter"), sender=chain.accounts[0])
try:
    print("EVM", arbiter.call("step", witness[:3769])[1].hex())
except Reverted as error:
    print("EVM error", error.number)
"""


DISPUTES = """\
from opml_fuzz.disputes.sequences import play_sequence

for said in play_sequence({seed!r}, {acts}).difference or ("all agree",):
    print(said)
"""

ACTS = """\
from opml_fuzz.disputes.sequences import replay

acts = [
{acts}
]
for said in replay({rules}, acts).difference or ("all agree",):
    print(said)
"""

DEPLOYMENT = """\
from opml_fuzz.disputes.deployments import deploy_on_both
from opml_spec.dispute.parameters import Parameters

print(deploy_on_both(Parameters(*{parameters})))
"""


def program_text(case: Case) -> str:
    """Writes the program."""
    if isinstance(case, Witness):
        return WITNESS.format(witness=case.witness.hex())
    if isinstance(case, Disputes):
        return DISPUTES.format(seed=case.seed, acts=case.acts)
    if isinstance(case, Deployment):
        return DEPLOYMENT.format(parameters=case.parameters)
    if isinstance(case, Acts):
        return ACTS.format(rules=case.rules, acts="\n".join(f"    {act}," for act in case.acts))
    if isinstance(case, Related):
        runs = ((case.start, case.steps), (case.other, case.other_steps))
        told = f"# two runs, {case.relation}: the second must end as the first one does, {case.by} bytes further\n"
        return told + "\n".join(PROGRAM.format(state=state_text(start), stops=[steps]) for start, steps in runs)
    state, start = state_text(case.start), case.start
    if isinstance(case, Step):
        return STEP.format(state=state, kind=start.kind, value=start.value)
    return PROGRAM.format(state=state, stops=list(case.stops))


def state_text(start: Start) -> str:
    """Writes memory, registers and pc as assignments; adjacent leaves become one segment."""
    segments: dict[int, bytes] = {}
    for index, leaf in sorted(start.leaves.by_index.items()):
        latest = max(segments, default=-1)
        if latest >= 0 and latest + len(segments[latest]) == index * LEAF_BYTES:
            segments[latest] += leaf
        else:
            segments[index * LEAF_BYTES] = leaf
    lines = ["segments = {", *(f"    {address:#x}: bytes.fromhex({data.hex()!r})," for address, data in segments.items()), "}"]
    registers = ", ".join(f"{i}: {value:#x}" for i, value in enumerate(start.x) if value)
    return "\n".join([*lines, "memory = Memory.from_segments(segments)", f"pc, registers = {start.pc:#x}, {{{registers}}}"])
