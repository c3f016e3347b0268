"""Models at corners: who is asked about them, that they come up, and that they reach what they are for; and models for a loader."""

import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from math import gcd
from random import Random

import pytest
from attrs import evolve
from opml_fuzz.disputes.sequences import RandomDisputes
from opml_fuzz.engines.model_runs import ACCEPTED, REFUSED, REFUSED_IMAGE, GuestModels, NativeModels, SpecModels, image_of
from opml_fuzz.engines.room import Engines
from opml_fuzz.errors import InputError
from opml_fuzz.fuzzing.batches import CORNERS_EVERY, COURT_EVERY, MODELS_AT, SWEEP_ENDS, batch
from opml_fuzz.fuzzing.changed_code import changed
from opml_fuzz.fuzzing.difference import Difference
from opml_fuzz.fuzzing.explaining import explained
from opml_fuzz.fuzzing.target_batches import CORNERS_EVERY as ROUNDS_FOR_ALL
from opml_fuzz.fuzzing.target_batches import ROUNDS, target_batch
from opml_fuzz.machine.case import Case, from_json
from opml_fuzz.machine.model_case import ModelImage, OneStage, WholeRun, header_of, records_of, without_request
from opml_fuzz.models.corner_caches import (
    attention_that_shows_weights,
    attention_to_any_exponents,
    attention_to_the_least_keys,
    attention_to_unlikely_keys,
)
from opml_fuzz.models.corner_models import LLAMAS, QUANTISATION_COUNT, SHIFTS, corner_operations, corner_runs
from opml_fuzz.models.corner_products import corner_products
from opml_fuzz.models.corner_requests import corner_requests, ends_in_one_stage
from opml_fuzz.models.corner_roots import JUST_BELOW, MEAN_SHIFT, R, guess, just_above, norms_at_borders
from opml_fuzz.models.corner_specials import INFINITE, operations_on_specials
from opml_fuzz.models.edge_draws import draws_that_show_weights, edge_draws
from opml_fuzz.models.random_models import corner_operation, random_model, random_operation, random_run
from opml_fuzz.models.refused_models import images_at_bounds, images_at_edges, images_at_ranges, moved_operation, random_image
from opml_fuzz.models.tiny_models import is_accepted
from opml_spec.arithmetic import fixed as fixed_arithmetic
from opml_spec.arithmetic.elementary import exp2, rsqrt
from opml_spec.arithmetic.fixed import round_shift
from opml_spec.machine.memory import STATE, Memory
from opml_spec.model.bounds import Bound, bounds
from opml_spec.model.layout import MAX_TEMPERATURE_Q16, MIN_TEMPERATURE_Q16, REQUEST_BYTES, encode_tape
from opml_spec.model.operations import fixed as fixed_operations
from opml_spec.model.operations.float import FloatSample
from opml_spec.model.operations.table import OPERATIONS, decode_operation
from opml_spec.model.stage import run_stage

from opml_min.model.native.batching import copied_buffers

