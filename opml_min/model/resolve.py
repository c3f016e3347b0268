"""From what a person names to an image: an image file, a built-in model, or a source file, which is built once and kept in a cache.

An image in the cache is named after the contents that it was built from.
"""

import hashlib
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from opml_min.model.build import build_llama
from opml_min.model.cache import MODEL_SOURCES, cache_folder, digest_of_sources
from opml_min.model.checkpoint import Checkpoint, read_llama2c
from opml_min.model.errors import CheckpointError, TokenizerError, WriteFailed
from opml_min.model.image import FILE_MAGIC, Image
from opml_min.model.layout import TOKENIZER_LLAMA2C
from opml_min.model.program import shipped_program
from opml_min.model.reference import checkpoint_of_image
from opml_min.model.tokenizer import Llama2cTokenizer

BUILT_IN = {"embedded": ("opml_min.embedded", "embedded.opml")}
DEFAULT_MODEL = "embedded"
KNOWN_OTHER_FORMATS = {b"GGUF": "GGUF"}


class Model(NamedTuple):
    """An image and, if it was built here, the files that it was built from."""

    image: Image
    tokenizer: Llama2cTokenizer | None
    source: Path | None = None
    tokenizer_path: Path | None = None

    def checkpoint(self) -> Checkpoint:
        """The float weights: the source's own, else those that the image stands for."""
        return read_llama2c(self.source) if self.source is not None else checkpoint_of_image(self.image)


def resolve(name: str, tokenizer: Path | None = None) -> Model:
    """The model of a name or path."""
    if name in BUILT_IN and not Path(name).is_file():
        package, resource = BUILT_IN[name]
        return _open_image(Path(str(files(package).joinpath(resource))))
    path = Path(name)
    if path.is_dir():
        raise CheckpointError(f"{name} is a folder, not a model")
    if not path.exists():
        raise CheckpointError(f"there is no file {name}, and no built-in model of that name ({', '.join(BUILT_IN)})")
    if _starts_with(path, FILE_MAGIC):
        return _open_image(path)
    tokenizer = tokenizer_beside(path) if tokenizer is None else tokenizer
    return _open_image(_built(path, tokenizer))._replace(source=path, tokenizer_path=tokenizer)


def _open_image(path: Path) -> Model:
    image = Image(path)
    tokenizer = None
    if image.header.tokenizer_kind == TOKENIZER_LLAMA2C:
        tokenizer = Llama2cTokenizer(image.tokenizer_bytes(), image.header.vocabulary)
    return Model(image, tokenizer)


def tokenizer_beside(path: Path) -> Path:
    """The one `tok*.bin` in the source's folder."""
    found = sorted(path.absolute().parent.glob("tok*.bin"))
    if len(found) != 1:
        raise TokenizerError(f"there are {len(found)} files tok*.bin beside {path}; name the tokenizer with --tokenizer")
    return found[0]


def build_source(path: Path, tokenizer: Path, output: Path, *, context: int | None = None, single_phase: bool = False) -> None:
    """Builds the image of a source file of any known format."""
    for magic, format_name in KNOWN_OTHER_FORMATS.items():
        if _starts_with(path, magic):
            raise CheckpointError(f"{path} is a {format_name} file, which cannot be built yet")
    build_llama(read_llama2c(path), read_tokenizer(tokenizer), output, shipped_program(), context=context, single_phase=single_phase)


def read_tokenizer(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TokenizerError(f"cannot read {path}: {error.strerror}") from error


def _built(path: Path, tokenizer: Path) -> Path:
    """The image of a source file, from the cache if it is there."""
    digest = hashlib.sha256(digest_of_sources(MODEL_SOURCES) + shipped_program())
    for part in (path, tokenizer):
        try:
            with part.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise CheckpointError(f"cannot read {part}: {error.strerror}") from error
    image = cache_folder() / f"{digest.hexdigest()[:32]}.opml"
    if not image.exists():
        try:
            image.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WriteFailed(f"cannot create {image.parent}: {error.strerror}") from error
        build_source(path, tokenizer, image)
    return image


def _starts_with(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
