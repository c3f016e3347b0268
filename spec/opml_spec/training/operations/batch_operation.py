"""What an operation on a batch is: as on any tape, and it also says which bytes it reads and writes, and how large its numbers get.

*Source*: spec §6.1 and §6.8.
"""

from abc import abstractmethod
from collections.abc import Iterator
from enum import Enum
from typing import ClassVar

from attrs import frozen

from opml_spec.model.bounds import Bound
from opml_spec.model.operations.operation import Operation
from opml_spec.training.tensors import RowTensor


class Access(Enum):
    """What an operation does with a tensor."""

    READ = "read"
    WRITE = "write"  # or both
    WEIGHTS = "weights"  # written, and part of the trained model


WORDS, BYTES, MOMENTS = 4, 1, 8  # bytes of an element of a tensor without exponents: vectors, sums, indices; data; second moments
Flat = tuple[int, int] | tuple[int, int, int]
"""A tensor without exponents: address, bytes, and the bytes of an element if they are not 4."""


@frozen
class Span:
    """The bytes of a tensor, and what they are."""

    address: int
    size: int
    access: Access
    form: RowTensor | int  # an int: bytes of an element

    @property
    def end(self) -> int:
        return self.address + self.size


def reads(*tensors: RowTensor | Flat) -> Iterator[Span]:
    """Spans that are only read."""
    return spans(Access.READ, tensors)


def writes(*tensors: RowTensor | Flat) -> Iterator[Span]:
    return spans(Access.WRITE, tensors)


def trains(*tensors: Flat) -> Iterator[Span]:
    """Spans of weights that are written."""
    return spans(Access.WEIGHTS, tensors)


def spans(access: Access, tensors: tuple[RowTensor | Flat, ...]) -> Iterator[Span]:
    for tensor in tensors:
        if isinstance(tensor, RowTensor):
            yield Span(tensor.address, tensor.size, access, tensor)
        else:
            yield Span(tensor[0], tensor[1], access, tensor[2] if len(tensor) > 2 else WORDS)


@frozen(slots=False)
class BatchOperation(Operation, opcode=0):
    """An operation on all rows of a batch. The second argument of `execute` is the index of the update."""

    in_place: ClassVar[bool] = False  # whether what it writes may be one of the tensors that it reads

    @abstractmethod
    def spans(self) -> Iterator[Span]:
        """The bytes that it reads and writes."""

    @property
    def consistent(self) -> bool:
        """Whether its operands fit each other."""
        return True

    def bounds(self) -> Iterator[Bound]:
        """The largest magnitudes inside it that its operands do not keep below 2^63 by their ranges alone."""
        return iter(())
