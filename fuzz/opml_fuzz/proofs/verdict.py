"""The outcome for one statement."""

from typing import Any

from attrs import field, frozen


@frozen
class Verdict:
    """What became of a statement. `queries` are those that z3 answered with unsat, as SMT-LIB, if they were to be kept."""

    name: str
    result: str  # proved, counterexample, unknown, error
    seconds: float
    detail: str = ""  # the counterexample
    queries: tuple[str, ...] = field(default=(), repr=False)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "result": self.result, "seconds": round(self.seconds, 3), "detail": self.detail}
