"""The training run that made the embedded model, as the committed file `training.json` documents it.

The file names all that the run depends on: the model's shape, the recipe, the settings, and the SHA-256 of the text. Even the tokenizer is
learned from the text. So the run can be recomputed without the model that it made.

*Source*: spec §6.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

from opml_min.embedded.pieces import tokenizer_of_text
from opml_min.model.files.atomic import written_whole
from opml_min.model.image.image import Image
from opml_min.model.image.segments import write_image
from opml_min.model.sources.checkpoint import Shape
from opml_min.model.sources.llama2c import llama2c_text
from opml_min.model.sources.tokenizers.llama2c import Llama2cTokenizer
from opml_min.training.image import TrainingImage, write_training_image
from opml_min.training.jobs.text_data import packed, read_tokens, split_off
from opml_min.training.recipes.llama import llama_training
from opml_min.training.recipes.llama_shape import LlamaShape
from opml_min.training.recipes.recipe import Method, Optimiser, Recipe, TokenText
from opml_min.training.request import Settings
from opml_min.training.run import TrainingRun
from opml_min.training.trained_image import image_from_scratch, image_in_model_quarter, state_left
from opml_min.training.training_model import TrainingModel

FOLDER = Path(__file__).parent
MODEL, CHECKSUM, DOCUMENT = FOLDER / "embedded.opml", FOLDER / "embedded.opml.sha256", FOLDER / "training.json"


@frozen
class LearnedText:
    """What a text gives: the tokenizer that is learned from it, and the training on its tokens."""

    tokenizer: bytes
    training: TrainingModel


@frozen
class DocumentedRun:
    """What the file holds."""

    text: str  # the name of its file, for people
    text_sha256: bytes
    shape: LlamaShape  # of the model
    context: int
    optimizer: Optimiser
    sequences: int  # of an update
    length: int  # tokens of a sequence
    settings: Settings
    model_root: bytes  # of the training image
    run_hashes: dict[int, bytes]  # by how many updates are done, ascending; the last one is that of the whole run
    state_root: bytes  # after the last update

    def read(self, text: Path) -> LearnedText:
        """Return what the run takes from a text, of which the last tenth is held out."""
        tokenizer = tokenizer_of_text(text.read_text(encoding="utf-8"), self.shape.vocabulary)
        tokens = read_tokens(text, Llama2cTokenizer(tokenizer, self.shape.vocabulary))
        kept, _ = split_off(tokens, self.length)
        recipe = Recipe(Method.SCRATCH, self.optimizer, self.sequences, self.length)
        return LearnedText(tokenizer, llama_training(self.shape, recipe, TokenText(*packed(kept, self.shape.vocabulary))))

    def begun(self, learned: LearnedText, folder: Path, threads: int) -> TrainingRun:
        """Return the run before its first stage. Its image comes into the folder."""
        write_training_image(folder / "training.opml", learned.training)
        return TrainingRun(TrainingImage(folder / "training.opml"), self.settings.pack(), threads=threads)

    def write_model(self, path: Path, learned: LearnedText, run: TrainingRun) -> None:
        """Write the image that a finished run has trained, with its weights in the model quarter."""
        s = self.shape
        shape = Shape(s.dim, s.hidden_dim, s.layers, s.heads, s.kv_heads, s.vocabulary, self.context, s.head_size)
        with tempfile.TemporaryDirectory() as folder:
            trained = Path(folder, "trained.opml")
            state, text = state_left(run.memory, run.ops), llama2c_text(learned.tokenizer)
            write_image(trained, image_from_scratch(shape, text, self.shape.r, learned.training.trained, state))
            write_image(path, image_in_model_quarter(Image(trained)))

    @property
    def command(self) -> str:
        """Return the command that makes the run as a job, from a model of this shape and with this tokenizer."""
        s = self.settings
        rates = f"--rate {s.rate_q34 / 2**34:.6g} --last-rate {s.last_rate_q34 / 2**34:.6g} --decay {s.decay_q16 / 2**16:.4g}"
        sizes = f"--batch {self.sequences} --length {self.length} --steps {s.updates} --warmup {s.warmup} --seed {s.seed}"
        return f"opml train embedded --recipe scratch --optimizer {self.optimizer} --data {self.text} --eval {sizes} {rates} --out JOB"


def save(path: Path, run: DocumentedRun) -> None:
    """Write the file."""
    values: dict[str, Any] = {"command": run.command, **asdict(run)}
    values |= {name: "0x" + getattr(run, name).hex() for name in ("model_root", "state_root")}
    values |= {"text_sha256": run.text_sha256.hex(), "optimizer": run.optimizer.value}
    values["run_hashes"] = {str(updates): "0x" + run_hash.hex() for updates, run_hash in run.run_hashes.items()}
    with written_whole(path) as file:
        file.write(json.dumps(values, indent=2).encode() + b"\n")


def load(path: Path = DOCUMENT) -> DocumentedRun:
    """Read the file, which is part of the project."""
    values = json.loads(path.read_text(encoding="utf-8"))
    del values["command"]  # it follows from the rest
    values |= {name: bytes.fromhex(values[name].removeprefix("0x")) for name in ("text_sha256", "model_root", "state_root")}
    values["run_hashes"] = {int(updates): bytes.fromhex(text.removeprefix("0x")) for updates, text in values["run_hashes"].items()}
    values |= {"shape": LlamaShape(**values["shape"]), "settings": Settings(**values["settings"])}
    return DocumentedRun(**values | {"optimizer": Optimiser(values["optimizer"])})
