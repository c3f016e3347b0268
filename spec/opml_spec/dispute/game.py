"""A game: one claim against one challenger, until one of them has lost.

`apply(game, move, …)` is the game after a move, or the error that names why it is refused. A game is phase one (narrow the stages),
an opening (exchange two run states for two machine states), phase two (narrow the instructions), and one instruction.

*Source*: spec §5.2 and §5.3.
"""

from enum import Enum

from attrs import evolve, frozen

from opml_spec.dispute.clocks import Clock, Side
from opml_spec.dispute.money import Parameters
from opml_spec.dispute.narrowing import Phase, Segment, check_posted, narrow
from opml_spec.errors import (
    GameOver,
    NotOutOfTime,
    NotYourTurn,
    OutOfTime,
    StalePosition,
    StepCount,
    StillRunning,
    WrongEnd,
    WrongMove,
    WrongStart,
    WrongState,
)
from opml_spec.hashing import hash_pair, keccak256
from opml_spec.machine.memory import Memory
from opml_spec.machine.merkle import Pair
from opml_spec.machine.state import Kind, decode_state, state_hash
from opml_spec.machine.witness import execute_witness
from opml_spec.runs.limits import STAGE_STEP_LIMIT
from opml_spec.runs.run import RunState, RunStatus, hand_over, stage_start


class GameStatus(Enum):
    """How a game stands."""

    OPEN = 0
    SERVER_WON = 1
    CHALLENGER_WON = 2
    COLLECTED = 3


@frozen
class Game:
    """Everything there is to a game. The contract keeps the hash of most of it, the `position`."""

    game_id: bytes
    """Its id, which every move names."""

    claim_id: bytes
    """The claim that it is about."""

    server: bytes
    """Who made the claim."""

    challenger: bytes
    """Who disputes it."""

    model_root: bytes
    """The registered root of the model quarter, from which a stage's first machine state is built."""

    parameters: Parameters
    """What was fixed at deployment."""

    segment: Segment
    """The disagreement that is left."""

    clock: Clock
    """The time that each side has left."""

    posted: tuple[bytes, ...] = ()
    """The hashes at inner boundaries that await a choice."""

    turn: int = 0
    """How many moves were accepted."""

    moves: int = 1
    """How many of them were the challenger's, plus one for the challenge itself."""

    status: GameStatus = GameStatus.OPEN
    """Whether it is decided, and for whom."""

    @property
    def position(self) -> bytes:
        """What a move must name: it makes sure that both sides mean the same thing."""
        segment = self.segment
        return keccak256(
            self.game_id
            + bytes([segment.phase])
            + segment.lo.to_bytes(8, "big")
            + segment.hi.to_bytes(8, "big")
            + segment.agreed
            + segment.disputed
            + keccak256(b"".join(self.posted))
            + self.turn.to_bytes(8, "big")
        )

    @property
    def on_turn(self) -> Side:
        """What was posted waits for a choice; else the server must move."""
        return Side.CHALLENGER if self.posted else Side.SERVER

    def player(self, side: Side) -> bytes:
        """The address of a side."""
        return self.server if side is Side.SERVER else self.challenger

    def lost_by(self, loser: Side) -> "Game":
        """The game, decided."""
        return evolve(self, status=GameStatus.SERVER_WON if loser is Side.CHALLENGER else GameStatus.CHALLENGER_WON)

    def decided(self, server_wins: bool) -> "Game":
        return self.lost_by(Side.CHALLENGER if server_wins else Side.SERVER)


@frozen
class Post:
    """The server's hashes at the inner boundaries."""

    hashes: tuple[bytes, ...]

    def play(self, game: Game) -> Game:
        if game.segment.length < 2 or game.posted:
            raise WrongMove
        check_posted(game.segment, self.hashes, game.parameters.k)
        return evolve(game, posted=self.hashes)


@frozen
class Choose:
    """The challenger's first part whose end it disputes."""

    part: int

    def play(self, game: Game) -> Game:
        if not game.posted:
            raise WrongMove
        return evolve(game, segment=narrow(game.segment, game.posted, self.part), posted=(), moves=game.moves + 1)


@frozen
class Open:
    """The server's account of the one stage that is left: from a run state, n steps, to a machine state."""

    start_carry: bytes
    start_status: int
    steps: int
    final_state: bytes  # 297 bytes
    left_root: bytes  # H(scratch_root, model_root) of the final memory
    final_carry: bytes  # its carry root

    def play(self, game: Game) -> Game:
        segment = game.segment
        if segment.phase != Phase.STAGES or segment.length != 1 or game.posted:
            raise WrongMove
        if self.start_status not in tuple(RunStatus) or keccak256(self.start_carry + bytes([self.start_status])) != segment.agreed:
            raise WrongStart
        start = RunState(self.start_carry, RunStatus(self.start_status))
        if start.status == RunStatus.FAILED:
            return game.decided(server_wins=segment.agreed == segment.disputed)
        first, last = state_hash(stage_start(game.model_root, self.start_carry, segment.lo)), self.check_end(start, segment.disputed)
        return evolve(game, segment=Segment(Phase.INSTRUCTIONS, 0, self.steps, first, last))

    def check_end(self, start: RunState, disputed: bytes) -> bytes:
        """The hash of the final machine state, if the stage may end there and that gives the disputed run state."""
        if not 1 <= self.steps <= STAGE_STEP_LIMIT:
            raise StepCount(f"{self.steps}")
        final = decode_state(self.final_state)
        if final.status.kind == Kind.RUNNING and self.steps != STAGE_STEP_LIMIT:
            raise StillRunning
        if hash_pair(self.left_root, self.final_carry) != final.memory.root:
            raise WrongEnd
        end = evolve(final, memory=Memory(Pair(self.left_root, self.final_carry)))
        if hand_over(start, end).run_hash != disputed:
            raise WrongEnd
        return state_hash(final)


@frozen
class Arbitrate:
    """The witness of the one instruction that is left. Anybody may bring it."""

    witness: bytes

    def play(self, game: Game) -> Game:
        segment = game.segment
        if segment.phase != Phase.INSTRUCTIONS or segment.length != 1 or game.posted:
            raise WrongMove
        before, after = execute_witness(self.witness)
        if before != segment.agreed:
            raise WrongState
        return game.decided(server_wins=after == segment.disputed)


@frozen
class Timeout:
    """The side on turn has used up its time. Anybody may say so."""


Move = Post | Choose | Open | Arbitrate | Timeout


def apply(game: Game, move: Move, sender: bytes, position: bytes, now: int) -> Game:
    """The game after `sender` answered `position` with `move` at time `now`."""
    if game.status is not GameStatus.OPEN:
        raise GameOver
    if position != game.position:
        raise StalePosition
    side = game.on_turn
    if isinstance(move, Timeout):
        if game.clock.in_time(side, now):
            raise NotOutOfTime
        return game.lost_by(side)
    if side is not Side.SERVER if isinstance(move, Arbitrate) else sender != game.player(side):
        raise NotYourTurn
    if not game.clock.in_time(side, now):
        raise OutOfTime
    return evolve(move.play(game), clock=game.clock.spend(side, now), turn=game.turn + 1)
