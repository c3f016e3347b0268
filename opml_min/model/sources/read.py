"""One way to read every kind of source: a GGUF file, a Hugging Face folder, or else a llama2.c checkpoint.

The readers of the first two are imported only when they are needed, because their libraries are slow to load.
"""

from pathlib import Path

from opml_min.model.errors import CheckpointError, TokenizerError
from opml_min.model.sources.llama2c import llama2c_text, read_llama2c
from opml_min.model.sources.source import Source

GGUF_MAGIC = b"GGUF"


def starts_with(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error


def tokenizer_beside(path: Path) -> Path | None:
    """Find the one `tok*.bin` in the folder of a llama2.c checkpoint. The other kinds of source contain a tokenizer."""
    if path.is_dir() or starts_with(path, GGUF_MAGIC):
        return None
    found = sorted(path.absolute().parent.glob("tok*.bin"))
    if len(found) != 1:
        kind = f"{path} is no image, no GGUF file and no folder"
        raise TokenizerError(
            f"{kind}; if it is a llama2.c checkpoint, name its tokenizer with --tokenizer ({len(found)} tok*.bin are beside it)"
        )
    return found[0]


def files_of_source(path: Path) -> list[Path]:
    """Return all files that an image of this source is built from, apart from a tokenizer that is named separately."""
    if not path.is_dir():
        return [path]
    from opml_min.model.sources.formats.safetensors_file import files_beside
    from opml_min.model.sources.hugging_face import CONFIG
    from opml_min.model.sources.hugging_face_text import TEXT_FILES

    if not (path / CONFIG).is_file():
        raise CheckpointError(f"{path} is a folder without {CONFIG}, not a model")
    return [path / CONFIG, *files_beside(path), *(path / name for name in TEXT_FILES if (path / name).is_file())]


def read_source(path: Path, tokenizer: Path | None) -> Source:
    """Read the model in a source. tokenizer: a file to use instead of the source's own tokenizer"""
    if path.is_dir():
        from opml_min.model.sources.hugging_face import read_hugging_face

        return read_hugging_face(path, tokenizer)
    if starts_with(path, GGUF_MAGIC):
        from opml_min.model.sources.gguf import read_gguf

        return read_gguf(path, None if tokenizer is None else read_tokenizer(tokenizer))
    tokenizer = tokenizer or tokenizer_beside(path)
    return Source(read_llama2c(path), None if tokenizer is None else llama2c_text(read_tokenizer(tokenizer)))


def read_tokenizer(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TokenizerError(f"cannot read {path}: {error.strerror}") from error
