"""Vectors of the machine: steps with their witnesses, wrong witnesses, and short programs.

*Source*: spec §2.
"""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from random import Random

from opml_spec.hashing import keccak256
from opml_spec.machine.decode import decode, disassemble
from opml_spec.machine.memory import ENTRY
from opml_spec.machine.merkle import LEAF_BYTES
from opml_spec.machine.state import Cause, Kind, MachineState, encode, state_hash
from opml_spec.machine.step import LAST_PC, step
from opml_spec.machine.witness import execute_witness, make_witness

from opml_fuzz.machine.programs import loop
from opml_fuzz.machine.start import Start
from opml_fuzz.machine.states import random_state
from opml_fuzz.machine.wrong_witnesses import wrong_witness
from opml_fuzz.sweep.chosen import chosen_forgeries, chosen_points
from opml_fuzz.vectors.notation import Json, make_case, memory_text

DRAWS, OF_A_SORT = 4_000, 2
WRONG_DRAWS, OF_AN_ERROR = 400, 6
PROGRAMS = 16


def steps(rng: Random) -> Iterator[Json]:
    """Yields every instruction with every way in which it ends, at most OF_A_SORT times each."""
    seen: Counter[tuple[str, str]] = Counter()
    for _ in range(DRAWS):
        start = random_state(rng)
        before = start.state()
        after = step(before)
        sort = instruction_name(before), how(after)
        seen[sort] += 1
        if seen[sort] <= OF_A_SORT:
            yield one_step(f"{subject(before)}: {how(after)}", start, before, after)


def corners(rng: Random) -> Iterator[Json]:
    """Yields what the sweep has in every corner of the machine; nothing here is drawn."""
    for each in chosen_points():
        before = each.start.state()
        after = step(before)
        yield one_step(f"{each.about}: {subject(before)}: {how(after)}", each.start, before, after)


def forged_witnesses(rng: Random) -> Iterator[Json]:
    """Yields what the sweep has of each way to forge a witness; nothing here is drawn."""
    for each in chosen_forgeries():
        case = make_case(each.about, {"witness": each.witness.hex()}, partial(accept, each.witness))
        if "error" in case:
            yield case


def one_step(name: str, start: Start, before: MachineState, after: MachineState) -> Json:
    witness = make_witness(before)
    pre = {"witness": witness.hex(), "memory": leaves_text(start)}
    hashes = [each.hex() for each in execute_witness(witness)]
    return make_case(name, pre, lambda: {"pre_hash": hashes[0], "post_hash": hashes[1], "state": encode(after).hex()})


def wrong_witnesses(rng: Random) -> Iterator[Json]:
    """Yields each error at most OF_AN_ERROR times; of two errors in a witness, the first counts."""
    seen: Counter[int] = Counter()
    for _ in range(WRONG_DRAWS):
        witness = wrong_witness(rng, random_state(rng))
        case = make_case("", {"witness": witness.hex()}, partial(accept, witness))
        if "error" in case:
            seen[case["error"]] += 1
            if seen[case["error"]] <= OF_AN_ERROR:
                yield {**case, "name": f"error {case['error']}, {seen[case['error']]}"}


def accept(witness: bytes) -> Json:
    execute_witness(witness)
    return {}


def programs(rng: Random) -> Iterator[Json]:
    """Yields loops of random instructions, with the state after some numbers of steps."""
    for number in range(PROGRAMS):
        program = loop(rng)
        start = state = program.start.state()
        hashes: list[str] = []
        for steps_so_far in range(program.stops[-1] + 1):
            if steps_so_far in program.stops:
                hashes.append(state_hash(state).hex())
            last, state = state, step(state)
        pre = {"state": encode(start).hex(), "memory": leaves_text(program.start), "stops": list(program.stops)}
        post = {"hashes": hashes, "witness_hash": keccak256(make_witness(last)).hex()}
        yield {"name": f"program {number}: {how(last)}", "pre": pre, "post": post}


def leaves_text(start: Start) -> Json:
    return memory_text({LEAF_BYTES * index: leaf for index, leaf in start.leaves.by_index.items()})


def word_under(state: MachineState) -> int | None:
    """Fetches the instruction word; None if it cannot be fetched."""
    if state.pc % 4 or not ENTRY <= state.pc <= LAST_PC:
        return None
    return state.memory.load(state.pc, 4)


def instruction_name(state: MachineState) -> str:
    word = word_under(state)
    if word is None or state.status.kind != Kind.RUNNING:
        return f"{state.status.kind}"
    instruction = decode(word)
    return instruction.name if instruction else "illegal"


def subject(state: MachineState) -> str:
    word = word_under(state)
    if state.status.kind != Kind.RUNNING:
        return "nothing runs"
    return "no fetch" if word is None else disassemble(word)


def how(state: MachineState) -> str:
    """Names the status of a machine."""
    if state.status.kind == Kind.TRAPPED:
        return Cause(state.status.value).name.lower().replace("_", " ")
    return state.status.kind.name.lower()
