"""Moves that the contract refuses. After the refusal the cheat plays on as if it had not tried."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from attrs import evolve

from opml_min.machine import Machine
from opml_min.machine.state import STATUS_RUNNING
from opml_min.memory_map import STAGE_STEP_LIMIT
from opml_min.players.chain import INSTRUCTIONS, OPEN, PENDING, Decision, Move, Segment, Wait
from opml_min.players.cheats.cheat import CHALLENGE_REJECTED, CHALLENGER, CLAIM_FINAL, Cheat, FalseChallenger, Liar, Setup
from opml_min.players.cheats.tampering import Plan, TamperedComputation, Tampering, lie, steps_of
from opml_min.players.cheats.values import output_values
from opml_min.players.computation import Computation, Opening
from opml_min.players.player import Player

Seats = Callable[[Setup], list[Player]]
Forge = Callable[[Decision, Player], Move | None]
"""What to try before a decision, or before any (None); None: nothing this time."""


class _Forging(Player):
    """A player that tries one forged move, once."""

    forge: Forge
    _has_tried = False

    def decisions(self) -> Iterator[Move | Wait]:
        self._ledger.follow()
        yield from self._forged(None)
        for decision in super().decisions():
            yield from self._forged(decision)
            yield decision

    def _forged(self, decision: Decision) -> Iterator[Move]:
        forged = None if self._has_tried else self.forge(decision, self)
        if forged is not None:
            self._has_tried = True
            yield forged


class ForgingServer(_Forging, Liar):
    pass


class ForgingChallenger(_Forging, FalseChallenger):
    pass


def instead_of(name: str, change: Callable[[Move, Player], Move | None]) -> Forge:
    """Replaces moves of this name."""
    return lambda decision, player: change(decision, player) if isinstance(decision, Move) and decision.name == name else None


def opening(**changes: Any) -> Callable[[Move, Player], Move]:
    """An `open` with other arguments."""

    def change(move: Move, player: Player) -> Move:
        told = Opening(*move.arguments[2:8])._replace(**changes)
        return evolve(move, arguments=(*move.arguments[:2], *told, *move.arguments[8:]))

    return change


def true_end(move: Move, player: Player, honest: Computation) -> Move:
    return opening(**honest.opening(move.arguments[1].lo)._asdict())(move, player)


def running_end(move: Move, player: Player, honest: Computation) -> Move:
    """An `open` that shows the machine half way through the stage and says that the stage failed there."""
    stage = move.arguments[1].lo
    machine = honest.machine_at(stage, steps_of(honest, stage) // 2)
    return opening(steps=machine.steps, final_state=machine.state_bytes())(move, player)


def straight_into_the_machine(move: Move, player: Player) -> Move:
    """Posts hashes of instructions before any stage is open, from a start that suits the server."""
    node_id, segment = move.arguments[:2]
    return Move("post", (node_id, Segment(INSTRUCTIONS, 0, 2, bytes(32), segment.disputed), bytes(32), bytes(32)))


def with_wrong_leaf(move: Move, player: Player) -> Move:
    node_id, segment, witness = move.arguments
    return Move("arbitrate", (node_id, segment, witness[:297] + bytes([witness[297] ^ 1]) + witness[298:]))


def finalise_at_once(move: Move, player: Player) -> Move | None:
    claim_id = player.index.nodes[move.arguments[0]].claim_id
    return Move("finalise", (claim_id, *player.runs.of(player.request_of(claim_id)).result()))


def after_the_verdict(decision: Decision, player: Player) -> Move | None:
    """Posts into a tree whose claim is already decided."""
    for node in player.index.nodes.values():
        if player.index.claims[node.claim_id].status != PENDING:
            return Move("post", (node.node_id, node.segment, bytes(32), bytes(32)))
    return None


def forged_output(move: Move, player: Player) -> Move:
    claim_id, carry, status, output, proof = move.arguments
    return Move("finalise", (claim_id, carry, status, output[:-1] + bytes([output[-1] ^ 1]), proof))


def no_such_part(move: Move, player: Player) -> Move:
    node_id, segment, hashes, _ = move.arguments
    return evolve(move, arguments=(node_id, segment, hashes, len(hashes) // 32 + 1))


def early_timeout(decision: Decision, player: Player) -> Move | None:
    return next((Move("timeout", (node.node_id,)) for node in player.index.nodes.values() if node.state == OPEN), None)


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
    Cheat("early-failure", "a stage is opened as failed while the machine still runs, and then said to run for ever",
          server(lambda setup: instead_of("open", lambda move, player: running_end(move, player, setup.honest)), never_halts),
          refusal="STILL_RUNNING"),
    Cheat("idle-steps", "a wrong value, followed by 2^32 steps of a halted machine, whose states are all equal",
          server(lambda setup: lambda decision, player: None, kind=Padded)),
    Cheat("skipped-opening", "the server posts hashes of instructions without opening a stage",
          server(lambda setup: instead_of("open", straight_into_the_machine)), refusal="STALE_COMMITMENT"),
    Cheat("forged-witness", "the witness shows another memory than the agreed one",
          server(lambda setup: instead_of("arbitrate", with_wrong_leaf)), refusal="WITNESS_ROOT"),
    Cheat("early-finalise", "the claim is finalised during the dispute",
          server(lambda setup: instead_of("open", finalise_at_once)), refusal="WINDOW_OPEN"),
    Cheat("after-the-verdict", "the server plays on after it has lost",
          server(lambda setup: after_the_verdict), refusal="CLAIM_NOT_PENDING"),
    Cheat("forged-output", "the claim is true, but it is finalised with another output",
          truthful_server(instead_of("finalise", forged_output)), verdict=CLAIM_FINAL, refusal="WITNESS_ROOT"),
    _accuses("no-such-part", "a part is chosen that does not exist", "NO_SUCH_PART", instead_of("choose", no_such_part)),
    _accuses("early-timeout", "the challenger calls a timeout while the server still has time", "NOT_OUT_OF_TIME", early_timeout),
)  # fmt: skip
