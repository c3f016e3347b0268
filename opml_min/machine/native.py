"""LLVM IR text in, callable machine code out, with the object code kept on disk.

All native code of the machine is written as IR text. Compiling takes a tenth of a second to seconds, loading a compiled object a
millisecond, so objects are kept in the folder `code` of the cache folder under a hash of what they were compiled from.
What compiles quickly is not kept, and the folder's size is bounded. A cache that cannot be written is no error: the code is compiled
again the next time.
"""

import ctypes
import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

from opml_min.cache_folder import cache_folder, keep, kept
from opml_min.machine import processor

KEEP_FROM_SECONDS = 0.03
CACHE_BYTES = 256 << 20


class Code:
    """Machine code linked into the process, for as long as this object lives."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def address(self, symbol: str) -> int:
        return int(self._engine.get_function_address(symbol))

    def function(self, symbol: str, result: Any, *arguments: Any) -> Callable[..., Any]:
        """Makes a symbol callable from Python. The call runs without the interpreter lock, and must not outlive the code."""
        return ctypes.CFUNCTYPE(result, *arguments)(self.address(symbol))


@cache
def target_machine() -> Any:
    """The code generator for the processor that `processor` names."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=processor.name(), features=processor.features(), opt=2, reloc="pic", codemodel="jitdefault", jit=True
    )


@cache
def host() -> str:
    """Everything that compiled code depends on besides its IR."""
    return f"{llvm.llvm_version_info} {llvm.get_default_triple()} {processor.name()} {processor.features()}"


def vector_lanes() -> int:
    """How many 64-bit lanes the widest vector register of this processor has (at least 4)."""
    return 8 if processor.has("avx512f") else 4


def compile_object(ir: str, loops_ir: str) -> bytes:
    """Compiles `ir` with light optimisation; the functions of `loops_ir` get LLVM's whole pipeline and are inlined at their calls."""
    module = _parsed(ir)
    options = llvm.create_pipeline_tuning_options(speed_level=1)
    builder = llvm.create_pass_builder(target_machine(), options)
    passes = llvm.create_new_module_pass_manager()
    if loops_ir:
        loops = optimised(loops_ir)
        names = [function.name for function in loops.functions if not function.is_declaration]
        module.link_in(loops)
        for name in names:
            module.get_function(name).linkage = "internal"  # not kept once they are inlined
    passes.add_always_inliner_pass()
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    passes.run(module, builder)
    return bytes(target_machine().emit_object(module))


def _parsed(ir: str) -> Any:
    module = llvm.parse_assembly(ir)
    module.triple = llvm.get_default_triple()
    module.verify()
    return module


def optimised(ir: str) -> Any:
    """The module after LLVM's whole pipeline, with its vectorisers."""
    module = _parsed(ir)
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = True
    options.loop_interleaving = False  # so that few iterations are enough for a vector
    builder = llvm.create_pass_builder(target_machine(), options)
    builder.getModulePassManager().run(module, builder)
    return module


def load(key: str, write_ir: Callable[[], str], write_loops_ir: Callable[[], str] = lambda: "") -> Code:
    """Loads the code for `key` from the cache, or else compiles the IR that the two functions write. `key` must determine that IR."""
    code = load_cached(key)
    if code is None:
        start = time.monotonic()
        object_code = compile_object(write_ir(), write_loops_ir())
        if time.monotonic() - start > KEEP_FROM_SECONDS:
            _keep(_path(key), object_code)
        code = _link(object_code)
    return code


def load_cached(key: str) -> Code | None:
    """Loads the code for `key` if it is in the cache and intact."""
    object_code = kept(_path(key))
    return None if object_code is None else _link(object_code)


def _path(key: str) -> Path:
    return cache_folder() / "code" / hashlib.sha256(f"{host()}\0{key}".encode()).hexdigest()


def _link(object_code: bytes) -> Code:
    target_machine()  # initialises LLVM
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(object_code))
    engine.finalize_object()
    return Code(engine)


def _keep(path: Path, object_code: bytes) -> None:
    """Keeps it for the next time; then deletes the oldest files beyond CACHE_BYTES."""
    keep(path, object_code)
    left = CACHE_BYTES
    with suppress(OSError):  # also if another process deletes them meanwhile
        for other in sorted(path.parent.iterdir(), key=lambda file: file.stat().st_mtime, reverse=True):
            left -= other.stat().st_size
            if left < 0:
                other.unlink()
