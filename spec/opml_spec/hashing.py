"""The one hash: Keccak-256 with the original padding, as in Ethereum (not the SHA3-256 of FIPS 202).

*Source*: The Keccak reference, version 3.0; Ethereum Yellow Paper, appendix "Symbols" (KEC).
"""

from collections.abc import Iterable

import sha3

HASH_BYTES = 32


def keccak256(data: bytes) -> bytes:
    """The 32 bytes of the digest. Nobody can find two preimages of one."""
    digest: bytes = sha3.keccak_256(data).digest()
    return digest


def join(parts: Iterable[bytes]) -> bytes:
    """The bytes of all parts, one after the other."""
    return b"".join(parts)


def hash_pair(left: bytes, right: bytes) -> bytes:
    """`H(left, right)`: a node of a Merkle tree."""
    return keccak256(left + right)
