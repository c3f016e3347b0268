"""`opml demo`: a language model answers, somebody cheats, and EVM bytecode decides about one instruction."""

import argparse
import secrets
import time
from pathlib import Path
from random import Random
from typing import Any

from opml_min.cli.arguments import Subparsers, add_json, chosen_model, positive, word
from opml_min.cli.demo.evidence import evidence
from opml_min.cli.demo.play import Game, Observer, play, silently
from opml_min.cli.demo.story import Story
from opml_min.cli.errors import InputError
from opml_min.cli.output import print_json
from opml_min.mnist.pictures import SIDE, drawn_request
from opml_min.model.image.header import TEXT
from opml_min.model.image.request import TextRequest, stage_count
from opml_min.model.resolve import DEFAULT_MODEL, Model
from opml_min.model.sources.tokenizers.chat import prompt_tokens
from opml_min.players.cheats import CHEATS, NONE
from opml_min.players.cheats.cheat import Cheat, Scene
from opml_min.players.cheats.tampering import NoSuchLie

PROMPT = "Once upon a time"
NEW_TOKENS = 8


def register(subparsers: Subparsers) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser("demo", help="see a cheat and how it is found out")
    parser.add_argument("--model", default=DEFAULT_MODEL, metavar="MODEL", help="an image, a built-in model's name, or a source file")
    parser.add_argument("--tokenizer", type=Path, help="of a source file (default: its own, or tok*.bin beside it)")
    parser.add_argument("--max-tokens", type=positive, metavar="N", help=f"new tokens that are asked for (default: {NEW_TOKENS})")
    parser.add_argument("--cheat", default="random", metavar="KIND", help="random (the default), none, or a name from `--cheat list`")
    parser.add_argument("--stage", type=word, metavar="N", help="where to cheat, if the kind leaves a choice")
    parser.add_argument("--who", choices=("server", "challenger"), help="who cheats at random (default: either)")
    parser.add_argument("--seed", type=word, metavar="N", help="the same seed plays the same game")
    parser.add_argument("--arithmetic", choices=("fixed", "float"), help="default: an image's own, and fixed for a source file")
    add_json(parser)
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    if options.cheat == "list":
        return _list(options.json)
    start = time.perf_counter()
    seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    kinds = chosen_kinds(options.cheat, options.who, seed)
    model = chosen_model(options)
    scene = scene_of(model, options.max_tokens)
    story = None if options.json else Story(lambda line: print(line, flush=True), _decoder(model, scene))
    game = _first_possible(scene, kinds, seed, options.stage, story)
    seconds = time.perf_counter() - start
    if story is None:
        print_json({"seed": seed, "seconds": seconds, **summary(game)})
    else:
        story.end(game, seconds)
        chosen = f" --model {options.model}" * (options.model != DEFAULT_MODEL)
        chosen += "" if options.arithmetic is None else f" --arithmetic {options.arithmetic}"
        chosen += "" if options.max_tokens is None else f" --max-tokens {options.max_tokens}"
        chosen += "" if options.stage is None else f" --stage {options.stage}"
        print(f"The same again: opml demo{chosen} --cheat {game.cheat.name} --seed {seed}")
    return 0 if game.honest_side_won() and game.money_adds_up() else 1


def _list(as_json: bool) -> int:
    if as_json:
        print_json({"cheats": [{"name": cheat.name, "who": cheat.who, "description": cheat.description} for cheat in CHEATS.values()]})
    else:
        for cheat in CHEATS.values():
            print(f"{cheat.name:<27} {cheat.who:<11} {cheat.description}")
    return 0


def chosen_kinds(name: str, who: str | None, seed: int) -> list[Cheat]:
    """The kind that is named; for `random` the order in which to try them.

    Seeds follow one another through a shuffled list of all kinds, which is shuffled anew when it is used up (seed 1 begins the first one).
    So any seed is uniform over the kinds, and as many seeds in a row as there are kinds meet each of them once."""
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
        raise InputError(f"{name!r} is a cheat of the {CHEATS[name].who}")
    return [CHEATS[name]]


def _first_possible(scene: Scene, kinds: list[Cheat], seed: int, stage: int | None, story: Story | None) -> Game:
    """The game of the first kind that is possible in the stage, or at all with the model."""
    observe: Observer = silently if story is None else story.observe
    for cheat in kinds:
        try:
            if story is None:
                return play(scene, cheat, seed=seed, stage=stage)
            return play(scene, cheat, seed=seed, stage=stage, observe=observe, begin=story.begin)
        except NoSuchLie:
            if cheat is kinds[-1]:
                raise
    raise NoSuchLie("there is no kind of cheat to choose from")


def scene_of(model: Model, new_tokens: int | None = None) -> Scene:
    """A request that the model can answer: a short prompt, a drawn digit, or noise."""
    header = model.image.header
    if header.request_kind != TEXT:
        if new_tokens is not None:
            raise InputError("the model writes no text, so --max-tokens means nothing")
        request = drawn_request() if header.context == SIDE * SIDE else Random(0).randbytes(header.context)
    else:
        prompt = prompt_tokens(model.image, model.tokenizer, PROMPT, raw=True) if model.tokenizer is not None else [0]
        prompt = prompt[: max(header.context - 1, 1)]
        request = TextRequest(tuple(prompt), new_tokens or min(NEW_TOKENS, header.context - len(prompt))).pack()
    return Scene(model.image, request, stage_count(header, request))


def _decoder(model: Model, scene: Scene) -> Any:
    tokenizer = model.tokenizer
    if tokenizer is None or model.image.header.request_kind != TEXT:
        return None
    prompt = TextRequest.unpack(scene.request).prompt
    return lambda tokens: PROMPT + str(tokenizer.decode(tokens, prompt[-1]))


def summary(game: Game) -> dict[str, Any]:
    """What the JSON says about a game."""
    found = evidence(game)
    return {
        "verdict": game.verdict,
        "cheat": game.cheat.name,
        "who": game.cheat.who,
        "stage": found and found.stage,
        "op": found and found.op.name,
        "layer": found and found.op.layer,
        "position": found and found.op.position,
        "step": found and found.step,
        "instruction": found and found.instruction,
        "values": found and {"pc": hex(found.pc), "before": found.before, "after": found.after, "claimed": found.claimed},
        "dispute": game.dispute and {"phase": game.dispute.segment.phase, "lo": game.dispute.segment.lo, "hi": game.dispute.segment.hi},
        "moves": game.moves(),
        "gas": game.gas(),
        "transactions": [
            {"player": each.player, "move": each.move.name, "gas": each.gas_used, "refusal": each.refusal} for each in game.history
        ],
        "balances": game.balances(),
        "gains": {name: after - game.balances_before[name] for name, after in game.balances().items()},
        "money": game.money(),
        "money_adds_up": game.money_adds_up(),
        "honest_side_won": game.honest_side_won(),
    }
