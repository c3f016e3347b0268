"""Address space without memory behind it: what the memory, the written-flags and the tree's nodes live in."""

import mmap
import sys

MAP_NORESERVE = 0x4000 if sys.platform == "linux" else 0
"""Linux: do not count the mapping against the memory that is left. Python names the flag from 3.13 on. Source: mmap(2)."""


def reserve(length: int) -> mmap.mmap:
    """`length` zero bytes that take up memory only where they are touched."""
    return mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE)


def reserve_table(length: int) -> mmap.mmap:
    """The same for tables that are touched here and there: a touched place never costs more than a small page."""
    table = reserve(length)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        table.madvise(mmap.MADV_NOHUGEPAGE)
    return table
