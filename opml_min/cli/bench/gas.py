"""`opml bench gas`: what each move costs, as a whole transaction under Prague rules (calldata floor included), on the embedded model.

`arbitrate` is measured in disputes that narrow down to one instruction of each class. Most of its cost is the bytes of the witness, so of
the instructions tried the one with the longest witness is taken. The server survives these. The row `arbitrate` without a class is the
dearest of all matches played, among them one in which the claim falls.
The shipped program never stores across two leaves. So the worst store is that of a small program of our own, executed in the memory that
a run of the embedded model leaves behind.
"""

from random import Random
from struct import pack
from typing import Any

from evm_arbiter.court import Court
from opml_min.cli.bench.row import Row
from opml_min.cli.demo.play import Match, play, shared_computations
from opml_min.cli.demo.scene import scene_of
from opml_min.cli.output import Progress
from opml_min.machine.decode import IMMEDIATE, LOAD, REGISTER, STORE
from opml_min.machine.hashing import ZERO
from opml_min.machine.memory.memory import Memory
from opml_min.memory_map import ENTRY, STATE
from opml_min.model.files.temporary import temporary_folder
from opml_min.model.image.image import Image
from opml_min.model.image.ops import writes
from opml_min.model.image.segments import write_image
from opml_min.model.resolve import DEFAULT_MODEL, resolve
from opml_min.model.run import Run
from opml_min.players.chain import INSTRUCTIONS, STAGES, Decision
from opml_min.players.cheats import CHEATS
from opml_min.players.cheats.cheat import CHALLENGE_REJECTED, CHALLENGER, SERVER, Cheat, FalseChallenger, Liar, Scene, Setup
from opml_min.players.cheats.own_programs import EXIT_WELL, T0, T1, T2, X0, add, addi, lui, sd, slli
from opml_min.players.cheats.tampering import next_instruction, steps_of
from opml_min.players.computation import Computation
from opml_min.players.index import ClaimEntry
from opml_min.players.player import Player

LIMITS = {"arbitrate register": 90_000, "arbitrate load": 125_000, "arbitrate store": 130_000}  # gas
CLASSES = {"register": (REGISTER, IMMEDIATE), "load": (LOAD,), "store": (STORE,)}
SITES = 60  # instructions of a class that are sampled


def rows() -> list[Row]:
    scene, compute = scene_of(resolve(DEFAULT_MODEL)), shared_computations()
    court = Court()
    before, progress = court.snapshot(), Progress("matches", len(CLASSES) + 1 + len(OTHER_MOVES))
    matches: list[Match] = []

    def played(about: Scene, cheat: Cheat) -> Match:
        court.restore(before)
        matches.append(play(about, cheat, seed=1, court=court, compute=compute))
        progress.show(len(matches))
        return matches[-1]

    found = []
    for name, forms in CLASSES.items():
        site = longest_witness(compute(*scene), forms, Random(name))
        found.append(_arbitration(f"arbitrate {name}", played(scene, aimed_at(*site))))
    worst = worst_scene(scene)
    found.append(_arbitration("arbitrate worst", played(worst, aimed_at(0, len(store_across(0)) - len(EXIT_WELL) - 1))))
    for cheat in OTHER_MOVES:
        played(scene, cheat)
    progress.clear()
    dearest: dict[str, int] = {}
    for delivered in (delivered for match in matches for delivered in match.history):
        dearest[delivered.move.name] = max(dearest.get(delivered.move.name, 0), delivered.gas_used or 0)
    found += [Row(move, gas, "gas") for move, gas in dearest.items()]
    return found


class Unshown(Liar):
    """A server with a true claim that never shows the result, so that the claim expires."""

    def finalise(self, claim: ClaimEntry) -> Decision:
        return None


UNSHOWN = Cheat("unshown", "a true claim is not finalised", lambda setup: setup.with_challenger(setup.seat(Unshown, SERVER)))
OTHER_MOVES = (CHEATS["kv-cache"], CHEATS["silent-server"], CHEATS["bad-defence"], UNSHOWN)  # with those above, every move is made


def _arbitration(name: str, match: Match) -> Row:
    return Row(name, match.gas()["arbitrate"], "gas", limit=LIMITS.get(name))


def aimed_at(stage: int, step: int) -> Cheat:
    """A false challenge that narrows down to this instruction."""

    def seats(setup: Setup) -> list[Player]:
        accuser = setup.seat(FalseChallenger, CHALLENGER)
        players = setup.with_server(accuser)
        accuser.wanted = {STAGES: stage, INSTRUCTIONS: step}
        return players

    return Cheat("aimed", "a true claim is challenged over one instruction", seats, CHALLENGER, CHALLENGE_REJECTED)


def longest_witness(honest: Computation, forms: tuple[str, ...], random: Random) -> tuple[int, int]:
    """Samples instructions of these forms; returns stage and step of the one with the longest witness."""
    found = []
    for _ in range(SITES):
        stage = random.randrange(honest.stage_count)
        site = next_instruction(honest, stage, random.randrange(steps_of(honest, stage)), lambda _, it: it.kind in forms)
        if site is not None:
            found.append((len(honest.witness(stage, site.step)), stage, site.step))
    return max(found)[1:]


def store_across(border: int) -> list[int]:
    """A program that stores eight bytes, four on either side of an offset in the state quarter."""
    high = (border + 0x800) >> 12
    place = [addi(T0, X0, 3), slli(T0, T0, 38), lui(T2, high), addi(T2, T2, border - (high << 12)), add(T0, T0, T2)]
    return [*place, addi(T1, X0, -1), sd(T1, -4, T0), *EXIT_WELL]


def worst_scene(scene: Scene) -> Scene:
    """That program, in the memory at the end of a run, at the leaf boundary whose two proofs send the most siblings."""
    image = scene.image
    assert isinstance(image, Image)
    run = Run(image, scene.request)
    run.run_all()
    ops = image.ops
    positions = scene.stage_count // len(ops)
    end = max(address + length for op in ops for position in range(positions) for address, length in writes(op, position))
    state = run.memory.read(STATE, end - STATE)
    border = max(range(1024, len(state), 1024), key=lambda place: siblings_sent(run.memory, STATE + place))
    program = store_across(border)
    text = pack(f"<{len(program)}I", *program)
    with temporary_folder() as folder:
        path = folder / "worst.opml"
        others: list[tuple[int, Any]] = [(segment.address, [segment.data]) for segment in image.segments[1:]]
        write_image(path, [(ENTRY, [text + image.program[len(text) :]]), *others, (STATE, [state])])
        return Scene(Image(path), scene.request, 1)


def siblings_sent(memory: Memory, border: int) -> int:
    """How many siblings the witness of a store across this boundary sends: those that are not all-zero subtrees."""
    proofs = memory.proof(border // 32 - 1) + memory.proof(border // 32)
    return sum(sibling != ZERO[height % 35] for height, sibling in enumerate(proofs))
