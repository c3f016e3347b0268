"""`opml bench gas`: what moves cost, as whole transactions under Prague rules (calldata floor included), on the embedded model.

The arbitrations come from games that go down to an instruction of each class: of the instructions tried, the one whose witness is longest,
because bytes are what a step costs. Every game is decided in favour of the server, which costs more than the other way round. The
shipped program stores over no leaf border, so the worst store is made by a program of our own in the embedded model's memory as a run
leaves it.
"""

import tempfile
from pathlib import Path
from random import Random
from struct import pack
from typing import Any

from evm_arbiter.court import Court
from opml_min.cli.bench import Row
from opml_min.cli.demo import scene_of
from opml_min.cli.demo.play import Game, play, shared_computations
from opml_min.cli.output import Progress
from opml_min.machine.decode import IMMEDIATE, LOAD, REGISTER, STORE
from opml_min.machine.memory.memory import Memory
from opml_min.machine.memory.merkle import ZERO
from opml_min.memory_map import ENTRY, STATE
from opml_min.model.image.image import Image, write_image
from opml_min.model.image.ops import writes
from opml_min.model.resolve import DEFAULT_MODEL, resolve
from opml_min.model.run import Run
from opml_min.players.chain import INSTRUCTIONS, STAGES
from opml_min.players.cheats import CHEATS
from opml_min.players.cheats.cheat import CHALLENGE_REJECTED, CHALLENGER, Cheat, FalseChallenger, Scene, Table
from opml_min.players.cheats.own_programs import EXIT_WELL, T0, T1, T2, X0, add, addi, lui, sd, slli
from opml_min.players.cheats.tampering import next_instruction, steps_of
from opml_min.players.computation import Computation
from opml_min.players.player import Player

LIMITS = {"arbitrate register": 90_000, "arbitrate load": 125_000, "arbitrate store": 130_000}  # gas
CLASSES = {"register": (REGISTER, IMMEDIATE), "load": (LOAD,), "store": (STORE,)}
SITES = 60  # instructions of a class that are looked at


def rows() -> list[Row]:
    scene, compute = scene_of(resolve(DEFAULT_MODEL)), shared_computations()
    court = Court()
    before, progress = court.snapshot(), Progress("games", len(CLASSES) + 3)
    games: list[Game] = []

    def played(game_scene: Scene, cheat: Cheat) -> Game:
        court.restore(before)
        games.append(play(game_scene, cheat, seed=1, court=court, compute=compute))
        progress.show(len(games))
        return games[-1]

    found = []
    for name, forms in CLASSES.items():
        site = longest_witness(compute(*scene), forms, Random(name))
        found.append(_arbitration(f"arbitrate {name}", played(scene, aimed_at(*site))))
    worst = worst_scene(scene)
    found.append(_arbitration("arbitrate worst", played(worst, aimed_at(0, len(store_over(0)) - len(EXIT_WELL) - 1))))
    for cheat in ("kv-cache", "silent-server"):
        played(scene, CHEATS[cheat])
    progress.clear()
    dearest: dict[str, int] = {}
    for delivered in (delivered for game in games for delivered in game.history if delivered.gas_used):
        dearest[delivered.move.name] = max(dearest.get(delivered.move.name, 0), delivered.gas_used or 0)
    found += [Row(move, gas, "gas") for move, gas in dearest.items() if move != "arbitrate"]
    return found


def _arbitration(name: str, game: Game) -> Row:
    return Row(name, game.gas()["arbitrate"], "gas", limit=LIMITS.get(name))


def aimed_at(stage: int, step: int) -> Cheat:
    """A false accusation that comes down to this instruction."""

    def seats(table: Table) -> list[Player]:
        accuser = table.seat(FalseChallenger, CHALLENGER)
        players = table.with_server(accuser)
        accuser.wanted = {STAGES: stage, INSTRUCTIONS: step}
        return players

    return Cheat("aimed", "a true claim is challenged for one instruction", seats, CHALLENGER, CHALLENGE_REJECTED)


def longest_witness(honest: Computation, forms: tuple[str, ...], random: Random) -> tuple[int, int]:
    """Stage and step of the instruction of these forms that takes most bytes to prove."""
    found = []
    for _ in range(SITES):
        stage = random.randrange(honest.stage_count)
        site = next_instruction(honest, stage, random.randrange(steps_of(honest, stage)), lambda _, it: it.form in forms)
        if site is not None:
            found.append((len(honest.witness(stage, site.step)), stage, site.step))
    return max(found)[1:]


def store_over(border: int) -> list[int]:
    """Stores eight bytes, four on either side of a border of the state quarter."""
    high = (border + 0x800) >> 12
    place = [addi(T0, X0, 3), slli(T0, T0, 38), lui(T2, high), addi(T2, T2, border - (high << 12)), add(T0, T0, T2)]
    return [*place, addi(T1, X0, -1), sd(T1, -4, T0), *EXIT_WELL]


def worst_scene(scene: Scene) -> Scene:
    """The embedded model's memory at the end of a run, and that store at the border with most siblings that are not zero."""
    run = Run(*scene[:2])
    run.run_all()
    ops = scene.image.ops
    positions = scene.stage_count // len(ops)
    end = max(address + length for op in ops for position in range(positions) for address, length in writes(op, position))
    state = run.memory.read(STATE, end - STATE)
    border = max(range(1024, len(state), 1024), key=lambda place: siblings_sent(run.memory, STATE + place))
    program = store_over(border)
    text = pack(f"<{len(program)}I", *program)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "worst.opml"
        others: list[tuple[int, Any]] = [(segment.address, [segment.data]) for segment in scene.image.segments[1:]]
        write_image(path, [(ENTRY, [text + scene.image.program[len(text) :]]), *others, (STATE, [state])])
        return Scene(Image(path), scene.request, 1)


def siblings_sent(memory: Memory, border: int) -> int:
    """Of the two leaves at the border."""
    proofs = memory.proof(border // 32 - 1) + memory.proof(border // 32)
    return sum(sibling != ZERO[height % 35] for height, sibling in enumerate(proofs))
