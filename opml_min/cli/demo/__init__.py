"""`opml demo`: a model answers or is trained, somebody cheats, and EVM bytecode decides by executing one instruction."""

import argparse
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from attrs import field, frozen

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
from opml_min.cli.demo.poem_training import poem_training
from opml_min.cli.demo.scene import NEW_TOKENS, answer_of, scene_of
from opml_min.cli.demo.story import Story
from opml_min.cli.demo.summary import summary
from opml_min.cli.demo.training_scene import scene_of_job
from opml_min.cli.demo.training_story import TrainingStory
from opml_min.cli.errors import InputError
from opml_min.cli.output import print_json
from opml_min.model.resolve import DEFAULT_MODEL
from opml_min.players.cheats import CHEATS, NONE, TRAINING_CHEATS
from opml_min.players.cheats.cheat import CHALLENGER, SERVER, Cheat, Scene
from opml_min.players.cheats.tampering import NoSuchLie

DRAWN_SEEDS = 1_000_000  # a seed that nobody names is drawn from so many


def register(parser: argparse.ArgumentParser) -> None:
    add_model(parser, as_option=True)
    train = "a server trains a model instead of running one: a small one, or with --model FOLDER that of a job of `opml train`"
    parser.add_argument("--train", action="store_true", help=train)
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
    cheats = TRAINING_CHEATS if options.train else CHEATS
    if options.cheat == "list":
        return _list(cheats, options.json)
    start = time.perf_counter()
    seed = secrets.randbelow(DRAWN_SEEDS) if options.seed is None else options.seed
    kinds = chosen_kinds(options.cheat, options.who, seed, cheats)
    subject = _training(options) if options.train else _answering(options)
    story = None if options.json else subject.story
    match = _first_possible(subject, kinds, seed, options, story)
    seconds = time.perf_counter() - start
    if story is None:
        print_json({"seed": seed, "seconds": seconds, **summary(match), **subject.facts(match)})
    else:
        story.end(match, seconds)
        print(f"The same again: {_command(options, match.cheat, seed)}")
    return 0 if match.honest_side_won() and match.money_adds_up() else 1


@frozen
class _Subject:
    """What a match is about, and how it is told."""

    scene: Scene
    story: Story
    tensor_names: Mapping[int, str] = field(factory=dict)
    facts: Callable[[Match], dict[str, Any]] = lambda match: {}


def _answering(options: argparse.Namespace) -> _Subject:
    """A model that answers a request."""
    model = chosen_model(options)
    settle_device(options, model.image)
    scene = scene_of(model, options.max_tokens)
    return _Subject(scene, Story(partial(print, flush=True), partial(answer_of, model, scene)))


def _training(options: argparse.Namespace) -> _Subject:
    """A model that is trained."""
    given = {"--tokenizer": options.tokenizer, "--max-tokens": options.max_tokens, "--arithmetic": options.arithmetic}
    given |= {"--device": options.device if options.device != DEVICES[0] else None}
    for option, value in given.items():
        if value is not None:
            raise InputError(f"{option} has no meaning with --train")
    training = poem_training() if options.model == DEFAULT_MODEL else scene_of_job(Path(options.model))
    story = TrainingStory(partial(print, flush=True), training)
    return _Subject(training.scene, story, training.tensor_names, training.facts)


def _list(cheats: Mapping[str, Cheat], as_json: bool) -> int:
    if as_json:
        print_json({"cheats": [{"name": cheat.name, "who": cheat.who, "description": cheat.description} for cheat in cheats.values()]})
    else:
        for cheat in cheats.values():
            print(f"{cheat.name:<27} {cheat.who:<11} {cheat.description}")
    return 0


def chosen_kinds(name: str, who: str | None, seed: int, cheats: Mapping[str, Cheat] = CHEATS) -> list[Cheat]:
    """The kind that is named; for `random`, all kinds in the order in which to try them.

    Successive seeds walk through a shuffled list of all kinds, which is shuffled again when it is used up; seed 1 begins the first list. So
    every seed is uniform over the kinds, and as many successive seeds as there are kinds meet each kind once.
    """
    kinds = [cheat for cheat in cheats.values() if who in (None, cheat.who)]
    if name == "random":
        epoch, place = divmod(seed - 1, len(kinds))
        Random(epoch).shuffle(kinds)
        return kinds[place:] + kinds[:place]
    if name == "none":
        return [NONE]
    if name not in cheats:
        train = " --train" if cheats is TRAINING_CHEATS else ""
        raise InputError(f"there is no cheat {name!r}; `opml demo{train} --cheat list` names them")
    if cheats[name] not in kinds:
        raise InputError(f"{name!r} is a cheat of the {cheats[name].who}, not of the {who}")
    return [cheats[name]]


def _first_possible(subject: _Subject, kinds: list[Cheat], seed: int, options: argparse.Namespace, story: Story | None) -> Match:
    """Plays the first kind that is possible with this model and, if one is named, in this stage."""
    how: dict[str, Any] = {"tensor_names": subject.tensor_names}
    how |= {} if story is None else {"observe": story.observe, "begin": story.begin}
    if options.device != DEVICES[0]:
        how["compute"] = shared_computations(options.device)
    played: Callable[[Cheat], Match] = partial(play, subject.scene, seed=seed, stage=options.stage, **how)
    for cheat in kinds[:-1]:
        with suppress(NoSuchLie):
            return played(cheat)
    return played(kinds[-1])


def _command(options: argparse.Namespace, cheat: Cheat, seed: int) -> str:
    """The command that plays this match again."""
    train = " --train" if options.train else ""
    given = {"model": options.model if options.model != DEFAULT_MODEL else None, "arithmetic": options.arithmetic}
    given |= {"device": options.device if options.device != DEVICES[0] else None}
    given |= {"max-tokens": options.max_tokens, "stage": options.stage, "cheat": cheat.name, "seed": seed}
    return f"opml demo{train}" + "".join(f" --{name} {value}" for name, value in given.items() if value is not None)
