"""The two methods by which an implementation is asked, and the one for a pair of courts.

`execute` asks for a step from a witness: every arbiter can answer. `run` asks for steps from a whole state: every machine can answer. The
answer is the hash of the state after the step in hex, or `error N` with the number of spec §2.5.
"""

from collections.abc import Sequence
from typing import Protocol

from opml_fuzz.machine.start import Start


class WitnessEngine(Protocol):
    """An engine that executes one step from a witness."""

    name: str

    def execute(self, witness: bytes) -> str:
        """Returns the hash of the state after the step, or `error N`."""


class StateEngine(Protocol):
    """An engine that runs a machine from a whole state."""

    name: str

    def run(self, start: Start, stops: Sequence[int]) -> list[str]:
        """Returns the state hash after each of these ascending numbers of steps; a program's run also `witness HASH` of the next step."""


class Courts(Protocol):
    """A pair of courts that answer the same random acts."""

    games: int
    """Games begun so far."""

    def play(self, seed: str, acts: int) -> dict[str, list[str]]:
        """Returns each court's answer to the first act that they answer differently. If there is no such act, the two answers are equal."""


def describe(error: Exception) -> str:
    """Describes an exception, as an answer that differs from every right one."""
    return f"raised {type(error).__name__}: {error}"
