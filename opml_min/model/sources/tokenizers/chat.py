"""Chat templates: a question as an instruct model expects to read it.

A template is a program by the model's author, so another process executes it, within limits (`template_process`). The template's own markup
becomes special tokens. Markup inside the question stays text, so a question cannot pretend to be two turns.

*Source*: Hugging Face's `transformers`, "Chat templates".
"""

import json
import re
import signal
import subprocess
import sys

from opml_min.model.errors import ModelError
from opml_min.model.image.image import Image
from opml_min.model.sources.tokenizers import template_process
from opml_min.model.sources.tokenizers.text import Tokenizer

PRIVATE = range(0xE000, 0xF8FF)  # characters that mean nothing, in Unicode's first private use area
WALL_SECONDS = 10
PLAIN_QUESTION = "Hello"


class TemplateFailed(ModelError):
    """A chat template is malformed, exceeds its limits, or refuses the question."""


def prompt_tokens(image: Image, tokenizer: Tokenizer, text: str, *, raw: bool) -> list[int]:
    """Return the prompt for a text, through the chat template if the model has one. An empty text is BOS alone.

    raw: use the text itself even if there is a template. Markup in it then becomes special tokens"""
    header, template = image.header, image.template()
    if raw or not template or not text:
        return tokenizer.prompt(text, markup=raw)
    bos = tokenizer.name(header.bos_token) if header.bos_token < header.vocabulary else ""
    eos = tokenizer.name(header.stop_tokens[0]) if header.stop_tokens and header.stop_tokens[0] < header.vocabulary else ""
    if not any(name in text for name in tokenizer.markup_names()):
        return tokenizer.encode(render_question(template, text, bos=bos, eos=eos), markup=True)
    return _question_with_markup(template, tokenizer, text, bos=bos, eos=eos)


def note_on_template(template: str) -> str | None:
    """Return what is wrong with a template that cannot even ask a plain question."""
    try:
        if template:
            render_question(template, PLAIN_QUESTION, bos="", eos="")
    except TemplateFailed as error:
        return str(error)
    return None


def _question_with_markup(template: str, tokenizer: Tokenizer, text: str, *, bos: str, eos: str) -> list[int]:
    """Return the prompt for a question that contains names of special tokens, which stay text.

    A character that the text does not have breaks these names while the template is rendered. All names that are whole afterwards are the
    template's; the text between them is encoded without markup."""
    long_names = [name for name in tokenizer.markup_names() if len(name) > 1]  # a name of one character cannot be broken
    names = re.compile("|".join(map(re.escape, long_names)) or r"(?!)")
    mark = next(chr(code) for code in PRIVATE if chr(code) not in "".join([text, template, *long_names]))
    broken = text
    while match := names.search(broken):
        broken = broken[: match.start() + 1] + mark + broken[match.start() + 1 :]
    tokens: list[int] = []
    end = 0
    rendered = render_question(template, broken, bos=bos, eos=eos)
    for match in names.finditer(rendered):
        tokens += tokenizer.encode(rendered[end : match.start()].replace(mark, ""))
        tokens += tokenizer.encode(match[0], markup=True)
        end = match.end()
    return tokens + tokenizer.encode(rendered[end:].replace(mark, ""))


def render_question(template: str, question: str, *, bos: str, eos: str) -> str:
    """Return the text that asks the model the question and lets it answer. bos, eos: the names of these tokens"""
    task = {"template": template, "question": question, "bos_token": bos, "eos_token": eos}
    try:
        done = subprocess.run(
            [sys.executable, "-I", template_process.__file__],
            input=json.dumps(task).encode(),
            capture_output=True,
            timeout=WALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TemplateFailed(f"the chat template needs more than {WALL_SECONDS} seconds; --raw avoids it") from error
    except OSError as error:
        raise TemplateFailed(f"the chat template cannot be used: no process can be started ({error.strerror}); --raw avoids it") from error
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise TemplateFailed(f"the chat template exceeds its limits of time or memory ({name}); --raw avoids it")
    try:
        answer = json.loads(done.stdout)
        return str(answer["text"])
    except ValueError as error:
        raise TemplateFailed("the chat template exceeds its limits of time or memory; --raw avoids it") from error
    except KeyError:
        problem = str(answer["problem"]).encode("utf-8", "replace").decode()
        refused = "refuses the prompt" if answer["refused"] else "cannot be used"
        raise TemplateFailed(f"the chat template {refused}: {problem[:200]}; --raw avoids it") from None
