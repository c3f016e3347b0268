"""Chat templates: a question as an instruct model expects to read it.

A template is a program by the model's author, so it runs in Jinja's sandbox.

*Source*: Hugging Face's `transformers`, "Chat templates" (the variables, `raise_exception`, trimmed blocks).
"""

from typing import NoReturn

from opml_min.model.errors import ModelError
from opml_min.model.image.image import Image
from opml_min.model.sources.tokenizers.text import Tokenizer


class TemplateFailed(ModelError):
    """A chat template is malformed, or refuses the question."""


def prompt_tokens(image: Image, tokenizer: Tokenizer, text: str, *, raw: bool) -> list[int]:
    """Return the prompt for a text, through the chat template if the model has one. An empty text is BOS alone.

    raw: use the text itself even if there is a template"""
    header, template = image.header, image.template()
    if raw or not template or not text:
        return tokenizer.prompt(text)
    bos = tokenizer.name(header.bos_token) if header.bos_token < header.vocabulary else ""
    eos = tokenizer.name(header.stop_tokens[0]) if header.stop_tokens else ""
    return tokenizer.encode(render_question(template, text, bos=bos, eos=eos), markup=True)


def render_question(template: str, question: str, *, bos: str, eos: str) -> str:
    """Return the text that asks the model the question and lets it answer. bos, eos: the names of these tokens"""
    from jinja2 import TemplateError  # slow to import, and few models need it
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])

    def refuse(message: str) -> NoReturn:
        raise TemplateFailed(f"the chat template refuses the prompt: {message}")

    messages = [{"role": "user", "content": question}]
    try:
        return environment.from_string(template).render(
            messages=messages, add_generation_prompt=True, bos_token=bos, eos_token=eos, raise_exception=refuse
        )
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise TemplateFailed(f"the chat template cannot be used ({str(error)[:100]}); --raw avoids it") from error
