"""One game: positions, every move, and every error in the order of the checks."""

from collections.abc import Iterator

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from opml_spec.dispute.acts import Play
from opml_spec.dispute.game import Arbitrate, Choose, GameStatus, Move, Open, Post, Timeout
from opml_spec.dispute.narrowing import Phase, Segment
from opml_spec.errors import (
    GameOver,
    NoSuchPart,
    NotOutOfTime,
    NotYourTurn,
    OutOfTime,
    SpecError,
    StalePosition,
    StateUndecodable,
    StepCount,
    StillRunning,
    UnknownGame,
    WitnessRoot,
    WitnessTrailing,
    WitnessTruncated,
    WrongCount,
    WrongEnd,
    WrongMove,
    WrongStart,
    WrongState,
)
from opml_spec.hashing import hash_pair, keccak256
from opml_spec.machine.merkle import ZERO, hash_of
from opml_spec.machine.state import RUNNING, Cause, Kind, MachineState, Status, encode, state_hash
from opml_spec.machine.witness import make_witness
from opml_spec.runs.limits import STAGE_STEP_LIMIT
from opml_spec.runs.run import RunState, RunStatus, first_state, io_quarter, stage_start
from spec_dispute import (
    CHALLENGER,
    DATA,
    PUPPET,
    SERVER,
    STRANGER,
    TEXT,
    Duel,
    Table,
    account,
    call_timeout,
    duel,
    memory_of,
    opening,
    wrong_register,
)

TRUTH = account(memory_of(*TEXT), 3)
LYING = account(memory_of(*TEXT), 3, wrong_register, (1, 6))


def at(phase: Phase, length: int | None = None, posted: bool = False) -> Duel:
    """A game that got so far."""
    match = duel(LYING, truth=TRUTH)
    match.play(lambda game: game.segment.phase == phase and bool(game.posted) == posted and length in (None, game.segment.length))
    assert match.table.game.status is GameStatus.OPEN
    return match


def refused(table: Table, error: type[SpecError], move: Move, sender: bytes, position: bytes | None = None, game_id: bytes = b"") -> None:
    """The move is refused with this error, and nothing changes."""
    before = table.court
    with pytest.raises(error) as refusal:
        table.act(Play(game_id or table.game_id, table.game.position if position is None else position, move), sender)
    assert refusal.type is error
    assert table.court == before


# Positions ---------------------------------------------------------------------------------------------------------------------


def test_a_game_begins_where_the_request_and_the_claim_are() -> None:
    game = duel(LYING, truth=TRUTH).table.game
    first = first_state(io_quarter(3, DATA), memory_of(*TEXT).subtree(33, 3)).run_hash
    assert game.segment == Segment(Phase.STAGES, 0, 3, first, LYING.run_hash)
    assert (game.turn, game.moves, game.posted, game.status) == (0, 1, (), GameStatus.OPEN)
    text = game.game_id + b"\1" + bytes(8) + (3).to_bytes(8, "big") + first + LYING.run_hash + keccak256(b"") + bytes(8)
    assert game.position == keccak256(text)


def test_a_position_says_everything() -> None:
    """No two positions of a game are the same, nor those of two games, nor what differs in one thing."""
    match = duel(LYING, truth=TRUTH)
    seen = [match.table.game.position]
    while match.table.game.status is GameStatus.OPEN:
        match.move()
        seen.append(match.table.game.position)
    other = match.table.asked().claimed(LYING.run_hash).challenged().game
    segment = other.segment
    changes = {"lo": 1, "hi": 2, "agreed": bytes(32), "disputed": bytes(32), "phase": Phase.INSTRUCTIONS}
    seen += [other.position, evolve(other, turn=1).position, evolve(other, posted=(bytes(32),)).position]
    seen += [evolve(other, segment=evolve(segment, **{name: value})).position for name, value in changes.items()]
    assert len(seen) == len(set(seen)) > 15


def test_posted_hashes_and_turns_are_in_the_position() -> None:
    match = at(Phase.STAGES, posted=True)
    game, segment = match.table.game, match.table.game.segment
    middle = segment.lo.to_bytes(8, "big") + segment.hi.to_bytes(8, "big") + segment.agreed + segment.disputed
    assert len(game.posted) == 2
    assert game.position == keccak256(game.game_id + b"\1" + middle + keccak256(game.posted[0] + game.posted[1]) + (1).to_bytes(8, "big"))


# The checks of every move, in order --------------------------------------------------------------------------------------------


def every_kind() -> Iterator[tuple[str, Duel, Move, Move]]:
    """A game, a move that is legal in it, and one of another kind by the same side."""
    yield "post", at(Phase.STAGES), Post((bytes(32),) * 2), Arbitrate(b"")
    yield "post again", at(Phase.INSTRUCTIONS), Post((bytes(32),) * 3), opening(TRUTH.runs[0], 1, TRUTH.stages[0][-1])
    yield "choose", at(Phase.STAGES, posted=True), Choose(0), Post((bytes(32),) * 2)
    yield "open", (match := at(Phase.STAGES, 1)), match.next_move(), Post(())
    yield "arbitrate", (match := at(Phase.INSTRUCTIONS, 1)), match.next_move(), Choose(0)


