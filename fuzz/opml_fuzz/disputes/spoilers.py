"""Spoilers: they take a call that is probably right and change one thing in it.

Each argument is spoiled in the ways that its meaning suggests, so that every error comes up, and also which of two errors is reported. No
argument gets longer than the contract's interface takes.
"""

from collections.abc import Sequence
from random import Random
from typing import Any

from attrs import evolve
from opml_spec.dispute.acts import PAYABLE, Act
from opml_spec.dispute.narrowing import Segment
from opml_spec.dispute.objects import Court
from opml_spec.dispute.parameters import WEI_LIMIT, YEAR
from opml_spec.machine.merkle import ZERO
from opml_spec.runs.limits import STAGE_STEP_LIMIT

from opml_fuzz.disputes.call import ARGUMENTS, Call
from opml_fuzz.machine.wrong_witnesses import spoil as spoil_witness

MOST_BYTES = {
    "data": 16_385,
    "hashes": 32 * 64,
    "final_state": 298,
    "witness": 297 + 3 * (37 + 35 * 32) + 1,
    "output": 32_769,
    "proof": 5 + 34 * 32 + 1,
}
LARGEST = (1 << 64) - 1
IDS = {"model_id": "models", "request_id": "requests", "claim_id": "claims", "node_id": "nodes"}
IN_TREE = ("post", "choose", "open", "arbitrate", "timeout")


def spoiled(rng: Random, call: Call, court: Court, people: Sequence[bytes]) -> Call:
    """Changes one thing: the sender, the money, an argument, or in a tree the kind of move."""
    if call.move in IN_TREE and rng.random() < 0.25:
        return another_move(rng, call, court)
    names = ARGUMENTS[call.move]
    which = rng.randrange(-1 - (call.move in PAYABLE), len(names))
    if which == -1:
        return evolve(call, sender=rng.choice(people))
    if which == -2:
        value = max(0, call.act.value + rng.choice((-1, 1, -call.act.value, WEI_LIMIT, *of_the_line(call, court))))
        if value < WEI_LIMIT <= value + court.ledger.deposits:
            return call  # no chain has so much money
        return evolve(call, act=evolve(call.act, value=value))
    if call.move == "open" and rng.random() < 0.3:
        which = names.index(rng.choice(("steps", "final_state")))
    if names[which] in IDS and rng.random() < 0.6:
        which = len(names) - 1  # a wrong id hides everything else
    return call.with_argument(which, spoiled_argument(rng, names[which], call.act.arguments[which], call, court, people))


def of_the_line(call: Call, court: Court) -> list[int]:
    """The price of the line, which a claim pays for nothing or leaves out."""
    asked = court.requests.get(call.act.arguments[0]) if call.move == "claim" else None
    if asked is None:
        return []
    price = court.models[asked.model_id].work(asked.stage_count) * court.parameters.second_price
    return 2 * [price, -price]


def another_move(rng: Random, call: Call, court: Court) -> Call:
    """Changes the kind of move; the node stays."""
    node_id, node = call.act.arguments[0], court.nodes.get(call.act.arguments[0])
    if node is None:
        return call
    zero, segment = bytes(32), node.segment
    kinds: dict[str, tuple[Any, ...]] = {
        "post": (segment, b"", zero),
        "choose": (segment, node.posted, 0),
        "open": (segment, zero, 0, 1, b"", zero, zero, b"", zero),
        "arbitrate": (segment, b""),
        "timeout": (),
    }
    move = rng.choice([*kinds])
    value = court.parameters.node_bond if move == "choose" else 0
    return evolve(call, act=Act(move, (node_id, *kinds[move]), value))


