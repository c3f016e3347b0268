"""The court: every act, its errors in order, and what must hold after any sequence of acts."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opml_spec.dispute.acts import Act, Ask, Challenge, ClaimStatus, Collect, Finalise, MakeClaim, Play, Reclaim, Register, Withdraw
from opml_spec.dispute.game import Arbitrate, Choose, GameStatus, Open, Post, Timeout
from opml_spec.dispute.result import Outcome
from opml_spec.errors import (
    ClaimNotPending,
    Deadline,
    GameOver,
    GamesOpen,
    NotAllFailed,
    NothingToCollect,
    NothingToWithdraw,
    NotTheRequester,
    NotTheServer,
    RequestTooLong,
    SpecError,
    StageCount,
    UnknownClaim,
    UnknownGame,
    UnknownModel,
    UnknownRequest,
    WindowClosed,
    WindowOpen,
    WrongOutput,
    WrongValue,
)
from opml_spec.hashing import hash_pair, keccak256
from opml_spec.runs.run import RunState, RunStatus, first_state, io_quarter, model_id
from spec_dispute import (
    CHALLENGER,
    FEE,
    PARAMETERS,
    PUPPET,
    REQUESTER,
    SERVER,
    START_TIME,
    STRANGER,
    Table,
    account,
    call_timeout,
    duel,
    wrong_register,
)

W = PARAMETERS.window_seconds
BOND, STAKE = PARAMETERS.server_bond_wei, PARAMETERS.challenger_bond_wei
NOBODY = bytes(32)
FAILED = RunState(bytes(32), RunStatus.FAILED)  # needs no output to be finalised
ROOTS = bytes(31) + b"\1", bytes(31) + b"\2"


def refused(table: Table, error: type[SpecError], what: Act, sender: bytes = STRANGER, value: int = 0) -> None:
    """The act is refused with this error, and nothing changes."""
    before = table.court
    with pytest.raises(error) as refusal:
        table.act(what, sender, value)
    assert refusal.type is error
    assert table.court == before


def finalise(table: Table) -> Finalise:
    return Finalise(table.claim_id, bytes(32), 1)


# Acts, one by one --------------------------------------------------------------------------------------------------------------


def test_ids_are_hashes_of_who_made_what() -> None:
    """They count what their sender made, so the same thing twice has two ids."""
    table = Table().asked().claimed(bytes(32)).challenged()
    request = table.court.requests[table.request_id]
    terms = (3).to_bytes(8, "big") + (START_TIME + 500).to_bytes(8, "big") + FEE.to_bytes(32, "big") + bytes(20)
    content = keccak256(request.model_id + terms + keccak256(b"what is it that we disagree about?"))
    assert table.request_id == keccak256(b"\1" + REQUESTER + bytes(8) + content)
    assert table.claim_id == keccak256(b"\2" + SERVER + bytes(8) + keccak256(table.request_id + bytes(32)))
    assert table.game_id == keccak256(b"\3" + CHALLENGER + bytes(8) + table.claim_id)
    second = table.challenged().game_id
    assert second == keccak256(b"\3" + CHALLENGER + (1).to_bytes(8, "big") + table.claim_id)
    assert table.court.nonces == {REQUESTER: 1, SERVER: 1, CHALLENGER: 2}


def test_register_is_idempotent() -> None:
    table = Table()
    table.act(Register(*ROOTS))
    once = table.court
    table.act(Register(*ROOTS), SERVER)
    assert table.court == once
    assert [*once.models] == [hash_pair(*ROOTS)] == [model_id(*ROOTS)]


def test_asking() -> None:
    table = Table()
    table.act(Register(*ROOTS))
    long, past = bytes(16_385), START_TIME - 1
    refused(table, UnknownModel, Ask(NOBODY, 0, long, past), REQUESTER)
    for stages in (0, -1, (1 << 24) + 1):
        refused(table, StageCount, Ask(model_id(*ROOTS), stages, long, past), REQUESTER)
    refused(table, RequestTooLong, Ask(model_id(*ROOTS), 1, long, past), REQUESTER)
    refused(table, Deadline, Ask(model_id(*ROOTS), 1, long[:-1], past), REQUESTER)
    table.act(Ask(model_id(*ROOTS), 1 << 24, long[:-1], START_TIME), REQUESTER)
    (request,) = table.court.requests.values()
    assert request.first_run_hash == first_state(io_quarter(1 << 24, long[:-1]), ROOTS[1]).run_hash
    assert (request.pending_claims, request.result, request.fee_is_back, request.fee_wei) == (0, None, False, 0)


def test_claiming() -> None:
    table = Table().asked(server=SERVER)
    good = MakeClaim(table.request_id, bytes(32))
    table.now = START_TIME + 501
    refused(table, UnknownRequest, MakeClaim(NOBODY, bytes(32)))
    for value in (0, BOND - 1, BOND + 1):
        refused(table, WrongValue, good, STRANGER, value)
    refused(table, Deadline, good, STRANGER, BOND)
    table.now = START_TIME + 500
    refused(table, NotTheServer, good, STRANGER, BOND)
    table.act(good, SERVER, BOND)
    table.act(good, SERVER, BOND)  # a claim is not unique by its content
    assert len(table.court.claims) == table.court.requests[table.request_id].pending_claims == 2


def test_challenging() -> None:
    table = Table().asked().claimed(FAILED.run_hash)
    good = Challenge(table.claim_id)
    table.now += W
    refused(table, UnknownClaim, Challenge(NOBODY))
    for value in (0, STAKE - 1, STAKE + 1):
        refused(table, WrongValue, good, value=value)
    refused(table, WindowClosed, good, value=STAKE)
    table.now -= 1
    table.act(good, CHALLENGER, STAKE)
    claim, (game,) = table.court.claims[table.claim_id], table.court.games.values()
    assert (claim.open_games, claim.weight, game.moves) == (1, 1, 1)
    assert (game.clock.server_seconds, game.clock.challenger_seconds, game.clock.turn_start) == (2_000, 1_500, table.now)
    table.game_id = game.game_id
    call_timeout(table, 2_001)
    refused(table, WrongValue, good)
    refused(table, ClaimNotPending, good, value=STAKE)


def test_finalising() -> None:
    table = Table().asked().claimed(FAILED.run_hash).challenged()
    good, bad = finalise(table), Finalise(table.claim_id, bytes(32), 0)
    table.now += W - 1
    refused(table, UnknownClaim, Finalise(NOBODY, bytes(32), 0))
    refused(table, WindowOpen, bad)
    table.now += 1
    refused(table, GamesOpen, bad)
    table.play(Post((bytes(32),) * 2), SERVER)
    call_timeout(table, 1_501)
    refused(table, WrongOutput, bad)
    before = table.court.ledger.credited[SERVER]
    table.act(good, STRANGER)
    request, claim = table.court.requests[table.request_id], table.court.claims[table.claim_id]
    assert table.court.ledger.credited[SERVER] == before + BOND + FEE
    assert (request.result, request.outcome, request.output_hash) == (table.claim_id, Outcome.FAILED, None)
    assert (request.pending_claims, claim.status) == (0, ClaimStatus.FINAL)
    refused(table, ClaimNotPending, good)
    refused(table, ClaimNotPending, Challenge(table.claim_id), CHALLENGER, STAKE)


def test_only_the_first_final_claim_earns_the_fee() -> None:
    table = Table().asked().claimed(FAILED.run_hash)
    first = table.claim_id
    table.claimed(FAILED.run_hash, PUPPET)
    table.now += W
    table.act(finalise(table))
    second, table.claim_id = table.claim_id, first
    table.act(finalise(table))
    assert table.court.requests[table.request_id].result == second
    assert table.court.ledger.credited == {PUPPET: BOND + FEE, SERVER: BOND}


def test_collecting() -> None:
    table = Table().asked().claimed(bytes(32)).challenged()
    won = table.game_id
    lost = table.challenged(PUPPET).game_id
    table.play(Post((bytes(32),) * 2), SERVER)
    refused(table, UnknownGame, Collect(NOBODY))
    refused(table, NothingToCollect, Collect(won))  # while the claim is pending
    call_timeout(table, 1_501)
    refused(table, NothingToCollect, Collect(lost))
    table.game_id = won
    call_timeout(table, 500)
    table.act(Collect(won), STRANGER)
    for game_id in (won, lost):
        refused(table, NothingToCollect, Collect(game_id), CHALLENGER)
    assert table.court.ledger.credited[CHALLENGER] == STAKE + PARAMETERS.share(BOND)


def test_reclaiming() -> None:
    table = Table().asked().claimed(bytes(32)).challenged()
    good = Reclaim(table.request_id)
    refused(table, UnknownRequest, Reclaim(NOBODY))
    refused(table, NotTheRequester, good)
    table.now = START_TIME + 501
    refused(table, NotAllFailed, good, REQUESTER)  # a claim is pending
    call_timeout(table, 2_001)
    table.now = START_TIME + 500
    refused(table, NotAllFailed, good, REQUESTER)  # another claim may come
    table.now = START_TIME + 501
    refused(table, NotTheRequester, good, SERVER)
    table.act(good, REQUESTER)
    assert table.court.ledger.credited == {REQUESTER: FEE}
    refused(table, NotAllFailed, good, REQUESTER)
    answered = Table().asked().claimed(FAILED.run_hash)
    answered.now += W
    answered.act(finalise(answered))
    refused(answered, NotAllFailed, Reclaim(answered.request_id), REQUESTER)


def test_withdrawing() -> None:
    table = Table().asked().claimed(FAILED.run_hash)
    refused(table, NothingToWithdraw, Withdraw(STRANGER), SERVER)
    table.now += W
    table.act(finalise(table))
    refused(table, NothingToWithdraw, Withdraw(SERVER), STRANGER)
    table.act(Withdraw(STRANGER), SERVER)
    assert table.court.ledger.paid_out == BOND + FEE
    refused(table, NothingToWithdraw, Withdraw(SERVER), SERVER)


# Attacks -----------------------------------------------------------------------------------------------------------------------


def test_rejection_voids_the_other_games() -> None:
    """No further moves in them, not even a timeout; each bond is pulled back once."""
    table = Table().asked().claimed(bytes(32)).challenged()
    other = table.challenged(PUPPET).game_id
    table.play(Post((bytes(32),) * 2), SERVER)
    table.game_id = next(iter(table.court.games))
    call_timeout(table, 2_001)
    game = table.court.games[other]
    assert game.status is GameStatus.OPEN
    for move, sender in ((Choose(0), PUPPET), (Timeout(), STRANGER), (Choose(0), STRANGER), (Open(NOBODY, 0, 0, b"", b"", b""), SERVER)):
        refused(table, GameOver, Play(other, game.position, move), sender)
        refused(table, GameOver, Play(other, NOBODY, move), sender)
    table.act(Collect(other), PUPPET)
    refused(table, NothingToCollect, Collect(other), PUPPET)
    assert table.court.ledger.credited == {PUPPET: STAKE + PARAMETERS.share(BOND) // 2}


def test_a_rejected_claim_says_nothing_about_its_hash() -> None:
    """A server that was out of time once may claim the same again, and win."""
    table = Table()
    truth = account(table.memory, 3)
    table.asked().claimed(truth.run_hash).challenged()
    call_timeout(table, 2_001)
    table.now = START_TIME + 400
    table.claimed(truth.run_hash)
    table.now += W
    assert table.court.claims[table.claim_id].status is ClaimStatus.PENDING


def test_a_choice_after_other_hashes_were_posted_is_stale() -> None:
    """After a reorganisation the server posted something else: the choice was meant for the first."""
    match = duel(account(Table().memory, 3, wrong_register, (1, 6)))
    table, before = match.table, match.table.court
    match.move()
    seen = table.game.position
    table.court = before
    table.play(Post((bytes(32), bytes(32))), SERVER)
    with pytest.raises(SpecError, match="215 STALE_POSITION"):
        table.act(Play(table.game_id, seen, Choose(1)), CHALLENGER)


def test_a_lost_puppet_does_not_bring_the_end_of_the_window_nearer() -> None:
    table = Table().asked().claimed(FAILED.run_hash).challenged(PUPPET)
    table.play(Post((bytes(32),) * 2), SERVER)
    call_timeout(table, 1_501)
    table.now = START_TIME + W - 1
    refused(table, WindowOpen, finalise(table))
    table.challenged(CHALLENGER)
    table.now += 1
    refused(table, GamesOpen, finalise(table))


def test_every_bond_comes_back_to_the_honest() -> None:
    """A liar against two honest challengers and a puppet: nobody honest has less than before, and the fee goes back."""
    lying = account(Table().memory, 3, wrong_register, (1, 6))
    match = duel(lying)
    table, honest = match.table, match.table.game_id
    table.challenged(PUPPET)
    table.challenged(STRANGER)
    table.game_id = honest
    assert match.play().status is GameStatus.CHALLENGER_WON
    for game_id in table.court.games:
        table.act(Collect(game_id))
    table.now = START_TIME + 501
    table.act(Reclaim(table.request_id), REQUESTER)
    credited = table.court.ledger.credited
    assert credited[REQUESTER] == FEE
    assert min(credited[CHALLENGER], credited[PUPPET], credited[STRANGER]) >= STAKE
    assert credited[CHALLENGER] > credited[STRANGER]
    for address in (REQUESTER, CHALLENGER, PUPPET, STRANGER):
        table.act(Withdraw(address), address)
    ledger = table.court.ledger
    assert (ledger.locked, ledger.deposits) == (0, ledger.burned + ledger.paid_out)


# Any sequence of acts ----------------------------------------------------------------------------------------------------------

PEOPLE = (REQUESTER, SERVER, CHALLENGER, PUPPET)


def some_act(table: Table, source: random.Random) -> tuple[Act, bytes, int]:
    """Mostly something that could be legal."""

    def one(things: dict[bytes, object]) -> bytes:
        return source.choice([*things, NOBODY]) if things else NOBODY

    court, sender = table.court, source.choice(PEOPLE)
    request_id, claim_id, game_id = (one(dict(things)) for things in (court.requests, court.claims, court.games))
    game = court.games.get(game_id)
    if game is not None and source.random() < 0.7:
        parts = min(PARAMETERS.k, game.segment.length)
        start = Open(bytes(32), source.randrange(2), 0, b"", b"", b"")
        moves = (Post((FAILED.run_hash,) * (parts - 1)), Choose(source.randrange(4)), start, Timeout(), Arbitrate(b""))
        return Play(game_id, game.position, source.choice(moves)), game.player(game.on_turn), 0
    acts: list[tuple[Act, int]] = [
        (Ask(one(dict(court.models)), source.choice([1, 2, 5]), b"data", table.now + source.choice([0, 3_000])), source.randrange(99)),
        (MakeClaim(request_id, source.choice([FAILED.run_hash, NOBODY])), BOND),
        (Challenge(claim_id), STAKE),
        (Finalise(claim_id, bytes(32), 1), 0),
        (Collect(game_id), 0),
        (Reclaim(request_id), 0),
        (Withdraw(sender), 0),
    ]
    what, value = source.choice(acts)
    return what, sender, value


@settings(max_examples=60)
@given(st.integers(0, 1 << 64))
def test_any_sequence_of_acts(seed: int) -> None:
    """Balanced after each act (`Table.act`); a refused one changes nothing; the counters count; at the end all money can leave."""
    source, table, accepted = random.Random(seed), Table(), set()
    table.act(Register(*ROOTS))
    for _ in range(60):
        table.now += source.choice([0, 0, 1, 300, 1_000, 2_001])
        what, sender, value = some_act(table, source)
        before = table.court
        try:
            table.act(what, sender, value)
            accepted.add(type(what))
        except SpecError:
            assert table.court == before
        check_counters(table)
    end(table)
    assert Ask in accepted or not table.court.requests


def check_counters(table: Table) -> None:
    court = table.court
    for claim_id, claim in court.claims.items():
        games = [game for game in court.games.values() if game.claim_id == claim_id]
        standing = [game for game in games if game.status is not GameStatus.SERVER_WON]
        assert claim.weight == sum(game.moves for game in standing)
        if claim.status is not ClaimStatus.REJECTED:
            assert claim.open_games == len(standing)
            assert {game.status for game in standing} <= {GameStatus.OPEN}
    for request_id, request in court.requests.items():
        claims = [claim for claim in court.claims.values() if claim.request_id == request_id]
        assert request.pending_claims == sum(claim.status is ClaimStatus.PENDING for claim in claims)
        assert (request.result is not None) == any(claim.status is ClaimStatus.FINAL for claim in claims)


def end(table: Table) -> None:
    """Let all time run out: every claim is decided, everybody takes what is theirs, and nothing stays locked but rounding and fees."""
    table.now += 10_000
    for game_id, game in table.court.games.items():
        if game.status is GameStatus.OPEN and table.court.claims[game.claim_id].status is ClaimStatus.PENDING:
            table.play(Timeout(), STRANGER, game_id)
    for claim_id, claim in table.court.claims.items():
        if claim.status is ClaimStatus.PENDING and claim.run_hash == FAILED.run_hash:
            table.act(Finalise(claim_id, bytes(32), 1))
    for game_id, game in table.court.games.items():
        rejected = table.court.claims[game.claim_id].status is ClaimStatus.REJECTED
        if rejected and game.status in (GameStatus.OPEN, GameStatus.CHALLENGER_WON):
            table.act(Collect(game_id))
    check_counters(table)
    stuck = 0
    for request_id, request in table.court.requests.items():
        try:
            table.act(Reclaim(request_id), request.requester)
        except NotAllFailed:
            unanswered = request.result is None and not request.fee_is_back
            stuck += request.fee_wei if unanswered else 0
    stuck += BOND * sum(claim.status is ClaimStatus.PENDING for claim in table.court.claims.values())  # nobody knows a run of that hash
    assert table.court.ledger.locked == stuck
