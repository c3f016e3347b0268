"""The machine's memory: reserved address space, written pages, hashes, the Merkle tree, snapshots."""
