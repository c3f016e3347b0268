"""A failing case as a Python program that uses public interfaces alone; acts at court, single stages and floats also need this package."""

from itertools import groupby

from opml_spec.machine.merkle import LEAF_BYTES

from opml_fuzz.machine.case import Acts, Case, Deployment, Disputes, Step, Witness
from opml_fuzz.machine.model_case import FloatOperation, ModelImage, OneStage, Segments, WholeRun
from opml_fuzz.machine.relation import Related
from opml_fuzz.machine.start import Start
from opml_fuzz.machine.training_case import TrainingStages, TrainingTape

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
print("spec", state_hash(state).hex(), state_hash(after).hex(), after.pc, after.x, after.status)
leaves = {{address // 32 + i: memory.leaf(address // 32 + i) for address, data in segments.items() for i in range(len(data) // 32)}}
print("opml_min agrees:", execute_single(pc, list(state.x), ({kind}, {value:#x}), leaves) == encode(after))
chain = Chain()
arbiter = chain.deploy(Artefact.load("arbiter"), sender=chain.accounts[0])
try:
    print("EVM", *map(bytes.hex, arbiter.call("step", make_witness(state))))
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
    print("spec", *map(bytes.hex, execute_witness(witness)))
except SpecError as error:
    print("spec", error)
chain = Chain()
arbiter = chain.deploy(Artefact.load("arbiter"), sender=chain.accounts[0])
try:
    print("EVM", *map(bytes.hex, arbiter.call("step", witness[:3769])))
except Reverted as error:
    print("EVM error", error.number)
"""


DISPUTES = """\
from opml_fuzz.disputes.sequences import play_sequence

for said in play_sequence({seed!r}, {acts}).difference or ("all agree",):
    print(said)
"""

ACTS = """\
from opml_fuzz.disputes.answers import right_answer
from opml_fuzz.disputes.rules import RULES
from opml_fuzz.disputes.sequences import replay

acts = [
{acts}
]
for act, answer in zip(acts, right_answer(RULES[{rules}], acts)[1:]):
    print(act["move"], answer)
for said in replay({rules}, acts).difference or ("all agree",):
    print(said)
"""

FLOAT = """\
from opml_fuzz.conformance.testfloat import ROUNDINGS, engines
from opml_spec.arithmetic.binary32 import Rounding

for name, engine in engines({operation!r}, Rounding.{rounding}).items():
    print(name, *map(hex, engine([{operands}])))
"""

STAGE = """\
from opml_fuzz.engines.model_runs import NativeModels
from opml_fuzz.machine.model_case import OneStage
from opml_min.machine import Machine, Memory as FastMemory
from opml_min.memory_map import ENTRY
from opml_min.model.image.program import shipped_program
from opml_spec.machine.memory import CARRY_HEIGHT, Memory
from opml_spec.machine.merkle import hash_of
from opml_spec.model.stage import run_stage

{memory}
after, exit_code = run_stage(Memory.from_segments(memory), {stage})
print("spec: exit code", exit_code, "carry", hash_of(after.subtree(CARRY_HEIGHT, 1)).hex())
fast_memory = FastMemory()
for address, data in (memory | {{ENTRY: shipped_program()}}).items():
    fast_memory.write(address, data)
machine = Machine(fast_memory)
machine.begin_stage({stage})
machine.run(1 << 40)
print("guest: exit code", machine.status.value, "carry", fast_memory.carry_root().hex())
print("native:", NativeModels().answer(OneStage(memory, {stage})))
"""

RUN = """\
from pathlib import Path
from tempfile import TemporaryDirectory

from opml_min.memory_map import ENTRY
from opml_min.model.image.image import Image
from opml_min.model.image.segments import write_image
from opml_min.model.image.program import shipped_program
from opml_min.model.run import Run
from opml_spec.machine.memory import QUARTER_HEIGHT, Memory
from opml_spec.runs.run import first_state, io_quarter, run_meaning

{memory}
request = bytes.fromhex({request!r})
spec_memory = Memory.from_segments(memory)
state = first_state(io_quarter({stages}, request), spec_memory.subtree(QUARTER_HEIGHT, 3))
with TemporaryDirectory() as folder:
    path = Path(folder) / "model.opml"
    write_image(path, [(address, [data]) for address, data in sorted({{ENTRY: shipped_program(), **memory}}.items())])
    native, guest = (Run(Image(path), request, stages={stages}, device=device) for device in ("cpu", "vm"))
    for stage in range({until}):
        state = run_meaning(spec_memory.subtree(QUARTER_HEIGHT, 1), state, stage)
        native.run_stage()
        guest.run_stage()
        print("stage", stage, "spec", state.run_hash.hex(), "native", native.run_hash().hex(), "guest", guest.run_hash().hex())
"""

IMAGE = """\
from pathlib import Path
from tempfile import TemporaryDirectory

from opml_min.memory_map import ENTRY
from opml_min.model.errors import CheckFailed, ImageError
from opml_min.model.image.image import Image
from opml_min.model.image.program import shipped_program
from opml_min.model.image.segments import write_image
from opml_min.model.native.check import check
from opml_spec.errors import SpecError
from opml_spec.machine.memory import Memory
from opml_spec.model.loader import check_model

{memory}
with TemporaryDirectory() as folder:
    path = Path(folder) / "model.opml"
    write_image(path, [(address, [data]) for address, data in sorted({{ENTRY: shipped_program(), **memory}}.items())])
    try:
        check(Image(path))
        print("opml_min takes it")
    except (CheckFailed, ImageError) as error:
        print("opml_min:", error)
try:
    check_model(Memory.from_segments(memory))
    print("spec takes it")
except SpecError as error:
    print("spec:", error)
"""

TRAINING = """\
from opml_min.machine import Machine, Memory as FastMemory
from opml_min.memory_map import ENTRY
from opml_min.model.errors import CheckFailed
from opml_min.model.image.program import shipped_training_program
from opml_min.training.run import TrainingRun
from opml_spec.machine.memory import CARRY_HEIGHT, Memory
from opml_spec.machine.merkle import hash_of
from opml_spec.model.layout import REQUEST, REQUEST_BYTES
from opml_spec.training.training_stage import run_training_stage

{memory}
spec_memory, fast_memory = Memory.from_segments(memory), FastMemory()
for address, data in (memory | {{ENTRY: shipped_training_program()}}).items():
    fast_memory.write(address, data)
machine = Machine(fast_memory)
model = [(address, data) for address, data in memory.items() if address not in (REQUEST, REQUEST_BYTES)]
try:
    native = TrainingRun(model, memory.get(REQUEST_BYTES, b""), stages=int.from_bytes(memory[REQUEST][:8], "little"))
    native.stage = {first}
except CheckFailed as error:
    native = None
    print("native:", error)
for stage in range({first}, {first} + {count}):
    spec_memory, exit_code = run_training_stage(spec_memory, stage)
    print("stage", stage, "spec: exit code", exit_code, "carry", hash_of(spec_memory.subtree(CARRY_HEIGHT, 1)).hex())
    machine.begin_stage(stage)
    machine.run(1 << 40)
    fast_memory.forget_scratch()
    print("guest: exit code", machine.status.value, "carry", fast_memory.carry_root().hex())
    if native:
        native.run_stage()
        print("native: status", native.state().status, "carry", native.state().carry_root.hex())
"""

TRAINING_TAPE = """\
from opml_min.machine import Memory as FastMemory
from opml_min.model.errors import CheckFailed
from opml_min.training.loader import load_header, load_ops
from opml_spec.errors import SpecError
from opml_spec.machine.memory import Memory
from opml_spec.training.loader import check_training

{memory}
fast_memory = FastMemory()
for address, data in memory.items():
    fast_memory.write(address, data)
try:
    load_ops(fast_memory, load_header(fast_memory))
    print("opml_min takes it")
except CheckFailed as error:
    print("opml_min:", getattr(error, "number", None), error)
try:
    check_training(Memory.from_segments(memory))
    print("spec takes it")
except SpecError as error:
    print("spec:", error.number, error)
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
    if isinstance(case, FloatOperation):
        return FLOAT.format(operation=case.operation, rounding=case.rounding, operands=f"({', '.join(map(hex, case.operands))},)")
    if isinstance(case, OneStage):
        return STAGE.format(memory=memory_text(case.memory), stage=case.stage)
    if isinstance(case, WholeRun):
        memory, request = memory_text(case.memory), case.request.hex()
        return RUN.format(memory=memory, request=request, stages=case.stages, until=case.until)
    if isinstance(case, ModelImage):
        return IMAGE.format(memory=memory_text(case.memory))
    if isinstance(case, TrainingStages):
        return TRAINING.format(memory=memory_text(case.memory), first=case.first, count=case.count)
    if isinstance(case, TrainingTape):
        return TRAINING_TAPE.format(memory=memory_text(case.memory))
    state, start = state_text(case.start), case.start
    if isinstance(case, Step):
        return STEP.format(state=state, kind=start.kind, value=start.value)
    return PROGRAM.format(state=state, stops=list(case.stops))


def memory_text(memory: Segments) -> str:
    """Writes segments as an assignment, with long rows of zeros as such."""
    lines = ["memory = {", *(f"    {address:#x}: {bytes_text(data)}," for address, data in sorted(memory.items())), "}"]
    return "\n".join(lines)


def bytes_text(data: bytes) -> str:
    leaves = [data[at : at + LEAF_BYTES] for at in range(0, len(data), LEAF_BYTES)]
    written = list[str]()
    for is_content, group in groupby(leaves, any):
        part = b"".join(group)
        written.append(f"bytes.fromhex({part.hex()!r})" if is_content else f"bytes({len(part)})")
    return " + ".join(written) or "b''"


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
