"""Exported models, with an outside witness: llama.cpp, in the library `gpt4all`, continues a text as our float reference does.

    python -m pip install gpt4all
    python -m pytest tests/test_min_llama_cpp.py

The library is not among the project's dependencies, because it is large. Without it these tests are skipped. On floats it gives the same
tokens. With Q8_0 it rounds activations to 8 bits, and so may choose otherwise between two tokens that are about as likely.
"""

from pathlib import Path

import numpy as np
import pytest

from opml_min.model.quality.reference import logits
from opml_min.model.resolve import Model, resolve, text_of
from opml_min.model.sources.export_gguf import write_gguf
from opml_min.model.sources.from_image import checkpoint_of_image

gpt4all = pytest.importorskip("gpt4all", reason="gpt4all is not installed")

PROMPT, NEW_TOKENS = "ROMEO:", 24
CLOSE = 0.5  # a difference of logits that rounding activations to 8 bits may turn


def continued(file: Path) -> list[int]:
    """The tokens with which llama.cpp continues the prompt, greedily."""
    tokens: list[int] = []
    model = gpt4all.GPT4All(file.name, model_path=file.parent, allow_download=False, device="cpu", n_ctx=128, n_threads=1)

    def note(token: int, _: str) -> bool:
        tokens.append(token)
        return True

    model.generate(PROMPT, max_tokens=NEW_TOKENS, temp=0, top_k=1, repeat_penalty=1.0, callback=note)
    model.close()
    return tokens


@pytest.fixture(scope="module")
def model() -> Model:
    return resolve("embedded")


@pytest.mark.parametrize("kind", ["q8_0", "f32"])
def test_the_embedded_model(kind: str, model: Model, tmp_path: Path) -> None:
    write_gguf(tmp_path / "embedded.gguf", model.image, text_of(model.image), "embedded", kind)
    checkpoint = checkpoint_of_image(model.image)
    assert model.tokenizer is not None
    tokens = model.tokenizer.prompt(PROMPT)
    found = continued(tmp_path / "embedded.gguf")
    assert len(found) == NEW_TOKENS
    for token in found:
        here = logits(checkpoint, tokens)[-1]
        assert here.max() - here[token] <= (CLOSE if kind == "q8_0" else 0), (len(tokens), token, int(np.argmax(here)))
        tokens.append(token)
