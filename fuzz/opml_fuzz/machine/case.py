"""Questions to put to several implementations at once, and how they are written down.

A *case* is one of twelve: a step from a machine state, a witness by itself (usually a wrong one), a program run to several stop points, two
related runs (`relation.py`), random acts at court, given ones, a deployment of the game; and those of `model_case.py`: an operation on
floats, a stage of a model, a run; and those of `training_case.py`: stages of a training run, a tape for a loader.
A case is only data; `engines/room.py` puts it to the implementations.

*Source*: spec §2.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from attrs import astuple, evolve, field, fields, frozen
from opml_spec.dispute.parameters import Parameters
from opml_spec.errors import SpecError
from opml_spec.machine.witness import make_witness

from opml_fuzz.errors import InputError
from opml_fuzz.machine.edits import Edit, simpler_bytes
from opml_fuzz.machine.model_case import FloatOperation, ModelImage, OneStage, WholeRun
from opml_fuzz.machine.random_floats import operand_bits
from opml_fuzz.machine.relation import Related
from opml_fuzz.machine.replay_limits import within_limits
from opml_fuzz.machine.simpler import fewer_words, parts, simpler_numbers, simpler_starts
from opml_fuzz.machine.start import Start, listed, whole
from opml_fuzz.machine.training_case import TrainingStages, TrainingTape

MOST_WITNESS_BYTES, MOST_STOP, MOST_STOPS, MOST_ACTS, MOST_RULES = 1 << 16, 1 << 17, 1 << 8, 1 << 11, 1 << 10  # in a replay file
AMOUNTS, AMOUNT_BITS, PARAMETER_BITS = ("min_bond", "node_bond"), 128, 64  # of the game


@frozen
class Step:
    """One step, executed from the state itself and from its witness."""

    start: Start

    def simpler(self) -> Iterable["Step"]:
        return map(Step, simpler_starts(self.start))

    def to_json(self) -> dict[str, Any]:
        return {"case": "step", "start": self.start.to_json()}


@frozen
class Witness:
    """A witness, valid or not: it leads to the hash after the step, or to the number of its first error.

    start, edits: the state that it is the witness of, and what was changed in it, if that is known"""

    witness: bytes
    start: Start | None = field(default=None, eq=False)
    edits: tuple[Edit, ...] = field(default=(), eq=False)

    def simpler(self) -> Iterable["Witness"]:
        """Yields witnesses with fewer or plainer edits, of simpler states; if these are not known, witnesses with fewer bytes."""
        if self.start is None:
            yield from map(Witness, simpler_bytes(self.witness))
            return
        for left_out in range(len(self.edits)):
            yield edited(self.start, (*self.edits[:left_out], *self.edits[left_out + 1 :]))
        for start in simpler_starts(self.start):
            yield edited(start, self.edits)
        for place, edit in enumerate(self.edits):
            for plainer in edit.simpler():
                yield edited(self.start, (*self.edits[:place], plainer, *self.edits[place + 1 :]))

    def to_json(self) -> dict[str, Any]:
        return {"case": "witness", "witness": self.witness.hex()}


def edited(start: Start, edits: Iterable[Edit]) -> Witness:
    """Makes the witness of a state and changes it."""
    edits, witness = tuple(edits), make_witness(start.state())
    for edit in edits:
        witness = edit.apply(witness)
    return Witness(witness, start, edits)


@frozen
class Program:
    """A run with several stops, counted in steps from the start.

    Each stop asks for the state hash; the hashes of the witnesses of the first step and of the one after the last stop are asked, too."""

    start: Start
    stops: tuple[int, ...]

    def simpler(self) -> Iterable["Program"]:
        for i in range(len(self.stops) - 1):
            yield evolve(self, stops=(*self.stops[:i], *self.stops[i + 1 :]))
        if len(self.stops) > 1:
            yield evolve(self, stops=self.stops[:-1])
        last = self.stops[-1]
        if len(self.stops) == 1:
            yield from (evolve(self, stops=(fewer,)) for fewer in dict.fromkeys((1, 2, 3, last // 2, last - 1)) if 0 < fewer < last)
            yield from (evolve(self, start=start, stops=(last - words,)) for start, words in fewer_words(self.start, last))
        for start in simpler_starts(self.start):
            yield evolve(self, start=start)

    def to_json(self) -> dict[str, Any]:
        return {"case": "program", "start": self.start.to_json(), "stops": list(self.stops)}


@frozen
class Disputes:
    """The first `acts` acts that a seed gives: requests, claims, moves in dispute trees, ends of claims, both valid and invalid."""

    seed: str
    acts: int

    def simpler(self) -> Iterable["Disputes"]:
        return ()

    def to_json(self) -> dict[str, Any]:
        return {"case": "disputes", "seed": self.seed, "acts": self.acts}


@frozen
class Acts:
    """Acts at court that are written down, one after the other, and the number of the parameters under which they happen."""

    rules: int
    acts: tuple[dict[str, Any], ...]
    left_out: int = field(default=1 << 30, eq=False)
    """How many acts in a row are left out at once, when the case is made simpler."""

    def simpler(self) -> Iterable["Acts"]:
        """Yields the case without some acts in a row: first half of them, at last every single one."""
        size = min(self.left_out, len(self.acts) // 2)
        while size:
            for start in range(0, len(self.acts), size):
                yield Acts(self.rules, self.acts[:start] + self.acts[start + size :], size)
            size //= 2

    def to_json(self) -> dict[str, Any]:
        return {"case": "acts", "rules": self.rules, "acts": list(self.acts)}


@frozen
class Deployment:
    """A deployment of the game with these parameters, in the order of spec §5.9: it is accepted or refused."""

    parameters: tuple[int, ...]

    def simpler(self) -> Iterable["Deployment"]:
        """Yields the deployment with some parameters as they are by default, or with rounder ones."""
        default = astuple(Parameters())
        for usual in parts([i for i, value in enumerate(self.parameters) if value != default[i]]):
            yield Deployment(tuple(default[i] if i in usual else value for i, value in enumerate(self.parameters)))
        for i, value in enumerate(self.parameters):
            yield from (self._with(i, rounder) for rounder in simpler_numbers(value) if value != default[i])

    def _with(self, place: int, value: int) -> "Deployment":
        return Deployment((*self.parameters[:place], value, *self.parameters[place + 1 :]))

    def to_json(self) -> dict[str, Any]:
        return {"case": "deployment", "parameters": list(map(hex, self.parameters))}


AboutModels = FloatOperation | OneStage | WholeRun | ModelImage | TrainingStages | TrainingTape
Case = Step | Witness | Program | Related | Disputes | Acts | Deployment | AboutModels


def from_json(text: Any) -> Case:
    """Reads the case in a replay file; everything in it is checked against what a case can be."""
    try:
        match text["case"]:
            case "step":
                return Step(Start.from_json(text["start"]))
            case "witness":
                witness = bytes.fromhex(text["witness"])
                if len(witness) > MOST_WITNESS_BYTES:
                    raise ValueError(f"a witness of {len(witness)} bytes; at most {MOST_WITNESS_BYTES} are tried")
                return Witness(witness)
            case "program":
                stops = tuple(whole(stop, 1, MOST_STOP) for stop in listed(text["stops"]))
                if not 0 < len(stops) <= MOST_STOPS or any(stop >= following for stop, following in pairwise(stops)):
                    raise ValueError("its stops do not ascend, or are too many")
                return Program(Start.from_json(text["start"]), stops)
            case "related":
                return within_limits(Related.from_json(text))
            case "disputes":
                if not isinstance(text["seed"], str):
                    raise ValueError("its seed is no text")
                return Disputes(text["seed"], whole(text["acts"], 1, MOST_ACTS))
            case "deployment":
                given, names = listed(text["parameters"]), [each.name for each in fields(Parameters)]
                if len(given) != len(names):
                    raise ValueError(f"the game has {len(names)} parameters, not {len(given)}")
                bits = [AMOUNT_BITS if name in AMOUNTS else PARAMETER_BITS for name in names]
                return Deployment(tuple(whole(each, 0, (1 << most) - 1) for each, most in zip(given, bits, strict=True)))
            case "acts":
                acts = listed(text["acts"])
                if not 0 < len(acts) <= MOST_ACTS:
                    raise ValueError(f"there are {len(acts)} acts; 1 to {MOST_ACTS} are tried")
                return Acts(whole(text["rules"], 0, MOST_RULES), tuple(map(dict, acts)))
            case "float":
                operation = FloatOperation.from_json(text)
                widths = operand_bits(operation.operation)
                if len(widths) != len(operation.operands) or any(n >> bits for n, bits in zip(operation.operands, widths, strict=True)):
                    raise ValueError(f"{operation.operation} has operands of {' and '.join(map(str, widths))} bits")
                return operation
            case "stage":
                return within_limits(OneStage.from_json(text))
            case "model":
                return within_limits(WholeRun.from_json(text))
            case "image":
                return within_limits(ModelImage.from_json(text))
            case "training":
                return within_limits(TrainingStages.from_json(text))
            case "training_tape":
                return within_limits(TrainingTape.from_json(text))
            case other:
                raise ValueError(f"there is no kind of case {str(other)[:50]!r}")
    except KeyError as error:
        raise InputError(f"this is not a replay file: there is no {str(error)[:50]} in it") from error
    except (TypeError, ValueError, AttributeError, OverflowError, SpecError) as error:
        raise InputError(f"this is not a replay file: {str(error)[:200]}") from error
