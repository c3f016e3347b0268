"""The contracts in the executable Ethereum specification: the same results, revert data and gas as in the EVMs that clients use."""

from random import Random
from zlib import crc32

import pytest
from opml_fuzz.commands.engine_room import engine_room, specified_chain
from opml_fuzz.disputes.sequences import WITNESSED_EVERY, RandomDisputes
from opml_fuzz.engines.bytecode import EmbeddedEvm
from opml_fuzz.engines.room import EMBEDDED_EVERY, EngineRoom
from opml_fuzz.engines.specification import SpecWitness
from opml_fuzz.fuzzing.compiled_mutants import compiled
from opml_fuzz.machine.case import Witness
from opml_fuzz.machine.encodings import assemble
from opml_fuzz.machine.states import random_state
from opml_fuzz.machine.wrong_witnesses import wrong_witness
from opml_fuzz.sweep.point import point
from opml_spec.machine.witness import make_witness

from evm_arbiter.chain import START_TIME, Artefact, Chain

pytest.importorskip("ethereum.forks.prague", reason="the executable Ethereum specification is a developer extra")
from opml_fuzz.engines.execution_spec import SpecifiedEvm, SpecifiedNode

CASES, ACTS = 40, 30
SENDER, RICH = bytes([0x11] * 20), 10**24


@pytest.fixture(scope="module")
def embedded() -> EmbeddedEvm:
    return EmbeddedEvm()


def witnesses(rng: Random) -> list[bytes]:
    states = [random_state(rng) for _ in range(CASES)]
    return [make_witness(state.state()) if rng.random() < 0.7 else wrong_witness(rng, state) for state in states]


def test_the_arbiter_answers_alike(embedded: EmbeddedEvm) -> None:
    specified = SpecifiedEvm(embedded)
    answers = [(embedded.execute(witness), specified.execute(witness)) for witness in witnesses(Random("arbiter"))]
    assert all(one == other for one, other in answers)
    assert CASES // 10 < sum("error" in one for one, _ in answers) < CASES // 2  # both kinds of answer were met


def test_transactions_leave_the_same_output_and_gas(embedded: EmbeddedEvm) -> None:
    """Creation, accepted and refused calls, and those that cost what their data costs at least."""
    artefact, ours = Artefact.load("arbiter"), Chain().node
    nodes = (ours, SpecifiedNode([(SENDER, RICH)]))
    made = [node.transact(SENDER, None, artefact.creation_bytecode, 0, START_TIME) for node in nodes]
    assert made[0] == made[1]
    assert made[0].created
    kinds = set()
    for witness in (*witnesses(Random("transactions"))[:12], bytes(3_000), b"\xff" * 3_000):
        data = embedded.arbiter.calldata("step", witness)
        one, other = (node.transact(SENDER, made[0].created, data, 0, START_TIME) for node in nodes)
        assert one == other
        kinds.add(one.success)
    assert kinds == {True, False}


def test_the_court_answers_alike() -> None:
    seed = next(str(number) for number in range(1_000) if crc32(str(number).encode()) % WITNESSED_EVERY == 0)
    answers = RandomDisputes(witness=specified_chain).play(seed, ACTS)
    assert answers == {name: ["all acts answered alike"] for name in ("spec, court", "contract, court")}


def test_a_difference_that_only_the_witness_shows_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SpecifiedNode, "balance_wei", lambda self, address: 1)
    rules, written = RandomDisputes().written("specified", ACTS)
    (spec, contract) = RandomDisputes(witness=specified_chain).replay(rules, written).items()
    assert contract[0] == "contract, court of the witness"
    assert spec[1] != contract[1]


def test_snapshots_restore_all_storage() -> None:
    node = SpecifiedNode([(SENDER, RICH)])
    before = node.snapshot()
    created = node.transact(SENDER, None, Artefact.load("arbiter").creation_bytecode, 0, START_TIME).created
    assert created
    assert node.code(created)
    after = node.snapshot()
    node.restore(before)
    assert not node.code(created)
    node.restore(after)
    assert node.code(created)
    assert node.balance_wei(SENDER) == RICH


def test_the_engine_is_asked_about_a_sample(embedded: EmbeddedEvm) -> None:
    room: EngineRoom = engine_room()
    case = Witness(witnesses(Random("room"))[0])
    assert SpecifiedEvm.name in room.for_case(EMBEDDED_EVERY).ask(case)
    assert SpecifiedEvm.name not in room.for_case(1).ask(case)


def test_a_broken_arbiter_is_seen() -> None:
    """The engine runs the bytecode that it is given, here one that branches without signs."""
    start = point("blt", assemble("blt", 0, 1, 2, 8), {1: 1 << 63, 2: 1}).start
    witness = make_witness(start.state())
    broken = EmbeddedEvm(compiled("arbiter", "(a ^ SIGN64) < (b ^ SIGN64)", "a < b"))
    assert SpecifiedEvm(broken).execute(witness) == broken.execute(witness) != SpecWitness().execute(witness)
