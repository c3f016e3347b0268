"""`opml simulate`: attackers with a purse against honest players, on the real contract, and what it cost whom."""

import argparse
from collections.abc import Iterator

from attrs import evolve

from evm_arbiter.court import Court
from opml_min.cli.arguments import add_json, positive, word
from opml_min.cli.demo.play import shared_computations
from opml_min.cli.demo.scene import scene_of
from opml_min.cli.errors import InputError
from opml_min.cli.output import Progress, print_json
from opml_min.cli.simulate.arena import MOST_VALIDATORS, STAGE_MICROSECONDS, Arena, Terms
from opml_min.cli.simulate.attacks import ATTACKS, NO_ATTACK, Attack
from opml_min.cli.simulate.damage import Damage, Quiet, damage
from opml_min.cli.simulate.table import page_prices, table
from opml_min.model.resolve import DEFAULT_MODEL, resolve

NEW_TOKENS = 1  # of each request, for speed
MOST_CLAIMS = 8
ETHER = 10**18


def register(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Play attacks on the real contract, against one honest server and one honest validator that are as slow as the rules "
        "let them be. Exits with 1 if a false result became final or an honest side lost anything but gas."
    )
    parser.epilog = "\n".join(["attacks:", *(f"  {attack.name:<13} {attack.description}" for attack in ATTACKS.values())])
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--attack", default="all", choices=(*ATTACKS, "all"), metavar="NAME", help="the attack, or all (the default)")
    purse = "what the attacker can stake, but for attacks that need more (default: %(default)s ether)"
    parser.add_argument("--purse", type=positive, default=50, metavar="ETH", help=purse)
    validators = "validators in all; one is honest, the others are the attacker's (default: %(default)s)"
    parser.add_argument("--validators", type=positive, default=3, metavar="N", help=validators)
    parser.add_argument("--claims", type=positive, default=2, metavar="N", help="honest requests to claim (default: %(default)s)")
    parser.add_argument("--seed", type=word, default=1, metavar="N", help="the seed of all random choices (default: %(default)s)")
    add_json(parser)
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    if not 2 <= options.validators <= MOST_VALIDATORS:
        raise InputError(f"--validators must be from 2 to {MOST_VALIDATORS}")
    if options.claims > MOST_CLAIMS:
        raise InputError(f"--claims must be at most {MOST_CLAIMS}")
    attacks = list(ATTACKS.values()) if options.attack == "all" else [ATTACKS[options.attack]]
    terms = Terms(options.purse * ETHER, options.validators, options.claims, options.seed)
    court, progress = Court(), Progress("attacks", len(attacks))
    damages = []
    for each in played(court, terms, attacks):
        damages.append(each)
        progress.show(len(damages))
    progress.clear()
    if options.json:
        print_json({"seed": terms.seed, "prices": page_prices(court.parameters), "attacks": [each.fields() for each in damages]})
    else:
        print(table(damages, court.parameters))
    return 1 if any(each.false_finals or each.honest_loss for each in damages) else 0


def played(court: Court, terms: Terms, attacks: list[Attack]) -> Iterator[Damage]:
    """Plays attacks one after the other, each from the beginning, and for each model that they need one play without attack."""
    scene, compute, before = scene_of(resolve(DEFAULT_MODEL), NEW_TOKENS), shared_computations(), court.snapshot()


    def play(attack: Attack, run_seconds: int | None) -> Arena:
        court.restore(before)
        staked = evolve(terms, purse_wei=max(terms.purse_wei, attack.purse_ether * ETHER))
        microseconds = STAGE_MICROSECONDS if run_seconds is None else -(-run_seconds * 10**6 // scene.stage_count)
        arena = Arena.made(court, staked, scene, compute, attack.name, microseconds)
        arena.has_silence = attack.has_silence
        arena.attackers = attack.seats(arena)
        return arena.run()

    quiet: dict[int | None, Quiet] = {}
    for attack in attacks:
        speed = attack.run_seconds
        if speed not in quiet:
            quiet[speed] = Quiet.measured(play(NO_ATTACK, speed))
        yield damage(attack.name, play(attack, speed), quiet[speed])
