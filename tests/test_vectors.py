"""Every implementation in the repository passes the frozen test vectors, and the specification writes the same ones again."""

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import astuple
from min_training_guest import machine_with_program
from opml_fuzz.commands.fuzz import main
from opml_fuzz.conformance.integer_float import OPERATIONS as INTEGER_FLOAT
from opml_fuzz.disputes.call import read as read_call
from opml_fuzz.disputes.call import value_of
from opml_fuzz.disputes.contract import Contract, EmbeddedChain, Failed, RevmChain
from opml_fuzz.disputes.wire.abi import words
from opml_fuzz.disputes.wire.views import VIEWS
from opml_fuzz.engines.bytecode import EmbeddedEvm, Revm
from opml_fuzz.models.tiny_models import POSITIONS
from opml_fuzz.vectors.tree import FILES, PAGE
from opml_spec.arithmetic import binary32, elementary, fixed, float_functions
from opml_spec.dispute import acts as court
from opml_spec.dispute.parameters import Parameters
from opml_spec.errors import SpecError, WitnessTrailing
from opml_spec.hashing import hash_pair, keccak256
from opml_spec.machine.memory import CARRY_HEIGHT, IO, Memory
from opml_spec.machine.merkle import graft, hash_of
from opml_spec.machine.state import decode_state, encode, state_hash
from opml_spec.machine.step import step
from opml_spec.machine.witness import WitnessReader, execute_witness, make_witness
from opml_spec.model.layout import REQUEST_BYTES
from opml_spec.model.stage import run_stage
from opml_spec.runs.run import RunState, RunStatus, first_state, io_quarter, run_machine, run_meaning
from opml_spec.training.layout import SETTINGS_BYTES
from opml_spec.training.loader import check_training
from opml_spec.training.operations.opcodes import BATCH_OPERATIONS
from opml_spec.training.training_stage import run_training_stage

from opml_min import machine as fast
from opml_min.machine.witness import encode_access
from opml_min.memory_map import ENTRY, HEADER, REQUEST
from opml_min.model.image.header import HEADER_WORDS, Header
from opml_min.model.image.image import Image
from opml_min.model.image.ops import RECORD_WORDS
from opml_min.model.image.program import shipped_program
from opml_min.model.image.segments import write_image
from opml_min.model.native.engine import Engine
from opml_min.model.run import Run
from opml_min.training.run import TrainingRun

VECTORS = Path(__file__).with_name("vectors")
MOST_BYTES = 6_000_000
VALID_STEPS = ("machine/steps.json", "machine/corners.json")
INVALID_STEPS = ("machine/wrong_witnesses.json", "machine/forged_witnesses.json")
STEPS = (*VALID_STEPS, *INVALID_STEPS)
OPERATIONS = ("operations/fixed.json", "operations/float.json")
TRAINING = "operations/training.json"
DISPUTES = tuple(name for name in FILES if name.startswith("court/") and "parameters" not in name)
UNREACHED = (214, 229, 232, 233, 249)  # two are not used, one is of deployments, one of transfers, one of a view
Case = dict[str, Any]


def cases(*names: str) -> list[Case]:
    return [case for name in names for case in json.loads((VECTORS / name).read_text())]


def segments(text: dict[str, str]) -> dict[int, bytes]:
    return {int(address, 0): bytes.fromhex(data) for address, data in text.items()}


def bytes_of(case: Case, *names: str) -> list[bytes]:
    return [bytes.fromhex(case["pre"][name]) for name in names]


def leaves(text: dict[str, str]) -> dict[int, bytes]:
    return {address // 32: leaf for address, leaf in segments(text).items()}


# The tree ---------------------------------------------------------------------------------------------------------------------------


def test_the_frozen_tree_is_what_the_specification_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vectors", "write", str(tmp_path), "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)["files"]
    written, frozen = ({path.relative_to(root): path.read_bytes() for path in root.rglob("*.*")} for root in (tmp_path, VECTORS))
    assert written.keys() == frozen.keys()
    assert not [path for path in written if written[path] != frozen[path]], "their bytes are too many to be shown"
    assert counts == {name: len(cases(name)) for name in FILES}
    assert sum(map(len, frozen.values())) < MOST_BYTES
    assert main(["vectors", "write", str(tmp_path / "README.md"), "--json"]) == 2, "not a folder"


