"""Spoilers: they take a call that is probably right and change one thing in it.

Each argument is spoiled in the ways that its meaning suggests, so that every error comes up, and also which of two errors is reported. No
argument gets longer than the contract's interface takes.
"""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from attrs import evolve
from opml_spec.machine.merkle import ZERO
from opml_spec.runs.limits import STAGE_STEP_LIMIT

from evm_arbiter.objects import Segment
from opml_fuzz.disputes.both_courts import BothCourts, Call
from opml_fuzz.machine.wrong_witnesses import spoil as spoil_witness

ARGUMENTS = {
    "request": ("id", "stages", "data", "time", "address"),
    "claim": ("id", "hash"),
    "challenge": ("id",),
    "post": ("id", "segment", "hashes"),
    "choose": ("id", "segment", "hashes", "part"),
    "open": ("id", "segment", "hash", "status", "steps", "state", "hash", "hash"),
    "arbitrate": ("id", "segment", "witness"),
    "timeout": ("id", "segment", "hashes"),
    "finalise": ("id", "hash", "status", "output", "proof"),
    "collect": ("id",),
    "reclaim": ("id",),
    "withdraw_to": ("address",),
}
PAYABLE = ("request", "claim", "challenge")
MOST_BYTES = {
    "data": 16_385,
    "hashes": 32 * 64,
    "state": 298,
    "witness": 297 + 3 * (37 + 35 * 32) + 1,
    "output": 32_769,
    "proof": 5 + 34 * 32 + 1,
}
LARGEST = (1 << 64) - 1


def spoiled(rng: Random, call: Call, courts: BothCourts, history: Mapping[bytes, Sequence[Segment]]) -> Call:
    """Changes one thing: the sender, the money, an argument, or in a game the kind of move. history: earlier segments, by game"""
    if "segment" in ARGUMENTS[call.move] and rng.random() < 0.3:
        return another_move(rng, call)
    names = ARGUMENTS[call.move]
    which = rng.randrange(-1 - (call.move in PAYABLE), len(names))
    if which == -1:
        return evolve(call, sender=rng.choice(courts.people))
    if which == -2:
        return evolve(call, value=max(0, call.value + rng.choice((-1, 1, -call.value))))
    if names[which] == "id" and rng.random() < 0.5:
        which = len(names) - 1  # a wrong id hides everything else
    value = call.arguments[which]
    if names[which] == "segment":
        value = spoiled_segment(rng, value, history.get(call.arguments[0], []))
    else:
        value = spoiled_argument(rng, courts, names[which], value)
    return evolve(call, arguments=(*call.arguments[:which], value, *call.arguments[which + 1 :]))


def another_move(rng: Random, call: Call) -> Call:
    """Changes the kind of move, often to the timeout; game and segment stay."""
    posted = call.arguments[2] if call.move in ("choose", "timeout") else b""
    kinds: dict[str, tuple[Any, ...]] = {
        "post": (b"",),
        "choose": (posted, 0),
        "open": (bytes(32), 0, 1, b"", bytes(32), bytes(32)),
        "arbitrate": (b"",),
        "timeout": (posted,),
    }
    move = rng.choice([*kinds, "timeout"])
    return evolve(call, move=move, arguments=(*call.arguments[:2], *kinds[move]))


def spoiled_argument(rng: Random, courts: BothCourts, name: str, value: Any) -> Any:
    match name:
        case "id":
            spec = courts.spec
            kinds = [kind for kind in (spec.models, spec.requests, spec.claims, spec.games) if value in kind or rng.random() < 0.2]
            return rng.choice([bytes(32), *(identity for kind in kinds for identity in kind)])
        case "address":
            return rng.choice(courts.people)
        case "part":
            return rng.choice((min(value + 1, 255), rng.randrange(256), 255))
        case "status":
            return rng.choice((0, 1, 2, 255))
        case "steps":
            return rng.choice((0, 0, 0, 1, min(value + 1, LARGEST), STAGE_STEP_LIMIT - 1, STAGE_STEP_LIMIT, STAGE_STEP_LIMIT + 1, LARGEST))
        case "stages":
            return rng.choice((0, min(value + 1, LARGEST), 1 << 24, (1 << 24) + 1, LARGEST))
        case "time":
            return rng.choice((0, courts.now - 1, courts.now, LARGEST))
        case "state":
            kind, number = rng.choice((0, 1, 2, 3)), rng.choice((0, 0, 1, 4, 8, LARGEST))
            other = value[:256] + bytes([kind]) + number.to_bytes(8, "big") + value[265:]
            return rng.choice((other, other, spoiled_bytes(rng, value)))[: MOST_BYTES[name]]
        case "witness":
            return spoil_witness(rng, value)[: MOST_BYTES[name]]
        case "proof":
            sent = int.from_bytes(value[:5], "big") ^ 1 << rng.randrange(40)
            zero = value[:5] + ZERO[rng.randrange(34)] + value[37:]
            return rng.choice((sent.to_bytes(5, "big") + value[5:], zero, spoiled_bytes(rng, value)))[: MOST_BYTES[name]]
        case "data":
            return rng.choice((spoiled_bytes(rng, value), bytes(rng.choice((16_384, 16_385)))))[: MOST_BYTES[name]]
        case "output":
            count = rng.choice((0, 1, 9, 4_096, 4_097)).to_bytes(8, "little") + value[8:]
            return rng.choice((count, bytes(32 * 1025)[: MOST_BYTES[name]], spoiled_bytes(rng, value)))[: MOST_BYTES[name]]
        case "hashes":
            return spoiled_bytes(rng, value)[: MOST_BYTES[name]]
    return bytes([value[0] ^ 1]) + value[1:]  # a hash


def spoiled_bytes(rng: Random, value: bytes) -> bytes:
    """Makes bytes longer or shorter, or flips a bit."""
    at = rng.randrange(len(value) + 1)
    flipped = value[:at] + bytes(byte ^ 1 << rng.randrange(8) for byte in value[at : at + 1]) + value[at + 1 :]
    return rng.choice((b"", value[:-1], value[:-32], value[:at], value + b"\0", value + bytes(32), value + b"\1" * 32, flipped))


def spoiled_segment(rng: Random, segment: Segment, history: Sequence[Segment]) -> Segment:
    """Changes a segment in one place, or takes an earlier one of the same game."""
    changes: tuple[dict[str, Any], ...] = (
        {"turn": segment.turn + 1},
        {"phase": 3 - segment.phase},
        {"lo": segment.lo + 1},
        {"hi": segment.hi + 1},
        {"agreed": segment.disputed},
        {"disputed": segment.agreed},
        {"hi": segment.lo},
        {"lo": segment.hi, "hi": segment.lo},
    )
    return rng.choice([evolve(segment, **rng.choice(changes)), *history[-3:]])
