"""Claims whose servers are asked for much, and claims that fall when their server likes, for the tests of the game contract."""

from attrs import evolve
from evm_dispute import Dispute

from evm_arbiter.court import Court


def whole_tree(dispute: Dispute) -> list[bytes]:
    """Opens every node down to the single stages, from the root on; returns all of them, the last stage's last."""
    nodes = [dispute.node_id]
    for node_id in nodes:  # which grows
        at = evolve(dispute, node_id=node_id)
        if at.last()[0].hi - at.last()[0].lo > 1:
            at.post()
            for part in range(len(at.last()[1]) // 32 + 1):
                child = evolve(at)
                child.choose(part)
                nodes.append(child.node_id)
    return nodes


def answered_tree(dispute: Dispute, count: int) -> list[bytes]:
    """Opens so many nodes that are longer than a stage, from the root on, and posts at each of them."""
    nodes = [dispute.node_id]
    for node_id in nodes:  # which grows
        at = evolve(dispute, node_id=node_id)
        at.post()
        for part in range(min(len(at.last()[1]) // 32 + 1, count - len(nodes))):
            child = evolve(at)
            child.choose(part)
            nodes.append(child.node_id)
    return nodes


def junk(court: Court, stage_count: int, **changes: object) -> Dispute:
    """A challenged claim that its server can let fall whenever it likes: the run failed before the last stage, and yet went on."""
    fixed = {"stage": stage_count - 1, "start_status": 1, "last_run_hash": b"\7" * 32}
    return Dispute(court, stage_count, **{**fixed, **changes}).started()  # type: ignore[arg-type]


def concede(dispute: Dispute) -> None:
    """The server opens the last stage of such a claim, so that the claim falls."""
    dispute.open(steps=0, final_state=b"", left_root=bytes(32), final_carry=bytes(32), hashes=b"")


def busy(court: Court) -> None:
    """The server of account 1 is asked for five nodes of another claim."""
    dispute = Dispute(court).started()
    dispute.post()
    for part in range(4):
        evolve(dispute).choose(part)


def due_of(dispute: Dispute) -> int:
    """When the server begins to be late at the node."""
    court = dispute.court
    node, lost_at = court.node_of(dispute.node_id), court.account_of(dispute.server).lost_at
    return min(node.due, max(node.since, lost_at) + court.parameters.effort) if lost_at else node.due
