"""The text of the specification: its worked numbers are computed again, its references and links lead somewhere, every error is listed."""

import ast
import re
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from opml_spec.arithmetic import elementary, fixed, float_functions
from opml_spec.dispute.narrowing import Phase, Segment, inner_boundaries
from opml_spec.dispute.objects import model_id
from opml_spec.errors import SpecError
from opml_spec.machine.decode import disassemble
from opml_spec.machine.memory import ENTRY, STATE, Memory
from opml_spec.machine.merkle import ZERO, hash_of
from opml_spec.machine.start import start_state
from opml_spec.machine.state import Cause, Kind, MachineState, Status, state_hash
from opml_spec.machine.step import step
from opml_spec.machine.witness import make_witness
from opml_spec.model.layout import BYTES, HEADER, OUTPUT, OUTPUT_TOKENS, REQUEST, REQUEST_BYTES, Header, Record, encode_tape, encode_words
from opml_spec.model.operations.fixed import Input, MatMul, Sample
from opml_spec.model.operations.operation import Operation
from opml_spec.runs.run import RunState, RunStatus, first_state, io_quarter, run_machine, run_meaning, stage_memory, stage_start

REPOSITORY = Path(__file__).resolve().parent.parent
FRONT = REPOSITORY / "spec" / "README.md"
NAMES = ("arithmetic", "machine", "model", "runs", "dispute", "training")
CHAPTERS = {name: REPOSITORY / "spec" / "opml_spec" / name / "README.md" for name in NAMES}
PAGES = [FRONT, *CHAPTERS.values()]


def text(chapter: str) -> str:
    return CHAPTERS[chapter].read_text()


def row(*cells: object) -> str:
    """A row of a table on a page."""
    return "| " + " | ".join(map(str, cells)) + " |\n"


def code(value: bytes | str) -> str:
    return f"`{value.hex() if isinstance(value, bytes) else value}`"


# --- chapter 1 -------------------------------------------------------------------------------------------------------------------

CALL = re.compile(r"^\| `([a-z_0-9.]+\(.*\))` \| `(.+)` \|$", re.M)


def called(call: str) -> object:
    """What a call on the page gives; `normalise` has a width, whose default is the page's."""
    names = {**vars(elementary), **vars(fixed), "float_functions": float_functions}
    return eval(call, {"__builtins__": {}}, names)


@pytest.mark.parametrize(("call", "result"), CALL.findall(text("arithmetic")))
def test_a_call_gives_what_the_page_says(call: str, result: str) -> None:
    assert called(call) == ast.literal_eval(result)


def test_every_function_of_fixed_point_has_an_example() -> None:
    shown = {call.split("(")[0] for call, _ in CALL.findall(text("arithmetic"))}
    assert {"round_shift", "normalise", "rsqrt", "reciprocal", "exp2", "sigmoid", "float_functions.exp", "float_functions.sigmoid"} <= shown


# --- chapter 2 -------------------------------------------------------------------------------------------------------------------


def test_zero_subtrees() -> None:
    for height in (1, 33, 35):
        assert row(code(f"zero[{height}]"), code(ZERO[height])) in text("machine")


def test_the_three_instructions() -> None:
    program = (0x02A00513, 0x05D00893, 0x00000073)
    for word in program:
        assert f"`{word:#010x}` (`{disassemble(word)}`)" in text("machine")
    state = start_state({ENTRY: b"".join(word.to_bytes(4, "little") for word in program)})
    assert f"memory_root stays `{state.memory.root.hex()}`" in text("machine")
    for steps in range(4):
        status = "RUNNING" if state.status.kind == Kind.RUNNING else f"HALTED({state.status.value})"
        witness = make_witness(state)
        cells = steps, code(hex(state.pc)), state.x[10], state.x[17], status, code(state_hash(state)), len(witness)
        assert row(*cells) in text("machine")
        if state.status.kind == Kind.RUNNING:
            assert f"leaf  {witness[297:329].hex()}\nsent  {witness[329:].hex()}\n" in text("machine")
        state = step(state)
    assert state.status == Status(Kind.HALTED, 42)


def test_the_store_into_two_leaves() -> None:
    word = 0x00B03E23
    assert f"`{word:#010x}` (`{disassemble(word)}`)" in text("machine")
    before = start_state({ENTRY: word.to_bytes(4, "little")}, registers={11: 0x1122334455667788})
    after, witness = step(before), make_witness(before)
    assert row("state_hash", code(state_hash(before)), code(state_hash(after))) in text("machine")
    assert row("memory_root", code(before.memory.root), code(after.memory.root)) in text("machine")
    assert f"The witness has {len(witness)} bytes" in text("machine")
    shown = re.search(r"^```\n(fetch  leaf.*?)^```$", text("machine"), re.M | re.S)
    assert shown is not None
    assert re.findall(r"\b[0-9a-f]{10}\b|\b[0-9a-f]{64}\b", shown[1]) == [part.hex() for part in parts(witness[297:])]


