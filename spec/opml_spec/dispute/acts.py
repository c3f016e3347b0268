"""The court: models, requests, claims, games and money, as one value.

`act(court, act, sender, now, value)` is the court after an act, or the error that names why it is refused; what the contract does and
nothing else. Ids are hashes of who made what, never sequence numbers, so that a reorganisation cannot make one mean something else.

*Source*: spec §5.1, §5.4, §5.5.
"""

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

from attrs import evolve, field, frozen

from opml_spec.dispute import game as rules
from opml_spec.dispute.clocks import Clock, Side
from opml_spec.dispute.game import Game, GameStatus
from opml_spec.dispute.money import Ledger, Parameters
from opml_spec.dispute.narrowing import Phase, Segment
from opml_spec.dispute.result import Outcome, check_result
from opml_spec.errors import (
    ClaimNotPending,
    Deadline,
    GameOver,
    GamesOpen,
    NotAllFailed,
    NothingToCollect,
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
    WrongValue,
)
from opml_spec.hashing import keccak256
from opml_spec.model.layout import MAX_REQUEST_BYTES
from opml_spec.runs.limits import MOST_STAGES
from opml_spec.runs.run import first_state, io_quarter, model_id

ANYONE = bytes(20)  # as the server of a request
REQUEST_KIND, CLAIM_KIND, GAME_KIND = 1, 2, 3  # of ids


class ClaimStatus(Enum):
    """A claim leaves PENDING once."""

    PENDING = 0
    FINAL = 1
    REJECTED = 2


@frozen
class Model:
    """A registered model."""

    model_root: bytes
    """The root of the model quarter."""

    state_root: bytes
    """The root of the state quarter before the first stage."""


@frozen
class Request:
    """A run that somebody asks for."""

    model_id: bytes
    """The model on which it runs."""

    stages: int
    """N, the number of stages."""

    first_run_hash: bytes
    """The hash of the run state before stage 0."""

    deadline: int
    """The last second in which a claim can be made."""

    fee_wei: int
    """What the first final claim earns."""

    requester: bytes
    """Who pays the fee, and gets it back if nobody earns it."""

    server: bytes
    """The only address that may claim, or `ANYONE`."""

    pending_claims: int = 0
    """How many of its claims are PENDING."""

    fee_is_back: bool = False
    """Whether the requester has got the fee back."""

    result: bytes | None = None
    """The first claim that became final."""

    outcome: Outcome | None = None
    """How that claim's run ended."""

    output_hash: bytes | None = None
    """The hash of its output leaves, if the run was OK."""


@frozen
class Claim:
    """What a server says about the end of a run."""

    request_id: bytes
    """The request that it answers."""

    run_hash: bytes
    """The claimed hash of the run state after all stages."""

    server: bytes
    """Who made the claim and pays for it if it is wrong."""

    claimed_at: int
    """When it was made; the challenge period begins then."""

    status: ClaimStatus = ClaimStatus.PENDING
    """Whether it can still be challenged or finalised."""

    open_games: int = 0
    """How many of its games are OPEN."""

    weight: int = 0
    """Accepted moves of the challengers of its open games; once it is rejected, of those that collect."""


@frozen
class Court:
    """All that the contract stores."""

    parameters: Parameters
    models: Mapping[bytes, Model] = {}
    requests: Mapping[bytes, Request] = {}
    claims: Mapping[bytes, Claim] = {}
    games: Mapping[bytes, Game] = {}
    nonces: Mapping[bytes, int] = {}
    ledger: Ledger = field(factory=Ledger)

    def new_id(self, kind: int, sender: bytes, content: bytes) -> tuple["Court", bytes]:
        """An id that was never given out, and the court that remembers so."""
        nonce = self.nonces.get(sender, 0)
        identity = keccak256(bytes([kind]) + sender + nonce.to_bytes(8, "big") + content)
        return evolve(self, nonces={**self.nonces, sender: nonce + 1}), identity

    def unit(self, claim: Claim) -> int:
        """What one challenger move on a rejected claim earns, in wei."""
        return self.parameters.share(self.parameters.server_bond_wei) // claim.weight


Thing = TypeVar("Thing")


def known(things: Mapping[bytes, Thing], identity: bytes, error: type[SpecError]) -> Thing:
    """What has this id."""
    if identity not in things:
        raise error
    return things[identity]


