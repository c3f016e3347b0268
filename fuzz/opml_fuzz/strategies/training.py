"""Training: an op on tensors of its own, a few ops that share theirs, requests that are refused, and tapes for a loader.

They shrink to the first op, to sizes of 1, usual operands, plain settings and the first update. What lies in the tensors comes from a
random generator, of which only the seed shrinks. `simpler()` of a case puts zeros and round numbers for it.

*Source*: spec §6.
"""

from collections.abc import Sequence

from hypothesis import assume
from hypothesis import strategies as st
from opml_spec.errors import SpecError
from opml_spec.training.layout import SETTINGS_BYTES
from opml_spec.training.loader import check_operation
from opml_spec.training.operations.batch_operation import BatchOperation

from opml_fuzz.machine.training_case import PLAIN_SETTINGS, SETTINGS, TrainingStages, TrainingTape
from opml_fuzz.models.random_training import (
    CONDITIONS,
    KINDS,
    LARGEST_RATE,
    MANY_UPDATES,
    MOST_UPDATES,
    SHARED_SIZES,
    numbers_of,
    operation_that_shares,
    stages_from,
    with_refused_request,
)
from opml_fuzz.models.refused_training import with_faults
from opml_fuzz.models.training_tensors import TensorPlaces, with_addresses
from opml_fuzz.strategies.models import GENERATORS
from opml_fuzz.strategies.numbers import mostly, numbers

CHOICES = st.randoms(use_true_random=False)
MOST_OPS = 7
ANY_KIND = tuple(KINDS)


@st.composite
def settings(draw: st.DrawFn, updates: int) -> bytes:
    """Draws settings of a run of so many updates that stage 0 accepts."""
    _, _, _, rate, last, share, _, more, _ = PLAIN_SETTINGS
    shares = st.sampled_from((share, 1, 65536)) | st.integers(1, 65536)
    mores = st.sampled_from((more, 62259, 65536)) | st.integers(0, 65536)
    rates = st.sampled_from((rate, LARGEST_RATE, 0)) | st.integers(0, LARGEST_RATE)
    drawn = draw(numbers()), updates, draw(st.integers(0, updates)), draw(rates)
    lasts = st.sampled_from((last, drawn[-1])) | st.integers(0, drawn[-1])
    return SETTINGS.pack(*drawn, draw(lasts), draw(shares), draw(shares), draw(mores), draw(mores)).ljust(SETTINGS_BYTES, b"\0")


@st.composite
def run_parts(draw: st.DrawFn, places: TensorPlaces, tape: Sequence[BatchOperation], times: int) -> TrainingStages:
    """Draws a request and conditions, and lets a tape be executed so many times in a row."""
    updates = draw(mostly(st.integers(times, MOST_UPDATES), st.just(MANY_UPDATES)))
    first = draw(st.integers(0, updates - times))
    records = [operation.record(draw(mostly(st.just(0), st.sampled_from(CONDITIONS), 4))) for operation in tape]
    request = draw(settings(updates)) + places.in_request
    return stages_from(places.data, records, request, range(first, first + times), updates)


@st.composite
def training_operations(draw: st.DrawFn, kinds: Sequence[type[BatchOperation]] = ANY_KIND) -> TrainingStages:
    """Draws one op of training, on a tape of its own, in some update of a run."""
    kind = draw(st.sampled_from(tuple(kinds)))
    operation = with_addresses(kind, numbers_of(draw(CHOICES), kind))
    try:
        check_operation(operation)
    except SpecError:  # epsilon and r, or sizes, that do not fit each other
        assume(False)
    places = TensorPlaces(draw(GENERATORS))
    return draw(run_parts(places, [places.placed(operation)], 1))


@st.composite
def training_stages(draw: st.DrawFn) -> TrainingStages:
    """Draws a few ops that share tensors, each of which is done twice, if its condition holds."""
    places, sizes = TensorPlaces(draw(GENERATORS)), st.sampled_from(SHARED_SIZES)
    usual = {name: draw(sizes) for name in ("rows", "length", "columns", "matrix_rows", "vocabulary")}
    kinds, choices = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=MOST_OPS)), draw(CHOICES)
    drawn = [operation_that_shares(choices, kind, usual) for kind in kinds]
    tape = [places.placed(operation, reuses=True) for operation in drawn if operation]
    assume(tape)
    return draw(run_parts(places, tape, 2))


def training_requests() -> st.SearchStrategy[TrainingStages]:
    """Draws a first stage whose request is almost always refused, or whose op there is not."""
    return st.builds(with_refused_request, CHOICES, training_operations())


def training_tapes() -> st.SearchStrategy[TrainingTape]:
    """Draws a tape for a loader, mostly with a fault."""
    return st.builds(with_faults, CHOICES, training_operations() | training_stages())
