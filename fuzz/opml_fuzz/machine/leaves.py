"""Leaves by index, as the specification's memory."""

from collections.abc import Mapping

from opml_spec.machine.memory import Memory

_latest: tuple[Mapping[int, bytes], Memory] = ({}, Memory())


def memory_of(leaves: Mapping[int, bytes]) -> Memory:
    """The memory; many cases in a row share one, so the latest is kept."""
    global _latest
    if leaves is not _latest[0]:
        memory = Memory()
        for index, leaf in leaves.items():
            memory = memory.set_leaf(index, leaf)
        _latest = leaves, memory
    return _latest[1]
