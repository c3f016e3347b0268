"""A broken guest: its C with one text replaced, compiled anew.

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
from opml_min.model.image.program import program_of_elf, shipped_program

SCRIPT = "link.ld"


@cache
def guest_texts() -> dict[str, str]:
    """Reads the guest's sources and what they include, by name."""
    files = [*build.sources(), *build.FOLDER.glob("*.h"), build.FOLDER / SCRIPT]
    return {file.name: file.read_text(encoding="utf-8") for file in files}


@cache
def _folder() -> TemporaryDirectory[str]:
    """Makes the folder in which this process compiles; another one each time would mean to compile everything."""
    return TemporaryDirectory(prefix="opml-fuzz-guest-")


def program_of(texts: Mapping[str, str]) -> bytes:
    """Compiles the guest with these texts in place of its own, and returns its code and constants.

    Raises NotCompiled if the compiler refuses them, or if the program is the one that is shipped."""
    if find_spec("ziglang") is None:
        raise InputError("ziglang is not installed: pip install 'opml[dev]'")
    folder = Path(_folder().name)
    for name, text in {**guest_texts(), **texts}.items():
        if not (folder / name).exists() or (folder / name).read_text(encoding="utf-8") != text:
            (folder / name).write_text(text, encoding="utf-8")
    files = [folder / file.name for file in build.sources()]
    try:
        build.compile_elf(files, folder / SCRIPT, folder / "guest.elf", ["-Wno-error"])
        program = program_of_elf((folder / "guest.elf").read_bytes())
    except (build.CompilationError, ImageError) as error:
        raise NotCompiled("the compiler refuses it") from error
    if program == shipped_program():
        raise NotCompiled("the same program")
    return program
