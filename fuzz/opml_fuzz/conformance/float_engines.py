"""binary32 as three engines for single operations: the specification, integer algorithms, and this computer's floating-point unit.

An engine that does not have an operation, or not in this direction of rounding, has no answer to it.

*Source*: spec §1.2; IEEE 754.
"""

from functools import cache

from opml_spec.arithmetic.binary32 import Rounding

from opml_fuzz.conformance.testfloat import SPECIFIED, Engine, engines
from opml_fuzz.engines.protocol import describe
from opml_fuzz.machine.case import Case
from opml_fuzz.machine.model_case import FloatOperation


@cache
def engines_of(operation: str, rounding: str) -> dict[str, Engine]:
    """Lists the implementations of an operation, without the guest, which would have to be compiled for each."""
    return engines(operation, Rounding[rounding], with_guest=False)


class FloatEngine:
    """An implementation of binary32. name: as TestFloat's lines are checked"""

    def __init__(self, name: str) -> None:
        self.name = name

    def answer(self, case: Case) -> list[str] | None:
        if not isinstance(case, FloatOperation) or case.operation not in SPECIFIED:
            return None
        try:
            engine = engines_of(case.operation, case.rounding).get(self.name)
            return None if engine is None else [f"{engine([case.operands])[0]:x}"]
        except Exception as error:
            return [describe(error)]


def float_engines() -> tuple[FloatEngine, ...]:
    return tuple(map(FloatEngine, ("spec", "integers", "processor")))
