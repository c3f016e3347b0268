"""LLVM IR text in, callable machine code out, with the object code kept on disk.

Everything native in this part is written as IR text. Compiling costs a tenth of a second to seconds, loading a compiled object
a millisecond, so objects are kept in `$XDG_CACHE_HOME/opml` (or `~/.cache/opml`) under a hash of what they were made from. A cache
that cannot be written is no error: the code is compiled again the next time.
"""

import ctypes
import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

_engines: list[Any] = []  # an engine owns its code, so none may die before the process does


@cache
def target_machine() -> Any:
    """The code generator for this very processor."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=2, reloc="pic", codemodel="jitdefault", jit=True
    )


@cache
def host() -> str:
    """What compiled code depends on beside its IR."""
    return f"{llvm.llvm_version_info} {llvm.get_default_triple()} {llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}"


def vector_lanes() -> int:
    """How many 64-bit lanes the widest vector register of this processor has (at least 4)."""
    return 8 if llvm.get_host_cpu_features().get("avx512f") else 4


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "opml"


def compile_object(ir: str) -> bytes:
    """Optimise lightly and generate object code."""
    module = llvm.parse_assembly(ir)
    module.triple = llvm.get_default_triple()
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=1)
    builder = llvm.create_pass_builder(target_machine(), options)
    passes = llvm.create_new_module_pass_manager()
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    passes.run(module, builder)
    return bytes(target_machine().emit_object(module))


def load(key: str, write_ir: Callable[[], str], symbols: list[str]) -> list[int]:
    """Addresses of `symbols`, from the cached object for `key` if there is one, else from compiling `write_ir()`.

    `key` must determine the IR; the processor and the LLVM version are added here.
    """
    path = cache_folder() / (hashlib.sha256(f"{host()}\0{key}".encode()).hexdigest() + ".o")
    try:
        object_code = path.read_bytes()
    except OSError:
        object_code = b""
    addresses = _addresses(object_code, symbols) if object_code else None
    if addresses is None:
        object_code = compile_object(write_ir())
        addresses = _addresses(object_code, symbols)
        _keep(path, object_code)
    if addresses is None:
        raise RuntimeError(f"the code generator left out one of {symbols}")
    return addresses


def _addresses(object_code: bytes, symbols: list[str]) -> list[int] | None:
    """Links one object into the process; None if it is damaged or lacks a symbol."""
    try:
        object_file = llvm.object_file.ObjectFileRef.from_data(object_code)
    except RuntimeError:
        return None
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _engine_target())
    engine.add_object_file(object_file)
    engine.finalize_object()
    _engines.append(engine)
    addresses = [int(engine.get_function_address(symbol)) for symbol in symbols]
    return addresses if all(addresses) else None


def _engine_target() -> Any:
    target_machine()  # initialises LLVM
    return llvm.Target.from_default_triple().create_target_machine(jit=True)


def _keep(path: Path, object_code: bytes) -> None:
    """Writes the whole file or nothing: other processes may read it at the same time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(object_code)
        os.replace(file.name, path)
    except OSError:
        return


def function(address: int, result: Any, *arguments: Any) -> Callable[..., Any]:
    """A Python callable for native code; it runs without the interpreter lock."""
    return ctypes.CFUNCTYPE(result, *arguments)(address)
