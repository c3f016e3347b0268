"""Whole disputes on real machines: a small program, what an honest party and a liar claim about it, and a court that decides."""

from collections.abc import Callable

from attrs import Factory, define, evolve, frozen
from opml_spec.dispute.acts import Act, Ask, Challenge, Court, MakeClaim, Play, Register, act, deploy
from opml_spec.dispute.clocks import Side
from opml_spec.dispute.game import Arbitrate, Choose, Game, GameStatus, Move, Open, Post, Timeout
from opml_spec.dispute.money import Parameters
from opml_spec.dispute.narrowing import Phase, boundary, part_count
from opml_spec.machine.memory import CARRY_HEIGHT, ENTRY, STATE, Memory
from opml_spec.machine.merkle import hash_of
from opml_spec.machine.state import RUNNING, MachineState, encode, state_hash
from opml_spec.machine.step import step
from opml_spec.machine.witness import make_witness
from opml_spec.runs.run import RunState, RunStatus, first_state, hand_over, io_quarter, model_id, stage_start

REQUESTER, SERVER, CHALLENGER, PUPPET, STRANGER = (bytes([number]) * 20 for number in range(1, 6))
START_TIME = 1_000_000
FEE = 7_003
DATA = b"what is it that we disagree about?"

PARAMETERS = Parameters(
    k=4,
    share_numerator=1,
    share_denominator=3,
    window_seconds=1_000,
    server_seconds=2_000,
    challenger_seconds=1_500,
    server_bond_wei=10_000,
    challenger_bond_wei=1_001,
    censorship_seconds=100,
    inclusion_seconds=10,
    effort_seconds=20,
    games_at_once=10,
    side_gas=150,
    gas_per_second=10,
    game_effort_seconds=60,
    machines=7,
    detect_seconds=300,
    recompute_seconds=590,
    gas_price_cap_wei=2,
)

TEXT = (
    0x00300313,  # addi t1, zero, 3
    0x02631313,  # slli t1, t1, 38       the state quarter
    0x00150393,  # addi t2, a0, 1        once more than the stage's number
    0x01E33283,  # ld t0, 30(t1)         from two leaves
    0x00728293,  # addi t0, t0, 7
    0xFFF38393,  # addi t2, t2, -1
    0xFE039CE3,  # bne t2, zero, -8
    0x00533F23,  # sd t0, 30(t1)         to two leaves
    0x00801E37,  # lui t3, 0x801
    0x010E1E13,  # slli t3, t3, 16       the output
    0x00100E93,  # addi t4, zero, 1
    0x01DE3023,  # sd t4, 0(t3)          one token
    0x01DE3423,  # sd t4, 8(t3)          done
    0x025E2023,  # sw t0, 32(t3)
    0x05D00893,  # addi a7, zero, 93
    0x00000513,  # addi a0, zero, 0
    0x00000073,  # ecall
)
LOOP = (0x0000006F,)  # jal zero, 0
TRAP = (0x00100073,)  # ebreak


def memory_of(*text: int) -> Memory:
    """The memory of a model that is this program and some state."""
    return Memory.from_segments({ENTRY: b"".join(word.to_bytes(4, "little") for word in text), STATE: bytes(range(64))})


Lie = Callable[[MachineState], MachineState]


@frozen
class Account:
    """What somebody says about a run: the run states between stages, and the machines of each stage (none if it began FAILED)."""

    runs: tuple[RunState, ...]
    stages: tuple[tuple[MachineState, ...], ...]

    @property
    def run_hash(self) -> bytes:
        return self.runs[-1].run_hash

    def hash_at(self, phase: Phase, stage: int, at: int) -> bytes:
        """At a boundary of stages, or of one stage's instructions; a machine that ended stays as it is."""
        if phase == Phase.STAGES:
            return self.runs[at].run_hash
        machines = self.stages[stage]
        return state_hash(machines[min(at, len(machines) - 1)])


def account(memory: Memory, stages: int, lie: Lie | None = None, where: tuple[int, int] = (0, 1), data: bytes = DATA) -> Account:
    """The truth, or what follows from one lie about the machine `where[1]` steps into stage `where[0]`."""
    model, state = memory.subtree(33, 1), memory.subtree(33, 3)
    runs, traces = [first_state(io_quarter(stages, data), state)], []
    for stage in range(stages):
        machines = [stage_start(model, runs[-1].carry, stage)] if runs[-1].status == RunStatus.OK else []
        while machines and machines[-1].status == RUNNING:
            after = step(machines[-1])
            machines.append(lie(after) if lie and (stage, len(machines)) == where else after)
        runs.append(hand_over(runs[-1], machines[-1]) if machines else runs[-1])
        traces.append(tuple(machines))
    return Account(tuple(runs), tuple(traces))


