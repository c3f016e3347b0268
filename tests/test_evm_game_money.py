"""Money: every wei is accounted for, losers cannot recycle their bonds, and a puppet cannot rob an honest challenger.

*Conservation*: deposits = locked + credited + burned + paid out; what is locked is what the requests, claims and games in storage say.
"""

import random
from collections import Counter
from pathlib import Path

import pytest
import vyper
from attrs import evolve
from evm_dispute import FEE, Dispute, new_court, run_hash

from evm_arbiter.chain import Artefact, Contract
from evm_arbiter.court import Court, Refused
from evm_arbiter.objects import Challenged, Claimed, ClaimStatus, Decided, GameStatus, Requested
from evm_arbiter.parameters import ETHER, Parameters

SERVER_BOND, CHALLENGER_BOND = Parameters().server_bond_wei, Parameters().challenger_bond_wei
SERVER_SHARE, CHALLENGER_SHARE = SERVER_BOND // 2, CHALLENGER_BOND // 2


def locked_in_storage(court: Court) -> int:
    """What is owed to open requests, claims and games."""
    total = 0
    for event in court.events():
        if isinstance(event, Requested):
            request = court.request_of(event.request_id)
            total += 0 if request.fee_reclaimed or any(request.result) else request.fee
        elif isinstance(event, Claimed) and court.claim_status(event.claim_id) is ClaimStatus.PENDING:
            total += SERVER_BOND
        elif isinstance(event, Challenged):
            game, claim = court.game_of(event.game_id), court.claim_of(event.claim_id)
            if game.status in (GameStatus.OPEN, GameStatus.CHALLENGER_WON):
                total += CHALLENGER_BOND + claim.wei_per_move * game.moves
    return total


def check_conservation(court: Court) -> None:
    totals = court.totals()
    credited = sum(map(court.balance_of, court.accounts))
    assert totals.deposits == totals.locked + credited + totals.burned + totals.paid_out
    assert totals.locked == locked_in_storage(court)
    assert court.balance(court.game.address) == totals.deposits - totals.paid_out


def random_move(court: Court, dispute: Dispute, chance: random.Random) -> None:
    """Something that somebody could try now; most of it is legal."""
    who = chance.choice(court.accounts[:6])
    games = [event for event in court.events() if isinstance(event, Challenged)]
    claims = [event for event in court.events() if isinstance(event, Claimed)]
    claim = chance.choice(claims) if claims else None
    game = chance.choice(games) if games else None
    at = evolve(dispute, start_status=chance.randrange(2))
    if claim:
        at.claim_id, at.request_id = claim.claim_id, claim.request_id
    if game:
        at.game_id, at.claim_id = game.game_id, game.claim_id
        at.after_hash = chance.choice((None, bytes(32)))
    asked = [event.request_id for event in court.events() if isinstance(event, Requested)]
    rarely, often = ("ask", "claim", "challenge", "wait"), ("play",) * 14
    match chance.choice((*rarely, *often, "timeout", "finalise", "finalise", "collect", "reclaim", "withdraw")):
        case "ask":
            at.asked(deadline=court.now + chance.randrange(100_000))
        case "claim":
            at.request_id = chance.choice(asked)
            at.claimed(run_hash(at.start_carry, 1))
        case "challenge" if claim:
            at.claim_id = claim.claim_id
            at.challenged(who)
        case "play" if game:
            segment, hashes = at.last()
            if hashes:
                at.choose()
            elif segment.hi - segment.lo > 1:
                at.post()
            else:
                (at.open if segment.phase == 1 else at.arbitrate)()
        case "timeout" if game:
            at.timeout()
        case "finalise" if claim:
            court.finalise(claim.claim_id, at.start_carry, 1, b"", b"", sender=who)
        case "collect" if game:
            court.collect(game.game_id, sender=who)
        case "reclaim":
            court.reclaim(chance.choice(asked), sender=at.requester)
        case "withdraw":
            court.withdraw_to(chance.choice(court.accounts), sender=who)
        case "wait":
            court.set_time(court.now + chance.choice((1, 1000, 50_000, 173_000)))


def test_no_wei_is_lost_or_made_in_a_random_play() -> None:
    accepted = Counter[str]()
    for seed in range(4):
        chance = random.Random(seed)
        court = new_court()
        dispute = Dispute(court, stage_count=3, stage=1, steps=3, step=1).asked(deadline=court.now + 500_000)
        for _ in range(150):
            before = court.totals()
            try:
                random_move(court, dispute, chance)
            except Refused:
                assert court.totals() == before
            else:
                check_conservation(court)
        accepted.update(transaction.move for transaction in court.transactions)
    assert len(accepted) == 13, accepted  # a play in which some move is never accepted shows too little


