"""The outcome for one statement."""

from typing import Any

from attrs import field, frozen

from opml_fuzz.proofs.second_solver import Recheck


@frozen
class Verdict:
    """What became of a statement. `queries` are those that z3 answered with unsat, as SMT-LIB, if they were to be kept.

    recheck: what the second solver said of them, if it was asked; peak_bytes: the most memory that the process had until then"""

    name: str
    result: str  # proved, counterexample, unknown, error
    seconds: float
    detail: str = ""  # the counterexample
    queries: tuple[str, ...] = field(default=(), repr=False)
    recheck: Recheck | None = None
    peak_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        rechecked = {} if self.recheck is None else {"recheck": self.recheck.to_json()}
        return {"name": self.name, "result": self.result, "seconds": round(self.seconds, 3), "detail": self.detail, **rechecked}