PAGE_SECTIONS = re.findall(r"^### `(\S+)`\n\n```json\n(.*?)^```$(.*?)(?=^### |\Z)", PAGE.read_text(), re.M | re.S)
"""File, literal case, and what follows up to the next section: the call, unless several files share a later one."""


def shortened(value: Any) -> Any:
    """Writes a case as the page shows it."""
    if isinstance(value, str) and len(value) > 48:
        return f"{value[:16]}…{value[-8:]}"
    if isinstance(value, dict):
        return {name: shortened(each) for name, each in value.items()}
    return list(map(shortened, value)) if isinstance(value, list) else value


def page_call(number: int) -> Any:
    """Compiles the code of a section, or of the next one that has some."""
    (code, *_) = (found[1] for *_, rest in PAGE_SECTIONS[number:] if (found := re.search(r"^```python\n(.*?)^```$", rest, re.M | re.S)))
    return compile(code, PAGE_SECTIONS[number][0], "exec")


def page_cases(name: str, shown: Case) -> tuple[list[Case], Case]:
    """Finds the shown case in its file, and in files about a court the acts before it."""
    number = next(i for i, case in enumerate(cases(name)) if shortened(case) == shown)
    return cases(name)[1:number] if name in DISPUTES else [], cases(name)[number]


def page_result(call: Any, case: Case, names: Case) -> int | None:
    """Processes a case; returns the number of its error, if it raises one."""
    try:
        names |= {"pre": case["pre"], "post": case.get("post")}
        exec(call, names)
    except SpecError as error:
        return error.number
    return None


def altered(value: Any) -> Iterator[Any]:
    """Yields the value with the last digit of one string or one number changed, for each of them."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from ({**value, name: other} for other in altered(each))
    elif isinstance(value, list):
        yield from ([*value[:i], other, *value[i + 1 :]] for i, each in enumerate(value) for other in altered(each))
    else:
        yield value[:-1] + ("0" if value[-1] != "0" else "1") if isinstance(value, str) else value + 1


def test_the_page_shows_a_case_of_every_file() -> None:
    assert [name for name, _, _ in PAGE_SECTIONS] == list(FILES)
    table = PAGE.read_text().partition("## One case")[0]
    assert all(f"`{name}`" in table for name in FILES)


@pytest.mark.parametrize("number", range(len(PAGE_SECTIONS)), ids=[name for name, _, _ in PAGE_SECTIONS])
def test_the_call_of_the_page_processes_its_case(number: int) -> None:
    """It accepts the case, after those before it at court, and notices every change of `post`."""
    name, literal, _ = PAGE_SECTIONS[number]
    call, (earlier, case) = page_call(number), page_cases(name, json.loads(literal))
    names: Case = {"court": court.deploy(Parameters(**cases(name)[0]["pre"]["parameters"]))} if name in DISPUTES else {}
    for each in [*earlier, case]:
        before = dict(names)
        assert page_result(call, each, names) == each.get("error"), each["name"]
    for post in altered(case.get("post", {})):
        with pytest.raises(AssertionError):
            page_result(call, {**case, "post": post}, dict(before))


@pytest.mark.parametrize("name", [*INVALID_STEPS, "merkle/proofs.json", "court/parameters.json"])
def test_the_call_of_the_page_raises_the_error_of_every_case_that_has_one(name: str) -> None:
    refused = [case for case in cases(name) if "error" in case]
    call = page_call([section for section, _, _ in PAGE_SECTIONS].index(name))
    assert refused
    for case in refused:
        assert page_result(call, case, {}) == case["error"], case["name"]


def test_all_cases_have_one_form() -> None:
    for case in cases(*FILES):
        assert case["name"]
        assert ("post" in case) != ("error" in case)


def test_every_instruction_cause_and_error_comes_up() -> None:
    names = [case["name"] for case in cases("machine/steps.json")]
    instructions = {name.split()[0].rstrip(":") for name in names}
    assert len(instructions & {"add", "sraiw", "mulhsu", "remuw", "ld", "sb", "jalr", "bgeu", "ecall", "ebreak", "fence", "lui"}) == 12
    assert {name.split(": ")[-1] for name in names} >= {
        *("running", "halted", "instruction address misaligned", "instruction access fault", "illegal instruction", "breakpoint"),
        *("load access fault", "store access fault", "environment call"),
    }
    assert {case["error"] for case in cases("machine/wrong_witnesses.json")} == {101, 102, 103, 104, 105, 106}
    refused = {case["error"] for case in cases(*DISPUTES) if "error" in case}
    assert refused >= {*range(201, 250)} - {*UNREACHED}


def test_every_operation_of_training_has_four_cases_that_a_loader_accepts() -> None:
    """They reach the ends of i32 and write something; the worked example has the carry roots of the specification's page."""
    names = {kind.__name__: kind for kind in BATCH_OPERATIONS.values()}
    tried, idle = set(), set()
    for case in cases(TRAINING):
        memory, name = Memory.from_segments(segments(case["pre"]["memory"])), case["name"].split(",")[0]
        if case["post"]["exit_code"] == 0 and "two ops" not in name:
            check_training(memory)
        if name in names:
            assert memory.load(HEADER + 4096, 8) == names[name].opcode
            tried.add(case["name"])
            idle |= set() if case["post"]["written"] else {case["name"]}
    assert tried == {f"{name}, {number}" for name in names for number in range(4)}
    assert all(name.endswith(", 3") for name in idle)
    example = [case["post"]["carry_root"] for case in cases(TRAINING) if case["name"].startswith("the worked example")]
    page = (VECTORS.parent.parent / "spec/opml_spec/training/README.md").read_text()
    assert len(example) == 8
    assert all(f"| {stage} | `{root}` |" in page for stage, root in enumerate(example, 1))
    assert (VECTORS / TRAINING).stat().st_size < 300_000


