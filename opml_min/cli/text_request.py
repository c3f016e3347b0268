"""The request for a text that the options of `opml run` ask for."""

import argparse
import math

from opml_min.cli.errors import InputError
from opml_min.model.image.request import TextRequest
from opml_min.model.resolve import Model
from opml_min.model.sources.tokenizers.chat import prompt_tokens
from opml_min.model.sources.tokenizers.text import Tokenizer

DEFAULT_NEW_TOKENS = 128
MOST_TEMPERATURE = 64  # Source: spec §1


def requested(model: Model, tokenizer: Tokenizer, options: argparse.Namespace, text: str) -> TextRequest:
    """The request to continue a text."""
    header, temperature = model.image.header, options.temperature
    prompt = tuple(prompt_tokens(model.image, tokenizer, text, raw=options.raw))
    new_tokens = options.max_tokens or max(1, min(DEFAULT_NEW_TOKENS, header.context - len(prompt)))
    if not math.isfinite(temperature) or not 0 <= temperature <= MOST_TEMPERATURE:
        raise InputError("the temperature must be 0 or from 1/64 to 64")
    return TextRequest(prompt, new_tokens, round(temperature * 65536), options.seed)
