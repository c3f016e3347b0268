"""From a stage to its instructions: what the contract builds itself, how a stage may end, and a lie at every boundary of a small run."""

import pytest
from evm_dispute import FINAL, MODEL, Dispute, carry_of, new_court, run_hash
from evm_machine import ENTRY, HALTED, RUNNING, TRAPPED, ZERO, Machine, machine

from evm_arbiter.chain import keccak256
from evm_arbiter.objects import Decided, Moved, Segment

EXIT = 0x00000073  # ECALL
STEP_LIMIT = 2**32


def test_the_start_of_a_stage_is_built_by_the_contract() -> None:
    """pc = ENTRY, x10 = the stage, the registered model, the carry of the agreed run state, no scratch memory."""
    dispute = Dispute(new_court(), stage=3).started().narrow().open()
    left, right = keccak256(ZERO[33] + MODEL.memory.levels()[33][1]), dispute.start_carry
    text = ENTRY.to_bytes(8, "big") + bytes(72) + (3).to_bytes(8, "big") + bytes(21 * 8 + 9) + keccak256(left + right)
    event = dispute.court.events()[-1]
    turn = sum(isinstance(event, Moved) for event in dispute.court.events())
    assert event == Moved(dispute.game_id, Segment(2, 0, dispute.steps, keccak256(text), dispute.final.hash(), turn), b"")


@pytest.mark.parametrize("stage", [0, 3, 5])
@pytest.mark.parametrize(("final", "steps"), [
    (FINAL, 7),
    (Machine(kind=HALTED, value=1, memory=FINAL.memory), 7),
    (Machine(kind=HALTED, value=2**63, memory=FINAL.memory), 7),
    *[(Machine(kind=TRAPPED, value=cause, memory=FINAL.memory), STEP_LIMIT) for cause in (0, 1, 2, 3, 5, 7, 8)],
    (Machine(kind=RUNNING, memory=FINAL.memory), STEP_LIMIT),
])  # fmt: skip
def test_every_way_that_a_stage_can_end(stage: int, final: Machine, steps: int) -> None:
    """Only HALTED(0) carries memory on; all else is FAILED with the old carry."""
    dispute = Dispute(new_court(), stage=stage, steps=steps, step=3, final=final).started().narrow().open()
    assert dispute.next_run_hash == (run_hash(carry_of(final.memory)) if final is FINAL else run_hash(dispute.start_carry, 1))
    dispute.narrow().arbitrate()
    assert dispute.court.events()[-1] == Decided(dispute.game_id, dispute.claim_id, True)


@pytest.mark.parametrize("lie", [False, True])
def test_a_stage_of_one_step_goes_straight_to_the_arbiter(lie: bool) -> None:
    """From the real start state, for which nothing was posted, to a real end."""
    before = machine(EXIT, {10: 4}, memory=MODEL.memory)
    final = before.trap(8) if not lie else before.halt()  # a7 is not 93
    dispute = Dispute(new_court(), stage=4, steps=1, step=0, before=before, model=before.memory, final=final).started()
    dispute.narrow().open().arbitrate()
    assert dispute.court.events()[-1] == Decided(dispute.game_id, dispute.claim_id, not lie)


@pytest.mark.parametrize("k", [2, 3, 5, 64])
@pytest.mark.parametrize("length", [1, 2, 3, 7, 64, 65, 100])
def test_narrowing_reaches_every_stage(k: int, length: int) -> None:
    """Parts are never empty, and the segment of one stage has the hashes on both sides of it."""
    for stage in {0, length // 3, length // 2, length - 1}:
        dispute = Dispute(new_court(k), stage_count=length, stage=stage).started().narrow()
        request, claim = dispute.court.request_of(dispute.request_id), dispute.court.claim_of(dispute.claim_id)
        ends = {0: request.first_run_hash, length: claim.run_hash}
        agreed, disputed = (ends.get(at) or dispute.boundary(1, at) for at in (stage, stage + 1))
        turns = sum(isinstance(event, Moved) for event in dispute.court.events())
        assert dispute.last() == (Segment(1, stage, stage + 1, agreed, disputed, turns), b"")


def test_the_longest_game() -> None:
    """2^24 stages of 2^32 steps: as many rounds as the bound on a side's moves counts."""
    dispute = Dispute(new_court(32), stage_count=2**24, stage=2**24 - 1, steps=STEP_LIMIT, step=STEP_LIMIT - 2)
    dispute.started().narrow().open().narrow().arbitrate()
    moves = [transaction.move for transaction in dispute.court.transactions]
    assert moves.count("post") == moves.count("choose") == 5 + 7
    assert dispute.court.game_of(dispute.game_id).moves == 1 + 12
