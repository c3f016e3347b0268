"""The machine state that a call of `open` brings, in the proofs about the game: symbols are decoded as real bytes are."""

from typing import Any

import pytest
import z3
from opml_fuzz.proofs.game.court import GameWorld, replaced
from opml_fuzz.proofs.game.facts import Facts
from opml_fuzz.proofs.game.machine import Block
from opml_fuzz.proofs.game.machine_state import any_state
from opml_fuzz.proofs.game.numbers import GamePaths, term_of
from opml_fuzz.proofs.step.machine_symbols import Octets
from opml_spec.dispute.parameters import Parameters
from opml_spec.errors import StateUndecodable
from opml_spec.machine.state import PREIMAGE_BYTES, MachineState, decode_state, encode

WORDS = bytes(range(7, 256)) + bytes(range(7))
STATUSES = [(0, 0), (0, 1), (1, 0), (1, 1 << 63), *((2, cause) for cause in range(10)), (2, 1 << 32), (3, 0), (255, 5)]
FIELDS = any_state("state")


def decoded(state: Any) -> MachineState | None:
    try:
        return decode_state(state)
    except StateUndecodable:
        return None


def on_all_paths() -> list[tuple[Any, MachineState | None, Any]]:
    """How any state is decoded: what each path assumes, the state, and the bytes that it is encoded as."""
    paths = GamePaths(True)
    world = GameWorld(Parameters(), paths, Facts(), Block(*z3.BitVecs("sender now basefee", 256)))

    def run() -> tuple[MachineState | None, Any]:
        found = decoded(Octets(FIELDS, paths))
        return found, encode(found) if found else None

    with replaced(world):
        return [(z3.And(conditions), *found) for conditions, found in paths.explore(run)]


PATHS = on_all_paths()


@pytest.mark.parametrize(("kind", "value"), STATUSES)
def test_a_state_of_symbols_is_decoded_as_one_of_bytes(kind: int, value: int) -> None:
    """Filled in, exactly one path is taken. It finds the same status, registers and root, and gives the same bytes back."""
    real = WORDS + bytes([kind]) + value.to_bytes(8, "big") + b"r" * 32
    numbers, at = [], 0
    for term, size in FIELDS:
        numbers.append((term, z3.BitVecVal(int.from_bytes(real[at : at + size], "big"), 8 * size)))
        at += size
    assert at == len(real) == PREIMAGE_BYTES

    def filled(term: Any) -> Any:
        return z3.simplify(z3.substitute(term, *numbers))

    ((found, encoded),) = ((state, back) for conditions, state, back in PATHS if z3.is_true(filled(conditions)))
    wanted = decoded(real)
    assert (found is None) == (wanted is None)
    if found is None or wanted is None:
        return
    assert found.status.kind == wanted.status.kind
    for one, other in ((found.status.value, wanted.status.value), (found.pc, wanted.pc), *zip(found.x, wanted.x, strict=True)):
        assert filled(term_of(one)).as_long() == other
    assert filled(encoded.term).as_long().to_bytes(PREIMAGE_BYTES, "big") == real