SHIFTED_IN = fixed_operations, fixed_arithmetic, fixed_operations
ENGINES = SpecModels(), GuestModels(), NativeModels()
MODELS = COURT_EVERY * (SWEEP_ENDS // COURT_EVERY + 1) + MODELS_AT  # the number of a batch about models


def agree(case: Case) -> bool:
    answers = [answer for engine in ENGINES if (answer := engine.answer(case)) is not None]
    return len(answers) >= 2 and all(answer == answers[0] for answer in answers)


def test_all_answer_alike() -> None:
    assert [number for number, case in enumerate(corner_operations()) if not agree(case)] == []
    assert [number for number, case in enumerate(corner_runs()) if not agree(case)] == []


def test_the_loader_accepts_all_operations() -> None:
    """Else native code would not be asked."""
    draws = (case for is_float in (False, True) for case in edge_draws(Random(1), is_float))
    assert all(NativeModels().answer(case) for case in (*corner_operations(), *draws) if not header_of(case.memory).single_phase)


def test_native_code_computes_positions_together() -> None:
    """Else nothing at the corners of batches would be asked."""
    for case, it in zip(corner_runs(), (*LLAMAS, *(None,) * (len(corner_runs()) - len(LLAMAS))), strict=True):
        with image_of(case.memory) as image:
            assert (copied_buffers(image.ops) is not None) == (it is None or not it.is_float)


@pytest.mark.parametrize(("make", "largest"), [(draws_that_show_weights, -1), (attention_to_unlikely_keys, -10)])
def test_a_weight_that_is_off_by_one_shows_at_each_exponent(
    make: Callable[[Random], Iterator[OneStage]], largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a weight of 1, and 0 in place of it. The result of an ATTENTION has only 15 bits."""
    cases = tuple(make(Random(1)))
    right = [ENGINES[0].answer(case) for case in cases]
    for whole in range(-25, largest + 1):
        for by in (-1, 1):
            with monkeypatch.context() as patched:
                patched.setattr(fixed_operations, "exp2", lambda z, whole=whole, by=by: exp2(z) + by * (z >> 16 == whole))
                assert any(ENGINES[0].answer(case) != answer for case, answer in zip(cases, right, strict=True)), (whole, by)


def test_what_is_multiplied_has_every_shift() -> None:
    products = corner_operations()[-QUANTISATION_COUNT * len(SHIFTS) :]
    roots = [ENGINES[0].answer(case) for case in products]
    assert len(set(map(str, roots))) == len(roots)


def test_requests_are_on_both_sides_of_each_bound() -> None:
    """Most are refused, but not all that are about the same number."""
    refused = {name: SpecModels().answer(case) == [REFUSED] for name, case in corner_requests(Random(1))}
    assert sum(refused.values()) == 40
    assert not any(refused[f"{what} up to the context"] for what in ("a prompt", "new tokens"))
    assert not any(refused[f"temperature {bound}"] for bound in (MIN_TEMPERATURE_Q16, MAX_TEMPERATURE_Q16))
    assert not refused["the last token of the vocabulary"]


def test_caches_lead_to_every_shift(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores, weights and the heads' outputs are shifted to the left, and across the width of a word."""
    for case, module, least, most in zip(attention_to_any_exponents(Random(1)), SHIFTED_IN, (-100, 47, 0), (140, 302, 255), strict=True):
        shifts = set()

        def noting(value: int, shift: int, noted: set[int] = shifts) -> int:
            noted.add(shift)
            return round_shift(value, shift)

        with monkeypatch.context() as patched:
            patched.setattr(module, "round_shift", noting)
            SpecModels().answer(case)
        assert set(range(least, most)) <= shifts


def test_a_weight_that_is_wrong_by_one_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """All weights but the largest are, or only the small ones."""
    case = attention_that_shows_weights(Random(1))
    right = SpecModels().answer(case)
    for error, top in ((-1, 0), (1, 0), (1, -1 << 16), (-1, -1 << 16)):
        monkeypatch.setattr(fixed_operations, "exp2", lambda z, error=error, top=top: exp2(z) + (error if z < top else 0))
        assert SpecModels().answer(case) != right


def test_a_root_that_is_wrong_by_one_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [*norms_at_borders(Random(1))]
    right = [SpecModels().answer(case) for case in cases]
    for error, shown_by in ((-1, cases), (1, cases[1:])):  # the first root is a power of two
        monkeypatch.setattr(fixed_operations, "rsqrt", lambda v, error=error: rsqrt(v) + error)
        assert all(SpecModels().answer(case) != right[cases.index(case)] for case in shown_by)


def test_floats_are_on_the_wrong_side_of_these_roots() -> None:
    assert [guess(x * x << MEAN_SHIFT) - rsqrt(x * x << MEAN_SHIFT) for x in JUST_BELOW] == [1, 1, 1]
    for seed in range(5):
        numbers, eps_q48 = just_above(Random(seed))
        v = sum(x * x for x in numbers) // 3 + (eps_q48 >> 48 - 2 * R) << MEAN_SHIFT
        assert guess(v) == rsqrt(v) - 1


@pytest.mark.parametrize("numbers", [range(MODELS, MODELS + 8 * 15, 8), range(40)])
def test_every_corner_comes_up_in_time(numbers: range) -> None:
    """In batches of all kinds, of which one in eight is about models, and in those of a campaign about nothing else."""
    assert gcd(COURT_EVERY, CORNERS_EVERY) == gcd(COURT_EVERY, len(corner_runs())) == gcd(ROUNDS * COURT_EVERY, ROUNDS_FOR_ALL) == 1
    asked = [case for number in numbers for case in batch(1, number, {"model"})]
    assert {id(case) for case in corner_runs()} <= {id(case) for case in asked if isinstance(case, WholeRun)}


def test_a_target_is_asked_too() -> None:
    asked = [case for number in range(9) for case in target_batch(1, number, None, frozenset({"stage"}), {"op"})]  # type: ignore[arg-type]
    assert {id(case) for case in corner_operations()} <= set(map(id, asked))


# Loaders ---------------------------------------------------------------------------------------------------------------------------------


def verdicts(images: Iterable[ModelImage]) -> Counter[str]:
    """Counts what both loaders say, or the specification's alone where the other one spares itself."""
    counts = Counter[str]()
    for image in images:
        (specified,), native = SpecModels().answer(image) or (), NativeModels().answer(image)
        assert native in (None, [specified]), image.to_json()
        counts[specified if native else f"{specified} by one"] += 1
    return counts


def test_loaders_agree_on_what_they_refuse() -> None:
    rng = Random(3)
    counts = verdicts((*images_at_ranges(), *images_at_bounds(), *(random_image(rng) for _ in range(150))))
    assert counts[ACCEPTED] > 80
    assert counts[REFUSED_IMAGE] > 150
    assert counts[f"{ACCEPTED} by one"] < 10


def test_tensors_at_edges_are_refused_by_both_loaders() -> None:
    counts = verdicts(images_at_edges())
    assert counts[ACCEPTED] > 100
    assert counts[REFUSED_IMAGE] > 300


LENIENT = (
    (images_at_edges, "opml_min.model.native.check", "written[i + 1 :] + read", "written[i + 1 :]"),
    (images_at_bounds, "opml_min.model.native.check", '["length"] <= MAX_NORM_LENGTH', '["length"] <= MAX_NORM_LENGTH + 1'),
    (images_at_edges, "opml_min.model.native.check", "address % ALIGNMENT == 0", "address % 8 == 0"),
    (images_at_edges, "opml_spec.model.places", "yield from combinations(changes, 2)", "yield from ()"),
    (images_at_bounds, "opml_spec.model.bounds", ".rows(memory, whole_tiles(rows))", ".rows(memory, rows)"),
    (images_at_ranges, "opml_spec.model.loader", "record.condition > WHEN_DRAWING", "record.condition > WHEN_DRAWING + 1"),
)


def disagree(image: ModelImage) -> bool:
    return NativeModels().answer(image) not in (None, SpecModels().answer(image))


@pytest.mark.parametrize(("images", "module", "right", "wrong"), LENIENT)
def test_a_lenient_loader_is_found(images: Callable[[], Iterator[ModelImage]], module: str, right: str, wrong: str) -> None:
    with changed(module, right, wrong):
        found = next(filter(disagree, images()))
        while simpler := next(filter(disagree, found.simpler()), None):
            found = simpler
        assert len(records_of(found.memory)) == 1
        assert from_json(found.to_json()) == found
    assert not disagree(found)


def test_the_program_of_an_image_asks_both_loaders() -> None:
    (image, *_) = (each for each in images_at_edges() if SpecModels().answer(each) == [REFUSED_IMAGE])
    done = subprocess.run([sys.executable, "-c", Difference(image, {}).program], capture_output=True, text=True, check=True)
    assert "opml_min: " in done.stdout
    assert "spec: 303 IMAGE_OP" in done.stdout


def test_a_file_with_too_many_weights_for_a_loader_is_refused() -> None:
    """A file from elsewhere must not hold `replay` up."""
    image = next(images_at_bounds())
    (record,), tape = records_of(image.memory), header_of(image.memory).tape
    many = evolve(record, operands=(*record.operands[:4], 1 << 30, *record.operands[5:]))
    with pytest.raises(InputError, match="too many numbers to look at"):
        from_json(ModelImage({**image.memory, tape: encode_tape([many])}).to_json())


def test_a_file_with_too_much_for_the_specification_is_refused() -> None:
    """A product of 2^30 rows, the same in a run, and one stage that is a run of 2^32 positions."""
    product = next(corner_products(Random(8)))
    (record,), tape = records_of(product.memory), header_of(product.memory).tape
    long = {**product.memory, tape: encode_tape([evolve(record, operands=(*record.operands[:4], 1 << 30, *record.operands[5:]))])}
    (end, *_) = ends_in_one_stage(Random(6))
    request = end.memory[REQUEST_BYTES]
    many = {**end.memory, REQUEST_BYTES: request[:4] + struct.pack("<I", (1 << 32) - 1) + request[8:]}
    for case in (OneStage(long, 0), WholeRun(without_request(long), bytes(24), 1, 1), OneStage(many, end.stage)):
        with pytest.raises(InputError, match="too many numbers"):
            from_json(case.to_json())


def test_what_is_asked_of_models_can_be_replayed() -> None:
    rng = Random(11)
    drawn = [draw(rng) for draw in (random_operation, corner_operation, random_model, random_run) for _ in range(20)]
    cases = (*drawn, *corner_operations(), *corner_runs(), *corner_products(rng), *ends_in_one_stage(rng))
    assert all(from_json(case.to_json()) == case for case in cases)


def test_moved_tensors_are_computed_alike() -> None:
    rng = Random(5)
    assert all(agree(moved_operation(rng)) for _ in range(20))


def test_a_finding_about_a_stage_tells_what_is_right() -> None:
    """A target tells but a root, so its user is told the op, and the leaves that it changes."""
    (case, *_) = ends_in_one_stage(Random(6))
    difference = explained(Difference(case, {}), Engines((), (), (), RandomDisputes(alone=True)), "here")
    sample, addition, changes, *leaves = difference.details
    assert difference.title.startswith("run of a model in one stage, 2 ops")
    assert sample.startswith("op 0, condition 1: Sample, logits 0xc0")
    assert addition.startswith("op 1, condition 0: Add, x 0xc0")
    assert changes == "spec: exit code 0, 3 leaves changed"
    assert leaves[0] == f"at 0x8010000000: {bytes(32).hex()} → {'01'.ljust(16, '0') * 2}{bytes(16).hex()}"


def test_a_stage_at_which_the_specification_raises_is_told_as_such() -> None:
    """An unknown quantisation. A campaign must not end with the explanation of what it found."""
    case = next(case for case in corner_products(Random(8)))
    (record,) = records_of(case.memory)
    tape = encode_tape([evolve(record, operands=(*record.operands[:3], 7, *record.operands[4:]))])
    broken = OneStage({**case.memory, header_of(case.memory).tape: tape}, case.stage)
    product, said = explained(Difference(broken, {}), Engines((), (), (), RandomDisputes(alone=True)), "here").details
    assert "MatMul" in product
    assert "MatrixFormat" in said


def test_rows_of_the_largest_scales_are_the_longest_that_a_loader_takes() -> None:
    cases = [*corner_products(Random(7))]
    assert all(is_accepted(case.memory) for case in cases)
    sums = [bound.magnitude for case in cases for bound in bounds_of(case) if bound.name.startswith("Σ d")]
    assert 0.99 * 2**62 < max(sums) < 2**62


def test_keys_that_no_cache_writes_stay_within_64_bits() -> None:
    """A buffer may hold -2^15, though what is normalised never is. One more unit of the scale, and a loader refuses."""
    case = attention_to_the_least_keys(Random(3))
    assert is_accepted(case.memory)
    assert agree(case)
    (record,), tape = records_of(case.memory), header_of(case.memory).tape
    more = evolve(record, operands=(*record.operands[:10], record.operands[10] + 1, *record.operands[11:]))
    assert not is_accepted({**case.memory, tape: encode_tape([more])})


def bounds_of(case: OneStage) -> Iterator[Bound]:
    return bounds(Memory.from_segments(case.memory), decode_operation(records_of(case.memory)[0]))


def test_a_finding_about_one_stage_of_many_names_its_op() -> None:
    (case, *_) = corner_operations()
    (addition, *_) = explained(Difference(case, {}), Engines((), (), (), RandomDisputes(alone=True)), "here").details
    assert addition.startswith("op 0 at position 2, condition 0: Add, x 0xc0")


def test_special_floats_make_nans_and_come_in_any_place() -> None:
    """Each operation that computes has the usual NaN as a result where it was not; a draw has an infinite logit that is not the first."""
    made, drawn = set[str](), 0
    for case in operations_on_specials(Random("specials")):
        (record,) = records_of(case.memory)
        before = Memory.from_segments(case.memory)
        after, exit_code = run_stage(before, case.stage)
        assert exit_code == 0
        if record.opcode == FloatSample.opcode:
            address, length = record.operands[:2]
            logits = [before.load(address + 4 * i, 4) for i in range(length)]
            drawn += INFINITE in logits[1:] and logits[0] != INFINITE and before.load(REQUEST_BYTES + 8, 4) > 0
        else:
            words = (range(STATE, STATE + len(case.memory[STATE]), 4)) if STATE in case.memory else ()
            if any(after.load(at, 4) == 0x7FC00000 != before.load(at, 4) for at in words):
                made.add(OPERATIONS[record.opcode].__name__)
    assert made >= {"FloatNorm", "FloatMatMul", "FloatRope", "FloatAttention", "FloatSwiGlu", "FloatAdd"}
    assert drawn >= 3
