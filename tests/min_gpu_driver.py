"""NVIDIA's driver as its Python binding shows it, for a computer without one: its card is the emulated one, or it fails as a test wants."""

import ctypes
from enum import IntEnum
from typing import Any

import numpy as np
from min_gpu_emulator import EmulatedCard

from opml_min.model.gpu.build import KERNELS, ptx_of


class CUresult(IntEnum):
    """The results that tests need, with the driver's numbers."""

    CUDA_SUCCESS = 0
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_NO_DEVICE = 100
    CUDA_ERROR_LAUNCH_FAILED = 719
    CUDA_ERROR_SYSTEM_DRIVER_MISMATCH = 803


class CUdevice_attribute(IntEnum):
    """The attributes that are asked for, with the driver's numbers."""

    CU_DEVICE_ATTRIBUTE_WARP_SIZE = 10
    CU_DEVICE_ATTRIBUTE_CLOCK_RATE = 13
    CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76
    CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH = 95


class FakeDriver:
    """What `cuda.bindings.driver` is to a Card. Fields are what a test may change."""

    CUresult, CUdevice_attribute = CUresult, CUdevice_attribute

    def __init__(self) -> None:
        self.card = EmulatedCard()
        self.cards, self.version, self.capability, self.is_cooperative = 1, 12020, (7, 5), True
        self.start: CUresult | None = CUresult.CUDA_SUCCESS
        self.launch = CUresult.CUDA_SUCCESS
        self.is_current = False

    def cuInit(self, flags: int) -> tuple[CUresult]:
        if self.start is None:
            raise RuntimeError("libcuda.so.1 is not there")
        return (self.start,)

    def cuDeviceGetCount(self) -> tuple[CUresult, int]:
        return CUresult.CUDA_SUCCESS, self.cards

    def cuDriverGetVersion(self) -> tuple[CUresult, int]:
        return CUresult.CUDA_SUCCESS, self.version

    def cuDeviceGet(self, number: int) -> tuple[CUresult, str]:
        assert number < self.cards
        return CUresult.CUDA_SUCCESS, "device"

    def cuDeviceGetName(self, length: int, device: str) -> tuple[CUresult, bytes]:
        return CUresult.CUDA_SUCCESS, b"Emulated T4".ljust(length, b"\0")

    def cuDeviceGetAttribute(self, attribute: CUdevice_attribute, device: str) -> tuple[CUresult, int]:
        major, minor = self.capability
        values = (32, 1_000_000, 2, major, minor, int(self.is_cooperative))
        return CUresult.CUDA_SUCCESS, dict(zip(CUdevice_attribute, values, strict=True))[attribute]

    def cuDevicePrimaryCtxRetain(self, device: str) -> tuple[CUresult, str]:
        return CUresult.CUDA_SUCCESS, "context"

    def cuCtxSetCurrent(self, context: str) -> tuple[CUresult]:
        self.is_current = context == "context"
        return (CUresult.CUDA_SUCCESS,)

    def cuModuleLoadData(self, image: bytes) -> tuple[CUresult, str]:
        assert self.is_current
        (source,) = [source for source in KERNELS if image == ptx_of(source).read_bytes() + b"\0"]
        return CUresult.CUDA_SUCCESS, source

    def cuModuleGetFunction(self, module: str, name: bytes) -> tuple[CUresult, str]:
        assert name.decode() == KERNELS[module]
        return CUresult.CUDA_SUCCESS, KERNELS[module]

    def cuOccupancyMaxActiveBlocksPerMultiprocessor(self, kernel: str, threads: int, shared_bytes: int) -> tuple[CUresult, int]:
        assert threads == 256
        return CUresult.CUDA_SUCCESS, 1

    def cuMemGetInfo(self) -> tuple[CUresult, int, int]:
        return CUresult.CUDA_SUCCESS, self.card.free_bytes(), 1 << 40

    def cuMemAlloc(self, length: int) -> tuple[CUresult, int | None]:
        if length > self.card.free_bytes():
            return CUresult.CUDA_ERROR_OUT_OF_MEMORY, None
        return CUresult.CUDA_SUCCESS, self.card.allocate(length)

    def cuMemFree(self, address: int) -> tuple[CUresult]:
        self.card.release(address)
        return (CUresult.CUDA_SUCCESS,)

    def cuMemcpyHtoD(self, address: int, host: int, length: int) -> tuple[CUresult]:
        self.card.upload(address, _bytes_at(host, length))
        return (CUresult.CUDA_SUCCESS,)

    def cuMemcpyDtoH(self, host: int, address: int, length: int) -> tuple[CUresult]:
        self.card.download(address, _bytes_at(host, length))
        return (CUresult.CUDA_SUCCESS,)

    def cuMemcpyDtoD(self, to: int, source: int, length: int) -> tuple[CUresult]:
        self.card.copy(source, to, length)
        return (CUresult.CUDA_SUCCESS,)

    def cuLaunchCooperativeKernel(self, kernel: str, *how: int) -> tuple[CUresult]:
        blocks, one, also_one, *threads, shared_bytes, stream, parameters = how
        assert (one, also_one, threads, shared_bytes, stream) == (1, 1, [256, 1, 1], 0, 0)
        places = ctypes.cast(parameters, ctypes.POINTER(ctypes.POINTER(ctypes.c_uint64)))
        self.card.blocks, self.card.threads = blocks, threads[0]
        if self.launch == CUresult.CUDA_SUCCESS:
            getattr(self.card, kernel)(*(places[k][0] for k in range(3)))
        return (self.launch,)

    def cuCtxSynchronize(self) -> tuple[CUresult]:
        return (CUresult.CUDA_SUCCESS,)


def _bytes_at(host: int, length: int) -> Any:
    return np.ctypeslib.as_array(ctypes.cast(host, ctypes.POINTER(ctypes.c_uint8)), (length,))
