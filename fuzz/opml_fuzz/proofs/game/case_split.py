"""Cases into which a proof about an entry point is divided, because z3 needs less work for all of them than for the whole.

The cases of a statement are conditions on what is stored, and on what the arbiter answers. That one of them holds wherever the statement
says something is proved, too. In each of them both worlds are run on all calls.
"""

from collections.abc import Callable
from typing import Any

import z3
from attrs import frozen
from opml_spec.runs.run import RunStatus

from opml_fuzz.proofs.evm.words import BITS, vector
from opml_fuzz.proofs.game.arbiter_call import AFTER, BEFORE, IS_VALID
from opml_fuzz.proofs.game.arithmetic import upper_parts, width, within
from opml_fuzz.proofs.game.equivalence import Proof
from opml_fuzz.proofs.game.invariants import Fields, is_pending
from opml_fuzz.proofs.game.numbers import term_of


@frozen
class Division:
    """Where a statement says something, and the cases of that. remembers: as in `AboutCalls`"""

    scope: Any
    cases: list[Any]
    remembers: bool = False


Divide = Callable[[Proof], Division]


def undivided(proof: Proof) -> Division:
    """All calls, in one case."""
    return Division(z3.BoolVal(True), [z3.BoolVal(True)])


def elsewhere(proof: Proof) -> Division:
    """The node's claim fell nowhere, or elsewhere than at this node or below it."""
    fell, is_on_the_way, amounts = of_fallen(proof)
    fell_elsewhere = [z3.And(fell, z3.Not(is_on_the_way), amount) for amount in amounts]
    return Division(z3.Not(z3.And(fell, is_on_the_way)), [z3.Not(fell), *fell_elsewhere], remembers=True)


def on_the_way(proof: Proof) -> Division:
    """The node's claim fell at this node or below it."""
    fell, is_on_the_way, amounts = of_fallen(proof)
    scope = z3.And(fell, is_on_the_way)
    return Division(scope, [z3.And(scope, amount) for amount in amounts], remembers=True)


def of_fallen(proof: Proof) -> tuple[Any, Any, list[Any]]:
    """Whether the node's claim fell, whether at the node or below it; and three cases: no gas was asked for, all of it is paid, or less."""
    node = Fields("nodes", term_of(proof.arguments[0]))
    claim = Fields("claims", node.claim_id)
    depth, its_depth = (widened(one) for one in (node.depth, claim.end_depth))
    its_upper_parts = upper_parts(widened(claim.end_path), its_depth, depth, part_bits(proof))
    is_on_the_way = z3.And(z3.ULE(depth, its_depth), its_upper_parts == widened(node.path))
    has_prices, is_paid = claim.prices != 0, z3.UGT(most_gas(proof, claim), proof.game.parameters.gas_choose)
    amounts = [z3.Not(has_prices), z3.And(has_prices, is_paid), z3.And(has_prices, z3.Not(is_paid))]
    return claim.end_depth != 0, is_on_the_way, amounts


def by_answer(proof: Proof) -> Division:
    """The claim falls by the answer, or not: it does if the witness leads from the agreed state to another than the disputed one."""
    segment = proof.arguments[1]
    falls = z3.And(IS_VALID, term_of(segment.agreed) == BEFORE, term_of(segment.disputed) != AFTER)
    return Division(z3.BoolVal(True), [z3.Not(falls), falls])


def run_had_failed(proof: Proof) -> Division:
    """The call says that the run had failed before the stage."""
    failed = said_start(proof) == RunStatus.FAILED
    return Division(failed, [failed])


def run_had_not_failed(proof: Proof) -> Division:
    """The call says anything else of the status with which the stage begins."""
    ran = said_start(proof) != RunStatus.FAILED
    return Division(ran, [ran])


def said_start(proof: Proof) -> Any:
    """The status with which a stage begins, as the call of `open` says it."""
    return term_of(proof.arguments[3])


def undisputed(proof: Proof) -> Division:
    """The claim has no node. Its run failed, or its output is wrong, unreadable or readable; the request is answered already or not."""
    scope = Fields("claims", term_of(proof.arguments[0])).nodes == 0
    return Division(scope, [z3.And(scope, one) for one in ways_to_finalise(proof)], remembers=True)


def ways_to_finalise(proof: Proof) -> list[Any]:
    """Whether the request is answered already, and whether the run failed."""
    is_first = Fields("requests", Fields("claims", term_of(proof.arguments[0])).request_id).outcome == 0
    has_failed = term_of(proof.arguments[2]) == RunStatus.FAILED
    return [z3.And(one, other) for one in (is_first, z3.Not(is_first)) for other in (has_failed, z3.Not(has_failed))]


def disputed(proof: Proof) -> Division:
    """The claim has nodes; else as `undisputed`."""
    key = term_of(proof.arguments[0])
    scope, pending = Fields("claims", key).nodes != 0, is_pending(key)
    ways = [z3.Not(pending), *(z3.And(pending, one) for one in ways_to_finalise(proof))]
    return Division(scope, [z3.And(scope, one) for one in ways], remembers=True)


def most_gas(proof: Proof, claim: Fields) -> Any:
    """The gas that the bond of a claim that fell can pay to each node that is not on the way to where it fell."""
    rules, arithmetic = proof.game.parameters, proof.world.arithmetic
    bond, depth = (widened(one) for one in (Fields("requests", claim.request_id).bond, claim.end_depth))
    most = arithmetic.quotient(arithmetic.product(bond, rules.share_numerator), rules.share_denominator)
    shares = arithmetic.product(depth, arithmetic.quotient(most, depth))
    return vector(arithmetic.quotient(within(bond - shares, width(bond)), widened(claim.prices)))


def part_bits(proof: Proof) -> int:
    """How many bits of a path are one part."""
    return (proof.game.parameters.k - 1).bit_length()


def widened(term: Any) -> Any:
    return z3.simplify(z3.ZeroExt(BITS - term.size(), term))


DIVISIONS: dict[str, Divide] = {
    "game.collect_elsewhere": elsewhere, "game.collect_on_the_way": on_the_way, "game.arbitrate": by_answer,
    "game.open_failed": run_had_failed, "game.open_ran": run_had_not_failed,
    "game.finalise_undisputed": undisputed, "game.finalise_disputed": disputed,
}  # fmt: skip
