"""What is asked of an implementation.

There are two ways to ask about a step: with a witness, which all can answer that judge, and with a whole state, which all can answer that
run. An answer is the hash of the state after it in hex, or `error N` with the number of spec/README.md 1.5. Courts are asked together.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from attrs import frozen

if TYPE_CHECKING:
    from opml_fuzz.machine.case import Start


class WitnessEngine(Protocol):
    """Executes one step from a witness."""

    name: str

    def execute(self, witness: bytes) -> str:
        """The hash of the state after the step, or `error N`."""


class StateEngine(Protocol):
    """Runs a machine from a state that it is given whole."""

    name: str

    def run(self, start: "Start", stops: Sequence[int]) -> list[str]:
        """The state hash after each of these numbers of steps (ascending); engines of programs append `witness HASH` of the next step."""


class Courts(Protocol):
    """Courts that are played on side by side."""

    games: int
    """Begun so far."""

    def play(self, seed: str, acts: int) -> dict[str, list[str]]:
        """What each says to the first act that they do not answer alike; the same of all if there is none."""


@frozen
class Engines:
    """Those that are asked."""

    of_witnesses: tuple[WitnessEngine, ...]
    of_states: tuple[StateEngine, ...]
    of_programs: tuple[StateEngine, ...]
    courts: Courts


def describe(error: Exception) -> str:
    """An answer that nobody should give: it differs from all others."""
    return f"raised {type(error).__name__}: {error}"
