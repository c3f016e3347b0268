"""Compiles the kernels: `python -m opml_min.model.gpu.build` writes the PTX of each into kernels/, and its hash.

The compiler is NVRTC 12.2, whose version the `dev` extra fixes, so that drivers for CUDA 12.2 and later take the result. It runs without a
card, and its output is the same on every computer. At run time only the committed PTX is used.
"""

import ctypes
import hashlib
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

FOLDER = Path(__file__).parent / "kernels"
KERNELS = {"stages": "run_stages", "batches": "run_batches", "keccak": "hash_pages"}  # by source
LEAST_CAPABILITY = (7, 5)
LEAST_DRIVER = (12, 2)
OPTIONS = ("--gpu-architecture=compute_75", "--std=c++17")


class KernelError(Exception):
    """The compiler is missing or refused; its messages are the argument."""


def _compiler() -> ctypes.CDLL:
    try:
        package = find_spec("nvidia.cuda_nvrtc")
    except ModuleNotFoundError:
        package = None
    for folder in (package.submodule_search_locations or []) if package is not None else []:
        library = Path(folder) / "lib" / "libnvrtc.so.12"
        if library.exists():
            return ctypes.CDLL(str(library))
    raise KernelError("NVRTC is not installed: pip install nvidia-cuda-nvrtc-cu12==12.2.140")


def ptx_of(source: str) -> Path:
    """Return the committed PTX of a source."""
    return FOLDER / f"{source}.ptx"


def sha256_of_ptx(source: str) -> Path:
    """Return the file with the hash of that PTX."""
    return FOLDER / f"{source}.ptx.sha256"


def compile_ptx(source: str) -> bytes:
    """Compile a kernel to PTX."""
    with ThreadPoolExecutor(1) as thread:  # the compiler leaves another locale in the thread that calls it
        return thread.submit(_compiled, f"{source}.cu").result()


def _compiled(name: str) -> bytes:
    compiler, program = _compiler(), ctypes.c_void_p()
    headers = sorted(FOLDER.glob("*.cuh"))

    def strings(values: list[bytes]) -> ctypes.Array[ctypes.c_char_p]:
        return (ctypes.c_char_p * len(values))(*values)

    def text(kind: str) -> bytes:
        size = ctypes.c_size_t()
        getattr(compiler, f"nvrtcGet{kind}Size")(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        getattr(compiler, f"nvrtcGet{kind}")(program, buffer)
        return buffer.value

    contents, names = strings([path.read_bytes() for path in headers]), strings([path.name.encode() for path in headers])
    source = (FOLDER / name).read_bytes()
    compiler.nvrtcCreateProgram(ctypes.byref(program), source, name.encode(), len(headers), contents, names)
    failed = compiler.nvrtcCompileProgram(program, len(OPTIONS), strings([option.encode() for option in OPTIONS]))
    log = text("ProgramLog").decode().strip()
    if failed or log:
        raise KernelError(log)
    return text("PTX")


if __name__ == "__main__":
    for source in KERNELS:
        ptx = compile_ptx(source)
        ptx_of(source).write_bytes(ptx)
        sha256_of_ptx(source).write_text(hashlib.sha256(ptx).hexdigest() + "\n", encoding="utf-8")
        print(source, hashlib.sha256(ptx).hexdigest())
