"""The two methods by which an implementation is asked, and the one for a pair of courts.

`execute` asks for a step from a witness: every arbiter can answer. `run` asks for steps from a whole state: every machine can answer. The
answer is the hash of the state after the step in hex, or `error N` with the number of spec §2.5.
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from opml_fuzz.machine.start import Start

NO_ANSWER = "no answer"
"""How the answer of a program begins that gave none."""


class OutOfTime(BaseException):
    """The time asked for is up while an engine is still answering, and it did not take too long.

    An engine turns every `Exception` into an answer; this is none."""


@runtime_checkable
class Waiting(Protocol):
    """An engine that may have to be waited for."""

    def limit_waiting(self, seconds: float, until: float) -> None:
        """Lets an answer take so many seconds, and no answer longer than the moment `until` of the monotonic clock."""


class WitnessEngine(Protocol):
    """An engine that executes one step from a witness."""

    name: str

    def execute(self, witness: bytes) -> str:
        """Returns the hash of the state after the step, or `error N`."""


class StateEngine(Protocol):
    """An engine that runs a machine from a whole state."""

    name: str

    def run(self, start: Start, stops: Sequence[int]) -> list[str]:
        """Returns the state hash after each of these ascending numbers of steps; a program's run also the hashes of witnesses:
        `witness HASH` of the next step, and `first witness HASH` of the first one."""


class Courts(Protocol):
    """A pair of courts that answer the same acts. Its methods return by court what it says about the first act that they answer
    differently, or the same for both if there is none."""

    accepted: int
    """Acts accepted so far."""

    def play(self, seed: str, acts: int) -> dict[str, list[str]]:
        """Makes random acts."""

    def replay(self, rules: int, acts: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
        """Makes acts that are written down."""

    def deploy(self, parameters: tuple[int, ...]) -> dict[str, list[str]]:
        """Deploys on both."""

    def written(self, seed: str, acts: int) -> tuple[int, tuple[dict[str, Any], ...]]:
        """Writes random acts down, up to the first that is answered differently, and the number of the parameters that they have."""


def describe(error: Exception) -> str:
    """Describes an exception, as an answer that differs from every right one. Too little memory is no answer, and is raised again."""
    if isinstance(error, MemoryError):
        raise error
    return f"raised {type(error).__name__}: {error}"
