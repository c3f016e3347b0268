"""Tapes that are no LLaMA's: ops of one are left out, come twice, change places, draw conditions, or share a buffer with another op.

So an op may read what an earlier position left, and a run may draw no token. Native code computes positions of a prompt together, and ops
in a row at once; it may do so only where that changes nothing.

*Source*: spec §3.
"""

from random import Random

from attrs import evolve
from opml_spec.machine.memory import STATE
from opml_spec.model.layout import ALWAYS, HEADER, WHEN_DRAWING, Record, encode_tape, encode_words
from opml_spec.model.operations.fixed import Sample
from opml_spec.model.operations.float import FloatSample

from opml_fuzz.machine.model_case import LEAF, WholeRun, header_of, operation_in, records_of
from opml_fuzz.models.tiny_models import is_accepted

MOST_CHANGES, TRIES = 3, 4


def rearranged(rng: Random, run: WholeRun) -> WholeRun:
    """Changes the tape of a run so that a loader still takes it: where buffers overlap, a stage is not defined (spec §3.8)."""
    return next((each for _ in range(TRIES) if is_accepted((each := once_rearranged(rng, run)).memory)), run)


def once_rearranged(rng: Random, run: WholeRun) -> WholeRun:
    """Changes the tape in a few places. It has at least one op left, and as many stages as its request then needs."""
    records, header = records_of(run.memory), header_of(run.memory)
    for _ in range(rng.randrange(1, MOST_CHANGES + 1)):
        place, other = rng.randrange(len(records)), rng.randrange(len(records))
        match rng.randrange(5):
            case 0 if len(records) > 1:
                del records[place]
            case 1:
                records.insert(other, records[place])
            case 2:
                records[place], records[other] = records[other], records[place]
            case 3 if not isinstance(operation_in(records[place]), Sample | FloatSample):  # else native code would not take it
                records[place] = evolve(records[place], condition=ALWAYS if records[place].condition else WHEN_DRAWING)
            case _:
                records[place] = sharing(rng, records[place], records[other])
    stages = 1 if header.single_phase else run.stages // header.ops * len(records)
    words = encode_words(evolve(header, ops=len(records)).words)
    return evolve(run, memory={**run.memory, HEADER: words, header.tape: encode_tape(records)}, stages=stages, until=stages)


def sharing(rng: Random, record: Record, other: Record) -> Record:
    """Moves a buffer of an op to one of another op, or a leaf before or behind its beginning."""
    operands = list(record.operands)
    places = [place for place, value in enumerate(operands) if value >= STATE]
    buffers = [value for value in other.operands if value >= STATE]
    if places and buffers:
        operands[rng.choice(places)] = max(STATE, rng.choice(buffers) + rng.choice((0, 0, 0, -LEAF, LEAF)))
    return evolve(record, operands=tuple(operands))
