"""opml_min as three engines: its one-step path, its interpreter, and its translated code.

A machine is built once per text and restored to a snapshot for each case, as a player would do. Translated code is not cached on disk,
because no random program is run twice.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opml_fuzz.engines.protocol import describe
from opml_fuzz.machine.start import Leaves, Start
from opml_min.machine import Machine, Memory, Snapshot, Status, execute_single
from opml_min.machine.hashing import keccak256

LEAF_BYTES = 32
NEVER = 1 << 62  # steps


class OneStep:
    """The engine that executes one step on a few leaves, by the interpreter."""

    name = "opml_min, one step"

    def preimage(self, start: Start, steps: int) -> bytes:
        return execute_single(start.pc, list(start.x), (start.kind, start.value), dict(start.leaves.by_index))

    def run(self, start: Start, stops: Sequence[int]) -> list[str]:
        try:
            return [keccak256(self.preimage(start, 1)).hex()]
        except Exception as error:
            return [describe(error)]


class FullMachine:
    """The engine with the machine that the players use."""

    def __init__(self, name: str, translate_after_steps: int) -> None:
        self.name = name
        self._translate_after_steps = translate_after_steps
        self._leaves: Leaves | None = None
        self._machine: Machine
        self._loaded: Snapshot

    def run(self, start: Start, stops: Sequence[int]) -> list[str]:
        try:
            machine = self.machine_at(start)
            first, hashes, steps, executed = keccak256(machine.witness()).hex(), [], 0, 0
            with no_code_on_disk():
                for stop in stops:
                    executed += machine.run(stop - steps)
                    steps = stop
                    hashes.append(machine.state_hash().hex())
            return [*hashes, f"{executed} steps", "witness " + keccak256(machine.witness()).hex(), "first witness " + first]
        except Exception as error:
            return [describe(error)]

    def preimage(self, start: Start, steps: int) -> bytes:
        machine = self.machine_at(start)
        with no_code_on_disk():
            machine.run(steps)
        return machine.state_bytes()

    def machine_at(self, start: Start) -> Machine:
        """Puts the machine into this state; leaves that are the same object as last time need not be loaded again."""
        if self._leaves is not start.leaves:
            memory = Memory()
            for index, leaf in start.leaves.by_index.items():
                memory.write(index * LEAF_BYTES, leaf)
            self._machine = Machine(memory, self._translate_after_steps)
            self._leaves, self._loaded = start.leaves, self._machine.snapshot()
        machine = self._machine
        machine.restore(self._loaded)
        machine.registers[:] = start.x
        machine.pc, machine.status = start.pc, Status(start.kind, start.value)
        return machine


def interpreted() -> FullMachine:
    """Makes a machine that never translates."""
    return FullMachine("opml_min, interpreted", NEVER)


def translated() -> FullMachine:
    """Makes a machine that translates everything before its first step."""
    return FullMachine("opml_min, translated", 0)


@contextmanager
def no_code_on_disk() -> Iterator[None]:
    """Points the translator's cache to a place where nothing can be found or kept."""
    name = "XDG_CACHE_HOME"
    before = os.environ.get(name)
    os.environ[name] = os.devnull
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
