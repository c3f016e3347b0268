"""A broken guest, of inference or of training: its C with one text replaced, compiled anew.

The compiler keeps what it made of each file, so only the one that is replaced is compiled again; all are linked. That takes seconds.
"""

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from opml_fuzz.errors import InputError
from opml_fuzz.fuzzing.compiled_mutants import NotCompiled
from opml_min.guest import build
from opml_min.model.errors import ImageError
from opml_min.model.image.program import program_of_elf, shipped_program, shipped_training_program

SCRIPT = "link.ld"
TRAINING = "training/"  # how the names of the guest of training begin


@cache
def guest_texts() -> dict[str, str]:
    """Reads the sources of both guests and what they include, by name."""
    files = [*build.sources(), *build.training_sources(), *build.FOLDER.rglob("*.h"), build.FOLDER / SCRIPT]
    return {file.relative_to(build.FOLDER).as_posix(): file.read_text(encoding="utf-8") for file in files}


@cache
def _folder() -> TemporaryDirectory[str]:
    """Makes the folder in which this process compiles; another one each time would mean to compile everything."""
    return TemporaryDirectory(prefix="opml-fuzz-guest-")


def program_of(texts: Mapping[str, str]) -> bytes:
    """Compiles the guest with these texts in place of its own, and returns its code and constants. It is the guest of training if all of
    them are files of that one alone.

    Raises NotCompiled if the compiler refuses them, or if the program is the one that is shipped."""
    if find_spec("ziglang") is None:
        raise InputError("ziglang is not installed: pip install 'opml[dev]'")
    folder = Path(_folder().name)
    is_training = bool(texts) and all(name.startswith(TRAINING) for name in texts)
    (folder / TRAINING).mkdir(exist_ok=True)
    for name, text in {**guest_texts(), **texts}.items():
        if not (folder / name).exists() or (folder / name).read_text(encoding="utf-8") != text:
            (folder / name).write_text(text, encoding="utf-8")
    sources = build.training_sources() if is_training else build.sources()
    files = [folder / file.relative_to(build.FOLDER) for file in sources]
    try:
        build.compile_elf(files, folder / SCRIPT, folder / "guest.elf", ["-Wno-error"])
        program = program_of_elf((folder / "guest.elf").read_bytes())
    except (build.CompilationError, ImageError) as error:
        raise NotCompiled("the compiler refuses it") from error
    if program == (shipped_training_program() if is_training else shipped_program()):
        raise NotCompiled("the same program")
    return program
