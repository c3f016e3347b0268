"""What a demonstration is about: a request that the model can answer."""

from random import Random

from opml_min.cli.errors import InputError
from opml_min.mnist.pictures import SIDE, drawn_request
from opml_min.model.image.header import TEXT
from opml_min.model.image.request import TextRequest, stage_count
from opml_min.model.resolve import Model
from opml_min.model.sources.tokenizers.chat import prompt_tokens
from opml_min.players.cheats.cheat import Scene

PROMPT = "Once upon a time"
NEW_TOKENS = 8


def scene_of(model: Model, new_tokens: int | None = None) -> Scene:
    """Asks for the continuation of a short prompt, the digit in a drawn picture, or what a model of other bytes says to noise."""
    header = model.image.header
    if header.request_kind != TEXT:
        if new_tokens is not None:
            raise InputError("the model writes no text, so --max-tokens has no meaning")
        request = drawn_request() if header.context == SIDE * SIDE else Random(0).randbytes(header.context)
    else:
        prompt = prompt_tokens(model.image, model.tokenizer, PROMPT, raw=True) if model.tokenizer is not None else [0]
        prompt = prompt[: max(header.context - 1, 1)]
        request = TextRequest(tuple(prompt), new_tokens or min(NEW_TOKENS, header.context - len(prompt))).pack()
    return Scene(model.image, request, stage_count(header, request))


def answer_of(model: Model, scene: Scene, tokens: list[int]) -> str | None:
    """The prompt and the text that the tokens continue it with; None if the model writes no text."""
    if model.tokenizer is None or model.image.header.request_kind != TEXT:
        return None
    prompt = TextRequest.unpack(scene.request).prompt
    return PROMPT + str(model.tokenizer.decode(tokens, prompt[-1]))
