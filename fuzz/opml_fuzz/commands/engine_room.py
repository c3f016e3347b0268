"""The engine room of a command: every implementation that there is, put together.

Nothing below the commands knows all implementations. The fuzzing loop is given this function and calls it once in each of its processes.
"""

from collections.abc import Sequence
from contextlib import suppress

from opml_fuzz.disputes.contract import NodeChain
from opml_fuzz.disputes.sequences import RandomDisputes
from opml_fuzz.engines.bytecode import EmbeddedEvm, fastest
from opml_fuzz.engines.execution_spec import SpecifiedEvm, SpecifiedNode
from opml_fuzz.engines.external import External
from opml_fuzz.engines.opml_min import OneStep, interpreted, translated
from opml_fuzz.engines.protocol import Courts, WitnessEngine
from opml_fuzz.engines.room import EngineRoom, Engines
from opml_fuzz.engines.specification import SpecProgram, SpecState, SpecWitness


def engine_room(target: str | None = None, embedded: EmbeddedEvm | None = None, courts: Courts | None = None) -> EngineRoom:
    """Makes all engines. That takes seconds, so one room serves thousands of cases.

    target: the command line of somebody's own implementation; embedded, courts: in place of the committed contracts"""
    targets: list[WitnessEngine] = [] if target is None else [External(target)]  # first, so that it starts while the others are made
    embedded, slow = embedded or EmbeddedEvm(), list[WitnessEngine]()
    with suppress(ImportError):  # a developer extra
        slow.append(SpecifiedEvm(embedded))
    courts = courts or RandomDisputes(witness=specified_chain if slow else None)
    fast: list[WitnessEngine] = [SpecWitness(), fastest(embedded), *targets]
    states, programs = (SpecState(), OneStep()), (SpecProgram(), interpreted(), translated())
    every = [*fast, *([] if embedded in fast else [embedded]), *slow]
    return EngineRoom(Engines(tuple(every), states, programs, courts), Engines(tuple(fast), states, programs, courts))


def specified_chain(people: Sequence[bytes]) -> NodeChain:
    """A chain that the executable Ethereum specification executes."""
    return NodeChain(people, SpecifiedNode)
