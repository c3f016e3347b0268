"""Statements about money: every deposited wei is locked, credited, burned or paid out, and a liar loses at least half of its bond.

*Source*: spec §5.5.
"""

from typing import Any

from attrs import evolve
from opml_spec.dispute.acts import Claim, Collect, Court, Request, settle
from opml_spec.dispute.game import Game, GameStatus
from opml_spec.dispute.money import Ledger, Parameters

from opml_fuzz.statements.clocks import RULES, game
from opml_fuzz.statements.statement import Integer, Statement

WEI, POSITIVE = Integer(0), Integer(1)
CLAIM_ID, REQUEST_ID, SERVER = b"c" * 32, b"r" * 32, b"s" * 20
SHARE = {"numerator": Integer(0), "denominator": POSITIVE, "server_bond": WEI, "challenger_bond": WEI}
BOOKS = {"locked": WEI, "burned": WEI, "paid_out": WEI, "credit": WEI}
MOST_GAMES = 3
MOVES = {f"moves_{i}": POSITIVE for i in range(MOST_GAMES)}
GAMES = tuple((games,) for games in range(1, MOST_GAMES + 1))


def parameters(numerator: Any, denominator: Any, server_bond: Any, challenger_bond: Any) -> Parameters:
    shares = evolve(RULES, share_numerator=numerator, share_denominator=denominator)
    return evolve(shares, server_bond_wei=server_bond, challenger_bond_wei=challenger_bond)


def at_most_half(numerator: Any, denominator: Any, *_: Any) -> Any:
    return 2 * numerator <= denominator


def at_most_half_in(games: int, numerator: Any, denominator: Any, *_: Any) -> Any:
    return 2 * numerator <= denominator


def share_is_half(numerator: Any, denominator: Any, server_bond: Any, challenger_bond: Any) -> Any:
    share = parameters(numerator, denominator, server_bond, challenger_bond).share(server_bond)
    return (share >= 0) & (2 * share <= server_bond)


def ledger(locked: Any, burned: Any, paid_out: Any, credit: Any) -> Ledger:
    """Makes a ledger that balances."""
    return Ledger(locked, burned, paid_out, locked + credit + burned + paid_out, {SERVER: credit})


def stays_balanced(locked: Any, burned: Any, paid_out: Any, credit: Any, wei: Any) -> Any:
    """The ledger balances after each of the four operations that move money."""
    books, other = ledger(locked, burned, paid_out, credit), b"o" * 20
    after = [books.deposit(wei), books.credit(SERVER, wei), books.credit(other, wei), books.burn(wei)]
    if credit > 0:
        after.append(books.pay_out(SERVER))
    result: Any = books.balanced
    for changed in after:
        result = result & changed.balanced
    return result


def court_of(rules: Parameters, games: list[Game], books: Ledger) -> Court:
    """Makes a court with one claim and these games, all of them open until now."""
    weight = sum(one.moves for one in games)
    claim = Claim(REQUEST_ID, b"h" * 32, SERVER, 0, open_games=len(games), weight=weight)
    request = Request(b"m" * 32, 8, b"f" * 32, 0, 0, b"q" * 20, SERVER, pending_claims=1)
    return Court(rules, requests={REQUEST_ID: request}, claims={CLAIM_ID: claim}, games={one.game_id: one for one in games}, ledger=books)


def games_with(moves: tuple[Any, ...]) -> list[Game]:
    """Makes games with these numbers of moves, each with its own challenger."""
    made = game("server", None)  # type: ignore[arg-type]  # the clock does not matter
    return [
        evolve(made, game_id=bytes([i]) * 32, claim_id=CLAIM_ID, challenger=bytes([i]) * 20, moves=count) for i, count in enumerate(moves)
    ]


def lost_challenge(numerator: Any, denominator: Any, server_bond: Any, challenger_bond: Any, *books: Any) -> Any:
    """A lost challenge unlocks the challenger's bond, and the server gets at most half of it."""
    rules, before = parameters(numerator, denominator, server_bond, challenger_bond), ledger(*books)
    (one,) = games_with((1,))
    after = settle(court_of(rules, [one], before), evolve(one, status=GameStatus.SERVER_WON)).ledger
    earned = after.credited[SERVER] - before.credited[SERVER]
    return after.balanced & (before.locked - after.locked == challenger_bond) & (2 * earned <= challenger_bond) & (earned >= 0)


def rejected_claim(games: int, numerator: Any, denominator: Any, server_bond: Any, challenger_bond: Any, *rest: Any) -> Any:
    """A rejected claim unlocks all bonds. Every challenger gets at least its own back, and at least half of the server's is burned."""
    rules, before = parameters(numerator, denominator, server_bond, challenger_bond), ledger(*rest[:4])
    played = games_with(rest[4 : 4 + games])
    won = evolve(played[0], status=GameStatus.CHALLENGER_WON)
    court = settle(court_of(rules, [won, *played[1:]], before), won)
    for one in played:
        court = Collect(one.game_id).act(court, b"x" * 20, 0, 0)
    after = court.ledger
    result = after.balanced & (before.locked - after.locked == server_bond + games * challenger_bond)
    for one in played:
        result = result & (after.credited[one.challenger] >= challenger_bond)
    return result & (2 * (after.burned - before.burned) >= server_bond)


STATEMENTS = (
    Statement("money.share", "at most half of a bond is paid out as a share", SHARE, share_is_half, at_most_half),
    Statement("money.ledger", "deposit, credit, burn and pay_out keep the ledger balanced", {**BOOKS, "wei": WEI}, stays_balanced),
    Statement(
        "money.challenge_lost",
        "after a lost challenge the ledger balances, and at least half of the bond is burned",
        {**SHARE, **BOOKS},
        lost_challenge,
        at_most_half,
    ),
    Statement(
        "money.claim_rejected",
        "after a rejected claim the ledger balances, no bond is left, no challenger loses, half of the server's bond is burned",
        {**SHARE, **BOOKS, **MOVES},
        rejected_claim,
        at_most_half_in,
        GAMES,
    ),
)
