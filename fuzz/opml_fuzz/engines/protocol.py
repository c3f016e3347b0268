"""The two methods by which an implementation is asked, and those of a target and of a pair of courts.

`execute` asks for a step from a witness: every arbiter can answer. `run` asks for steps from a whole state: every machine can answer. The
answer is the hash of the state after the step in hex, or `error N` with the number of spec §2.5.
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from opml_fuzz.machine.case import Acts, Case, Deployment
from opml_fuzz.machine.start import Start
from opml_fuzz.machine.target_question import Question
from opml_fuzz.machine.training_case import TrainingStages

Answers = dict[str, list[str]]
"""Answers to one case, by the name of who gave them."""

NO_ANSWER = "no answer"
"""How the answer of a program begins that gave none."""


class OutOfTime(BaseException):
    """The time asked for is up while an engine is still answering, and it did not take too long.

    An engine turns every `Exception` into an answer; this is none."""


class WitnessEngine(Protocol):
    """An engine that executes one step from a witness."""

    name: str

    def execute(self, witness: bytes) -> str:
        """Returns the hash of the state after the step, or `error N`."""


class StateEngine(Protocol):
    """An engine that runs a machine from a whole state."""

    name: str

    def run(self, start: Start, stops: Sequence[int]) -> list[str]:
        """Returns the state hash after each of these ascending numbers of steps; a program's run also how many steps it has executed,
        `N steps`, and the hashes of witnesses: `witness HASH` of the next step, and `first witness HASH` of the first one."""


@runtime_checkable
class Telling(Protocol):
    """An engine that also tells the state itself."""

    name: str

    def preimage(self, start: Start, steps: int) -> bytes:
        """Returns the preimage of the state hash after some steps."""


class CaseEngine(Protocol):
    """An engine that is asked whole cases, about models or floats."""

    name: str

    def answer(self, case: Case) -> list[str] | None:
        """Returns the answer, or None if the case is none for this engine."""


@runtime_checkable
class TellingTensors(Protocol):
    """An engine that also tells what a stage of training leaves in the tensors of its op."""

    name: str

    def tensors(self, case: TrainingStages) -> dict[int, bytes]:
        """Returns the tensors after the last of some stages, by address; none if that stage fails or is not computed here."""


class Target(Protocol):
    """Somebody else's implementation, which answers those questions that it knows."""

    knows: frozenset[str]

    def limit_waiting(self, seconds: float, until: float) -> None:
        """Lets an answer take so many seconds, and no answer longer than the moment `until` of the monotonic clock."""

    def ask(self, questions: Sequence[Question]) -> list[list[str]]:
        """Returns the answers. If there is none to one of the questions, the last of them says why, and no later question is answered."""

    def begin_anew(self) -> None:
        """Forgets everything that was asked."""

    def answers(self, case: Case, ours: Answers) -> Answers:
        """Puts a case to the target in each way that it knows; `ours` are the answers that have been given."""


class Answering(Protocol):
    """Says, fast, what a target must answer."""

    def questions(self, case: Case, knows: frozenset[str]) -> list[tuple[Question, list[str]]]:
        """Returns those of the questions about a case that a target knows, each with the right answer."""

    def witness(self, start: Start) -> bytes:
        """Makes the witness of the next step."""


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

    def question(self, case: Acts | Deployment) -> tuple[Question, list[str]]:
        """Turns a case into a question to a target, and answers it by the specification."""

    def differing(self, case: Acts | Deployment, right: list[str], answer: list[str]) -> tuple[str, str]:
        """Says in words what is right and what a target answered to the first act that it answered wrongly."""

    def without_contract(self) -> "Courts":
        """Leaves the specification's court alone, with which a target can be compared."""

    def written(self, seed: str, acts: int) -> tuple[int, tuple[dict[str, Any], ...]]:
        """Writes random acts down, up to the first that is answered differently, and the number of the parameters that they have."""


def describe(error: Exception) -> str:
    """Describes an exception, as an answer that differs from every right one. Too little memory is no answer, and is raised again."""
    if isinstance(error, MemoryError):
        raise error
    return f"raised {type(error).__name__}: {error}"