@pytest.mark.parametrize("kind", range(5))
def test_the_order_of_the_checks(kind: int) -> None:
    """From the last check to the first: each new fault hides the ones before."""
    name, match, move, other = [*every_kind()][kind]
    table = match.table
    mover = CHALLENGER if name == "choose" else SERVER
    refused(table, WrongMove, other, mover)
    table.now += table.game.clock.left(table.game.on_turn) + 1
    refused(table, OutOfTime, move, mover)
    refused(table, OutOfTime, other, mover)
    for wrong_sender in {SERVER, CHALLENGER, STRANGER, PUPPET} - {mover}:
        if name != "arbitrate":
            refused(table, NotYourTurn, move, wrong_sender)
    refused(table, StalePosition, other, PUPPET, bytes(32))
    position = table.game.position
    call_timeout(table, 0)
    refused(table, GameOver, other, PUPPET, bytes(32))
    refused(table, GameOver, move, mover, position)
    refused(table, UnknownGame, other, PUPPET, bytes(32), game_id=bytes(32))


def test_who_may_move() -> None:
    """Anybody may arbitrate, but only when the server is on turn."""
    match = at(Phase.INSTRUCTIONS, 1)
    match.table.play(match.next_move(), STRANGER)
    assert match.table.game.status is GameStatus.CHALLENGER_WON
    assert STRANGER not in match.table.court.ledger.credited
    match = at(Phase.INSTRUCTIONS, posted=True)
    refused(match.table, NotYourTurn, Arbitrate(b""), SERVER)
    refused(match.table, WrongMove, Post(()), CHALLENGER)
    refused(match.table, WrongMove, Open(bytes(32), 0, 1, b"", b"", b""), CHALLENGER)


def test_the_order_of_the_checks_of_a_timeout() -> None:
    table = at(Phase.STAGES).table
    refused(table, NotOutOfTime, Timeout(), STRANGER)
    refused(table, StalePosition, Timeout(), STRANGER, bytes(32))
    refused(table, UnknownGame, Timeout(), STRANGER, bytes(32), game_id=bytes(32))
    stale = table.game.position
    call_timeout(table, 2_001)
    refused(table, GameOver, Timeout(), STRANGER, bytes(32))
    refused(table, GameOver, Timeout(), STRANGER, stale)


# Post and choose ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 3, 64])
def test_a_post_has_one_hash_for_each_inner_boundary(count: int) -> None:
    refused(at(Phase.STAGES).table, WrongCount, Post((bytes(32),) * count), SERVER)


@pytest.mark.parametrize("part", [3, 4, 255])
def test_a_choice_is_a_part(part: int) -> None:
    refused(at(Phase.STAGES, posted=True).table, NoSuchPart, Choose(part), CHALLENGER)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_choice_makes_a_new_segment(part: int) -> None:
    match = at(Phase.STAGES, posted=True)
    before = match.table.game
    match.table.play(Choose(part), CHALLENGER)
    after, ends = match.table.game, (before.segment.agreed, *before.posted, before.segment.disputed)
    assert after.segment == Segment(Phase.STAGES, part, part + 1, ends[part], ends[part + 1])
    assert (after.posted, after.turn, after.moves) == ((), before.turn + 1, before.moves + 1)


# Opening -----------------------------------------------------------------------------------------------------------------------


def test_the_order_of_the_checks_of_an_opening() -> None:
    """Each fault hides the ones after it."""
    match = at(Phase.STAGES, 1)
    table, good = match.table, match.next_move()
    assert isinstance(good, Open)
    final = match.server.stages[1][-1]
    running, broken = evolve(final, status=RUNNING), encode(final)[:-41] + b"\3" + encode(final)[-40:]
    other = bytes(31) + b"!"
    for error, move in (
        (WrongEnd, evolve(good, final_carry=other)),
        (WrongEnd, evolve(good, left_root=other)),
        (WrongEnd, evolve(good, final_state=encode(evolve(final, status=Status(Kind.HALTED, 1))))),
        (WrongEnd, evolve(good, final_state=encode(running), steps=STAGE_STEP_LIMIT)),
        (StillRunning, evolve(good, final_state=encode(running), left_root=other)),
        (StillRunning, evolve(good, final_state=encode(running), steps=STAGE_STEP_LIMIT - 1)),
        (StateUndecodable, evolve(good, final_state=broken, left_root=other)),
        (StateUndecodable, evolve(good, final_state=encode(final)[:-1], left_root=other)),
        (StateUndecodable, evolve(good, final_state=encode(final) + b"\0", left_root=other)),
        (StepCount, evolve(good, steps=0, final_state=broken)),
        (StepCount, evolve(good, steps=STAGE_STEP_LIMIT + 1, final_state=broken)),
        (WrongStart, evolve(good, start_status=2, steps=0)),
        (WrongStart, evolve(good, start_status=255, steps=0)),
        (WrongStart, evolve(good, start_status=1, steps=0)),
        (WrongStart, evolve(good, start_carry=other, steps=0)),
    ):
        refused(table, error, move, SERVER)
    table.play(good, SERVER)


