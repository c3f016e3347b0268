"""Broken contracts: an expression of the sources is replaced, and they are compiled anew."""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePath

from evm_arbiter.chain import Artefact
from evm_arbiter.compile import sources
from opml_fuzz.errors import FuzzError, InputError


class NotCompiled(FuzzError):
    """A mutant that is no program, or the same one."""


OPTIMISED, AS_WRITTEN = "#pragma optimize gas", "#pragma optimize none"


def compiled(name: str, right: str, wrong: str) -> Artefact:
    """Compiles the contract of this name with one expression replaced, in its own text or in a module's."""
    return compiled_texts(name, replaced(name, right, wrong))


def compiled_as_written(name: str, right: str, wrong: str) -> Artefact:
    """Compiles it without optimisation, which takes half the time. The contract is larger then than a chain must accept."""
    return compiled_texts(name, {path: text.replace(OPTIMISED, AS_WRITTEN) for path, text in replaced(name, right, wrong).items()})


def compiled_texts(name: str, texts: Mapping[str, str]) -> Artefact:
    """Compiles the contract of this name from these texts; raises NotCompiled if the compiler refuses them."""
    try:
        import vyper  # a developer extra, so imported only where it is used
        from vyper.compiler.input_bundle import JSONInputBundle
        from vyper.exceptions import VyperException
    except ImportError as error:
        raise InputError(f"vyper is not installed ({error}): pip install 'opml[dev]'") from error
    bundle = JSONInputBundle({PurePath(path): {"content": text} for path, text in texts.items()}, search_paths=[PurePath(".")])
    try:
        source = bundle.load_file(PurePath(f"{name}.vy"))
        with without_collecting():
            output = vyper.compiler.compile_from_file_input(source, input_bundle=bundle, output_formats=["bytecode"])
    except (VyperException, Exception) as error:  # a mutant may also break the compiler
        raise NotCompiled(type(error).__name__) from error
    bytecode = bytes.fromhex(output["bytecode"][2:])
    right = Artefact.load(name)
    if without_metadata(bytecode) == without_metadata(right.creation_bytecode):
        raise NotCompiled("the same bytecode")
    return Artefact(name, right.abi, bytecode)


@contextmanager
def without_collecting() -> Iterator[None]:
    """Looks for no garbage meanwhile. The compiler keeps all that it makes, so a third of its time would go into that."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def without_metadata(code: bytes) -> bytes:
    """Leaves out what the compiler writes at the end, a hash of the sources among it; the last two bytes are its length."""
    return code[: -int.from_bytes(code[-2:], "big")]


def replaced(name: str, right: str, wrong: str) -> dict[str, str]:
    """The texts that the contract of this name is compiled from, with one expression replaced, which must stand there once."""
    texts = {path: text for path, text in sources().items() if path == f"{name}.vy" or path.startswith("modules/")}
    times = sum(text.count(right) for text in texts.values())
    if times != 1:
        raise ValueError(f"the contract has {right!r} {times} times")
    return {path: text.replace(right, wrong) for path, text in texts.items()}
