"""Which engines are asked: all that there are, and the slow one for a sample only."""

from attrs import frozen

from opml_fuzz.engines.bytecode import EmbeddedEvm, Revm
from opml_fuzz.engines.courts import BothCourts
from opml_fuzz.engines.external import External
from opml_fuzz.engines.opml_min import OneStep, interpreted, translated
from opml_fuzz.engines.protocol import Courts, Engines, WitnessEngine
from opml_fuzz.engines.specification import SpecProgram, SpecState, SpecWitness

EMBEDDED_EVERY = 50  # cases: about a quarter of the time


@frozen
class EngineRoom:
    """All engines of one process."""

    all: Engines
    most: Engines

    def for_case(self, number: int) -> Engines:
        """Those that this case is put to."""
        return self.all if number % EMBEDDED_EVERY == 0 else self.most


def engine_room(target: str | None = None, embedded: EmbeddedEvm | None = None, courts: Courts | None = None) -> EngineRoom:
    """Engines are costly to make: one room serves thousands of cases."""
    embedded, courts = embedded or EmbeddedEvm(), courts or BothCourts()
    every: list[WitnessEngine] = [SpecWitness()]
    try:
        every.append(Revm(embedded))
    except ImportError:
        every.append(embedded)  # then it is not a sample
    if target is not None:
        every.append(External(target))
    states, programs = (SpecState(), OneStep()), (SpecProgram(), interpreted(), translated())
    all_witness = every if embedded in every else [*every, embedded]
    return EngineRoom(Engines(tuple(all_witness), states, programs, courts), Engines(tuple(every), states, programs, courts))