# The specification ------------------------------------------------------------------------------------------------------------------


def result(compute: Callable[..., Any], *given: Any, **named: Any) -> tuple[Any, int | None]:
    """What it gives, or the number of the error that it raises."""
    try:
        return compute(*given, **named), None
    except (SpecError, Failed) as error:
        return None, error.number


def specified_proof(case: Case) -> Case:
    access, root, new_leaf = bytes_of(case, "access", "root", "new_leaf")
    reader, index = WitnessReader(access), int(case["pre"]["index"], 0)
    leaf = reader.access(index, root)
    if reader.rest:
        raise WitnessTrailing
    return {"leaf": leaf.hex(), "root_after": hash_of(graft(new_leaf, index, reader.siblings)).hex()}


def specified_operation(case: Case, meaning: Callable[[Memory, int], tuple[Memory, int]] = run_stage) -> Case:
    memory = Memory.from_segments(segments(case["pre"]["memory"]))
    after, exit_code = meaning(memory, case["pre"]["stage"])
    expected = memory
    for address, data in segments(case["post"]["written"]).items():
        expected = expected.store_bytes(address, data)
    assert after == expected, case["name"]
    return {"exit_code": exit_code, "written": case["post"]["written"], "carry_root": hash_of(after.subtree(CARRY_HEIGHT, 1)).hex()}


def specified_stage(case: Case) -> Case:
    memory, status = Memory.from_segments(segments(case["pre"]["memory"])), RunStatus(case["pre"]["status"])
    after = run_machine(memory.subtree(33, 1), RunState(memory.subtree(CARRY_HEIGHT, 1), status), case["pre"]["stage"], limit=1_000)
    return {**case["post"], "run_hash": after.run_hash.hex(), "carry_root": hash_of(after.carry).hex(), "status": after.status}


def specified_run(case: Case) -> Case:
    memory, (request,), stages = Memory.from_segments(segments(case["pre"]["memory"])), bytes_of(case, "request"), case["pre"]["stages"]
    model, state = memory.subtree(33, 1), memory.subtree(33, 3)
    runs = [first_state(io_quarter(stages, request), state)]
    for stage in range(stages):
        runs.append(run_meaning(model, runs[-1], stage))
    ends = {"carry_root": hash_of(runs[-1].carry).hex(), "status": runs[-1].status, "tokens": case["post"]["tokens"]}
    return {"model_id": hash_pair(hash_of(model), hash_of(state)).hex(), "run_hashes": [run.run_hash.hex() for run in runs], **ends}


def specified_arithmetic(case: Case) -> Any:
    pre = case["pre"]
    if "operation" in pre:
        operation = getattr(binary32, pre["operation"], None) or getattr(float_functions, pre["operation"])
        mode = [binary32.Rounding[pre["rounding"]]] if "rounding" in pre else []
        return f"{int(operation(*(int(bits, 16) for bits in pre['operands']), *mode)):08x}"
    if pre["function"] == "normalise":
        values, fractions = ([int(number, 0) for number in pre[name]] for name in ("values", "fraction_bits"))
        q, e = fixed.normalise(values, fractions, int(pre["width"], 0))
        return {"q": list(map(hex, q)), "e": hex(e)}
    function = getattr(fixed, pre["function"], None) or getattr(elementary, pre["function"])
    return hex(function(*(int(number, 0) for number in pre["arguments"])))


