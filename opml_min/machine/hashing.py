"""Keccak-256 of one message, and the hashes of subtrees that are all zero.

*Source*: keccak-256 as Ethereum has it (padding byte 0x01); spec §2.2 for the tree.
"""

import sha3

HEIGHT = 35
"""The root's height above the 2^35 leaves of 32 bytes."""


def keccak256(message: bytes) -> bytes:
    """The hash of one message of any length."""
    return bytes(sha3.keccak_256(message).digest())


def zero_subtrees() -> list[bytes]:
    """`zero[0]` = 32 zero bytes, `zero[j + 1] = H(zero[j], zero[j])`, up to the whole memory."""
    zero = [bytes(32)]
    for _ in range(HEIGHT):
        zero.append(keccak256(zero[-1] + zero[-1]))
    return zero


ZERO = zero_subtrees()
