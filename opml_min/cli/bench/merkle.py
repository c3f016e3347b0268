"""`opml bench merkle`: how fast memory is hashed, as pairs of nodes per second, which compares with any other keccak-256.

The peer is the library that the specification uses, which hashes one pair at a time.
"""

import time
from statistics import median

import numpy as np
import sha3

from opml_min.cli.bench.row import Row
from opml_min.cli.output import Progress
from opml_min.machine import Memory
from opml_min.memory_map import Quarter

REGION_BYTES = 1 << 30
STATE_BASE = Quarter.STATE << 38
LEAVES = REGION_BYTES // 32
TOUCHED_LEAVES = 100
ROUNDS = 5
PEER_HASHES = 200_000
MEGA = 10**6


def rows() -> list[Row]:
    progress = Progress("rounds", 2 * ROUNDS)
    random = np.random.default_rng(1)
    memory = Memory()
    words = memory.view(STATE_BASE, REGION_BYTES // 8, np.uint64)
    words[:] = random.integers(0, 1 << 63, len(words), dtype=np.uint64)
    full, update = [], []
    for round_number in range(ROUNDS):
        memory.mark_written(STATE_BASE, REGION_BYTES)
        full.append(seconds_of_root(memory))
        progress.show(round_number + 1)
    for round_number in range(ROUNDS):
        for leaf in random.integers(0, LEAVES, TOUCHED_LEAVES):
            memory.write(STATE_BASE + 32 * int(leaf), bytes(random.integers(0, 256, 32, dtype=np.uint8)))
        update.append(seconds_of_root(memory))
        progress.show(ROUNDS + round_number + 1)
    start = time.perf_counter()
    for _ in range(PEER_HASHES):
        sha3.keccak_256(bytes(64)).digest()
    peer = PEER_HASHES / (time.perf_counter() - start) / MEGA
    return [
        Row("root of 1 GiB", (LEAVES - 1) / median(full) / MEGA, "M pair hashes/s", "safe-pysha3", peer),
        Row("root after 100 scattered leaves in 1 GiB", 1000 * median(update), "ms"),
    ]


def seconds_of_root(memory: Memory) -> float:
    start = time.perf_counter()
    memory.root()
    return time.perf_counter() - start
