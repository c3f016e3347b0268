"""Moves that the contract refuses. After the refusal the cheat plays on as if it had not tried."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from opml_min.machine import Machine
from opml_min.machine.state import STATUS_RUNNING
from opml_min.memory_map import STAGE_STEP_LIMIT
from opml_min.players.chain import FINAL, INSTRUCTIONS, REJECTED, Decision, EventLog, Move, Segment
from opml_min.players.cheats.cheat import CHALLENGE_REJECTED, CHALLENGER, CLAIM_FINAL, Cheat, FalseChallenger, Liar, Setup
from opml_min.players.cheats.tampering import Plan, TamperedComputation, Tampering, lie, steps_of
from opml_min.players.cheats.values import output_values
from opml_min.players.computation import Computation, Opening
from opml_min.players.player import Player

Seats = Callable[[Setup], list[Player]]
Forge = Callable[[Decision, Player], Move | None]
"""What to try instead of a decision; None: nothing this time."""


class _Forging(Player):
    """A player that tries one forged move, once."""

    forge: Forge
    _has_tried = False

    def next_move(self) -> Decision:
        decision = super().next_move()
        forged = None if self._has_tried else self.forge(decision, self)
        if forged is not None:
            self._has_tried = True
            return forged
        return decision


class ForgingServer(_Forging, Liar):
    pass


class ForgingChallenger(_Forging, FalseChallenger):
    pass


def instead_of(name: str, change: Callable[[Move, Player], Move | None]) -> Forge:
    """Replaces moves of this name."""
    return lambda decision, player: change(decision, player) if isinstance(decision, Move) and decision.name == name else None


def opening(**changes: Any) -> Callable[[Move, Player], Move]:
    """An `open` with other arguments."""
    return lambda move, player: Move("open", (*move.arguments[:2], *Opening(*move.arguments[2:])._replace(**changes)))


def true_end(move: Move, player: Player, honest: Computation) -> Move:
    return Move("open", (*move.arguments[:2], *honest.opening(move.arguments[1].lo)))


def running_end(move: Move, player: Player, honest: Computation) -> Move:
    """An `open` that shows the machine half way through the stage and says that the stage failed there."""
    stage = move.arguments[1].lo
    machine = honest.machine_at(stage, steps_of(honest, stage) // 2)
    return opening(steps=machine.steps, final_state=machine.state_bytes())(move, player)


def without_last_hash(move: Move, player: Player) -> Move:
    return Move("post", (*move.arguments[:2], move.arguments[2][:-32]))


def straight_into_the_machine(move: Move, player: Player) -> Move:
    """Posts hashes of instructions before any stage is open, from a start that suits the server."""
    game_id, segment = move.arguments[:2]
    return Move("post", (game_id, Segment(INSTRUCTIONS, 0, 2, bytes(32), segment.disputed, segment.turn), bytes(32)))


def with_wrong_leaf(move: Move, player: Player) -> Move:
    game_id, segment, witness = move.arguments
    return Move("arbitrate", (game_id, segment, witness[:297] + bytes([witness[297] ^ 1]) + witness[298:]))


def finalise_at_once(move: Move, player: Player) -> Move | None:
    log = EventLog.of(player.chain)
    claim_id = log.disputes[move.arguments[0]].claim_id
    return Move("finalise", (claim_id, *player.computation(log.claims[claim_id].request_id).result()))


def after_the_verdict(decision: Decision, player: Player) -> Move | None:
    """Posts into a game that is already decided."""
    for dispute in EventLog.of(player.chain).disputes.values():
        if player.chain.claim_of(dispute.claim_id).status in (FINAL, REJECTED):
            return Move("post", (dispute.game_id, dispute.segment, bytes(32)))
    return None


def forged_output(move: Move, player: Player) -> Move:
    claim_id, carry, status, output, proof = move.arguments
    return Move("finalise", (claim_id, carry, status, output[:-1] + bytes([output[-1] ^ 1]), proof))


def collect_at_once(move: Move, player: Player) -> Move:
    return Move("collect", move.arguments[:1])


def no_such_part(move: Move, player: Player) -> Move:
    return Move("choose", (*move.arguments[:3], len(move.arguments[2]) // 32 + 1))


def other_hashes(move: Move, player: Player) -> Move:
    """Chooses among hashes that the server did not post."""
    return Move("choose", (*move.arguments[:2], bytes(32) + move.arguments[2][32:], move.arguments[3]))


def out_of_turn(decision: Decision, player: Player) -> Move | None:
    """Chooses while it is the server's turn."""
    for dispute in EventLog.of(player.chain).disputes.values():
        if dispute.is_servers_turn:
            return Move("choose", (dispute.game_id, dispute.segment, b"", 0))
    return None


def early_timeout(decision: Decision, player: Player) -> Move | None:
    for dispute in EventLog.of(player.chain).disputes.values():
        if dispute.is_servers_turn:
            return Move("timeout", (dispute.game_id, dispute.segment, b""))
    return None


