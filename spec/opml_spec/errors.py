"""Everything that the specification calls an error, by the name and number of the tables in `spec/README.md`.

The machine itself has no errors, only traps. Errors are about bytes that somebody hands over: a witness, an image, a move.
They are classes here, so that a test can ask for one by name; another implementation reports the number. Each chapter has its hundred:
1xx machine, then the later chapters as the tables give them.
"""

import re
from typing import ClassVar


class SpecError(Exception):
    """The root of them all; `number` and `NAME` are those of the tables."""

    number: ClassVar[int]
    name: ClassVar[str]

    def __init_subclass__(cls, number: int) -> None:
        cls.number = number
        cls.name = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).upper()

    def __str__(self) -> str:
        return " ".join([f"{self.number} {self.name}", *map(str, self.args)])


# 1xx: the machine ----------------------------------------------------------------------------------------------------------------


class WitnessTruncated(SpecError, number=101):
    """The bytes end before the state, a leaf, `sent` or a sibling does."""


class StateUndecodable(SpecError, number=102):
    """A machine state's preimage has the wrong length, or a status that does not exist."""


class WitnessBitmap(SpecError, number=103):
    """`sent` names a height at which there is no sibling."""


class WitnessZeroSibling(SpecError, number=104):
    """A sibling was sent that is a zero subtree and so must not be."""


class WitnessRoot(SpecError, number=105):
    """Leaf and siblings do not give the root that they are against."""


class WitnessTrailing(SpecError, number=106):
    """Bytes are left over after the last access."""


class MemoryOutside(SpecError, number=110):
    """A segment or a node is not inside the 2^40 bytes."""


class SegmentOverlap(SpecError, number=111):
    """Two segments claim the same byte."""


class SubtreeUnknown(SpecError, number=112):
    """Only the hash of this part of the memory is known, and its content was asked for."""


# 3xx: models ---------------------------------------------------------------------------------------------------------------------


class ImageFile(SpecError, number=301):
    """The file does not hold segments as the layout says."""


class ImageHeader(SpecError, number=302):
    """The header is none of this version."""


class ImageOp(SpecError, number=303):
    """A record on the tape is no operation, or an operand is out of its range."""


class MatrixFormat(SpecError, number=304):
    """There is no matrix format of this number."""


class ImageBound(SpecError, number=305):
    """A number could leave the range in which 64 bits hold it."""
