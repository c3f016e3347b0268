"""From a stage to its instructions: what the contract builds itself, how a stage may end, and every place of a small tree."""

import pytest
from attrs import evolve
from evm_dispute import DATA, FINAL, MODEL, Dispute, carry_of, new_court, request_memory, run_hash, seal
from evm_machine import ENTRY, HALTED, RUNNING, TRAPPED, ZERO, Machine, Memory, machine

from evm_arbiter.chain import keccak256
from evm_arbiter.objects import Answered, ClaimStatus, Event, Fallen, NodeState, Opened, Segment

EXIT = 0x00000073  # ECALL
STEP_LIMIT = 2**32


def commitment(segment: Segment, hashes: bytes) -> bytes:
    numbers = bytes([segment.phase]) + segment.lo.to_bytes(8, "big") + segment.hi.to_bytes(8, "big")
    return keccak256(numbers + segment.agreed + segment.disputed + hashes)


def told(dispute: Dispute) -> Event:
    """The last event but of money."""
    return next(event for event in reversed(dispute.court.events()) if isinstance(event, Answered | Fallen))


def first_memory(dispute: Dispute) -> Memory:
    """What a run begins with: the model, and the request before it."""
    return Memory({**request_memory(dispute.stage_count, DATA).leaves, **dispute.model.leaves})


def test_the_start_of_a_stage_is_built_by_the_contract() -> None:
    """pc = ENTRY, x10 = the stage, the registered model, the carry of the agreed run state, no scratch memory."""
    dispute = Dispute(new_court(), stage=3).started().narrow().open()
    left, right = keccak256(ZERO[33] + MODEL.memory.levels()[33][1]), dispute.start_carry
    text = ENTRY.to_bytes(8, "big") + bytes(72) + (3).to_bytes(8, "big") + bytes(21 * 8 + 9) + keccak256(left + right)
    segment, hashes = Segment(2, 0, dispute.steps, keccak256(text), dispute.final.hash()), dispute.hashes_between(2, 0, dispute.steps)
    node, claim = dispute.court.node_of(dispute.node_id), dispute.court.claim_of(dispute.claim_id)
    assert told(dispute) == Answered(
        dispute.node_id, dispute.claim_id, NodeState.POSTED, segment, hashes, dispute.court.now, dispute.court.parameters.server_time,
        claim.closes_at + dispute.court.parameters.challenger_time,
    )  # fmt: skip
    assert (node.state, node.commitment) == (NodeState.POSTED, commitment(segment, hashes))


def test_ids_and_commitments_are_those_of_the_page() -> None:
    """Down one path, each node; the root's segment ends in the seal until the first answer."""
    dispute = Dispute(new_court(), stage_count=9, stage=5).started()
    court, request = dispute.court, dispute.court.request_of(dispute.request_id)
    assert dispute.node_id == keccak256(dispute.claim_id)
    root = Segment(1, 0, 9, request.first_run_hash, seal(dispute.run_hash, dispute.server))
    assert dispute.last() == (root, b"")
    assert court.node_of(dispute.node_id).commitment == commitment(root, b"")
    dispute.post()
    hashes = dispute.inner_hashes()
    assert dispute.last() == (Segment(1, 0, 9, request.first_run_hash, dispute.run_hash), hashes)
    assert court.node_of(dispute.node_id).commitment == commitment(*dispute.last())
    parent = dispute.node_id
    dispute.choose(2)  # from floor(2 · 9 / 4) to floor(3 · 9 / 4)
    assert dispute.node_id == keccak256(parent + bytes([2]))
    below = Segment(1, 4, 6, hashes[32:64], hashes[64:])
    assert dispute.last() == (below, b"")
    node = court.node_of(dispute.node_id)
    assert (node.commitment, node.depth, node.path, node.opener) == (commitment(below, b""), 2, 2, dispute.challenger)
    dispute.post()
    dispute.choose(1)
    node = court.node_of(dispute.node_id)
    assert (node.depth, node.path) == (3, 0b10_01)
    assert dispute.last()[0] == Segment(1, 5, 6, dispute.boundary(1, 5), hashes[64:])


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
    assert dispute.state is NodeState.ANSWERED
    assert dispute.court.claim_of(dispute.claim_id).status is ClaimStatus.PENDING


