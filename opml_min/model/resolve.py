"""Finding the image that a person names: an image file, a built-in model, or a source file that is built once and cached.

An image in the cache is named after the contents that it was built from. A known model is downloaded on first use.
"""

import codecs
import hashlib
import os
import stat
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path

import numpy as np
from attrs import evolve, frozen

from opml_min.cache_folder import VARIABLE, cache_folder
from opml_min.model.build.build import build_llama
from opml_min.model.build.calibration import Calibration
from opml_min.model.build.llama_image import check_llama
from opml_min.model.build.ranges import requantised
from opml_min.model.errors import CheckpointError, ImageError, TokenizerError, WriteFailed
from opml_min.model.files.cache import MODEL_SOURCES, digest_of_sources
from opml_min.model.files.fetch import KNOWN, fetched
from opml_min.model.files.sealed import is_intact, seal, sha256_of
from opml_min.model.image.image import Image
from opml_min.model.image.ops import ARITHMETICS, FIXED, FLOAT
from opml_min.model.image.program import shipped_program
from opml_min.model.image.segments import FILE_MAGIC
from opml_min.model.native.check import check
from opml_min.model.sources.checkpoint import Checkpoint
from opml_min.model.sources.from_image import checkpoint_of_image
from opml_min.model.sources.read import files_of_source, read_source, starts_with, tokenizer_beside
from opml_min.model.sources.source import Source, tokenizer_of
from opml_min.model.sources.tokenizers.chat import note_on_template
from opml_min.model.sources.tokenizers.text import Text, Tokenizer

BUILT_IN = {"embedded": ("opml_min.embedded", "embedded.opml"), "mnist": ("opml_min.mnist", "mnist.opml")}
DEFAULT_MODEL = "embedded"
CALIBRATION_BYTES = 1 << 16  # that are read of a text; the first 2,048 tokens count


@frozen(eq=False)
class Model:
    """An image with its tokenizer and, if it was built here, the files that it was built from."""

    image: Image
    tokenizer: Tokenizer | None
    source: Path | None = None
    tokenizer_path: Path | None = None

    @property
    def arithmetic(self) -> str:
        """Return the name of the image's arithmetic. ImageError is raised if it is unknown, as a stranger's may be."""
        number = self.image.header.arithmetic
        if number >= len(ARITHMETICS):
            raise ImageError(f"{self.image.path}: arithmetic {number} is unknown")
        return ARITHMETICS[number]

    def notes(self) -> tuple[str, ...]:
        """Return what a person should know of things in the source that the image does not have."""
        return () if self.source is None else notes_on(read_source(self.source, self.tokenizer_path))

    def requantised(self) -> dict[str, int]:
        """Return how many of the source's matrices of each type the image has in Q8_0."""
        return {} if self.source is None or self.image.header.arithmetic == FLOAT else requantised(self.checkpoint())

    def checkpoint(self) -> Checkpoint:
        """Return the float weights: those of the source, or else those that the image stands for."""
        if self.source is not None:
            return read_source(self.source, self.tokenizer_path).checkpoint
        return _read_as_llama(self.image)


def resolve(name: str, tokenizer: Path | None = None, arithmetic: str | None = None) -> Model:
    """Return the model of a name or path.

    arithmetic: fixed or float. By default an image keeps its own, and a source file becomes an image in fixed point. For an image in fixed
    point, float gives another image with exactly the floats that its weights stand for."""
    model = _resolve(name, tokenizer, arithmetic or ARITHMETICS[FIXED])
    if tokenizer is not None and model.source is None:
        raise TokenizerError(f"{name} is an image and has its own tokenizer; --tokenizer is for source files")
    if arithmetic is None or arithmetic == model.arithmetic:
        return model
    if arithmetic == ARITHMETICS[FIXED]:
        raise CheckpointError(f"{name} is an image in float arithmetic; build one in fixed point from its source")
    build = partial(build_llama, _read_as_llama(model.image), text_of(model.image))
    return _open_image(_cached((model.image.path,), arithmetic, lambda path: build(path, shipped_program(), arithmetic=FLOAT)))


def _read_as_llama(image: Image) -> Checkpoint:
    """Return the float weights that an image stands for, if it computes a LLaMA."""
    check(image)  # what holds for native code holds for a reader of the weights too
    check_llama(image)
    return checkpoint_of_image(image)


def text_of(image: Image) -> Text:
    header = image.header
    return Text(image.tokenizer_bytes(), header.tokenizer_kind, header.bos_token, header.stop_tokens, image.template())