def test_an_opening_exchanges_run_states_for_machine_states() -> None:
    """The start is built from the registered model, the stage's place and the agreed carry."""
    match = at(Phase.STAGES, 1)
    before = match.table.game
    match.move()
    after, machines, model = match.table.game, match.server.stages[1], memory_of(*TEXT).subtree(33, 1)
    start = stage_start(model, match.server.runs[1].carry, 1)
    assert after.segment == Segment(Phase.INSTRUCTIONS, 0, len(machines) - 1, state_hash(start), state_hash(machines[-1]))
    assert start.memory.root == hash_pair(hash_pair(ZERO[33], hash_of(model)), hash_of(match.server.runs[1].carry))
    assert (after.turn, after.moves, after.posted) == (before.turn + 1, before.moves, ())


ENDS = [(Kind.HALTED, value) for value in (1, 255, 1 << 63)] + [(Kind.TRAPPED, cause) for cause in Cause] + [(Kind.RUNNING, 0)]


@pytest.mark.parametrize(("kind", "value"), ENDS)
def test_whatever_is_not_an_exit_with_0_must_lead_to_failed_with_the_old_carry(kind: Kind, value: int) -> None:
    final = evolve(LYING.stages[0][-1], status=Status(kind, value))
    steps = STAGE_STEP_LIMIT if kind == Kind.RUNNING else 5
    start = LYING.runs[0]
    for claimed, accepted in ((RunState(start.carry, RunStatus.FAILED), True), (RunState(start.carry, RunStatus.OK), False)):
        table = Table(stages=1).asked()
        start = first_state(io_quarter(1, DATA), table.memory.subtree(33, 3))
        claimed = RunState(start.carry, claimed.status)
        table.claimed(claimed.run_hash).challenged()
        if accepted:
            table.play(opening(start, steps, final), SERVER)
            assert table.game.segment.hi == steps
        else:
            refused(table, WrongEnd, opening(start, steps, final), SERVER)


@pytest.mark.parametrize("same", [True, False])
def test_opening_from_failed_ends_the_game_at_once(same: bool) -> None:
    """From FAILED a stage is the identity: the server wins iff it says so. Steps and final state are not looked at."""
    failed = RunState(bytes(32), RunStatus.FAILED)
    table = Table(stages=2).asked().claimed(failed.run_hash if same else keccak256(b"else")).challenged()
    table.play(Post((failed.run_hash,)), SERVER)
    table.play(Choose(1), CHALLENGER)
    refused(table, WrongStart, Open(bytes(32), 0, 0, b"", b"", b""), SERVER)
    table.play(Open(bytes(32), 1, 0, b"no state", b"", b""), SERVER)
    assert table.game.status is (GameStatus.SERVER_WON if same else GameStatus.CHALLENGER_WON)


# Arbitration -------------------------------------------------------------------------------------------------------------------


def test_a_bad_witness_decides_nothing() -> None:
    match = at(Phase.INSTRUCTIONS, 1)
    good = match.next_move()
    assert isinstance(good, Arbitrate)
    witness = good.witness
    flipped = bytes([witness[-1] ^ 1])
    elsewhere: MachineState = TRUTH.stages[0][0]
    for error, wrong in (
        (WitnessTruncated, b""),
        (WitnessTruncated, witness[:-1]),
        (WitnessTrailing, witness + b"\0"),
        (WitnessRoot, witness[:-1] + flipped),
        (StateUndecodable, witness[:256] + b"\3" + witness[257:]),
        (WrongState, make_witness(elsewhere)),
        (WitnessTrailing, make_witness(elsewhere) + b"\0"),
    ):
        refused(match.table, error, Arbitrate(wrong), STRANGER)
    match.table.play(good, SERVER)
    assert match.table.game.status is GameStatus.CHALLENGER_WON


def test_the_verdict_is_the_step() -> None:
    match = at(Phase.INSTRUCTIONS, 1)
    game = match.table.game
    before, said = match.server.stages[1][game.segment.lo : game.segment.lo + 2]
    assert (state_hash(before), state_hash(said)) == (game.segment.agreed, game.segment.disputed)
    match.move()
    assert match.table.game.status is GameStatus.CHALLENGER_WON
    honest = duel(TRUTH, truth=LYING)
    honest.play()
    assert honest.table.game.status is GameStatus.SERVER_WON


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_a_refused_move_changes_nothing_and_an_accepted_one_is_counted(picks: list[int]) -> None:
    match = duel(LYING, truth=TRUTH)
    for pick in picks:
        game = match.table.game
        move = [match.next_move(), Post(()), Choose(9), Arbitrate(b""), Timeout()][pick] if game.status is GameStatus.OPEN else Timeout()
        try:
            match.table.play(move, game.player(game.on_turn))
        except SpecError:
            assert match.table.game == game
        else:
            assert match.table.game.turn == game.turn + 1
            assert match.table.game.moves - game.moves == isinstance(move, Choose)
