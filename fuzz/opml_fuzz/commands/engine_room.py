"""The engine room of a command: every implementation that there is, put together.

Nothing below the commands knows all implementations. The fuzzing loop is given this function and calls it once in each of its processes.
"""

from opml_fuzz.conformance.float_engines import float_engines
from opml_fuzz.disputes.sequences import RandomDisputes
from opml_fuzz.engines.bytecode import EmbeddedEvm, fastest
from opml_fuzz.engines.external import External
from opml_fuzz.engines.model_runs import GuestModels, NativeModels, SpecModels
from opml_fuzz.engines.opml_min import OneStep, interpreted, translated
from opml_fuzz.engines.protocol import CaseEngine, Courts, WitnessEngine
from opml_fuzz.engines.room import EngineRoom, Engines
from opml_fuzz.engines.specification import SpecProgram, SpecState, SpecWitness


def engine_room(target: str | None = None, embedded: EmbeddedEvm | None = None, courts: Courts | None = None) -> EngineRoom:
    """Makes all engines. That takes seconds, so one room serves thousands of cases.

    target: the command line of somebody's own implementation; embedded, courts: in place of the committed contracts"""
    targets: list[WitnessEngine] = [] if target is None else [External(target)]  # first, so that it starts while the others are made
    embedded, courts = embedded or EmbeddedEvm(), courts or RandomDisputes()
    fast: list[WitnessEngine] = [SpecWitness(), fastest(embedded), *targets]
    states, programs = (SpecState(), OneStep()), (SpecProgram(), interpreted(), translated())
    every = fast if embedded in fast else [*fast, embedded]
    models: tuple[CaseEngine, ...] = (*float_engines(), SpecModels(), GuestModels(), NativeModels())
    return EngineRoom(*(Engines(tuple(witnesses), states, programs, courts, models) for witnesses in (every, fast)))
