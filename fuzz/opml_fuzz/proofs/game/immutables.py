"""What the constructor writes behind the code that it leaves: the roots of the zero subtrees, and what the deployment fixed.

This is the only place where their order is stated; the proof fails if the bytecode has another one. The rest of the code must not depend on
the parameters: it is the code that the statements about the entry points are about.

*Source*: spec §5.9; `contracts/game.vy`, where each is declared `immutable`; the Vyper compiler, which writes them one after the other.
"""

from collections.abc import Mapping
from typing import Any

from attrs import fields
from opml_spec.dispute.parameters import Parameters
from opml_spec.machine.merkle import DEPTH, ZERO

WORD_BYTES = 32
ALL = tuple(one.name for one in fields(Parameters))
AGAIN = ("k", "part_bits", "share_numerator", "share_denominator", "window", "priority", "effort", "hold", "node_bond", "second_price",
         "gas_choose", "gas_price_cap")  # fmt: skip
"""What the contract keeps a second time, as whole words, with the two numbers that follow from the parameters."""

IMMUTABLES = (*(f"zero {height}" for height in range(DEPTH)), "arbiter", *ALL, *(f"{name} again" for name in AGAIN))
SIZE = WORD_BYTES * len(IMMUTABLES)


def expected(parameters: Any, arbiter: Any, part_bits: Any) -> Mapping[str, Any]:
    """Each immutable by name: a number, or what stands for one."""
    its = {name: getattr(parameters, name) for name in ALL}
    derived = {**its, "part_bits": part_bits, "hold": parameters.hold}
    zeros = {f"zero {height}": int.from_bytes(ZERO[height], "big") for height in range(DEPTH)}
    return {**zeros, "arbiter": arbiter, **its, **{f"{name} again": derived[name] for name in AGAIN}}
