"""The attacks: what each stakes its purse on, and whom it seats."""

from collections.abc import Callable
from functools import partial

from attrs import frozen

from opml_min.cli.simulate.arena import BLOCK_SECONDS, Arena
from opml_min.cli.simulate.attackers import Clinging, Conceded, Flooder, Garbler, Hoarder, Latecomer, Spreader
from opml_min.players.cheats.cheat import Liar
from opml_min.players.cheats.claims import Copier, Unopenable
from opml_min.players.cheats.puppets import Punctual, Sniper
from opml_min.players.cheats.stalling import Pump, Pumping, Staller, Withholder
from opml_min.players.cheats.tampering import lie
from opml_min.players.cheats.values import output_values
from opml_min.players.player import Player
from opml_min.players.policy import Policy

LATE_PARTS = 16  # chosen of each root in the last second
SPREAD_NODES = 40  # opened of each tree
FLOODS = 6  # requests that fill the line
OPENERS = 1_000  # nodes opened of all trees together
LONG_RUNS, LONG_RUN_SECONDS = 30, 3 * 3_600  # that fill the line of a slow model


@frozen
class Attack:
    """One way to spend a purse."""

    name: str
    description: str
    seats: Callable[[Arena], list[Player]]
    has_silence: bool = False
    purse_ether: int = 0  # what it needs, if that is more than it is given
    run_seconds: int | None = None  # that a run takes a validator; None: as in the other attacks


def _noise(arena: Arena) -> bytes:
    return arena.setup.random.randbytes(32)


def _false_claims(times_m: int, arena: Arena) -> list[Player]:
    count = times_m * arena.court.parameters.claims_at_once
    return [arena.setup.seat(Garbler, "liar", claims=count, noise=_noise(arena))]


def _lie(arena: Arena) -> list[Player]:
    return [arena.setup.seat(Punctual, "liar", lie(arena.setup, output_values))]


def _against(kind: type[Latecomer], parts: int, arena: Arena, target: str) -> list[Player]:
    """Seats puppets that divide the claims of a server among them."""
    puppets: list[Latecomer] = arena.puppets(kind)
    for number, puppet in enumerate(puppets):
        puppet.parts, puppet.target, puppet.share = parts, target, (number, len(puppets))
    return [*puppets]


def _delay(parts: int, arena: Arena) -> list[Player]:
    return _against(Latecomer, parts, arena, arena.server.address)


def _breadth(nodes: int, arena: Arena) -> list[Player]:
    return _against(Spreader, nodes, arena, arena.server.address)


def _openers(arena: Arena) -> list[Player]:
    return _breadth(OPENERS // arena.terms.claims, arena)


def _own_delay(arena: Arena) -> list[Player]:
    staller = arena.setup.seat(Staller, "staller")
    return [staller, *_against(Latecomer, 0, arena, staller.address)]


def _withheld(arena: Arena) -> list[Player]:
    return [arena.setup.seat(Withholder, "withholder")]


def _stalled(arena: Arena) -> list[Player]:
    """The honest server claims beside the stalled claims, since it would wait for their results otherwise."""
    arena.server.policy = Policy(claims_beside_true=True)
    staller = arena.setup.seat(Withholder, "staller")
    return [staller, *_against(Clinging, OPENERS, arena, staller.address)]


def _pumping(arena: Arena) -> list[Player]:
    liar, pump = arena.setup.seat(Pumping, "liar"), arena.setup.seat(Pump, "puppet")
    pump.server, pump.most = liar, OPENERS
    return [liar, pump]


def _expiring(arena: Arena) -> list[Player]:
    arena.server.policy = Policy(claims_beside_true=True)
    liar = arena.setup.seat(Hoarder, "liar")
    liar.most = OPENERS
    return [liar, *_against(Spreader, OPENERS // arena.terms.claims, arena, liar.address)]


def _junk_first(arena: Arena) -> list[Player]:
    return [arena.setup.seat(Unopenable, "junk maker")]


def _line(floods: int, arena: Arena) -> list[Player]:
    flooder, scene = arena.setup.seat(Flooder, "flooder"), arena.setup.scene
    flooder.floods, flooder.asked = floods, (scene.request, scene.stage_count, arena.court.parameters.min_bond)
    flooder.at = arena.asker.at - BLOCK_SECONDS
    return [flooder]


def _line_lie(floods: int, arena: Arena) -> list[Player]:
    return [*_line(floods, arena), arena.setup.seat(Garbler, "liar", claims=1, noise=_noise(arena))]


def _griefing(arena: Arena) -> list[Player]:
    puppets = arena.puppets(Conceded)
    addresses = frozenset(puppet.address for puppet in puppets)
    liar = arena.setup.seat(Garbler, "liar", claims=arena.terms.claims, noise=_noise(arena), conceded_to=addresses)
    return [liar, *puppets]


def _copying(arena: Arena) -> list[Player]:
    return [arena.setup.seat(Copier, "copier")]


def _sniping(arena: Arena) -> list[Player]:
    return [arena.setup.seat(Liar, "liar", lie(arena.setup, output_values)), *arena.puppets(Sniper)]


NO_ATTACK = Attack("none", "nobody attacks", lambda arena: [])
ATTACKS = {
    attack.name: attack
    for attack in (
        Attack("false-claims", "m false claims at once, stalled to the last second, the validator kept from the chain for C",
               partial(_false_claims, 1), has_silence=True),
        Attack("beyond-m", "twice as many", partial(_false_claims, 2), has_silence=True),
        Attack("lie", "each request is answered falsely by one bit, and each answer is given when it is due", _lie),
        Attack("breadth", "true claims are challenged, and part after part is opened", partial(_breadth, SPREAD_NODES)),
        Attack("openers", f"likewise, {OPENERS:,} nodes in all", _openers, purse_ether=130),
        Attack("delay", "true claims are challenged in the last second, and no part is chosen", partial(_delay, 0)),
        Attack("late-parts", f"likewise, and {LATE_PARTS} parts of each are chosen in the last second", partial(_delay, LATE_PARTS)),
        Attack("own-delay", "a server stalls its own true claims to the last second, with puppets that challenge them", _own_delay),
        Attack("withheld", "a server makes true claims and never shows the results", _withheld),
        Attack("stalled", "likewise, stalled with as many nodes as the purse pays, before an honest server claims the same", _stalled),
        Attack("line", "true runs fill the line of the model", partial(_line, FLOODS)),
        Attack("line-lie", "likewise, and a false claim follows", partial(_line_lie, FLOODS)),
        Attack("long-line", f"a false claim follows {LONG_RUNS} true ones, of {LONG_RUN_SECONDS // 3_600} hours each",
               partial(_line_lie, LONG_RUNS), purse_ether=70, run_seconds=LONG_RUN_SECONDS),
        Attack("pumping", "nodes of a claim that is given up give a server more time for another false one", _pumping),
        Attack("expiring", f"likewise, {OPENERS:,} nodes of true claims that are never shown and expire", _expiring, purse_ether=135),
        Attack("junk-first", "the first claim of each request is of a hash that nobody knows", _junk_first),
        Attack("griefing", "false claims are lost to puppets, so that the honest validator's nodes earn nothing", _griefing),
        Attack("copying", "the honest claims are copied", _copying),
        Attack("sniping", "puppets try to take the choices of the validator that opposes their lying server", _sniping),
    )
}  # fmt: skip
