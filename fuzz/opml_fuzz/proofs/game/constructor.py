"""The game's constructor against the specification's `deploy`, for all parameters.

The constructor stores nothing. What it leaves is a runtime code, in which the immutables stand behind what is the same for all parameters.
So with every set of parameters both accept, and the immutables are what the specification computes with; or both refuse it with the same
number. k is unknown like all others: the loops that only depend on it are run on tables (`parameters_by_k.py`).
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import z3
from attrs import fields, frozen
from opml_spec.dispute import parameters as specified
from opml_spec.dispute.acts import deploy
from opml_spec.dispute.parameters import MOST_PARTS, Parameters
from opml_spec.errors import BadParameters, SpecError

from evm_arbiter.chain import Artefact
from opml_fuzz.proofs.evm.code import Code
from opml_fuzz.proofs.evm.memory import Memory
from opml_fuzz.proofs.evm.path import End, Path
from opml_fuzz.proofs.evm.pieces import cut, known, length, value
from opml_fuzz.proofs.evm.words import BITS, vector
from opml_fuzz.proofs.game.constructor_machine import DeploymentMachine, ProductsOfDeployment, width
from opml_fuzz.proofs.game.facts import Facts
from opml_fuzz.proofs.game.immutables import IMMUTABLES, SIZE, WORD_BYTES, expected
from opml_fuzz.proofs.game.numbers import GamePaths, amount, term_of
from opml_fuzz.proofs.game.parameters_by_k import TablesByK
from opml_fuzz.proofs.questions import Failure, Questions
from opml_fuzz.proofs.step.ending import of_end
from opml_fuzz.proofs.symbolic_world import greater, less
from opml_fuzz.proofs.symbols import Truth, formula
from opml_fuzz.proofs.unsupported import Unsupported
from opml_fuzz.statements.game_bytecode import OK, REFUSED

MONEY = ("min_bond", "node_bond")
PARTS = range(2, MOST_PARTS + 1)
OTHERS = tuple(k for k in range(2 * MOST_PARTS) if k not in PARTS)
"""Those k around them for which there are tables too. No deployment may have them."""
MEMORY_BYTES = 1 << 15  # which are zero at first, and which the constructor uses


@frozen
class Accepted:
    """Which parameters the specification accepts, and what the immutables are then."""

    condition: Any
    immutables: dict[str, Any]


class DeploymentProof:
    """Both worlds in one proof about the constructor."""

    def __init__(self, artefact: Artefact | None, questions: Questions) -> None:
        self.code = Code((artefact or Artefact.load("game")).creation_bytecode)
        self.questions = questions
        self.parameters = {one.name: z3.BitVec(one.name, 128 if one.name in MONEY else 64) for one in fields(Parameters)}
        self.arbiter, self.sent = (z3.simplify(z3.ZeroExt(256 - size, z3.BitVec(name, size))) for name, size in
                                   (("arbiter", 160), ("value", 128)))  # fmt: skip
        self.is_contract = z3.Bool("is_contract")
        self.products: Any = None
        self.failures: list[Failure] = []

    def prove(self) -> set[Any]:
        """Shows that both accept or refuse alike, or raises Failure; returns how a deployment ends."""
        k = self.parameters["k"]
        inside = z3.And(z3.UGE(k, PARTS.start), z3.ULT(k, PARTS.stop))
        few = z3.ULE(k, OTHERS[-1])
        tables = TablesByK(k, PARTS)
        self.products = ProductsOfDeployment(tables)
        accepted = self.specification(tables)
        self.show((), "a k that has no table is accepted", z3.Implies(accepted.condition, inside))
        met = (
            self.cases(accepted, z3.Not(few), ProductsOfDeployment(None))
            | self.cases(accepted, z3.And(few, z3.Not(inside)), ProductsOfDeployment(TablesByK(k, OTHERS)))
            | self.cases(accepted, inside, self.products)
        )
        if self.failures:
            raise self.failures[0]
        return met

    def cases(self, accepted: Accepted, assumed: Any, products: ProductsOfDeployment) -> set[Any]:
        """Shows it for some k."""
        self.questions.are_possible([assumed])
        met = set[Any]()
        for end in self.contract(assumed, products):
            if self.questions.ask(end.path.conditions)[0] == z3.unsat:
                continue
            try:
                met.add(self.compare(accepted, end))
            except Failure as failure:
                self.failures.append(failure)
        return met

    # The specification -----------------------------------------------------------------------------------------------------------

    def specification(self, tables: TablesByK) -> Accepted:
        """Explores `deploy`: what it accepts. All else is refused with the error of bad parameters."""
        paths = UncheckedPaths(True, self.questions.refuted, counts=True)
        paths.arithmetic = self.products
        rules: Any = Parameters(**{name: amount(term, paths) for name, term in self.parameters.items()})
        part_bits = tables.word(tuple((k - 1).bit_length() for k in PARTS))  # spec §5.11

        def run() -> dict[str, Any] | None:
            try:
                its = expected(deploy(rules).parameters, self.arbiter, part_bits)
            except SpecError as error:
                if error.number != BadParameters.number:
                    raise Failure("counterexample", f"the specification refuses parameters with {error.number}") from None
                return None
            except Unsupported:
                if self.questions.ask(paths.conditions)[0] != z3.unsat:
                    raise
                return None  # a path that cannot be taken
            return {name: it if z3.is_expr(it) else term_of(it) for name, it in its.items()}

        with replaced(paths, tables):
            found = [(conditions, its) for conditions, its in paths.explore(run) if its is not None]
        conditions, (*_, immutables) = zip(*found, strict=True) if found else ((), (None,))
        self.require(all(its == immutables for _, its in found), "the specification computes with other numbers on another path")
        return Accepted(z3.Or([z3.And(one) for one in conditions]), immutables or {})

    def require(self, condition: bool, what: str) -> None:
        if not condition:
            raise Failure("error", what)

    # The contract ----------------------------------------------------------------------------------------------------------------

    def contract(self, assumed: Any, products: ProductsOfDeployment) -> list[End]:
        words = (self.arbiter, *(z3.simplify(z3.ZeroExt(256 - it.size(), it)) for it in self.parameters.values()))
        arguments = tuple((word, WORD_BYTES) for word in words)
        machine = DeploymentMachine(self.code, arguments, self.is_contract, self.sent, products, Facts(), self.questions)
        return machine.run(Path(0, memory=Memory().store_pieces(0, ((0, MEMORY_BYTES),)), conditions=(assumed,)))

    # Both ------------------------------------------------------------------------------------------------------------------------

    def compare(self, accepted: Accepted, end: End) -> Any:
        """Shows that the specification ends like the contract; returns how."""
        accepts, path = z3.And(self.is_contract, accepted.condition), end.path.conditions
        if end.how == "RETURN":
            self.show(path, "the contract accepts, the specification refuses", accepts)
            self.same_code(accepted, end)
            return OK
        said = of_end(end).error
        if said is None:
            self.show(path, "the contract reverts without data, though nothing is sent", self.sent != 0)
            return REFUSED
        refuses = z3.And(z3.Not(accepts), vector(said) == BadParameters.number)
        self.show(path, f"the contract says {said}, the specification accepts, or says {BadParameters.number}", refuses)
        return BadParameters.number

    def same_code(self, accepted: Accepted, end: End) -> None:
        before, path = length(end.data) - SIZE, end.path.conditions
        self.require(before >= 0 and known(cut(end.data, 0, before)) is not None, "the code itself depends on the parameters")
        claims = {}
        for place, name in enumerate(IMMUTABLES):
            at = before + place * WORD_BYTES
            claims[name] = vector(value(cut(end.data, at, at + WORD_BYTES))) == accepted.immutables[name]
        try:
            self.show(path, "the immutables", z3.And(list(claims.values())))
        except Failure:
            for name, claim in claims.items():
                self.show(path, f"the immutable `{name}`", claim)

    def show(self, conditions: Sequence[Any], what: str, claim: Any) -> None:
        """Shows a claim under these conditions."""
        try:
            self.questions.prove(conditions, claim)
        except Failure as failure:
            raise Failure(failure.result, what, failure.model, failure.formulas) from None


class UncheckedPaths(GamePaths):
    """Paths of which z3 is not asked whether they can be taken, because most can.

    One that cannot accepts nothing: its conditions contradict each other."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.simple = dict[int, tuple[Any, Any]]()

    def decide(self, condition: z3.BoolRef) -> bool:
        if condition.get_id() not in self.simple:
            self.simple[condition.get_id()] = condition, unsigned(z3.simplify(condition, ctrl_c=False))
        simple, place = self.simple[condition.get_id()][1], len(self.conditions)
        if z3.is_true(simple) or z3.is_false(simple):
            return bool(z3.is_true(simple))
        if place == len(self.decisions):
            can_hold = self.possible(simple)
            if can_hold and self.possible(z3.Not(simple)):
                self.pending.append([*self.decisions, False])
            self.decisions.append(can_hold)
        self.conditions.append(simple if self.decisions[place] else z3.Not(simple))
        return self.decisions[place]

    def possible(self, condition: z3.BoolRef) -> bool:
        """Tells whether the contrary was not decided before, of it or of a part of it."""
        parts = condition.children() if z3.is_and(condition) else [condition]
        contraries = [one.arg(0) if z3.is_not(one) else z3.Not(one) for one in parts]
        return not any(one.eq(contrary) for one in self.conditions for contrary in contraries)


