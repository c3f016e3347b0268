"""Questions to put to several implementations at once, and how they are written down.

A *case* is one of four: a step from a machine state, a witness by itself (most often a wrong one), a program run to several stop points,
or random acts at court. Each knows which engines it can ask. An answer is a list of strings: state hashes in hex, or `error N`; so answers
compare, print and travel as they are.

*Source*: spec/README.md 1.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import evolve, field, frozen
from opml_spec.machine.merkle import LEAF_BYTES
from opml_spec.machine.start import start_state
from opml_spec.machine.state import MachineState, decode_status
from opml_spec.machine.witness import make_witness

from opml_fuzz.engines.protocol import Engines
from opml_fuzz.errors import InputError
from opml_fuzz.machine.leaves import memory_of

REGISTERS = 32
Answers = dict[str, list[str]]


@frozen
class Start:
    """A machine state written out: all that the next steps depend on. Leaves that are not there are zero."""

    pc: int
    x: tuple[int, ...]
    leaves: Mapping[int, bytes] = field(factory=dict)
    kind: int = 0
    value: int = 0

    def state(self) -> MachineState:
        """For the specification."""
        state = start_state(memory_of(self.leaves), self.pc, dict(enumerate(self.x)))
        return evolve(state, status=decode_status(self.kind, self.value))

    def to_json(self) -> dict[str, Any]:
        """Numbers in hex; only what is not zero."""
        return {
            "pc": hex(self.pc),
            "x": {str(i): hex(value) for i, value in enumerate(self.x) if value},
            "status": [self.kind, hex(self.value)],
            "memory": {hex(index * LEAF_BYTES): leaf.hex() for index, leaf in sorted(self.leaves.items())},
        }

    @classmethod
    def from_json(cls, text: Mapping[str, Any]) -> "Start":
        x = tuple(int(text["x"].get(str(i), "0"), 0) for i in range(REGISTERS))
        leaves = {int(address, 0) // LEAF_BYTES: bytes.fromhex(leaf) for address, leaf in text["memory"].items()}
        kind, value = text["status"]
        return cls(int(text["pc"], 0), x, leaves, int(kind), int(value, 0))

    def simpler(self) -> Iterable["Start"]:
        """The same with a register or a leaf less."""
        for i in range(1, REGISTERS):
            if self.x[i]:
                yield evolve(self, x=(*self.x[:i], 0, *self.x[i + 1 :]))
        for index in self.leaves:
            yield evolve(self, leaves={other: leaf for other, leaf in self.leaves.items() if other != index})


@frozen
class Step:
    """One step, of the state itself and of its witness."""

    start: Start

    def answers(self, engines: Engines) -> Answers:
        witness = make_witness(self.start.state())
        answers = {engine.name: engine.run(self.start, (1,)) for engine in engines.of_states}
        return answers | {engine.name: [engine.execute(witness)] for engine in engines.of_witnesses}

    def simpler(self) -> Iterable["Step"]:
        return map(Step, self.start.simpler())

    def to_json(self) -> dict[str, Any]:
        return {"case": "step", "start": self.start.to_json()}


@frozen
class Witness:
    """A witness, canonical or not: the hash after the step, or the number of its first error."""

    witness: bytes

    def answers(self, engines: Engines) -> Answers:
        return {engine.name: [engine.execute(self.witness)] for engine in engines.of_witnesses}

    def simpler(self) -> Iterable["Witness"]:
        return ()

    def to_json(self) -> dict[str, Any]:
        return {"case": "witness", "witness": self.witness.hex()}


@frozen
class Program:
    """A run: the state hash at each stop, in steps from the start, and the hash of the witness of the step after the last one."""

    start: Start
    stops: tuple[int, ...]

    def answers(self, engines: Engines) -> Answers:
        return {engine.name: engine.run(self.start, self.stops) for engine in engines.of_programs}

    def simpler(self) -> Iterable["Program"]:
        for i in range(len(self.stops) - 1):
            yield evolve(self, stops=(*self.stops[:i], *self.stops[i + 1 :]))
        if len(self.stops) > 1:
            yield evolve(self, stops=self.stops[:-1])
        for start in self.start.simpler():
            yield evolve(self, start=start)

    def to_json(self) -> dict[str, Any]:
        return {"case": "program", "start": self.start.to_json(), "stops": list(self.stops)}


@frozen
class Disputes:
    """The first so many acts that a seed gives: requests, claims, challenges, moves of games, right ones and wrong ones."""

    seed: str
    acts: int

    def answers(self, engines: Engines) -> Answers:
        return engines.courts.play(self.seed, self.acts)

    def simpler(self) -> Iterable["Disputes"]:
        """The beginning: half, three quarters, …, all but one."""
        left_out = self.acts // 2
        while left_out:
            yield evolve(self, acts=self.acts - left_out)
            left_out //= 2

    def to_json(self) -> dict[str, Any]:
        return {"case": "disputes", "seed": self.seed, "acts": self.acts}


Case = Step | Witness | Program | Disputes


def from_json(text: Any) -> Case:
    """The case of a replay file."""
    try:
        match text["case"]:
            case "step":
                return Step(Start.from_json(text["start"]))
            case "witness":
                return Witness(bytes.fromhex(text["witness"]))
            case "program":
                return Program(Start.from_json(text["start"]), tuple(map(int, text["stops"])))
            case "disputes":
                return Disputes(str(text["seed"]), int(text["acts"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"this is no replay file: {type(error).__name__} {error}") from error
    raise InputError(f"this is no replay file: no case {text['case']!r}")