@define
class Table:
    """A court, the time, and the three things that a dispute is about. Every act is checked for what must always hold."""

    memory: Memory = Factory(lambda: memory_of(*TEXT))
    stages: int = 3
    court: Court = Factory(lambda: deploy(PARAMETERS))
    now: int = START_TIME
    request_id: bytes = b""
    claim_id: bytes = b""
    game_id: bytes = b""

    def act(self, what: Act, sender: bytes = STRANGER, value: int = 0) -> None:
        before = self.court.ledger
        self.court = act(self.court, what, sender, self.now, value)
        after = self.court.ledger
        assert after.balanced
        assert after.locked >= 0
        assert after.deposits == before.deposits + value
        assert after.burned >= before.burned
        assert after.paid_out >= before.paid_out

    @property
    def game(self) -> Game:
        return self.court.games[self.game_id]

    def play(self, move: Move, sender: bytes, game_id: bytes | None = None) -> None:
        """A move in the position that the game is in."""
        game = self.court.games[game_id or self.game_id]
        self.act(Play(game.game_id, game.position, move), sender)

    def asked(self, server: bytes = bytes(20), deadline: int = START_TIME + 500) -> "Table":
        model_root, state_root = hash_of(self.memory.subtree(33, 1)), hash_of(self.memory.subtree(33, 3))
        self.act(Register(model_root, state_root), REQUESTER)
        self.act(Ask(model_id(model_root, state_root), self.stages, DATA, deadline, server), REQUESTER, FEE)
        self.request_id = [*self.court.requests][-1]
        return self

    def claimed(self, run_hash: bytes, server: bytes = SERVER) -> "Table":
        self.act(MakeClaim(self.request_id, run_hash), server, PARAMETERS.server_bond_wei)
        self.claim_id = [*self.court.claims][-1]
        return self

    def challenged(self, challenger: bytes = CHALLENGER) -> "Table":
        self.act(Challenge(self.claim_id), challenger, PARAMETERS.challenger_bond_wei)
        self.game_id = [*self.court.games][-1]
        return self


def opening(start: RunState, steps: int, final: MachineState) -> Open:
    """The server's account of a stage."""
    left, right = (hash_of(final.memory.subtree(CARRY_HEIGHT, side)) for side in (0, 1))
    return Open(hash_of(start.carry), start.status, steps, encode(final), left, right)


@define
class Duel:
    """Two players who each have an account of the run, and play it."""

    table: Table
    server: Account
    challenger: Account
    stage: int = 0  # the one that is opened

    def inner_hashes(self) -> tuple[bytes, ...]:
        segment = self.table.game.segment
        parts = part_count(segment.length, PARAMETERS.k)
        at = [boundary(segment.lo, segment.length, parts, j) for j in range(1, parts)]
        return tuple(self.server.hash_at(segment.phase, self.stage, j) for j in at)

    def first_disputed(self) -> int:
        """The first part whose end is not what the challenger has; the last one if there is none."""
        segment, posted = self.table.game.segment, self.table.game.posted
        for j, said in enumerate(posted):
            end = boundary(segment.lo, segment.length, len(posted) + 1, j + 1)
            if self.challenger.hash_at(segment.phase, self.stage, end) != said:
                return j
        return len(posted)

    def next_move(self) -> Move:
        """The move that the side whose turn it is makes now."""
        game = self.table.game
        segment = game.segment
        if game.on_turn is Side.CHALLENGER:
            return Choose(self.first_disputed())
        if segment.length > 1:
            return Post(self.inner_hashes())
        if segment.phase == Phase.INSTRUCTIONS:
            machines = self.server.stages[self.stage]
            return Arbitrate(make_witness(machines[min(segment.lo, len(machines) - 1)]))
        self.stage = segment.lo
        machines, start = self.server.stages[self.stage], self.server.runs[self.stage]
        return opening(start, len(machines) - 1, machines[-1]) if machines else Open(hash_of(start.carry), 1, 0, b"", b"", b"")

    def move(self) -> None:
        game = self.table.game
        self.table.play(self.next_move(), game.player(game.on_turn))

    def play(self, until: Callable[[Game], bool] = lambda game: False) -> Game:
        """To the end, or until then."""
        while self.table.game.status is GameStatus.OPEN and not until(self.table.game):
            self.move()
        return self.table.game


def duel(server: Account, table: Table | None = None, truth: Account | None = None) -> Duel:
    """The claim of `server`, challenged."""
    table = table or Table()
    truth = truth or account(table.memory, table.stages)
    return Duel(table.asked().claimed(server.run_hash).challenged(), server, truth)


def wrong_register(state: MachineState) -> MachineState:
    """A lie: the register that everything goes through is off by one."""
    return evolve(state, x=(*state.x[:5], state.x[5] ^ 1, *state.x[6:]))


def wrong_memory(state: MachineState) -> MachineState:
    return evolve(state, memory=state.memory.store(STATE, 8, 1))


def call_timeout(table: Table, seconds: int) -> None:
    """After so many seconds."""
    table.now += seconds
    table.play(Timeout(), STRANGER)