def unsigned(condition: z3.BoolRef) -> z3.BoolRef:
    """A condition with comparisons of numbers without a sign, where by their form neither is negative."""
    if z3.is_app_of(condition, z3.Z3_OP_SLEQ) and all(width(one) < BITS for one in condition.children()):
        less, more = condition.children()
        if z3.is_bv_value(less) and less.as_long() >> width(more):
            return z3.BoolVal(False)
        holds = (z3.is_bv_value(less) and less.as_long() == 0) or (z3.is_bv_value(more) and more.as_long() + 1 >> width(less) > 0)
        return z3.BoolVal(True) if holds else z3.ULE(less, more)
    if z3.is_not(condition):
        contrary = unsigned(condition.arg(0))
        if z3.is_true(contrary) or z3.is_false(contrary):
            return z3.BoolVal(z3.is_false(contrary))
        return contrary.arg(0) if z3.is_not(contrary) else z3.Not(contrary)
    if z3.is_and(condition):
        parts = [unsigned(one) for one in condition.children()]
        return z3.BoolVal(False) if any(map(z3.is_false, parts)) else z3.And([one for one in parts if not z3.is_true(one)])
    return condition


def every(truths: Any) -> Any:
    """`all`, without asking one after the other."""
    found = list(truths)
    paths = next((one.paths for one in found if isinstance(one, Truth)), None)
    return all(found) if paths is None else Truth(z3.And([formula(one) for one in found]), paths)


@contextmanager
def replaced(paths: GamePaths, tables: TablesByK) -> Iterator[None]:
    """The specification with the few functions replaced that take no symbols, while this is entered."""
    most_nodes = vars(specified)["most_nodes"]

    def by_table(k: Any) -> Any:
        return amount(vector(tables.word(tuple(map(most_nodes, tables.domain)))), paths)

    table = (
        ("most_nodes", by_table),  # of each k, as it is
        ("all", every),  # one condition, where `all` would ask for each
        ("max", greater),
        ("min", less),
    )
    bounds = Parameters.bounds

    def in_one(rules: Parameters) -> dict[str, Any]:
        return {"all bounds": every(bounds(rules).values())}

    with ExitStack() as stack:
        for name, by in table:
            stack.enter_context(patch.object(specified, name, by, create=True))
        stack.enter_context(patch.object(Parameters, "bounds", in_one))  # `check` asks each whether it is broken, to name it
        yield
