"""The result: every way in which the proof of an output can be right or wrong, in the order of the checks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opml_spec.dispute.honest import output_of
from opml_spec.dispute.result import MOST_LEAVES, MOST_TOKENS, Outcome, read_result
from opml_spec.errors import SpecError, WitnessBitmap, WitnessRoot, WitnessTrailing, WitnessTruncated, WitnessZeroSibling, WrongOutput
from opml_spec.hashing import keccak256
from opml_spec.machine import merkle
from opml_spec.machine.memory import CARRY_HEIGHT, STATE, Memory
from opml_spec.machine.merkle import ZERO
from opml_spec.model.layout import OUTPUT, REQUEST
from opml_spec.runs.run import RunState, RunStatus


def run_of(count: int, tokens: int, state: bool = True, behind: bytes = b"") -> Memory:
    """A memory whose output counts so many tokens and holds so many; `behind` lies 1,024 leaves after the output's start."""
    text = b"".join((token + 1).to_bytes(4, "little") for token in range(tokens))
    memory = Memory().store_bytes(REQUEST, b"a request").store_bytes(OUTPUT, count.to_bytes(8, "little") + b"\1" + bytes(23) + text)
    memory = memory.store_bytes(OUTPUT + 32 * MOST_LEAVES, behind)
    return memory.store_bytes(STATE, b"a cache") if state else memory


def shown(memory: Memory, leaves: int) -> tuple[bytes, bytes]:
    """The first leaves of the output and their proof."""
    height, index = (leaves - 1).bit_length(), OUTPUT // 32
    siblings = merkle.siblings(memory.tree, height, index >> height)[: CARRY_HEIGHT - height]
    sent = {level: sibling for level, sibling in enumerate(siblings, height) if sibling != ZERO[level]}
    return memory.load_bytes(OUTPUT, 32 * leaves), sum(1 << level for level in sent).to_bytes(5, "big") + b"".join(sent.values())


def read_out(memory: Memory, output: bytes, proof: bytes, status: int = 0) -> tuple[Outcome, bytes | None]:
    carry = merkle.hash_of(memory.subtree(CARRY_HEIGHT, 1))
    return read_result(RunState(carry, RunStatus(status)), output, proof)


def refused(error: type[SpecError], memory: Memory, output: bytes, proof: bytes, status: int = 0) -> None:
    with pytest.raises(error) as refusal:
        read_out(memory, output, proof, status)
    assert refusal.type is error


@given(st.sampled_from([0, 1, 7, 8, 9, 16, 17, 500, MOST_TOKENS]), st.booleans(), st.sampled_from([0, 1, 2, 3, 100, 511]))
def test_an_output_of_any_length_with_any_number_of_leaves_more(count: int, state: bool, more: int) -> None:
    """The result is the needed leaves alone, whatever else is shown."""
    needed = 1 + (count + 7) // 8
    leaves = needed + more
    memory = run_of(count, 8 * (leaves - 1), state, behind=b"more")
    output, proof = shown(memory, leaves)
    assert read_out(memory, output, proof) == (Outcome.OK, keccak256(output[: 32 * needed]))


@given(st.sampled_from([0, 1, 8, 9, 17, 33, 500, MOST_TOKENS]), st.integers(0, 1 << 10), st.booleans())
def test_an_honest_server_shows_what_a_program_left_behind_its_output(count: int, at: int, state: bool) -> None:
    """Whatever the program stores, there is a proof that the court accepts; else nobody could finalise the runs of some models."""
    needed = 1 + (count + 7) // 8
    memory = run_of(count, count, state).store_bytes(OUTPUT + 32 * needed + at, b"left")
    assert read_out(memory, *output_of(memory.subtree(CARRY_HEIGHT, 1)))[0] is Outcome.OK


@pytest.mark.parametrize("count", [MOST_TOKENS + 1, (1 << 64) - 1])
def test_more_tokens_than_a_result_may_have_are_unreadable(count: int) -> None:
    memory = run_of(count, 8)
    assert read_out(memory, *shown(memory, 1)) == (Outcome.UNREADABLE, None)
    refused(WrongOutput, memory, *shown(memory, 2))


def test_a_failed_run() -> None:
    failed = RunState(bytes(32), RunStatus.FAILED)
    assert read_result(failed, b"", b"") == (Outcome.FAILED, None)
    for output, proof in ((bytes(32), b""), (b"", bytes(5))):
        with pytest.raises(WrongOutput):
            read_result(failed, output, proof)


def test_the_order_of_the_checks() -> None:
    """The length, the count, the proof: each fault hides the ones after it."""
    memory, behind = run_of(9, 9), run_of(9, 8 * 5)
    output, proof = shown(memory, 3)
    sent, siblings = int.from_bytes(proof[:5], "big"), proof[5:]

    def altered(bits: int, more: bytes = siblings) -> bytes:
        return bits.to_bytes(5, "big") + more

    wrong = output[:-1] + b"!"
    refused(WitnessTrailing, memory, output, proof + b"\0")
    refused(WitnessRoot, memory, wrong, proof + b"\0")
    refused(WitnessRoot, memory, output, altered(sent & ~(1 << 33), siblings))
    refused(WitnessTruncated, memory, wrong, proof[:-1])
    refused(WitnessZeroSibling, memory, wrong, altered(sent | 1 << 2, ZERO[2] + siblings[:-1]))
    refused(WitnessBitmap, memory, wrong, altered(sent | 1 << 34, b""))
    refused(WitnessBitmap, memory, wrong, altered(sent | 1, b""))
    refused(WitnessBitmap, memory, wrong, altered(sent | 1 << 1, b""))
    refused(WitnessTruncated, memory, wrong, proof[:4])
    refused(WrongOutput, memory, output[:64], proof[:4])  # fewer leaves than the tokens need
    refused(WrongOutput, memory, shown(memory, 4)[0], proof[:4])  # one more, and it is zero
    for length in (0, 31, 33, 32 * MOST_LEAVES + 1, 32 * MOST_LEAVES + 32):
        refused(WrongOutput, memory, bytes(length), proof[:4])
    refused(WrongOutput, memory, output, proof, status=1)
    assert read_out(memory, output, proof)[0] is Outcome.OK
    refused(WitnessRoot, behind, output, proof)


def test_leaves_that_are_not_shown_are_proven_to_be_zero() -> None:
    """A proof of three leaves includes the hash of the fourth, so a longer output cannot be passed off as a shorter one."""
    memory = run_of(9, 8 * 3)  # leaf 3 is not zero
    output, proof = shown(memory, 4)
    assert read_out(memory, output, proof)[0] is Outcome.OK
    refused(WitnessRoot, memory, output[:96], proof)


def test_no_output_at_all() -> None:
    memory = Memory().store_bytes(REQUEST, b"a request")
    assert read_out(memory, *shown(memory, 1)) == (Outcome.OK, keccak256(bytes(32)))
