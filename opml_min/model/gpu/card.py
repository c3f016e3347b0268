"""An NVIDIA card, through NVIDIA's own Python binding of the driver (`cuda-bindings`, the extra `opml[gpu]`).

Only functions that every driver since CUDA 12.2 has are called. A card is opened once per process and shares the driver's primary context.
"""

import ctypes
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from opml_min.model.errors import AcceleratorUnusable
from opml_min.model.gpu.accelerator import Bytes
from opml_min.model.gpu.build import KERNELS, LEAST_CAPABILITY, LEAST_DRIVER, ptx_of

THREADS = 256  # of a block, as `__launch_bounds__` of the kernels says
SCHEDULERS = 4
"""Of a multiprocessor; each issues one instruction of a warp per clock. Source: CUDA C++ Programming Guide, Compute Capabilities."""


class Card:
    """The first card of this computer. Whatever is missing or fails raises AcceleratorUnusable with a line that says what."""

    name = "the card"
    hashes_from: int | None = None  # where the card begins to be faster has not been measured

    def __init__(self) -> None:
        try:
            self._driver: Any = import_module("cuda.bindings.driver")
        except ImportError as error:
            raise AcceleratorUnusable("--device gpu needs NVIDIA's Python binding: pip install 'opml[gpu]'") from error
        try:
            started = self._driver.cuInit(0)[0]
        except RuntimeError as error:  # the binding found no library of the driver
            raise AcceleratorUnusable("this computer has no NVIDIA driver") from error
        if started == self._driver.CUresult.CUDA_ERROR_NO_DEVICE or (not started and not self._call("cuDeviceGetCount")):
            raise AcceleratorUnusable("the NVIDIA driver finds no card")
        if started:
            raise AcceleratorUnusable(f"the NVIDIA driver does not start ({started.name})")
        version = self._call("cuDriverGetVersion")
        if (version // 1000, version % 1000 // 10) < LEAST_DRIVER:
            has, wanted = f"{version // 1000}.{version % 1000 // 10}", ".".join(map(str, LEAST_DRIVER))
            raise AcceleratorUnusable(f"the NVIDIA driver is too old: it is for CUDA {has}, and at least {wanted} is needed")
        self._device = self._call("cuDeviceGet", 0)
        self.name = self._call("cuDeviceGetName", 256, self._device).split(b"\0")[0].decode()
        capability = self._attribute("COMPUTE_CAPABILITY_MAJOR"), self._attribute("COMPUTE_CAPABILITY_MINOR")
        if not self._attribute("COOPERATIVE_LAUNCH"):
            raise AcceleratorUnusable(f"{self.name} cannot run blocks that wait for one another")
        if capability < LEAST_CAPABILITY:
            has, wanted = (".".join(map(str, each)) for each in (capability, LEAST_CAPABILITY))
            raise AcceleratorUnusable(f"{self.name} is too old: it has compute capability {has}, and at least {wanted} is needed")
        self._context = self._call("cuDevicePrimaryCtxRetain", self._device)
        self._enter()
        lanes = self._attribute("MULTIPROCESSOR_COUNT") * SCHEDULERS * self._attribute("WARP_SIZE")
        self.issues_per_second = 1000.0 * self._attribute("CLOCK_RATE") * lanes  # the driver tells it in kHz
        self._kernels = {source: self._loaded(source) for source in KERNELS}

    def free_bytes(self) -> int:
        self._enter()
        return int(self._call("cuMemGetInfo")[0])

    def allocate(self, length: int) -> int:
        self._enter()
        return int(self._call("cuMemAlloc", max(length, 1)))

    def release(self, address: int) -> None:
        with suppress(AcceleratorUnusable):  # of a card that has failed nothing can be freed, and whoever used it has been told
            self._enter()
            self._call("cuMemFree", address)

    def upload(self, address: int, data: Bytes) -> None:
        self._enter()
        self._call("cuMemcpyHtoD", address, data.ctypes.data, len(data))

    def download(self, address: int, into: Bytes) -> None:
        self._enter()
        self._call("cuMemcpyDtoH", into.ctypes.data, address, len(into))

    def copy(self, source: int, destination: int, length: int) -> None:
        self._enter()
        self._call("cuMemcpyDtoD", destination, source, length)
        self._call("cuCtxSynchronize")

    def run_stages(self, job: int, first: int, end: int) -> None:
        self._launch("stages", job, first, end)

    def hash_pages(self, places: int, roots: int, count: int) -> None:
        self._launch("keccak", places, roots, count)

    def run_batches(self, job: int, first: int, end: int) -> None:
        self._launch("batches", job, first, end)

    def _loaded(self, source: str) -> tuple[Any, int]:
        """Return a kernel, and how many blocks of it are on the card at once."""
        module = self._call("cuModuleLoadData", ptx_of(source).read_bytes() + b"\0")
        kernel = self._call("cuModuleGetFunction", module, KERNELS[source].encode())
        resident = self._call("cuOccupancyMaxActiveBlocksPerMultiprocessor", kernel, THREADS, 0)
        return kernel, resident * self._attribute("MULTIPROCESSOR_COUNT")

    def _launch(self, source: str, *arguments: int) -> None:
        self._enter()
        kernel, blocks = self._kernels[source]
        values = np.array(arguments, np.uint64)
        places = (ctypes.c_void_p * len(values))(*(values.ctypes.data + 8 * k for k in range(len(values))))
        self._call("cuLaunchCooperativeKernel", kernel, blocks, 1, 1, THREADS, 1, 1, 0, 0, ctypes.addressof(places))
        self._call("cuCtxSynchronize")

    def _enter(self) -> None:
        """Make the context that of this thread."""
        self._call("cuCtxSetCurrent", self._context)

    def _attribute(self, name: str) -> int:
        kind = getattr(self._driver.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
        return int(self._call("cuDeviceGetAttribute", kind, self._device))

    def _call(self, name: str, *arguments: Any) -> Any:
        """Call a function of the driver; return its result, a tuple if there are several."""
        try:
            status, *results = getattr(self._driver, name)(*arguments)
        except (RuntimeError, ValueError) as error:  # the driver lacks the function, or the binding does not know the result
            raise AcceleratorUnusable(f"the NVIDIA driver does not fit its Python binding: {name}: {error}") from error
        if status == self._driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY:
            raise AcceleratorUnusable(f"{self.name} has too little free memory")
        if status:
            raise AcceleratorUnusable(f"the NVIDIA driver reports {status.name} in {name}")
        return results[0] if len(results) == 1 else tuple(results)


@cache
def open_card() -> Card:
    """Return the card of this process."""
    return Card()