def with_request(court: Court, request_id: bytes, request: Request) -> Court:
    return evolve(court, requests={**court.requests, request_id: request})


def with_claim(court: Court, claim_id: bytes, claim: Claim) -> Court:
    return evolve(court, claims={**court.claims, claim_id: claim})


def with_game(court: Court, game: Game) -> Court:
    return evolve(court, games={**court.games, game.game_id: game})


@frozen
class Register:
    """A model is its two roots; everything else is inside the image."""

    model_root: bytes
    state_root: bytes

    def act(self, court: Court, sender: bytes, now: int, value: int) -> Court:
        model = Model(self.model_root, self.state_root)
        return evolve(court, models={**court.models, model_id(self.model_root, self.state_root): model})


@frozen
class Ask:
    """A request with its fee. The court itself computes where the run begins."""

    model_id: bytes
    stages: int
    data: bytes
    deadline: int
    server: bytes = ANYONE

    def act(self, court: Court, sender: bytes, now: int, value: int) -> Court:
        model = known(court.models, self.model_id, UnknownModel)
        if not 1 <= self.stages <= MOST_STAGES:
            raise StageCount
        if len(self.data) > MAX_REQUEST_BYTES:
            raise RequestTooLong
        if self.deadline < now:
            raise Deadline
        terms = self.stages.to_bytes(8, "big") + self.deadline.to_bytes(8, "big") + value.to_bytes(32, "big") + self.server
        court, request_id = court.new_id(REQUEST_KIND, sender, keccak256(self.model_id + terms + keccak256(self.data)))
        first = first_state(io_quarter(self.stages, self.data), model.state_root).run_hash
        request = Request(self.model_id, self.stages, first, self.deadline, value, sender, self.server)
        return with_request(evolve(court, ledger=court.ledger.deposit(value)), request_id, request)


@frozen
class MakeClaim:
    """The hash of the run state after all stages, with a bond. Any number of claims may stand for one request."""

    request_id: bytes
    run_hash: bytes

    def act(self, court: Court, sender: bytes, now: int, value: int) -> Court:
        request = known(court.requests, self.request_id, UnknownRequest)
        if value != court.parameters.server_bond_wei:
            raise WrongValue
        if now > request.deadline:
            raise Deadline
        if request.server not in (ANYONE, sender):
            raise NotTheServer
        court, claim_id = court.new_id(CLAIM_KIND, sender, keccak256(self.request_id + self.run_hash))
        court = with_request(court, self.request_id, evolve(request, pending_claims=request.pending_claims + 1))
        court = evolve(court, ledger=court.ledger.deposit(value))
        return with_claim(court, claim_id, Claim(self.request_id, self.run_hash, sender, now))


@frozen
class Challenge:
    """A game against a claim, with a bond. Any number run side by side."""

    claim_id: bytes

    def act(self, court: Court, sender: bytes, now: int, value: int) -> Court:
        claim, parameters = known(court.claims, self.claim_id, UnknownClaim), court.parameters
        if value != parameters.challenger_bond_wei:
            raise WrongValue
        if claim.status is not ClaimStatus.PENDING:
            raise ClaimNotPending
        if now >= claim.claimed_at + parameters.window_seconds:
            raise WindowClosed
        court, game_id = court.new_id(GAME_KIND, sender, self.claim_id)
        request = court.requests[claim.request_id]
        segment = Segment(Phase.STAGES, 0, request.stages, request.first_run_hash, claim.run_hash)
        clock = Clock(parameters.server_seconds, parameters.challenger_seconds, now)
        model_root = court.models[request.model_id].model_root
        game = Game(game_id, self.claim_id, claim.server, sender, model_root, parameters, segment, clock)
        claim = evolve(claim, open_games=claim.open_games + 1, weight=claim.weight + game.moves)
        return with_game(with_claim(evolve(court, ledger=court.ledger.deposit(value)), self.claim_id, claim), game)


@frozen
class Play:
    """A move of a game, and the position that it answers."""

    game_id: bytes
    position: bytes
    move: rules.Move

    def act(self, court: Court, sender: bytes, now: int, value: int) -> Court:
        before = known(court.games, self.game_id, UnknownGame)
        claim = court.claims[before.claim_id]
        if claim.status is not ClaimStatus.PENDING:
            raise GameOver
        game = rules.apply(before, self.move, sender, self.position, now)
        claim = evolve(claim, weight=claim.weight + game.moves - before.moves)
        return settle(with_claim(with_game(court, game), game.claim_id, claim), game)


