"""`opml demo`: a language model answers, somebody cheats, and EVM bytecode decides by executing one instruction."""

import argparse
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any

from opml_min.cli.arguments import (
    DEVICES,
    add_accelerator,
    add_arithmetic,
    add_json,
    add_model,
    chosen_model,
    positive,
    settle_device,
    word,
)
from opml_min.cli.compiling import announces_compilation
from opml_min.cli.demo.play import Match, play, shared_computations
from opml_min.cli.demo.scene import NEW_TOKENS, answer_of, scene_of
from opml_min.cli.demo.story import Story
from opml_min.cli.demo.summary import summary
from opml_min.cli.errors import InputError
from opml_min.cli.output import print_json
from opml_min.model.resolve import DEFAULT_MODEL
from opml_min.players.cheats import CHEATS, NONE
from opml_min.players.cheats.cheat import CHALLENGER, SERVER, Cheat, Scene
from opml_min.players.cheats.tampering import NoSuchLie

DRAWN_SEEDS = 1_000_000  # a seed that nobody names is drawn from so many


def register(parser: argparse.ArgumentParser) -> None:
    add_model(parser, as_option=True)
    parser.add_argument("--max-tokens", type=positive, metavar="N", help=f"ask for N new tokens (default: {NEW_TOKENS})")
    kind = "the kind of cheat, or random (the default), none, or list, which prints all kinds"
    parser.add_argument("--cheat", default="random", metavar="KIND", help=kind)
    stage = "the stage to cheat in, for kinds that can cheat in any (default: a random one)"
    parser.add_argument("--stage", type=word, metavar="N", help=stage)
    parser.add_argument("--who", choices=(SERVER, CHALLENGER), help="draw only from the cheats of this side (default: both)")
    parser.add_argument("--seed", type=word, metavar="N", help="the seed of all random choices; equal seeds play the same match")
    add_arithmetic(parser)
    add_accelerator(parser)
    add_json(parser)
    parser.set_defaults(execute=execute)


@announces_compilation
def execute(options: argparse.Namespace) -> int:
    if options.cheat == "list":
        return _list(options.json)
    start = time.perf_counter()
    seed = secrets.randbelow(DRAWN_SEEDS) if options.seed is None else options.seed
    kinds = chosen_kinds(options.cheat, options.who, seed)
    model = chosen_model(options)
    settle_device(options, model.image)
    scene = scene_of(model, options.max_tokens)
    story = None if options.json else Story(partial(print, flush=True), partial(answer_of, model, scene))
    match = _first_possible(scene, kinds, seed, options, story)
    seconds = time.perf_counter() - start
    if story is None:
        print_json({"seed": seed, "seconds": seconds, **summary(match)})
    else:
        story.end(match, seconds)
        print(f"The same again: {_command(options, match.cheat, seed)}")
    return 0 if match.honest_side_won() and match.money_adds_up() else 1


def _list(as_json: bool) -> int:
    if as_json:
        print_json({"cheats": [{"name": cheat.name, "who": cheat.who, "description": cheat.description} for cheat in CHEATS.values()]})
    else:
        for cheat in CHEATS.values():
            print(f"{cheat.name:<27} {cheat.who:<11} {cheat.description}")
    return 0


def chosen_kinds(name: str, who: str | None, seed: int) -> list[Cheat]:
    """The kind that is named; for `random`, all kinds in the order in which to try them.

    Successive seeds walk through a shuffled list of all kinds, which is shuffled again when it is used up; seed 1 begins the first list. So
    every seed is uniform over the kinds, and as many successive seeds as there are kinds meet each kind once.
    """
    kinds = [cheat for cheat in CHEATS.values() if who in (None, cheat.who)]
    if name == "random":
        epoch, place = divmod(seed - 1, len(kinds))
        Random(epoch).shuffle(kinds)
        return kinds[place:] + kinds[:place]
    if name == "none":
        return [NONE]
    if name not in CHEATS:
        raise InputError(f"there is no cheat {name!r}; `opml demo --cheat list` names them")
    if CHEATS[name] not in kinds:
        raise InputError(f"{name!r} is a cheat of the {CHEATS[name].who}, not of the {who}")
    return [CHEATS[name]]


def _first_possible(scene: Scene, kinds: list[Cheat], seed: int, options: argparse.Namespace, story: Story | None) -> Match:
    """Plays the first kind that is possible with this model and, if one is named, in this stage."""
    how: dict[str, Any] = {} if story is None else {"observe": story.observe, "begin": story.begin}
    if options.device != DEVICES[0]:
        how["compute"] = shared_computations(options.device)
    played: Callable[[Cheat], Match] = partial(play, scene, seed=seed, stage=options.stage, **how)
    for cheat in kinds[:-1]:
        with suppress(NoSuchLie):
            return played(cheat)
    return played(kinds[-1])


def _command(options: argparse.Namespace, cheat: Cheat, seed: int) -> str:
    """The command that plays this match again."""
    given = {"model": options.model if options.model != DEFAULT_MODEL else None, "arithmetic": options.arithmetic}
    given |= {"device": options.device if options.device != DEVICES[0] else None}
    given |= {"max-tokens": options.max_tokens, "stage": options.stage, "cheat": cheat.name, "seed": seed}
    return "opml demo" + "".join(f" --{name} {value}" for name, value in given.items() if value is not None)
