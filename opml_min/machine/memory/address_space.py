"""Address space without memory behind it, which the memory and all large tables live in; and files in parts of it."""

import ctypes
import mmap
import os
import sys
from functools import cache

MAP_NORESERVE = 0x4000 if sys.platform == "linux" else 0
"""Linux: do not count the mapping against the memory that is left. Python names the flag from 3.13 on. Source: mmap(2)."""
MAP_FIXED = 0x10
"""Linux, macOS and the BSDs: exactly at this address, whatever is mapped there now. Python does not name the flag."""


def reserve(length: int) -> mmap.mmap:
    """`length` zero bytes that take up memory only where they are touched."""
    try:
        return mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE)
    except OSError as error:
        raise MemoryError(f"cannot reserve {length:,} bytes of addresses") from error


def reserve_table(length: int) -> mmap.mmap:
    """`length` zero bytes for a table that is touched only here and there: each touched place takes at most one small system page."""
    table = reserve(length)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        table.madvise(mmap.MADV_NOHUGEPAGE)
    return table


def map_file(address: int, file: int, offset: int, length: int, *, writable: bool) -> None:
    """Replaces what is mapped at an address of this process by bytes of an open file.

    They are read from disk when they are touched, and processes share them. If they are writable, a write gives this process a copy of the
    system page; else it ends the process. Where address and offset agree within 2 MiB, some file systems use huge pages (ext4 since Linux
    6.16, for one). address, offset, length: multiples of a system page.
    """
    protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    found = _libc().mmap(address, length, protection, mmap.MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, file, offset)
    if found != address:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    if hasattr(mmap, "MADV_HUGEPAGE"):
        _libc().madvise(address, length, mmap.MADV_HUGEPAGE)  # a hint: it may fail


def make_writable(address: int, length: int) -> None:
    """Lets this process write to the system pages that hold these bytes; a file mapped there stays as it is."""
    first = address // mmap.PAGESIZE * mmap.PAGESIZE
    if _libc().mprotect(first, address + length - first, mmap.PROT_READ | mmap.PROT_WRITE):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@cache
def _libc() -> ctypes.CDLL:
    """The C library, because Python's own mmap cannot choose the address."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    libc.mprotect.argtypes = libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return libc