def parts(accesses: bytes) -> Iterator[bytes]:
    """Leaf, `sent` and siblings of each access, read from the page's description."""
    while accesses:
        yield accesses[:32]
        yield accesses[32:37]
        siblings, accesses = int.from_bytes(accesses[32:37], "big").bit_count(), accesses[37:]
        for _ in range(siblings):
            yield accesses[:32]
            accesses = accesses[32:]


# --- chapters 3 and 4 ------------------------------------------------------------------------------------------------------------

TAPE, MATRIX, ACTIVATION, VECTOR = HEADER + 0x1000, 0x40_2000_0000, STATE, STATE + 0x60
OPS: dict[str, Operation] = {
    "INPUT": Input(ACTIVATION, 2),
    "MATMUL": MatMul(VECTOR, ACTIVATION, MATRIX, 0, 2, 32, 12),
    "SAMPLE": Sample(VECTOR, 2),
}
DATA = bytes([200, 100])


def tiny_model() -> Memory:
    """The model of the worked example, laid out by the page's formulas."""
    block = bytearray(272)
    for lane, weights in enumerate([(1, 2), (3, -1)]):
        for column, weight in enumerate(weights):
            block[column // 2 * 16 + lane * 2 + column % 2] = weight % 256
        block[256 + 2 * lane : 258 + 2 * lane] = (0x3C00).to_bytes(2, "little")
    header = Header(request_kind=BYTES, ops=len(OPS), tape=TAPE, context=len(DATA))
    assert header.words[3:7] == (1, 3, 0x4010001000, 2)
    assert [i for i, word in enumerate(header.words) if word] == [0, 1, 3, 4, 5, 6, 16]
    tape = encode_tape([op.record() for op in OPS.values()])
    return Memory.from_segments({HEADER: encode_words(header.words), TAPE: tape, MATRIX: bytes(block)})


def run_states() -> list[RunState]:
    memory = tiny_model()
    states = [first_state(io_quarter(len(OPS), DATA), memory.subtree(33, 3))]
    for stage in range(len(OPS)):
        states.append(run_meaning(memory.subtree(33, 1), states[-1], stage))
    return states


def test_the_tape_of_the_tiny_run() -> None:
    for name, op in OPS.items():
        words = [str(word) if word < 1 << 32 else hex(word) for word in shortened(op.record())]
        assert row(name, code(", ".join(words))) in text("model")


def shortened(record: Record) -> tuple[int, ...]:
    return (record.opcode, record.condition, *record.operands)


def test_the_leaves_of_the_tiny_run() -> None:
    """The leaves that the page lists for a stage, and no others, take the memory before it to the memory after it."""
    memories = [stage_memory(tiny_model().subtree(33, 1), state.carry) for state in run_states()]
    for address in (REQUEST, REQUEST_BYTES):
        assert row("–", code(hex(address)), code(memories[0].leaf(address // 32))) in text("model")
    changed = [(ACTIVATION, ACTIVATION + 32), (VECTOR,), (OUTPUT, OUTPUT_TOKENS)]
    for stage, (before, after) in enumerate(pairwise(memories)):
        for address in changed[stage]:
            leaf = after.leaf(address // 32)
            assert row(stage, code(hex(address)), code(leaf)) in text("model")
            assert before.leaf(address // 32) != leaf
            before = before.set_leaf(address // 32, leaf)
        assert before == after


def test_the_hashes_of_the_tiny_run() -> None:
    memory, states = tiny_model(), run_states()
    model, state = (hash_of(memory.subtree(33, index)) for index in (1, 3))
    roots = {"model_root": model, "state_root": state, "io_root": hash_of(io_quarter(len(OPS), DATA))}
    for name, value in roots.items():
        assert row(name, code(value)) in text("runs")
    assert f"the id of the model is {code(model_id(model, state, 2_500_000))}" in text("dispute")
    for stages, reached in enumerate(states):
        assert row(stages, code(hash_of(reached.carry)), int(reached.status), code(reached.run_hash)) in text("runs")


def test_the_tiny_model_has_no_program() -> None:
    model, first = tiny_model().subtree(33, 1), run_states()[0]
    machine: MachineState = stage_start(model, first.carry, 0)
    assert f"in the state with hash `{state_hash(machine).hex()}`" in text("runs")
    assert step(machine).status == Status(Kind.TRAPPED, Cause.ILLEGAL_INSTRUCTION)
    failed = run_machine(model, first, 0)
    assert failed == RunState(first.carry, RunStatus.FAILED) == run_machine(model, failed, 1)
    assert f"with run_hash `{failed.run_hash.hex()}`" in text("runs")


# --- chapter 5 -------------------------------------------------------------------------------------------------------------------


def test_the_round_of_narrowing_in_the_picture() -> None:
    """The picture's hashes are those at the inner boundaries, and its parts are what lies between them."""
    picture = text("dispute").split("A node's segment: ")[1].split("```")[0]
    inner = inner_boundaries(Segment(Phase.STAGES, 0, 10, bytes(32), bytes(32)), 4)
    assert "post: hashes at {}, {} and {}".format(*inner) in picture
    ends = [f"{lower} … {upper}" for lower, upper in pairwise([0, *inner, 10])]
    assert re.findall(r"\d+ … \d+", picture) == ["0 … 10", *ends, ends[2]]
    assert '"choose: part 2"' in picture


# --- errors ----------------------------------------------------------------------------------------------------------------------


def test_every_error_is_listed_once() -> None:
    rows = re.findall(r"^\| (\d{3}) \| ([A-Z_]+) \| [^|]+ \| §[^|]+ \|$", FRONT.read_text(), re.M)
    listed = [(int(number), name) for number, name in rows]
    assert sorted(listed) == sorted({(error.number, error.name) for error in SpecError.__subclasses__()} | {(233, "PAYMENT_FAILED")})
    assert [number for number, _ in listed] == sorted(number for number, _ in listed)


def test_the_table_of_errors_names_every_section_of_the_dispute_that_reports_it() -> None:
    """Error by error: the sections of chapter 5 in the last column are those in which its name stands, and no others."""
    parted = re.split(r"^## (5\.\d+)", text("dispute"), flags=re.M)[1:]
    bodies = dict(zip(parted[::2], parted[1::2], strict=True))
    for name, cited in re.findall(r"^\| \d{3} \| ([A-Z_]+) \| [^|]+ \| (§[^|]+) \|$", FRONT.read_text(), re.M):
        sections = [number for number, body in bodies.items() if re.search(rf"\b{name}\b", body)]
        assert [number for number in re.findall(NUMBER, cited) if number.startswith("5")] == sections, name


# --- references ------------------------------------------------------------------------------------------------------------------

NUMBER = r"\d(?:\.\d+)?"
HEADING = re.compile(rf"^#+ ({NUMBER}) (.*)$", re.M)
JOINED = r"(?: \([^()]*\))?(?:,|, and|;| and| or| to)"
REFERENCE = re.compile(rf"\bspec §{NUMBER}(?:{JOINED} §{NUMBER})*")
OUTSIDE = re.compile(rf"(?:IEEE [^§\n]*|RISC-V [^§\n]*|et al\. \d{{4}}, )§{NUMBER}")
OLD = re.compile(
    r"spec/README\.md`?,? (?:§|[Ss]ections? )?[1-9]\b"
    r"|[Ss]pecification(?:'s)?(?: page)?,? (?:§|[Ss]ections? )?[1-9]\b"
    r"|spec (?:[Ss]ections? )?[1-9]\.\d"
    r"|(?<!version 3\.0, )\b[Ss]ections? [1-9]\b"
    r"|spec/README\.md#[1-9]"
)
SUFFIXES = {".py", ".md", ".vy", ".c", ".h", ".S", ".ld", ".toml", ".yml"}


def headings() -> dict[str, str]:
    found = [heading for page in PAGES for heading in HEADING.findall(re.sub(r"```.*?```", "", page.read_text(), flags=re.S))]
    assert len({number for number, _ in found}) == len(found)
    return dict(found)


def anchors(page: Path) -> set[str]:
    """The anchors that a heading gets on GitHub."""
    lines = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


def sources() -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True).stdout.decode().split("\0")
    paths = [REPOSITORY / name for name in names if name and Path(name).suffix in SUFFIXES and name != "CHANGELOG.md"]
    return [path for path in paths if path.is_file() and path not in PAGES and path != Path(__file__)]


def test_chapters_are_numbered_as_the_contents_say() -> None:
    assert [HEADING.findall(page.read_text())[0][0] for page in CHAPTERS.values()] == ["1", "2", "3", "4", "5", "6"]
    for chapter, page in enumerate(PAGES):
        sections = [number for number, _ in HEADING.findall(page.read_text()) if "." in number]
        assert sections == [f"{chapter}.{n}" for n in range(1, len(sections) + 1)]
    for number in headings():
        assert f"[§{number} " in FRONT.read_text() or "." not in number, number


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_references_and_links_of_a_page_lead_somewhere(page: Path) -> None:
    for number in re.findall(rf"§({NUMBER})", page.read_text()):
        assert number in headings(), number
    assert not OLD.findall(re.sub(r"\]\([^)]*\)", "]", page.read_text()))
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target
    for shown, anchor in re.findall(r"\[§(\d\.\d+) [^\]]*\]\([^)#]*#(\d+)-[^)]*\)", page.read_text()):
        assert shown.replace(".", "") == anchor


def test_references_elsewhere_are_spelled_alike_and_lead_somewhere() -> None:
    """`spec §n.m` is the one spelling; only outside sources have other section signs."""
    wrong = []
    for path in sources():
        content = path.read_text()
        for found in REFERENCE.finditer(content):
            wrong += [(path.name, found[0]) for number in re.findall(rf"§({NUMBER})", found[0]) if number not in headings()]
        rest = OUTSIDE.sub("", REFERENCE.sub("", content))
        wrong += [(path.name, found) for found in re.findall(r".{0,30}§\d.{0,10}", rest)]
        wrong += [(path.name, found[0]) for found in OLD.finditer(rest)]
        links = re.findall(r"\]\(([^)#]*spec/[^)#]*\.md)#([^)]+)\)", content) if path.suffix == ".md" else []
        wrong += [(path.name, anchor) for page, anchor in links if anchor not in anchors((path.parent / page).resolve())]
    assert not wrong