def _resolve(name: str, tokenizer: Path | None, arithmetic: str) -> Model:
    if name in BUILT_IN and not os.path.isfile(name):
        package, resource = BUILT_IN[name]
        return _open_image(Path(str(files(package).joinpath(resource))))
    if not name:
        raise CheckpointError("the model's name is empty")
    path = Path(name) if name not in KNOWN or is_there(Path(name)) else fetched(name)
    if not is_there(path):
        raise CheckpointError(f"there is no file {name}, and no known model of that name (known are {', '.join([*BUILT_IN, *KNOWN])})")
    if path.is_file() and starts_with(path, FILE_MAGIC):
        return _open_image(path)
    tokenizer = tokenizer_beside(path) if tokenizer is None else tokenizer
    parts = [*files_of_source(path), *([] if tokenizer is None else [tokenizer])]
    for part in parts:
        is_there(part)
    build = partial(build_source, path, tokenizer, arithmetic=arithmetic)
    return evolve(_open_image(_cached(parts, arithmetic, build)), source=path, tokenizer_path=tokenizer)


def is_there(path: Path) -> bool:
    """Tell whether there is a file or a folder; what cannot be looked at, or would be waited for, is a CheckpointError."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:  # a name that is too long, a folder that may not be searched, a zero byte
        raise CheckpointError(f"cannot read {path}: {getattr(error, 'strerror', error)}") from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise CheckpointError(f"{path} is neither a file nor a folder")
    return True


def _open_image(path: Path) -> Model:
    image = Image(path)
    header = image.header
    return Model(image, tokenizer_of(header.tokenizer_kind, image.tokenizer_bytes(), header.vocabulary, header.bos_token))


def build_source(
    path: Path,
    tokenizer: Path | None,
    output: Path,
    *,
    context: int | None = None,
    single_phase: bool = False,
    arithmetic: str = ARITHMETICS[FIXED],
    calibrate: Path | None = None,
    show: Callable[[int, int], None] = lambda done, layers: None,
) -> dict[str, int]:
    """Build the image of a source of any known kind. Return how many matrices of each type were rounded to Q8_0.

    What is left out or not used, and that fixed point loses much, is said on stderr.

    calibrate: a text on which the model's numbers are measured first; show: called meanwhile with how many layers are done, of how many"""
    try:
        with np.errstate(all="ignore"):  # numpy would warn on stderr; what is not finite is refused by name
            source = read_source(path, tokenizer)
            fitted = build_llama(
                source.checkpoint, source.text, output, shipped_program(),
                context=context, single_phase=single_phase, arithmetic=ARITHMETICS.index(arithmetic),
                calibration=None if calibrate is None else Calibration(_tokens(source, calibrate), show),
            )  # fmt: skip
    except (CheckpointError, TokenizerError) as error:
        raise type(error)(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    for note in (*notes_on(source), *(() if fitted is None or not fitted.note else (fitted.note,))):
        print(f"opml: {path}: {''.join(c if c.isprintable() else '?' for c in note)}", file=sys.stderr)
    return {} if fitted is None else requantised(source.checkpoint)


def notes_on(source: Source) -> tuple[str, ...]:
    """Return what a person should know of a source: what the image does not have, and what will not work."""
    broken = None if source.text is None else note_on_template(source.text.template)
    return source.notes if broken is None else (*source.notes, broken)


def _tokens(source: Source, path: Path) -> list[int]:
    """Return the first tokens of a text, in the source's tokenizer."""
    try:
        with path.open("rb") as file:
            data = file.read(CALIBRATION_BYTES)
        content = codecs.getincrementaldecoder("utf-8")().decode(data, final=len(data) < CALIBRATION_BYTES)  # else it may be cut
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is no text to calibrate on: byte {error.start} is not UTF-8") from error
    text, shape = source.text, source.checkpoint.shape
    tokenizer = None if text is None else tokenizer_of(text.kind, text.tokenizer, shape.vocabulary, text.bos)
    if tokenizer is None:
        raise CheckpointError("there is no tokenizer, so a text cannot be read; name one with --tokenizer")
    return tokenizer.prompt(content)


def _cached(sources: Sequence[Path], arithmetic: str, build: Callable[[Path], object]) -> Path:
    """Return the image built from these files, from the cache if it is there and not damaged."""
    digest = hashlib.sha256(digest_of_sources(*MODEL_SOURCES) + shipped_program() + arithmetic.encode())
    for part in sources:
        try:
            digest.update(sha256_of(part))
        except OSError as error:
            raise CheckpointError(f"cannot read {part}: {error.strerror}") from error
    image = cache_folder() / f"{digest.hexdigest()[:32]}.opml"
    if not is_intact(image):
        try:
            image.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            where = f"{VARIABLE} names another folder for what is built"
            raise WriteFailed(f"cannot create {image.parent}: {error.strerror}; {where}") from error
        build(image)
        seal(image)
    return image