def claimed_falsely(challengers: int, moves: tuple[int, ...]) -> tuple[Court, list[Dispute]]:
    """A claim with games in which the challengers have made that many choices."""
    dispute = Dispute(new_court(), stage_count=64).asked().claimed()
    games = []
    for number in range(challengers):
        game = evolve(dispute)
        game.request_id, game.claim_id = dispute.request_id, dispute.claim_id
        game.challenged(dispute.court.accounts[2 + number])
        games.append(game)
        for _ in range(moves[number] - 1):
            game.post()
            game.choose()
    return dispute.court, games


def test_rejection_voids_the_other_games_and_shares_by_moves() -> None:
    court, games = claimed_falsely(3, (3, 1, 2))
    assert court.claim_of(games[0].claim_id).challenger_moves == 6
    court.set_time(court.now + court.parameters.server_seconds + 1)
    games[0].timeout()
    assert court.events()[-1] == Decided(games[0].game_id, games[0].claim_id, False)
    claim, unit = court.claim_of(games[0].claim_id), SERVER_SHARE // 6
    assert (claim.status, claim.wei_per_move, court.request_of(games[0].request_id).pending_claims) == (ClaimStatus.REJECTED, unit, 0)
    assert court.totals().burned == SERVER_BOND - 6 * unit
    for game, moves in zip(games, (3, 1, 2), strict=True):
        with pytest.raises(Refused, match="GAME_OVER"):
            game.post()
        with pytest.raises(Refused, match="GAME_OVER"):
            game.timeout()
        challenger = court.game_of(game.game_id).challenger
        court.collect(game.game_id, sender=court.accounts[9])
        assert court.balance_of(challenger) == CHALLENGER_BOND + moves * unit
        with pytest.raises(Refused, match="NOTHING_TO_COLLECT"):
            court.collect(game.game_id, sender=challenger)
        check_conservation(court)
    assert court.totals().locked == FEE


def test_a_game_that_the_server_won_has_no_part_in_a_later_rejection() -> None:
    court, games = claimed_falsely(2, (2, 1))
    games[0].post()
    court.set_time(court.now + court.parameters.challenger_seconds)
    games[1].post()  # to stop the server's clock there
    court.set_time(court.now + 1)
    games[0].timeout()
    assert court.balance_of(games[0].server) == CHALLENGER_SHARE
    assert (court.claim_of(games[0].claim_id).challenger_moves, court.claim_of(games[0].claim_id).open_games) == (1, 1)
    games[1].choose()
    court.set_time(court.now + 1)
    games[1].timeout()
    assert court.claim_of(games[0].claim_id).wei_per_move == SERVER_SHARE // 2
    with pytest.raises(Refused, match="NOTHING_TO_COLLECT"):
        court.collect(games[0].game_id, sender=games[0].challenger)
    check_conservation(court)


