"""Everything that the specification calls an error, by name and number.

The machine itself has no errors, only traps. Errors are about bytes that somebody hands over: a witness, an image, a move.
They are classes here, so that a test can ask for one by name; another implementation reports the number. 1xx are of the machine,
2xx of the dispute (214 and 229 belonged to its first edition), 3xx of models.

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


class UnknownNode(SpecError, number=204):
    """No node has this id."""


class WrongValue(SpecError, number=205):
    """The money that was sent along is not exactly the bond."""


class StageCount(SpecError, number=206):
    """A run has at least one and at most 2^24 stages."""


class RequestTooLong(SpecError, number=207):
    """The request has more bytes than a request may have."""


class Deadline(SpecError, number=208):
    """The request's deadline has passed, or is more than a year away."""


class NotTheServer(SpecError, number=209):
    """The request, or the claim, has another server."""


class ClaimNotPending(SpecError, number=210):
    """The claim is final or rejected."""


class WindowClosed(SpecError, number=211):
    """The claim can no longer be challenged."""


class WindowOpen(SpecError, number=212):
    """It is too early to finalise: the claim can still be challenged."""


class NodesOpen(SpecError, number=213):
    """The claim cannot end while its server owes an answer."""


class StaleCommitment(SpecError, number=215):
    """The move names another segment, or other hashes, than the node holds."""


class WrongTurn(SpecError, number=216):
    """The node waits for something else, or for nothing."""


class OutOfTime(SpecError, number=217):
    """The side that would move has used up its time."""


class NotOutOfTime(SpecError, number=218):
    """The server still has time."""


class WrongMove(SpecError, number=219):
    """This segment takes another kind of move."""


class WrongCount(SpecError, number=220):
    """A segment in p parts has p - 1 inner hashes."""


class NoSuchPart(SpecError, number=221):
    """The segment has fewer parts."""


class WrongStart(SpecError, number=222):
    """The stage does not begin in the agreed run state."""


class StepCount(SpecError, number=223):
    """A stage has at least one step and at most the limit."""


class StillRunning(SpecError, number=224):
    """Only a machine that has used up all its steps may end as RUNNING."""


class WrongEnd(SpecError, number=225):
    """The stage does not end in the disputed run state."""


class WrongState(SpecError, number=226):
    """The witness is of another state than the agreed one."""


class WrongOutput(SpecError, number=227):
    """This is not how the claimed run ended, or not its output."""


class NothingToCollect(SpecError, number=228):
    """The claim of the node is not rejected, or the node was collected before."""


class NotAllFailed(SpecError, number=230):
    """The request may still be answered, was answered, or the fee is gone already."""


class NothingToWithdraw(SpecError, number=231):
    """Nothing is credited to the sender."""


class BadParameters(SpecError, number=232, name="PARAMETERS"):
    """The bounds under which an honest side cannot lose do not hold."""


class StageTime(SpecError, number=234):
    """A stage takes at least one microsecond and less than 2^32."""


class BondRange(SpecError, number=235):
    """The bond is below the least one, or too large to count."""


class FeeRange(SpecError, number=236):
    """The fee does not pay for the line, or is too large to count."""


class TooMuchWork(SpecError, number=237):
    """It takes more than a year to recompute the run."""


class AlreadyFinal(SpecError, number=238):
    """The request has a result."""


class ClaimExists(SpecError, number=239):
    """The server made this claim before."""


class TooLate(SpecError, number=240):
    """The claim would close later than its server accepts."""


class RootExists(SpecError, number=241):
    """The claim was challenged before; its tree is open to everybody."""


class NotTheOpener(SpecError, number=242):
    """For a while after an answer only the opener of the node may choose."""


class PartChosen(SpecError, number=243):
    """This part is a node already."""


class WrongSeal(SpecError, number=244):
    """The first answer must reveal the run hash that the claim sealed."""


class Unsettled(SpecError, number=245):
    """It is too early to finalise: a part may still be chosen."""


class OtherResult(SpecError, number=246):
    """Another run hash is the result of the request."""


class NotExpired(SpecError, number=247):
    """There is still time to finalise the claim."""


class NothingToAward(SpecError, number=248):
    """There is no result, the fee is gone, it is not this claim's turn, or the claim may still become final."""


class NoResult(SpecError, number=249):
    """No claim of the request is final."""


# 3xx: models ---------------------------------------------------------------------------------------------------------------------


class ImageFile(SpecError, number=301):
    """The file is not laid out as an image."""


class ImageHeader(SpecError, number=302):
    """The header is not one of this version."""


class ImageOp(SpecError, number=303):
    """A record on the tape is no operation, an operand is out of its range, or a tensor lies where it may not."""


class MatrixFormat(SpecError, number=304):
    """There is no matrix format of this number."""


class ImageBound(SpecError, number=305):
    """A number could leave the range in which 64 bits hold it."""