@pytest.mark.parametrize("lie", [False, True])
@pytest.mark.parametrize("stage_count", [1, 6])
def test_a_stage_of_one_step_waits_for_the_arbiter(stage_count: int, lie: bool) -> None:
    """From the real start state, for which nothing was posted, to a real end. Its due time and its clock stay as they were."""
    before = machine(EXIT, {10: stage_count - 1}, memory=MODEL.memory)
    final = before.trap(8) if not lie else before.halt()  # a7 is not 93
    dispute = Dispute(new_court(), stage_count, stage_count - 1, steps=1, step=0, before=before, model=before.memory, final=final)
    if stage_count == 1:  # then the stage starts with what the request says
        dispute.before = evolve(before, memory=first_memory(dispute))
        dispute.final = evolve(final, memory=first_memory(dispute))
    dispute.started().narrow()
    court, opened = dispute.court, dispute.court.node_of(dispute.node_id)
    court.set_time(opened.due + 5)
    dispute.open()
    node = court.node_of(dispute.node_id)
    assert node.commitment == commitment(Segment(2, 0, 1, dispute.before.hash(), dispute.final.hash()), b"")
    assert (node.state, node.due, node.server_left, node.since) == (NodeState.OPEN, opened.due, opened.server_left, opened.since)
    assert court.claim_of(dispute.claim_id).open_nodes == 1
    dispute.arbitrate()
    survived = Answered(
        dispute.node_id, dispute.claim_id, NodeState.ANSWERED, dispute.last()[0], b"", court.now, opened.server_left - 5,
        court.claim_of(dispute.claim_id).settles_at,
    )  # fmt: skip
    assert told(dispute) == (Fallen(dispute.claim_id, dispute.node_id, court.now) if lie else survived)


@pytest.mark.parametrize("lie", [False, True])
def test_a_failed_stage_is_decided_when_it_is_opened(lie: bool) -> None:
    """The server survives iff it says that a failed run stays as it is; here the disputed stage is the last one."""
    dispute = Dispute(new_court(), stage=5, start_status=1, last_run_hash=b"\7" * 32 if lie else None).started().narrow()
    before = dispute.last()[0]
    dispute.open(steps=0, final_state=b"", left_root=bytes(32), final_carry=bytes(32), hashes=b"")
    claim, node = dispute.court.claim_of(dispute.claim_id), dispute.court.node_of(dispute.node_id)
    if lie:
        assert told(dispute) == Fallen(dispute.claim_id, dispute.node_id, dispute.court.now)
        assert (claim.status, claim.fell_at) == (ClaimStatus.REJECTED, dispute.node_id)
    else:
        assert (node.state, node.commitment, claim.status) == (NodeState.ANSWERED, commitment(before, b""), ClaimStatus.PENDING)


@pytest.mark.parametrize("k", [2, 3, 5, 64])
@pytest.mark.parametrize("length", [1, 2, 3, 7, 64, 65, 100])
def test_narrowing_reaches_every_stage(k: int, length: int) -> None:
    """Parts are never empty, and the segment of one stage has the hashes on both sides of it."""
    for stage in {0, length // 3, length // 2, length - 1}:
        dispute = Dispute(new_court(k), stage_count=length, stage=stage).started().narrow()
        request, claim = dispute.court.request_of(dispute.request_id), dispute.court.claim_of(dispute.claim_id)
        ends = {0: request.first_run_hash, length: claim.sealed if length == 1 else dispute.run_hash}
        agreed, disputed = (ends.get(at) or dispute.boundary(1, at) for at in (stage, stage + 1))
        assert dispute.last() == (Segment(1, stage, stage + 1, agreed, disputed), b"")


@pytest.mark.parametrize(("k", "longest"), [(2, 57), (3, 38), (5, 26), (9, 20), (32, 13), (33, 13), (64, 11)])
def test_the_longest_path(k: int, longest: int) -> None:
    """2^24 stages of 2^32 steps: as many nodes as R counts; the number that names the place has at most 76 bits, and finds the node."""
    dispute = Dispute(new_court(k), 2**24, 2**24 - 1, STEP_LIMIT, STEP_LIMIT - 2, after_hash=bytes(32))
    dispute.started().played()
    opened = [event for event in dispute.court.events() if isinstance(event, Opened)]
    path = 0
    for event in opened[1:]:
        path = path << (k - 1).bit_length() | event.part
    node = dispute.court.node_of(dispute.node_id)
    assert (len(opened), node.depth, node.path) == (longest, longest, path)
    assert path < 2**76
    assert dispute.court.claim_of(dispute.claim_id).fell_at == dispute.node_id
