"""Everything that the specification calls an error, by name and number.

The machine itself has no errors, only traps. Errors are about bytes that somebody hands over: a witness, an image, a move.
They are classes here, so that a test can ask for one by name; another implementation reports the number. 1xx are of the machine,
2xx of the dispute, 3xx of models.

*Source*: spec §0.6.
"""

import re
from typing import ClassVar


class SpecError(Exception):
    """The root of all errors; `number` and `name` are those of spec §0.6."""

    number: ClassVar[int]
    name: ClassVar[str]

    def __init_subclass__(cls, number: int, name: str = "") -> None:
        cls.number = number
        cls.name = name or re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).upper()

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
    """A sibling was sent although it is the root of a zero subtree."""


class WitnessRoot(SpecError, number=105):
    """Leaf and siblings do not give the expected root."""


class WitnessTrailing(SpecError, number=106):
    """Bytes are left over after the last access."""


class MemoryOutside(SpecError, number=110):
    """A segment or a node is not inside the 2^40 bytes."""


class SegmentOverlap(SpecError, number=111):
    """Two segments claim the same byte."""


class SubtreeUnknown(SpecError, number=112):
    """Only the hash of this part of the memory is known, and its content was asked for."""


# 2xx: the dispute ----------------------------------------------------------------------------------------------------------------


class UnknownModel(SpecError, number=201):
    """No model has this id."""


class UnknownRequest(SpecError, number=202):
    """No request has this id."""


class UnknownClaim(SpecError, number=203):
    """No claim has this id."""


class UnknownGame(SpecError, number=204):
    """No game has this id."""


class WrongValue(SpecError, number=205):
    """The money sent along is not exactly the bond."""


class StageCount(SpecError, number=206):
    """A run has at least one and at most 2^24 stages."""


class RequestTooLong(SpecError, number=207):
    """More bytes than a request may have."""


class Deadline(SpecError, number=208):
    """The request's deadline has passed."""


class NotTheServer(SpecError, number=209):
    """The request names another server."""


class ClaimNotPending(SpecError, number=210):
    """The claim is final or rejected."""


class WindowClosed(SpecError, number=211):
    """It is too late to challenge."""


class WindowOpen(SpecError, number=212):
    """It is too early to finalise: the claim can still be challenged."""


class GamesOpen(SpecError, number=213):
    """A claim that is still disputed cannot become final."""


class GameOver(SpecError, number=214):
    """A decided game takes no move, nor does one whose claim is decided."""


class StalePosition(SpecError, number=215):
    """The move answers a position that the game is not in."""


class NotYourTurn(SpecError, number=216):
    """It is the other side's turn."""


class OutOfTime(SpecError, number=217):
    """The side whose turn it is has used up its time."""


class NotOutOfTime(SpecError, number=218):
    """The side whose turn it is still has time."""


class WrongMove(SpecError, number=219):
    """This position takes another kind of move."""


class WrongCount(SpecError, number=220):
    """A segment in p parts has p - 1 inner hashes."""


class NoSuchPart(SpecError, number=221):
    """The segment has fewer parts."""


class WrongStart(SpecError, number=222):
    """The stage does not begin where both sides agree."""


class StepCount(SpecError, number=223):
    """A stage has at least one step and at most the limit."""


class StillRunning(SpecError, number=224):
    """Only a machine that has used up all its steps may end as RUNNING."""


class WrongEnd(SpecError, number=225):
    """The stage does not end in the disputed run state."""


class WrongState(SpecError, number=226):
    """The witness is of a state that nobody agreed on."""


class WrongOutput(SpecError, number=227):
    """This is not how the claimed run ended, or not its output."""


class NothingToCollect(SpecError, number=228):
    """The game won nothing, or it was collected before."""


class NotTheRequester(SpecError, number=229):
    """The fee belongs to who made the request."""


class NotAllFailed(SpecError, number=230):
    """The request may still be answered, was answered, or its fee was already reclaimed."""


class NothingToWithdraw(SpecError, number=231):
    """Nothing is credited to the sender."""


class BadParameters(SpecError, number=232, name="PARAMETERS"):
    """The bounds under which an honest side cannot lose do not hold."""


# 3xx: models ---------------------------------------------------------------------------------------------------------------------


class ImageFile(SpecError, number=301):
    """The file is not laid out as an image."""


class ImageHeader(SpecError, number=302):
    """The header is not one of this version."""


class ImageOp(SpecError, number=303):
    """A record on the tape is no operation, or an operand is out of its range."""


class MatrixFormat(SpecError, number=304):
    """There is no matrix format of this number."""


class ImageBound(SpecError, number=305):
    """A number could leave the range in which 64 bits hold it."""