def specified_step(case: Case) -> Case:
    (witness,) = bytes_of(case, "witness")
    hashes = [each.hex() for each in execute_witness(witness)]
    before = decode_state(witness[:297])
    memory = Memory.from_segments(segments(case["pre"]["memory"]))
    assert memory.root == before.memory.root
    full = type(before)(before.pc, before.x, before.status, memory)
    assert make_witness(full) == witness, case["name"]
    return {"pre_hash": hashes[0], "post_hash": hashes[1], "state": encode(step(full)).hex()}


SPECIFIED = {
    **dict.fromkeys(STEPS, specified_step),
    "merkle/proofs.json": specified_proof,
    "arithmetic/binary32.json": specified_arithmetic,
    "arithmetic/fixed.json": specified_arithmetic,
    "operations/fixed.json": specified_operation,
    "operations/float.json": specified_operation,
    TRAINING: partial(specified_operation, meaning=run_training_stage),
    "runs/stages.json": specified_stage,
    "runs/models.json": specified_run,
}


@pytest.mark.parametrize("name", SPECIFIED)
def test_specification(name: str) -> None:
    for case in cases(name):
        assert result(SPECIFIED[name], case) == (case.get("post"), case.get("error")), case["name"]


def test_specification_programs() -> None:
    for case in cases("machine/programs.json"):
        start = decode_state(*bytes_of(case, "state"))
        state = type(start)(start.pc, start.x, start.status, Memory.from_segments(segments(case["pre"]["memory"])))
        hashes, steps = [], 0
        for stop in case["pre"]["stops"]:
            for _ in range(stop - steps):
                state = step(state)
            steps = stop
            hashes.append(state_hash(state).hex())
        assert {"hashes": hashes, "witness_hash": keccak256(make_witness(state)).hex()} == case["post"]


@pytest.mark.parametrize("name", DISPUTES)
def test_specification_court(name: str) -> None:
    deployment, *acts = cases(name)
    table = court.deploy(Parameters(**deployment["pre"]["parameters"]))
    for case in acts:
        call = read_call(case["pre"])
        after, error = result(call.on, table)
        assert error == case.get("error"), case["name"]
        if error is None:
            table = after
            for view, arguments, fields in seen(case):
                assert VIEWS[view](table, *arguments) == fields, (case["name"], view)
            assert table.ledger.balanced


def seen(case: Case) -> Iterator[tuple[str, list[bytes], tuple[Any, ...]]]:
    """The views of a case: name, arguments, fields."""
    for view, *arguments, fields in case["post"]["views"]:
        yield view, [bytes.fromhex(each) for each in arguments], tuple(map(value_of, fields))


# binary32 by hardware and by integer algorithms -------------------------------------------------------------------------------------


def test_hardware_binary32() -> None:
    """This computer's floating-point unit, where it is asked for the same thing."""
    operations = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "sqrt": np.sqrt}
    operations |= {"eq": np.equal, "lt": np.less, "le": np.less_equal}
    compared = 0
    for case in cases("arithmetic/binary32.json"):
        if case["pre"]["operation"] in operations and case["pre"].get("rounding", "RNE") == "RNE":
            operands = [np.uint32(int(bits, 16)).view(np.float32) for bits in case["pre"]["operands"]]
            with np.errstate(all="ignore"):
                result = operations[case["pre"]["operation"]](*operands)
            bits = int(result) if result.dtype == bool else 0x7FC00000 if np.isnan(result) else int(result.view(np.uint32))
            assert f"{bits:08x}" == case["post"], case
            compared += 1
    assert compared > 1_000


def test_integer_algorithms_of_binary32() -> None:
    names = {"add": "f32_add", "sub": "f32_sub", "mul": "f32_mul", "div": "f32_div", "sqrt": "f32_sqrt", "fma": "f32_mulAdd"}
    names |= {"minimum": "f32_min", "maximum": "f32_max", "eq": "f32_eq", "lt": "f32_lt", "le": "f32_le"}
    compared = 0
    for case in cases("arithmetic/binary32.json"):
        if case["pre"]["operation"] in names and case["pre"].get("rounding", "RNE") == "RNE":
            found = INTEGER_FLOAT[names[case["pre"]["operation"]]](*(int(bits, 16) for bits in case["pre"]["operands"]))
            assert f"{found:08x}" == case["post"], case
            compared += 1
    assert compared > 2_000


