"""The engine room of a command: every implementation that there is, put together.

Nothing below the commands knows all implementations. The fuzzing loop is given this function and calls it once in each of its processes.
"""

from collections.abc import Sequence
from contextlib import suppress

from opml_fuzz.conformance.float_engines import float_engines
from opml_fuzz.disputes.contract import NodeChain
from opml_fuzz.disputes.sequences import RandomDisputes
from opml_fuzz.engines.bytecode import EmbeddedEvm, fastest
from opml_fuzz.engines.execution_spec import SpecifiedEvm, SpecifiedNode
from opml_fuzz.engines.model_runs import GuestModels, NativeModels, SpecModels
from opml_fuzz.engines.opml_min import OneStep, interpreted, translated
from opml_fuzz.engines.protocol import CaseEngine, Courts, WitnessEngine
from opml_fuzz.engines.room import EngineRoom, Engines
from opml_fuzz.engines.specification import SpecProgram, SpecState, SpecWitness
from opml_fuzz.engines.targets.external import External
from opml_fuzz.engines.targets.right_answers import RightAnswers
from opml_fuzz.engines.training_runs import GuestTraining, NativeTraining, SpecTraining


def engine_room(target: str | None = None, embedded: EmbeddedEvm | None = None, courts: Courts | None = None) -> EngineRoom:
    """Makes all engines. That takes seconds, so one room serves thousands of cases.

    target: the `--target` of somebody's own implementation; embedded, courts: in place of the committed contracts"""
    asked = None if target is None else External(target)
    embedded, slow = embedded or EmbeddedEvm(), list[WitnessEngine]()
    with suppress(ImportError):  # a developer extra
        slow.append(SpecifiedEvm(embedded))
    courts = courts or RandomDisputes(witness=specified_chain if slow else None)
    evm = fastest(embedded)
    fast: list[WitnessEngine] = [SpecWitness(), evm]
    states, programs = (SpecState(), OneStep()), (SpecProgram(), interpreted(), translated())
    every = [*fast, *([] if embedded in fast else [embedded]), *slow]
    training: tuple[CaseEngine, ...] = SpecTraining(), GuestTraining(), NativeTraining(), NativeTraining(threads=2)
    models: tuple[CaseEngine, ...] = (*float_engines(), SpecModels(), GuestModels(), NativeModels(), *training)
    answering = None if target is None else RightAnswers(SpecWitness() if evm is embedded else evm, interpreted(), courts)
    rooms = (Engines(tuple(each), states, programs, courts, asked, models) for each in (every, fast))
    return EngineRoom(*rooms, answering=answering)


def specified_chain(people: Sequence[bytes]) -> NodeChain:
    """A chain that the executable Ethereum specification executes."""
    return NodeChain(people, SpecifiedNode)
