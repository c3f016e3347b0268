"""The record of which pages were written: one flag byte per page, and the list of the pages whose flag is set.

Translated code works on both, so a store usually costs one look at a flag. Taking the list clears its flags, and the record begins anew.
Flags of the model quarter are never set, so to translated code "flag set" means "a store here is legal and recorded".
"""

import numpy as np

from opml_min.machine.memory.address_space import reserve_table
from opml_min.machine.memory.page_set import Indices
from opml_min.memory_map import MEMORY_BYTES, PAGE_BYTES

PAGES = MEMORY_BYTES // PAGE_BYTES


class WrittenPages:
    """The flags and the list of one memory."""

    def __init__(self) -> None:
        self.raw_flags = memoryview(reserve_table(PAGES))
        self.flags = np.frombuffer(self.raw_flags, dtype=np.uint8)
        self._list = np.frombuffer(reserve_table(8 * PAGES), dtype=np.int64)
        self._control = np.array([0, self._list.ctypes.data], dtype=np.uint64)  # length of the list, its address
        self.flags_address = int(self.flags.ctypes.data)
        self.control_address = int(self._control.ctypes.data)

    def add(self, first: int, end: int) -> None:
        """Records pages `[first, end)`, none of them of the model quarter."""
        flags = self.flags[first:end]
        new = np.flatnonzero(flags == 0) + first
        flags[:] = 1
        length = int(self._control[0])
        self._list[length : length + len(new)] = new
        self._control[0] = length + len(new)

    def take(self) -> Indices:
        """The recorded pages, ascending; afterwards none is recorded."""
        length = int(self._control[0])
        if length == 0:
            return np.empty(0, dtype=np.int64)
        pages = np.sort(self._list[:length])
        self.flags[pages] = 0
        self._control[0] = 0
        return pages
