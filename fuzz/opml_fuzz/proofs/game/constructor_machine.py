"""The symbolic EVM for the constructor: its arguments stand behind its code, and of k there are tables.

Products and quotients that depend on more than k are unknown functions, the same ones in both worlds; but a product by a number of few bits
is exact, and a product divided by one of its factors is the other one if nothing can have been cut off.

*Source*: the contract ABI specification (constructors); Ethereum Yellow Paper, appendix H.2; EIP-1052 (EXTCODESIZE).
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import z3
from attrs import evolve

from opml_fuzz.proofs.evm.calldata import Known
from opml_fuzz.proofs.evm.code import Code
from opml_fuzz.proofs.evm.instructions import known
from opml_fuzz.proofs.evm.machine import Machine
from opml_fuzz.proofs.evm.path import End, Path
from opml_fuzz.proofs.evm.pieces import Pieces, cut, length, of_bytes
from opml_fuzz.proofs.evm.words import BITS, Word, binary, choice, is_nonzero, reduced, vector
from opml_fuzz.proofs.game import arithmetic
from opml_fuzz.proofs.game.arithmetic import within
from opml_fuzz.proofs.game.facts import DistinctHashes, Facts
from opml_fuzz.proofs.game.machine import exclusive
from opml_fuzz.proofs.game.parameters_by_k import TablesByK, negated
from opml_fuzz.proofs.questions import Questions
from opml_fuzz.proofs.symbols import DIVISION, PRODUCT

EXTCODESIZE = "0x3b"
FEW_BITS = 7
"""A product by a number of so few bits is exact."""


def width(term: Any) -> int:
    """How many bits a term has at most, by its form; of a sum and of a product too."""
    if z3.is_app_of(term, z3.Z3_OP_BADD):
        return min(max(width(one) for one in term.children()) + int(term.num_args()) - 1, BITS)
    if z3.is_app_of(term, z3.Z3_OP_BMUL):
        return min(sum(width(one) for one in term.children()), BITS)
    if z3.is_app_of(term, z3.Z3_OP_ITE):
        return max(width(one) for one in term.children()[1:])
    return arithmetic.width(term)


class ProductsOfDeployment:
    """All products and quotients of one proof about the constructor."""

    def __init__(self, tables: TablesByK | None) -> None:
        self.tables = tables
        self.factors: dict[int, tuple[Any, Any, Any]] = {}

    def product(self, a: Word, b: Word) -> Word:
        """The product, cut to 256 bits."""
        found = None if self.tables is None else self.tables.binary("MUL", a, b)
        if found is not None or (isinstance(a, int) and isinstance(b, int)):
            return binary("MUL", a, b) if found is None else found
        if self.tables is not None:
            a, b = map(self.tables.canonical, (a, b))
        first, second = sorted(map(vector, (a, b)), key=lambda term: int(term.get_id()))
        sizes = width(first), width(second)
        is_exact = min(sizes) <= FEW_BITS
        term = reduced(first * second if is_exact else within(PRODUCT(first, second), min(sum(sizes), BITS)))
        if sum(sizes) <= BITS and not isinstance(term, int):
            self.factors[term.get_id()] = term, first, second
        return term

    def sum(self, a: Word, b: Word) -> None:
        """Gives a sum no name: here none needs one."""

    def is_product(self, term: Any) -> bool:
        """Tells whether it is one of the products."""
        return vector(term).get_id() in self.factors

    def quotient(self, x: Word, d: Word) -> Word:
        """The quotient, rounded down, of a divisor that is not 0."""
        found = None if self.tables is None else self.tables.binary("DIV", x, d)
        if found is not None or (isinstance(x, int) and isinstance(d, int)):
            return binary("DIV", x, d) if found is None else found
        if self.tables is not None:
            d = self.tables.canonical(d)
        x, d = vector(x), vector(d)
        _, *factors = self.factors.get(x.get_id(), (x,))
        for one, other in (factors, factors[::-1]) if factors else ():
            if one.eq(d):
                return reduced(other)
        return reduced(within(DIVISION(x, d), width(x)))


class DeploymentMachine(Machine):
    """An EVM that runs the constructor. is_contract: whether there is code at the address of the arbiter"""

    def __init__(self, code: Code, arguments: Pieces, is_contract: Any, sent: Word, products: ProductsOfDeployment, facts: Facts,
                 questions: Questions) -> None:  # fmt: skip
        hooks = {at: partial(hooked, one.name) for at, one in code.instructions.items() if one.name in RULES}
        given = Known(b"")
        given.value = sent
        super().__init__(code, given, DistinctHashes(facts), hooks)
        self.whole: Pieces = (*of_bytes(code.data), *arguments)
        self.is_contract, self.products, self.questions = is_contract, products, questions

    def possible(self, path: Path, *condition: Any) -> bool:
        few = *path.conditions, *condition
        if self.products.tables is not None and self.products.tables.contradict(few):
            return False
        return self.questions.can_hold(few)

    def meet(self, path: Path, other: Path) -> Path:
        """Makes one path of two. That k has one of its values is not among its conditions."""
        met, tables = super().meet(path, other), self.products.tables
        if tables is None:
            return met
        return evolve(met, conditions=tuple(one for one in met.conditions if not all(tables.table(one) or (0,))))

    def branches(self, path: Path, word: Word) -> Iterator[tuple[Path, bool]]:
        """Splits a path. A condition on k alone is not put to z3."""
        condition, tables = is_nonzero(word), self.products.tables
        if isinstance(condition, bool):
            yield path, condition
            return
        if tables is None or tables.table(condition) is None:
            yield from super().branches(path, word)
            return
        for one, jumps in ((condition, True), (negated(tables, condition), False)):
            if not tables.contradict((*path.conditions, one)):
                yield path.assuming(one), jumps


def hooked(name: str, path: Path, machine: Machine) -> Iterator[Path | End]:
    """Executes the opcode at this place by its rule."""
    assert isinstance(machine, DeploymentMachine)
    yield RULES[name](evolve(path, at=machine.code.instructions[path.at].following), machine, name)


def multiply(path: Path, machine: DeploymentMachine, name: str) -> Path:
    """MUL; by a truth value it is a choice."""
    *rest, b, a = path.stack
    a, b = (b, a) if z3.is_bool(b) else (a, b)
    return evolve(path, stack=(*rest, choice(a, b, 0) if z3.is_bool(a) else machine.products.product(a, b)))


def divide(path: Path, machine: DeploymentMachine, name: str) -> Path:
    *rest, divisor, number = path.stack
    condition = is_nonzero(divisor)
    if condition is False:
        return evolve(path, stack=(*rest, 0))
    quotient = machine.products.quotient(number, divisor)
    tables = machine.products.tables
    is_sure = condition is True or (tables is not None and all(tables.table(divisor) or (0,)))
    return evolve(path, stack=(*rest, quotient if is_sure else choice(condition, quotient, 0)))


def tabled(path: Path, machine: DeploymentMachine, name: str) -> Path:
    """Comparisons, sums and differences, of which k alone may be unknown."""
    *rest, b, a = path.stack
    tables = machine.products.tables
    found = None if tables is None or z3.is_bool(a) or z3.is_bool(b) else tables.binary(name, a, b)
    return evolve(path, stack=(*rest, binary(name, a, b) if found is None else found))


def copy_code(path: Path, machine: DeploymentMachine, name: str) -> Path:
    """CODECOPY: behind the code there are the arguments, and zeros behind them."""
    *rest, size, source, to = path.stack
    first, last = known(source), known(source) + known(size)
    part = cut(machine.whole, first, last)
    missing = known(size) - length(part)
    machine.code.copied.update(range(first, min(last, len(machine.code.data))))
    return evolve(path, stack=tuple(rest), memory=path.memory.store_pieces(known(to), (*part, *(((0, missing),) if missing else ()))))


def copy_nothing(path: Path, machine: DeploymentMachine, name: str) -> Path:
    """CALLDATACOPY: a constructor is called without data, so zeros are copied. Vyper clears its memory that way."""
    *rest, size, _, to = path.stack
    return evolve(path, stack=tuple(rest), memory=path.memory.store_pieces(known(to), ((0, known(size)),)))


def code_size(path: Path, machine: DeploymentMachine, name: str) -> Path:
    return evolve(path, stack=(*path.stack[:-1], machine.is_contract))


def by_choice(path: Path, machine: DeploymentMachine, name: str) -> Path:
    return exclusive(path, machine, name)  # type: ignore[arg-type]


RULES = {
    **dict.fromkeys(("ADD", "SUB", "LT", "GT", "EQ"), tabled),
    "MUL": multiply,
    "DIV": divide,
    "XOR": by_choice,
    "CODECOPY": copy_code,
    "CALLDATACOPY": copy_nothing,
    EXTCODESIZE: code_size,
}
