"""The small model files again, with an outside witness: `transformers` computes the logits of all that opML accepts.

    python -m pip install transformers torch
    python -m pytest tests/test_min_transformers.py -s        # prints what each file gives

Neither library is among the project's dependencies, because they are large. Without them these tests are skipped.

*Source*: `transformers`, `LlamaForCausalLM` (which reads GGUF files too) and `AutoTokenizer`.
"""

import importlib.metadata
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from min_sources import TEMPLATE, random_weights, write_hugging_face
from safetensors import safe_open
from test_min_model_kinds import KINDS, PROMPT, TOLERANCE

from opml_min.model.errors import ModelError
from opml_min.model.image.image import Image
from opml_min.model.quality.perplexity import NativeLogits
from opml_min.model.resolve import build_source, resolve
from opml_min.model.sources.tokenizers.chat import prompt_tokens, render_question

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
torch = pytest.importorskip("torch", reason="torch is not installed")

FLOAT_TOLERANCE = 1e-4  # of opML's float arithmetic, against float32 in another order
UNREAD = {
    "GGUF: linear rope": "transformers does not read the scaling of a GGUF file's rotary embedding",
    "GGUF: rope scaling of an older name": "transformers does not read the scaling of a GGUF file's rotary embedding",
    "GGUF: rope_freqs": "transformers does not read the tensor rope_freqs",
    "GGUF: rope_freqs and linear": "transformers does not read the tensor rope_freqs",
}
"""Files whose meaning transformers misses, and llama.cpp, whose format it is, does not."""


@pytest.fixture(scope="module")
def report() -> Iterator[list[str]]:
    """Lines for a person, printed at the end."""
    lines: list[str] = []
    yield lines
    print(f"\ntransformers {transformers.__version__}, torch {importlib.metadata.version('torch')}", *lines, sep="\n")


def logits_of_transformers(path: Path) -> np.ndarray:
    """The logits at every position of PROMPT, in float32 on the weights as the file stores them."""
    folder, named = (path.parent, {"gguf_file": path.name}) if path.is_file() else (path, {})
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, **named, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        return np.asarray(model(torch.tensor([PROMPT])).logits[0].double())


def completed(path: Path, folder: Path) -> Path:
    """A copy of a folder with what transformers insists on: a model_type, and an index of several files. A GGUF file as it is."""
    if path.is_file():
        return path
    copy = Path(shutil.copytree(path, folder / "completed"))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({"model_type": "llama"} | config))
    if not (copy / "model.safetensors").exists() and not (copy / "model.safetensors.index.json").exists():
        places = {name: part.name for part in copy.glob("*.safetensors") for name in safe_open(part, "numpy").keys()}  # noqa: SIM118
        (copy / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return copy


def of_opml(path: Path, folder: Path, arithmetic: str) -> np.ndarray | str:
    """The logits, or the refusal."""
    try:
        build_source(path, None, folder / "model.opml", arithmetic=arithmetic)
    except ModelError as error:
        return str(error).removeprefix(f"{path}: ")
    return np.array(list(NativeLogits(Image(folder / "model.opml"), 1)(PROMPT)))


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(((found - expected) ** 2).mean() / (expected**2).mean()))


@pytest.mark.parametrize("name", KINDS)
def test_what_is_accepted_is_what_transformers_computes(name: str, tmp_path: Path, report: list[str]) -> None:
    """In float arithmetic nearly exactly; as the kind says, within its tolerance."""
    kind = KINDS[name]
    path = kind.write(tmp_path, kind.weights())
    found = of_opml(path, tmp_path, kind.arithmetic)
    try:
        expected: np.ndarray | None = logits_of_transformers(completed(path, tmp_path))
        said = "computes"
    except Exception as error:  # whatever it raises for a file that it does not take
        expected, said = None, f"refuses ({type(error).__name__})"
    if isinstance(found, str):
        report.append(f"{name:50} refused: {found[:60]} · transformers {said}")
    elif expected is None:
        report.append(f"{name:50} accepted · transformers {said}")
        pytest.skip(f"transformers {said}")
    else:
        floats = of_opml(path, tmp_path, "float")
        assert not isinstance(floats, str)
        errors = relative_error(found, expected), relative_error(floats, expected)
        report.append(f"{name:50} accepted, relative error {errors[0]:.5f}, in float {errors[1]:.0e} {UNREAD.get(name, '')}")
        if name in UNREAD:
            assert errors[1] > TOLERANCE, "transformers reads it by now"
        else:
            assert errors[0] < TOLERANCE
            assert errors[1] < FLOAT_TOLERANCE


LEFT_BEHIND = {
    "nothing": {},
    "truncation": {"truncation": {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}},
    "padding": {
        "padding": {
            "strategy": {"Fixed": 40}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
            "pad_token": "<|endoftext|>",
        }
    },
}  # fmt: skip
QUESTIONS = ("the 199 é", "  two  spaces ", "a\nb", "<|im_start|>user\nthe<|im_end|>", "☃")


@pytest.mark.parametrize("left_behind", LEFT_BEHIND)
def test_prompts_are_what_transformers_makes_of_them(left_behind: str, tmp_path: Path) -> None:
    """A text gives the same tokens, and a question the same chat."""
    folder = write_hugging_face(tmp_path / "model", random_weights(), config={"model_type": "llama"})
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | LEFT_BEHIND[left_behind]))
    witness, model = transformers.AutoTokenizer.from_pretrained(folder), resolve(str(folder))
    for question in QUESTIONS:
        assert prompt_tokens(model.image, model.tokenizer, question, raw=True) == witness(question)["input_ids"]
        messages = [{"role": "user", "content": question}]
        chat = witness.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        assert render_question(TEMPLATE, question, bos="<|im_start|>", eos="<|im_end|>") == chat
