"""The machine's memory: reserved addresses, changed pages, hashes, Merkle roots, snapshots."""
