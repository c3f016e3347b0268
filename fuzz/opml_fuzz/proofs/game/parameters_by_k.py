"""Words that depend on k alone, as tables: what they are for each k that a deployment may have.

The constructor finds in loops that multiply k by itself how long the longest path is, and how many bits a part has. What is computed of
tables is a table again, so such a loop needs no solver. A table as a term is a chain of choices by k, the same one for the same numbers.
So what both worlds compute of k is the same term.
"""

from collections.abc import Iterator, Sequence, Set
from typing import Any

import z3

from opml_fuzz.proofs.evm.memory import variables
from opml_fuzz.proofs.evm.words import BINARY, BITS, TOP, Word, formula

Table = tuple[int, ...]


class TablesByK:
    """The tables of one proof. domain: the values of k, in order; nothing here holds for any other k"""

    def __init__(self, k: Any, domain: Sequence[int]) -> None:
        self.k, self.domain = k, domain
        self.by_term: dict[int, tuple[Any, Table | None]] = {}
        self.by_table: dict[Table, Any] = {}

    def table(self, term: Any) -> Table | None:
        """The table of a word, if it depends on nothing but k."""
        if isinstance(term, int):
            return (term,) * len(self.domain)
        key = term.get_id()
        if key not in self.by_term:
            self.by_term[key] = term, self.evaluated(term)
        return self.by_term[key][1]

    def evaluated(self, term: Any) -> Table | None:
        names = variables(term)
        if len(names) != 1 or not names[0].eq(self.k):
            return None
        return tuple(self.value(term, number) for number in self.domain)

    def value(self, term: Any, number: int) -> int:
        found = z3.simplify(z3.substitute(term, (self.k, z3.BitVecVal(number, self.k.size()))), ctrl_c=False)
        if z3.is_bool(found):
            return int(z3.is_true(found))
        return int(found.as_long())

    def word(self, table: Table) -> Word:
        """The word that has this table."""
        if len(set(table)) == 1:
            return table[0]
        if table not in self.by_table:
            *others, last = sorted(set(table), key=table.index)
            term: Any = z3.BitVecVal(last, BITS)
            for number in reversed(others):
                term = z3.If(self.where({number}, table), z3.BitVecVal(number, BITS), term)
            self.by_table[table] = term
            self.by_term[term.get_id()] = term, table
        return self.by_table[table]

    def where(self, numbers: Set[int], table: Table) -> Any:
        """The condition on k that the number of the table is one of these."""
        wanted = [k for k, number in zip(self.domain, table, strict=True) if number in numbers]
        runs = list(consecutive(wanted))
        parts = [z3.And(z3.UGE(self.k, low), z3.ULE(self.k, high)) if low < high else self.k == low for low, high in runs]
        return parts[0] if len(parts) == 1 else z3.Or(parts)

    def binary(self, name: str, a: Word, b: Word) -> Word | None:
        """The result of an opcode with two operands that depend on k alone, one of them at least; else None."""
        if isinstance(a, int) and isinstance(b, int):
            return None
        first, second = self.table(a), self.table(b)
        if first is None or second is None:
            return None
        found = tuple(int(BINARY[name][0](one, other)) % TOP for one, other in zip(first, second, strict=True))
        if name not in ("LT", "GT", "EQ") or len(set(found)) == 1:
            return self.word(found)
        condition = self.where({1}, found)
        self.by_term[condition.get_id()] = condition, found
        return condition

    def canonical(self, word: Word) -> Word:
        """The word as the term of its table, if it has one."""
        found = None if isinstance(word, int) or z3.is_bool(word) else self.table(word)
        return word if found is None else self.word(found)

    def contradict(self, conditions: tuple[Any, ...]) -> bool:
        """Tells whether no k fulfils those of the conditions that are about k alone."""
        possible = set(self.domain)
        for one in conditions:
            truth = self.table(one)
            if truth is not None:
                possible &= {k for k, holds in zip(self.domain, truth, strict=True) if holds}
        return not possible


def consecutive(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Yields the first and the last of each run of consecutive numbers."""
    begin = 0
    for place in range(1, len(numbers) + 1):
        if place == len(numbers) or numbers[place] != numbers[place - 1] + 1:
            yield numbers[begin], numbers[place - 1]
            begin = place


def negated(tables: TablesByK, condition: Any) -> Any:
    """The contrary of a condition; of one that has a table, with a table."""
    contrary = formula(z3.Not(condition))
    truth = tables.table(condition)
    if truth is not None and not isinstance(contrary, bool):
        tables.by_term[contrary.get_id()] = contrary, tuple(1 - it for it in truth)
    return contrary