def spoiled_argument(rng: Random, name: str, value: Any, call: Call, court: Court, people: Sequence[bytes]) -> Any:
    match name:
        case "model_id" | "request_id" | "claim_id" | "node_id":
            return rng.choice([bytes(32), *list(getattr(court, IDS[name]))[-8:]])
        case "server" | "to":
            return rng.choice(people)
        case "part":
            return rng.choice((min(value + 1, 255), rng.randrange(64), court.parameters.k - 1, court.parameters.k, 255))
        case "start_status" | "status":
            return rng.choice((0, 1, 2, 255))
        case "steps":
            return rng.choice((0, 1, 2, min(value + 1, LARGEST), STAGE_STEP_LIMIT - 1, STAGE_STEP_LIMIT, STAGE_STEP_LIMIT + 1, LARGEST))
        case "stage_count":
            return rng.choice((0, min(value + 1, LARGEST), 1 << 24, (1 << 24) + 1, LARGEST))
        case "stage_microseconds":
            return rng.choice((0, 1, (1 << 32) - 1, 1 << 32, LARGEST))
        case "deadline" | "latest":
            return rng.choice((0, value - 1 if value else 0, call.now - 1, call.now, call.now + YEAR, call.now + YEAR + 1, LARGEST))
        case "bond":
            return rng.choice((0, court.parameters.min_bond - 1, court.parameters.min_bond, (1 << 128) - 1, 1 << 128))
        case "segment":
            return spoiled_segment(rng, value, court)
        case "final_state":
            kind, number = rng.choice((0, 1, 2, 3)), rng.choice((0, 0, 1, 4, 8, LARGEST))
            other = value[:256] + bytes([kind]) + number.to_bytes(8, "big") + value[265:]
            running = value[:256] + bytes(9) + value[265:]
            shorter, longer = value[:255] + value[256:], value[:256] + b"\0" + value[256:]  # of the registers; all else may be right
            return rng.choice((running, other, shorter, longer, spoiled_bytes(rng, value)))[: MOST_BYTES[name]]
        case "witness":
            return spoil_witness(rng, value)[: MOST_BYTES[name]]
        case "proof":
            sent = int.from_bytes(value[:5], "big") ^ 1 << rng.randrange(40)
            zero = value[:5] + ZERO[rng.randrange(34)] + value[37:]
            return rng.choice((sent.to_bytes(5, "big") + value[5:], zero, spoiled_bytes(rng, value)))[: MOST_BYTES[name]]
        case "data":
            return rng.choice((spoiled_bytes(rng, value), rng.randbytes(rng.choice((16_384, 16_385)))))[: MOST_BYTES[name]]
        case "output":
            count = rng.choice((0, 1, 9, 4_096, 4_097)).to_bytes(8, "little") + value[8:]
            part_of_a_leaf = value + b"\1"  # behind leaves that may be right
            return rng.choice((count, bytes(32 * 1025), part_of_a_leaf, spoiled_bytes(rng, value)))[: MOST_BYTES[name]]
        case "hashes":
            return spoiled_bytes(rng, value)[: MOST_BYTES[name]]
    return bytes([value[0] ^ 1]) + value[1:]  # a hash


def spoiled_bytes(rng: Random, value: bytes) -> bytes:
    """Makes bytes longer or shorter, or flips a bit."""
    at = rng.randrange(len(value) + 1)
    flipped = value[:at] + bytes(byte ^ 1 << rng.randrange(8) for byte in value[at : at + 1]) + value[at + 1 :]
    return rng.choice((b"", value[:-1], value[:-32], value[:at], value + b"\0", value + bytes(32), value + b"\1" * 32, flipped))


def spoiled_segment(rng: Random, segment: Segment, court: Court) -> Segment:
    """Changes a segment in one place, or takes that of another node."""
    changes: tuple[dict[str, Any], ...] = (
        {"phase": 3 - segment.phase},
        {"lo": segment.lo + 1},
        {"hi": segment.hi + 1},
        {"agreed": segment.disputed},
        {"disputed": segment.agreed},
        {"hi": segment.lo},
        {"lo": segment.hi, "hi": segment.lo},
    )
    others = [node.segment for node in list(court.nodes.values())[-4:]]
    return rng.choice([evolve(segment, **rng.choice(changes)), *others])
