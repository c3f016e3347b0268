"""The specification as three engines: one step from a witness, one step from a state, and many steps."""

from collections.abc import Sequence

from opml_spec.errors import SpecError
from opml_spec.hashing import keccak256
from opml_spec.machine.state import RUNNING, encode, state_hash
from opml_spec.machine.step import step
from opml_spec.machine.witness import execute_witness, make_witness

from opml_fuzz.engines.protocol import describe
from opml_fuzz.machine.relation import Related
from opml_fuzz.machine.start import Start


class SpecWitness:
    """The engine that executes one step from a witness."""

    name = "spec, from the witness"

    def execute(self, witness: bytes) -> str:
        try:
            return execute_witness(witness)[1].hex()
        except SpecError as error:
            return f"error {error.number}"
        except Exception as error:  # any other exception is a finding
            return describe(error)


class SpecStates:
    """What the engines have in common that execute steps from a state."""

    name = "spec"

    def preimage(self, start: Start, steps: int) -> bytes:
        state = start.state()
        for _ in range(steps):
            state = step(state)
        return encode(state)


class SpecState(SpecStates):
    """The engine that executes one step from a state."""

    def run(self, start: Start, stops: Sequence[int]) -> list[str]:
        try:
            return [state_hash(step(start.state())).hex()]
        except Exception as error:
            return [describe(error)]


class SpecProgram(SpecStates):
    """The engine that executes a program, step by step."""

    def run(self, start: Start, stops: Sequence[int]) -> list[str]:
        try:
            state, steps, executed, hashes = start.state(), 0, 0, []
            first = keccak256(make_witness(state)).hex()
            for stop in stops:
                for _ in range(stop - steps):
                    executed += state.status == RUNNING
                    state = step(state)
                steps = stop
                hashes.append(state_hash(state).hex())
            return [*hashes, f"{executed} steps", "witness " + keccak256(make_witness(state)).hex(), "first witness " + first]
        except Exception as error:
            return [describe(error)]


def related_ends(case: Related) -> list[str]:
    """The hashes of the first run's end, and of what the relation makes of it."""
    try:
        end = case.start.state()
        for _ in range(case.steps):
            end = step(end)
        return [state_hash(end).hex(), state_hash(case.other_end(end)).hex()]
    except Exception as error:
        return [describe(error)]