def settle(court: Court, game: Game) -> Court:
    """Moves the money of a game that was just decided."""
    claim, parameters = court.claims[game.claim_id], court.parameters
    if game.status is GameStatus.SERVER_WON:
        claim = evolve(claim, open_games=claim.open_games - 1, weight=claim.weight - game.moves)
        share = parameters.share(parameters.challenger_bond_wei)
        ledger = court.ledger.credit(game.server, share).burn(parameters.challenger_bond_wei - share)
    elif game.status is GameStatus.CHALLENGER_WON:
        claim = evolve(claim, status=ClaimStatus.REJECTED)
        request = court.requests[claim.request_id]
        court = with_request(court, claim.request_id, evolve(request, pending_claims=request.pending_claims - 1))
        ledger = court.ledger.burn(parameters.server_bond_wei - court.unit(claim) * claim.weight)
    else:
        return court
    return with_claim(evolve(court, ledger=ledger), game.claim_id, claim)


@frozen
class Finalise:
    """Nobody disputed the claim, or nobody won: it stands. `output` and `proof` show what the run put out."""

    claim_id: bytes
    carry: bytes
    status: int
    output: bytes = b""
    proof: bytes = b""

    def act(self, court: Court, sender: bytes, now: int, value: int) -> Court:
        claim = known(court.claims, self.claim_id, UnknownClaim)
        if claim.status is not ClaimStatus.PENDING:
            raise ClaimNotPending
        if now < claim.claimed_at + court.parameters.window_seconds:
            raise WindowOpen
        if claim.open_games:
            raise GamesOpen
        outcome, output_hash = check_result(claim.run_hash, self.carry, self.status, self.output, self.proof)
        request = court.requests[claim.request_id]
        earned = court.parameters.server_bond_wei
        if request.result is None:
            earned += request.fee_wei
            request = evolve(request, result=self.claim_id, outcome=outcome, output_hash=output_hash)
        request = evolve(request, pending_claims=request.pending_claims - 1)
        court = with_request(with_claim(court, self.claim_id, evolve(claim, status=ClaimStatus.FINAL)), claim.request_id, request)
        return evolve(court, ledger=court.ledger.credit(claim.server, earned))


@frozen
class Collect:
    """What a challenger of a rejected claim gets: its bond, and its part of the server's by its accepted moves."""

    game_id: bytes

    def act(self, court: Court, sender: bytes, now: int, value: int) -> Court:
        game = known(court.games, self.game_id, UnknownGame)
        claim = court.claims[game.claim_id]
        if claim.status is not ClaimStatus.REJECTED or game.status in (GameStatus.SERVER_WON, GameStatus.COLLECTED):
            raise NothingToCollect
        wei = court.parameters.challenger_bond_wei + court.unit(claim) * game.moves
        court = with_game(court, evolve(game, status=GameStatus.COLLECTED))
        return evolve(court, ledger=court.ledger.credit(game.player(Side.CHALLENGER), wei))


@frozen
class Reclaim:
    """The fee of a request that came to nothing."""

    request_id: bytes

    def act(self, court: Court, sender: bytes, now: int, value: int) -> Court:
        request = known(court.requests, self.request_id, UnknownRequest)
        if sender != request.requester:
            raise NotTheRequester
        if now <= request.deadline or request.pending_claims or request.result is not None or request.fee_is_back:
            raise NotAllFailed
        court = with_request(court, self.request_id, evolve(request, fee_is_back=True))
        return evolve(court, ledger=court.ledger.credit(sender, request.fee_wei))


@frozen
class Withdraw:
    """All that is credited to the sender leaves."""

    to: bytes

    def act(self, court: Court, sender: bytes, now: int, value: int) -> Court:
        return evolve(court, ledger=court.ledger.pay_out(sender))


Act = Register | Ask | MakeClaim | Challenge | Play | Finalise | Collect | Reclaim | Withdraw


def act(court: Court, what: Act, sender: bytes, now: int, value: int = 0) -> Court:
    """The court after `sender` did something at time `now` and sent `value` wei along."""
    return what.act(court, sender, now, value)


def deploy(parameters: Parameters) -> Court:
    """An empty court, if its parameters keep an honest side from losing."""
    parameters.check()
    return Court(parameters)