def test_conceding_to_a_puppet_does_not_rob_the_honest_challenger() -> None:
    """The server loses to itself at once; the honest one, further in, gets most of what is paid, and the liar loses money."""
    court, (honest, puppet) = claimed_falsely(2, (4, 1))
    court.set_time(court.now + court.parameters.server_seconds + 1)
    puppet.timeout()
    court.collect(honest.game_id, sender=honest.challenger)
    court.collect(puppet.game_id, sender=honest.challenger)
    honest_gain = court.balance_of(court.accounts[2]) - CHALLENGER_BOND
    puppet_gain = court.balance_of(court.accounts[3]) - CHALLENGER_BOND
    assert (honest_gain, puppet_gain) == (4 * (SERVER_SHARE // 5), SERVER_SHARE // 5)
    assert court.totals().burned >= SERVER_BOND - SERVER_SHARE


def test_a_server_that_challenges_itself_loses_half_a_bond() -> None:
    dispute = Dispute(new_court()).asked().claimed()
    court, before = dispute.court, dispute.court.balance(dispute.server)
    dispute.challenged(dispute.server)
    dispute.post()
    court.set_time(court.now + court.parameters.challenger_seconds + 1)
    dispute.timeout()
    court.withdraw_to(dispute.server, sender=dispute.server)
    assert before - court.balance(dispute.server) == CHALLENGER_BOND - CHALLENGER_SHARE
    assert court.totals().burned == CHALLENGER_BOND - CHALLENGER_SHARE


def test_a_rejected_claim_leaves_the_request_open_for_the_next() -> None:
    dispute = Dispute(new_court()).asked(deadline=2**40).claimed().challenged()
    court = dispute.court
    court.set_time(court.now + court.parameters.server_seconds + 1)
    dispute.timeout()
    dispute.claimed()
    assert court.request_of(dispute.request_id).pending_claims == 1


@pytest.mark.parametrize(("after_hash", "server_won"), [(None, True), (bytes(32), False)])
def test_arbitration_pays_the_parties_and_not_the_sender(after_hash: bytes | None, server_won: bool) -> None:
    dispute = Dispute(new_court(), after_hash=after_hash).started().narrow().open().narrow()
    dispute.arbitrate()
    court = dispute.court
    assert court.events()[-1] == Decided(dispute.game_id, dispute.claim_id, server_won)
    assert court.balance_of(court.accounts[9]) == 0
    assert court.balance_of(dispute.server) == (CHALLENGER_SHARE if server_won else 0)
    check_conservation(court)


@pytest.mark.parametrize("lie", [False, True])
def test_a_failed_stage_is_decided_when_it_is_opened(lie: bool) -> None:
    """The server wins iff it says that a failed run stays as it is; here the disputed stage is the last one."""
    dispute = Dispute(new_court(), stage=5, start_status=1).asked().claimed(b"\7" * 32 if lie else None).challenged().narrow()
    dispute.open(steps=0, final_state=b"", left_root=bytes(32), final_carry=bytes(32))
    assert dispute.court.events()[-1] == Decided(dispute.game_id, dispute.claim_id, not lie)
    check_conservation(dispute.court)


# Receivers that are contracts


@pytest.fixture
def attacked() -> tuple[Court, Contract]:
    """A contract whose request came to nothing, so that it has the fee to withdraw; others have money here too."""
    court = new_court()
    source = (Path(__file__).parent / "contracts" / "thief.vy").read_text()
    compiled = vyper.compile_code(source, output_formats=["abi", "bytecode"])
    artefact = Artefact("thief", compiled["abi"], bytes.fromhex(compiled["bytecode"].removeprefix("0x")))
    thief = court.chain.deploy(artefact, court.game.address, sender=court.accounts[4])
    dispute = Dispute(court).asked().claimed()  # eleven ether of other people's money
    model_id = court.register(b"\1" * 32, b"\2" * 32, sender=court.accounts[4])
    thief.transact("ask", model_id, court.now, sender=court.accounts[4], value=ETHER).or_raise()
    court.set_time(court.now + 1)
    thief.transact("take_back", sender=court.accounts[4]).or_raise()
    assert court.balance_of(thief.address) == ETHER
    assert dispute.claim_id
    return court, thief


def test_withdrawing_again_while_being_paid_gets_nothing(attacked: tuple[Court, Contract]) -> None:
    court, thief = attacked
    thief.transact("steal", True, sender=court.accounts[4]).or_raise()
    assert thief.call("attempts") == 1
    assert thief.call("successes") == 0
    assert court.balance(thief.address) == ETHER
    assert (court.balance_of(thief.address), court.totals().paid_out) == (0, ETHER)
    assert court.balance(court.game.address) == court.totals().locked


def test_a_refused_payment_leaves_the_credit(attacked: tuple[Court, Contract]) -> None:
    court, thief = attacked
    receipt = thief.transact("steal", False, sender=court.accounts[4])
    assert receipt.error == 233  # PAYMENT_FAILED
    assert (court.balance_of(thief.address), court.totals().paid_out) == (ETHER, 0)


def test_credit_can_be_sent_elsewhere() -> None:
    dispute = Dispute(new_court()).asked(deadline=2**32)
    court = dispute.court
    court.set_time(2**32 + 1)
    court.reclaim(dispute.request_id, sender=dispute.requester)
    before = court.balance(court.accounts[8])
    court.withdraw_to(court.accounts[8], sender=dispute.requester)
    assert court.balance(court.accounts[8]) - before == FEE
    check_conservation(court)


def test_money_sent_without_a_move_is_refused() -> None:
    court = new_court()
    outcome = court.chain.node.transact(bytes.fromhex(court.accounts[0][2:]), bytes.fromhex(court.game.address[2:]), b"", 1, court.now)
    assert not outcome.success