# opml_min ---------------------------------------------------------------------------------------------------------------------------


def state_parts(preimage: bytes) -> tuple[int, list[int], tuple[int, int]]:
    words = [int.from_bytes(preimage[i : i + 8], "big") for i in range(0, 256, 8)]
    return words[0], [0, *words[1:]], (preimage[256], int.from_bytes(preimage[257:265], "big"))


def fast_memory(text: dict[str, str]) -> fast.Memory:
    memory = fast.Memory()
    for address, data in segments(text).items():
        memory.write(address, data)
    return memory


def test_opml_min_steps() -> None:
    for case in cases(*VALID_STEPS):
        after = fast.execute_single(*state_parts(bytes_of(case, "witness")[0]), leaves(case["pre"]["memory"]))
        assert after.hex() == case["post"]["state"], case["name"]


@pytest.mark.parametrize("translate_after_steps", [0, 1 << 62], ids=["translated", "interpreted"])
def test_opml_min_programs(translate_after_steps: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # nobody runs these programs again
    for case in cases("machine/programs.json"):
        machine = fast.Machine(fast_memory(case["pre"]["memory"]), translate_after_steps)
        machine.pc, machine.registers[:], status = state_parts(bytes_of(case, "state")[0])
        machine.status = fast.Status(*status)
        hashes, steps = [], 0
        for stop in case["pre"]["stops"]:
            machine.run(stop - steps)
            steps = stop
            hashes.append(machine.state_hash().hex())
        assert {"hashes": hashes, "witness_hash": keccak256(machine.witness()).hex()} == case["post"], case["name"]


def test_opml_min_merkle() -> None:
    for case in cases("merkle/roots.json"):
        memory = fast_memory(case["pre"]["memory"])
        quarters = [memory.quarter_root(quarter).hex() for quarter in range(4)]
        assert {"root": memory.root().hex(), "carry_root": memory.carry_root().hex(), "quarter_roots": quarters} == case["post"]
    for case in cases("machine/steps.json")[::9]:  # the proof of the fetch
        pc, _, (kind, _) = state_parts(bytes_of(case, "witness")[0])
        if kind == 0 and "no fetch" not in case["name"]:
            memory = fast_memory(case["pre"]["memory"])
            access = encode_access(memory.leaf(pc // 32), memory.proof(pc // 32))
            assert bytes_of(case, "witness")[0][297 : 297 + len(access)] == access, case["name"]


@pytest.mark.parametrize("name", OPERATIONS)
def test_opml_min_operations(name: str) -> None:
    """The native kernels, where a loader lets them run, and the guest program in the machine."""
    native = 0
    for case in cases(name):
        stage, post = case["pre"]["stage"], case["post"]
        guest = fast_memory(case["pre"]["memory"])
        guest.write(ENTRY, shipped_program())
        machine = fast.Machine(guest)
        machine.begin_stage(stage)
        machine.run(1 << 32)
        assert tuple(machine.status) == (fast.HALTED, post["exit_code"]), case["name"]
        if post["exit_code"] == 0:
            assert guest.carry_root().hex() == post["carry_root"], case["name"]
        if post["exit_code"] == 0 and stage < guest.load(REQUEST, 8):  # no run has further stages, and the kernels do not ask
            memory = fast_memory(case["pre"]["memory"])
            header = Header.unpack(memory.read(HEADER, 8 * HEADER_WORDS))
            tape = np.frombuffer(memory.read(header.tape_address, 8 * RECORD_WORDS), np.int64).reshape(1, RECORD_WORDS)
            Engine(memory, header, tape, 1).run(stage, POSITIONS if header.single_phase else stage + 1)
            for address, data in segments(post["written"]).items():
                memory.mark_written(address, len(data))
                assert memory.read(address, len(data)) == data, case["name"]
            assert memory.carry_root().hex() == post["carry_root"], case["name"]
            native += 1
    assert native > 40


def test_opml_min_training() -> None:
    """The native kernels, where the whole request may run, and the guest program in the machine."""
    native = 0
    machine, first_state = machine_with_program()
    for case in cases(TRAINING):
        stage, post, given = case["pre"]["stage"], case["post"], segments(case["pre"]["memory"])
        for address, data in given.items():
            machine.memory.write(address, data)
        machine.begin_stage(stage)
        machine.run(1 << 32)
        machine.memory.forget_scratch()
        assert tuple(machine.status) == (fast.HALTED, post["exit_code"]), case["name"]
        if post["exit_code"] == 0:
            assert machine.memory.carry_root().hex() == post["carry_root"], case["name"]
            asked = given.pop(REQUEST_BYTES).ljust(SETTINGS_BYTES, b"\0")
            del given[REQUEST]
            if "two ops" not in case["name"]:  # the other one is none, and no loader would take it
                run = TrainingRun([*given.items()], asked, threads=2)
                run.stage = stage
                run.run_stage()
                for address, data in segments(post["written"]).items():
                    assert run.memory.read(address, len(data)) == data, case["name"]
                assert run.state().carry_root.hex() == post["carry_root"], case["name"]
                native += 1
        machine.restore(first_state)  # which keeps the model
        for address, data in given.items():
            if address < IO:
                machine.memory.write(address, bytes(len(data)))
    assert native == 137


def test_opml_min_stages() -> None:
    for case in cases("runs/stages.json"):
        if case["pre"]["status"] == 0:
            memory = fast_memory(case["pre"]["memory"])
            carry = memory.carry_root()
            machine = fast.Machine(memory)
            machine.begin_stage(case["pre"]["stage"])
            assert machine.run(1 << 32) == case["post"]["steps"], case["name"]
            assert machine.state_hash().hex() == case["post"]["final_state_hash"], case["name"]
            ok = tuple(machine.status) == (fast.HALTED, 0)
            assert (memory.carry_root() if ok else carry).hex() == case["post"]["carry_root"], case["name"]


@pytest.mark.parametrize("device", ["cpu", "vm"])
def test_opml_min_runs(device: Any, tmp_path: Path) -> None:
    for number, case in enumerate(cases("runs/models.json")):
        path = tmp_path / f"{number}.opml"
        placed = {ENTRY: shipped_program(), **segments(case["pre"]["memory"])}
        write_image(path, [(address, [data]) for address, data in placed.items()])
        run = Run(Image(path), *bytes_of(case, "request"), stages=case["pre"]["stages"], device=device)
        hashes = [run.run_hash().hex()]
        for _ in range(case["pre"]["stages"]):
            run.run_stage()
            hashes.append(run.run_hash().hex())
        assert hashes == case["post"]["run_hashes"], case["name"]
        assert astuple(run.state()) == (bytes.fromhex(case["post"]["carry_root"]), case["post"]["status"])
        assert run.tokens() == case["post"]["tokens"]


# The EVM ----------------------------------------------------------------------------------------------------------------------------


def test_evm_arbiter() -> None:
    embedded = EmbeddedEvm()
    every = cases(*STEPS)
    for engine, some in ((embedded, every[::16]), (Revm(embedded), every)):
        for case in some:
            expected = case["post"]["post_hash"] if "post" in case else f"error {case['error']}"
            assert engine.execute(*bytes_of(case, "witness")) == expected, case["name"]


@pytest.mark.parametrize("chain", [RevmChain, EmbeddedChain])
@pytest.mark.parametrize("name", DISPUTES)
def test_evm_court(name: str, chain: Callable[[], Any]) -> None:
    deployment, *acts = cases(name)
    contract = Contract(Parameters(**deployment["pre"]["parameters"]), chain=chain())
    for case in acts:
        call = read_call(case["pre"])
        logs, error = result(contract.make, call)
        assert error == case.get("error"), case["name"]
        if error is None:
            assert ["".join(part.hex() for part in (*log.topics, log.data)) for log in logs] == case["post"]["events"], case["name"]
            for view, arguments, fields in seen(case):
                assert contract.view(view, *arguments) == words(fields), (case["name"], view)


def test_evm_parameters() -> None:
    for case in cases("court/parameters.json"):
        _, error = result(Contract, Parameters(**case["pre"]["parameters"]))
        assert error == case.get("error"), case["name"]


def test_specification_parameters() -> None:
    for case in cases("court/parameters.json"):
        _, error = result(court.deploy, Parameters(**case["pre"]["parameters"]))
        assert error == case.get("error"), case["name"]
