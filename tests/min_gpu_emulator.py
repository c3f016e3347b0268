"""A card that is emulated: the same kernels as native code for this processor, every thread a fiber, under any schedule."""

import ctypes
import faulthandler
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from enum import IntEnum
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

EMULATOR = Path(__file__).parent / "gpu_emulator"
KERNELS = Path(__file__).parent.parent / "opml_min" / "model" / "gpu" / "kernels"
COMPILER = (
    sys.executable, "-m", "ziglang", "cc", "-x", "c++", "-std=c++20", "-O2", "-shared", "-fPIC",
    "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics", "-nostdlib++",
    "-Wall", "-Wextra", "-Werror",
)  # fmt: skip
FLAGS = {
    "checked": ("-fsanitize=undefined", "-fsanitize-trap=undefined"),  # ends the process at an integer overflow in a kernel
    "unchecked": ("-fno-sanitize=undefined", "-fwrapv"),
    "watched": (
        "-fno-sanitize=undefined", "-fwrapv", "-DWATCHED", "-fno-vectorize", "-fno-slp-vectorize",
        "-fsanitize-coverage=func,trace-loads,trace-stores",
    ),
}  # fmt: skip


class Schedule(IntEnum):
    """Which warp goes on when several could: all in turn, always the first that can, always the last, or in an order that changes."""

    FAIR = 0
    FIRST_FIRST = 1
    LAST_FIRST = 2
    SHUFFLED = 3


UNFAIR = [(Schedule.FIRST_FIRST, 1), (Schedule.LAST_FIRST, 1), *((Schedule.SHUFFLED, seed) for seed in range(1, 5))]


def compile_emulator(source: str, output: Path, kind: str = "checked") -> None:
    """Compiles a file of the emulator."""
    subprocess.run([*COMPILER, *FLAGS[kind], f"-I{KERNELS}", "-o", str(output), str(EMULATOR / source)], check=True)


@cache
def library(kind: str = "checked") -> ctypes.CDLL:
    """The emulator, compiled and loaded."""
    output = Path(tempfile.mkdtemp()) / "emulator.so"
    compile_emulator("emulator.cc", output, kind)
    loaded = ctypes.CDLL(str(output))
    loaded.allocate.restype = ctypes.c_void_p
    loaded.allocate.argtypes = [ctypes.c_uint64]
    loaded.release.argtypes = [ctypes.c_void_p, ctypes.c_uint64]
    loaded.launch.restype = ctypes.c_bool
    number = ctypes.c_uint64
    loaded.launch.argtypes = [ctypes.c_char_p, number, number, number, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_int, number]
    loaded.site_file.restype = ctypes.c_char_p
    loaded.elementary_rsqrt.argtypes, loaded.elementary_rsqrt.restype = [number], ctypes.c_uint32
    loaded.elementary_reciprocal.argtypes, loaded.elementary_reciprocal.restype = [number], ctypes.c_uint32
    loaded.elementary_exp2.argtypes = [ctypes.c_int64]
    loaded.elementary_sigmoid.argtypes = [ctypes.c_int32, ctypes.c_void_p]
    return loaded


def is_noticed_apart(is_noticed: Callable[[], bool]) -> bool:
    """Tells what a check says in a process of its own, which an index that was read too early may end: that is a way to notice it, too."""
    child = os.fork()
    if not child:
        faulthandler.disable()
        answer = 2
        try:
            answer = int(is_noticed())
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(answer)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 1, -signal.SIGSEGV, -signal.SIGBUS), code
    return code != 0


class Deadlock(Exception):
    """Threads wait for one another for ever."""


class EmulatedCard:
    """An accelerator in the host's memory, apart from the machine's."""

    name, issues_per_second = "emulated card", 256e9

    def __init__(
        self,
        blocks: int = 3,
        threads: int = 64,
        schedule: Schedule = Schedule.FAIR,
        seed: int = 1,
        left: int = 1 << 40,
        kind: str = "checked",
    ) -> None:
        self.blocks, self.threads, self.schedule, self.seed, self.left = blocks, threads, schedule, seed, left
        self.hashes_from: int | None = None
        self.lengths: dict[int, int] = {}
        self.uploaded: list[tuple[int, int]] = []
        self.downloaded: list[tuple[int, int]] = []
        self.launched: list[tuple[int, int]] = []
        self.batches_launched: list[tuple[int, int]] = []
        self.hashed: list[int] = []
        self._library = library(kind)

    def free_bytes(self) -> int:
        return self.left

    def allocate(self, length: int) -> int:
        assert length <= self.left
        address = int(self._library.allocate(length))
        self.lengths[address] = length
        self.left -= length
        return address

    def release(self, address: int) -> None:
        length = self.lengths.pop(address)
        self.left += length
        self._library.release(address, length)

    def upload(self, address: int, data: NDArray[np.uint8]) -> None:
        self._check(address, len(data))
        self.uploaded.append((address, len(data)))
        ctypes.memmove(address, data.ctypes.data, len(data))

    def download(self, address: int, into: NDArray[np.uint8]) -> None:
        self._check(address, len(into))
        self.downloaded.append((address, len(into)))
        ctypes.memmove(into.ctypes.data, address, len(into))

    def copy(self, source: int, destination: int, length: int) -> None:
        ctypes.memmove(destination, source, length)

    def run_stages(self, job: int, first: int, end: int) -> None:
        self.launched.append((first, end))
        self._launch(b"run_stages", job, first, end)

    def run_batches(self, job: int, first: int, end: int) -> None:
        self.batches_launched.append((first, end))
        self._launch(b"run_batches", job, first, end)

    def hash_pages(self, places: int, roots: int, count: int) -> None:
        self.hashed.append(count)
        self._launch(b"hash_pages", places, roots, count)

    def _launch(self, kernel: bytes, *arguments: int) -> None:
        if not self._library.launch(kernel, *arguments, self.blocks, self.threads, self.schedule, self.seed):
            raise Deadlock

    def _check(self, address: int, length: int) -> None:
        assert any(begin <= address and address + length <= begin + size for begin, size in self.lengths.items())
