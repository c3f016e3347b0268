"""What an operation is: its operands, which are the words of its record in order, and what it does to the memory at a position.

*Source*: spec §3.1 and §3.5.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

from attrs import astuple, frozen

from opml_spec.machine.memory import Memory
from opml_spec.model.layout import ALWAYS, Record


@frozen(slots=False)
class Operation(ABC):
    """The fields of a subclass are its operands, words 2, 3, … of the record."""

    opcode: ClassVar[int]

    def __init_subclass__(cls, opcode: int) -> None:
        cls.opcode = opcode

    @abstractmethod
    def execute(self, memory: Memory, position: int) -> Memory:
        """The memory after the operation."""

    def record(self, condition: int = ALWAYS) -> Record:
        return Record(self.opcode, condition, astuple(self))
