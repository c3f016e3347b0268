"""Numbers that the translator writes into its text, as symbols: one text then stands for the texts with all numbers.

The translator computes with immediates, addresses and sizes, and writes the results as literals. A `Literal` lets it compute with a symbol
instead. Where it is written, the text gets a name for it, and the name's value goes into a table.
"""

from typing import Any


class Literal:
    """A number of the translator's, whose value is an int or a symbol."""

    def __init__(self, value: Any, names: dict[str, Any]) -> None:
        """names: the table of what has been written"""
        self.value, self.names = value, names

    def of(self, value: Any) -> "Literal":
        return Literal(value, self.names)

    def __str__(self) -> str:
        name = f"%literal{len(self.names)}"
        self.names[name] = self.value
        return name

    def __add__(self, other: Any) -> "Literal":
        return self.of(self.value + plain(other))

    __radd__ = __add__

    def __sub__(self, other: Any) -> "Literal":
        return self.of(self.value - plain(other))

    def __rsub__(self, other: Any) -> "Literal":
        return self.of(plain(other) - self.value)

    def __mul__(self, other: Any) -> "Literal":
        return self.of(self.value * plain(other))

    __rmul__ = __mul__

    def __abs__(self) -> "Literal":
        return self.of(abs(self.value))

    def __mod__(self, other: int) -> "Literal":
        return self.of(self.value % other)

    def __floordiv__(self, other: int) -> "Literal":
        """The quotient by a power of two."""
        return self.of(self.value >> (other.bit_length() - 1))

    def __eq__(self, other: object) -> Any:
        return self.value == plain(other)

    def __ne__(self, other: object) -> Any:
        return self.value != plain(other)

    def __lt__(self, other: Any) -> Any:
        return self.value < plain(other)

    def __le__(self, other: Any) -> Any:
        return self.value <= plain(other)

    def __ge__(self, other: Any) -> Any:
        return self.value >= plain(other)

    def __gt__(self, other: Any) -> Any:
        return self.value > plain(other)

    def __bool__(self) -> bool:
        return bool(self.value != 0)

    __hash__ = object.__hash__


def plain(other: Any) -> Any:
    return other.value if isinstance(other, Literal) else other