def forged_evidence(decision: Decision, player: Player) -> Move | None:
    """Sends a witness with a wrong leaf before the server sends the right one."""
    for dispute in EventLog.of(player.chain).disputes.values():
        if dispute.segment.phase == INSTRUCTIONS and dispute.segment.length == 1:
            request_id = EventLog.of(player.chain).claims[dispute.claim_id].request_id
            witness = player.computation(request_id).witness(dispute.stage, dispute.segment.lo)
            return with_wrong_leaf(Move("arbitrate", (dispute.game_id, dispute.segment, witness)), player)
    return None


def never_halts(honest: Computation, random: Random, stage: int | None) -> Iterator[Tampering]:
    """Pretends that the last instruction of a stage has no effect, so that the stage never ends and the run fails."""
    while True:
        here = random.randrange(honest.stage_count) if stage is None else stage
        steps = steps_of(honest, here)

        def change(machine: Machine) -> None:
            machine.status = STATUS_RUNNING

        yield Tampering(here, steps, change, stands_still=True)


class Padded(TamperedComputation):
    """Claims the longest stage that is allowed. The machine halts long before, and from then on all states are equal."""

    def opening(self, stage: int) -> Opening:
        return super().opening(stage)._replace(steps=STAGE_STEP_LIMIT)


def server(forge: Callable[[Setup], Forge], plan: Plan = output_values, kind: type[TamperedComputation] = TamperedComputation) -> Seats:
    def seats(setup: Setup) -> list[Player]:
        player = setup.seat(ForgingServer, "server", lie(setup, plan, kind))
        player.forge = forge(setup)
        return setup.with_challenger(player)

    return seats


def truthful_server(forge: Forge) -> Seats:
    """A server with a true claim, which forges something later."""

    def seats(setup: Setup) -> list[Player]:
        player = setup.seat(ForgingServer, "server")
        player.forge = forge
        return setup.with_challenger(player)

    return seats


def challenger(forge: Forge) -> Seats:
    def seats(setup: Setup) -> list[Player]:
        player = setup.seat(ForgingChallenger, CHALLENGER)
        player.forge = forge
        return setup.with_server(player)

    return seats


def _opens(name: str, description: str, refusal: str, change: Callable[[Move, Player], Move | None]) -> Cheat:
    return Cheat(name, description, server(lambda setup: instead_of("open", change)), refusal=refusal)


def _accuses(name: str, description: str, refusal: str, forge: Forge) -> Cheat:
    return Cheat(name, description, challenger(forge), CHALLENGER, CHALLENGE_REJECTED, refusal=refusal)


CHEATS = (
    _opens("forged-start", "the stage is opened with a start that nobody agreed on", "WRONG_START", opening(start_carry=bytes(32))),
    Cheat("forged-end", "the stage is opened with another end than the disputed one",
          server(lambda setup: instead_of("open", lambda move, player: true_end(move, player, setup.honest))), refusal="WRONG_END"),
    _opens("zero-steps", "the stage is opened with zero steps", "STEP_COUNT", opening(steps=0)),
    _opens("too-many-steps", "the stage is opened with more steps than are allowed", "STEP_COUNT", opening(steps=STAGE_STEP_LIMIT + 1)),
    Cheat("early-failure", "a stage is opened as failed while the machine still runs, and then said to run for ever",
          server(lambda setup: instead_of("open", lambda move, player: running_end(move, player, setup.honest)), never_halts),
          refusal="STILL_RUNNING"),
    Cheat("idle-steps", "a wrong value, followed by 2^32 steps of a halted machine, whose states are all equal",
          server(lambda setup: lambda decision, player: None, kind=Padded)),
    Cheat("few-hashes", "one hash too few is posted", server(lambda setup: instead_of("post", without_last_hash)), refusal="WRONG_COUNT"),
    Cheat("skipped-opening", "the server posts hashes of instructions without opening a stage",
          server(lambda setup: instead_of("open", straight_into_the_machine)), refusal="STALE_POSITION"),
    Cheat("forged-witness", "the witness shows another memory than the agreed one",
          server(lambda setup: instead_of("arbitrate", with_wrong_leaf)), refusal="WITNESS_ROOT"),
    Cheat("early-finalise", "the claim is finalised during the dispute",
          server(lambda setup: instead_of("open", finalise_at_once)), refusal="WINDOW_OPEN"),
    Cheat("after-the-verdict", "the server plays on after it has lost", server(lambda setup: after_the_verdict), refusal="GAME_OVER"),
    Cheat("forged-output", "the claim is true, but it is finalised with another output",
          truthful_server(instead_of("finalise", forged_output)), verdict=CLAIM_FINAL, refusal="WITNESS_ROOT"),
    _accuses("no-such-part", "a part is chosen that does not exist", "NO_SUCH_PART", instead_of("choose", no_such_part)),
    _accuses("other-hashes", "the choice is among hashes that nobody posted", "STALE_POSITION", instead_of("choose", other_hashes)),
    _accuses("out-of-turn", "the challenger chooses while it is the server's turn", "NOT_YOUR_TURN", out_of_turn),
    _accuses("early-timeout", "the challenger calls a timeout while the server still has time", "NOT_OUT_OF_TIME", early_timeout),
    _accuses("early-collect", "the winner's share is collected before there is a winner", "NOTHING_TO_COLLECT",
             instead_of("choose", collect_at_once)),
    _accuses("forged-evidence", "the challenger sends a witness of another memory than the agreed one", "WITNESS_ROOT", forged_evidence),
)  # fmt: skip
