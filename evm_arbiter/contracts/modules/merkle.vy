#pragma version 0.4.3
"""
@title Merkle: the tree over the memory, from the leaves that are sent
@notice A leaf comes with a bitmap that says at which heights its sibling is sent; elsewhere the sibling is the root of an all-zero
        subtree, and may not be sent. So a leaf has exactly one proof.
        Source: spec §2.2 and §2.5.
"""

from . import codec

DEPTH: constant(uint256) = 35
ACCESS_BYTES: constant(uint256) = 32 + 5  # leaf and bitmap, before the siblings
# One byte more than three accesses with every sibling need: what is longer has the same error as its first 3769 bytes.
WITNESS_BYTES: constant(uint256) = codec.STATE_BYTES + 3 * (ACCESS_BYTES + 32 * DEPTH) + 1

PROOF_HEIGHT: constant(uint256) = 34  # of a carry, the root over the two upper quarters
PROOF_BYTES: constant(uint256) = 5 + 32 * PROOF_HEIGHT + 1  # one more than any valid one has

ZERO: immutable(bytes32[DEPTH])  # roots of the all-zero subtrees, by height


@deploy
def __init__():
    zero: bytes32[DEPTH] = empty(bytes32[DEPTH])
    for height: uint256 in range(1, DEPTH):
        zero[height] = self.node(zero[height - 1], zero[height - 1])
    ZERO = zero


@internal
@pure
def node(left: bytes32, right: bytes32) -> bytes32:
    """Hashes two subtrees into the one above them."""
    return keccak256(concat(left, right))


@internal
@view
def access(
    witness: Bytes[WITNESS_BYTES], start: uint256, index: uint256, root: bytes32, mask: uint256, bits: uint256
) -> (uint256, bytes32, uint256):
    """
    Reads one leaf with its siblings from the witness and checks it against the root. Returns the leaf as it was, the root after the
    masked part of the leaf became `bits`, and where the witness goes on.
    """
    at: uint256 = unsafe_add(start, ACCESS_BYTES)
    if at > len(witness):
        codec.fail(codec.WITNESS_TRUNCATED)
    leaf: uint256 = extract32(witness, start, output_type=uint256)
    sent: uint256 = extract32(witness, unsafe_add(start, 5), output_type=uint256) & (2**40 - 1)
    if sent >> DEPTH != 0:
        codec.fail(codec.WITNESS_BITMAP)
    old: bytes32 = convert(leaf, bytes32)
    new: bytes32 = convert(leaf & ~mask | bits, bytes32)
    bit: uint256 = 1  # of the bitmap: the sibling is sent; of the index: the node is a right child
    for zero: bytes32 in ZERO:
        sibling: bytes32 = zero
        if sent & bit != 0:
            if unsafe_add(at, 32) > len(witness):
                codec.fail(codec.WITNESS_TRUNCATED)
            sibling = extract32(witness, at)
            if sibling == zero:
                codec.fail(codec.WITNESS_ZERO_SIBLING)
            at = unsafe_add(at, 32)
        if index & bit == 0:
            old = keccak256(abi_encode(old, sibling))
            if mask != 0:
                new = keccak256(abi_encode(new, sibling))
        else:
            old = keccak256(abi_encode(sibling, old))
            if mask != 0:
                new = keccak256(abi_encode(sibling, new))
        bit <<= 1
    if old != root:
        codec.fail(codec.WITNESS_ROOT)
    return leaf, new if mask != 0 else old, at


@internal
@view
def check_subtree(node: bytes32, height: uint256, index: uint256, proof: Bytes[PROOF_BYTES], root: bytes32):
    """
    Checks that a subtree of this height lies under a root of PROOF_HEIGHT, above the leaf of this index; fails otherwise.
    The proof is the bitmap and the siblings from this height up. This is a loop of its own: one that could begin at
    any height would make each access above dearer, since there nearly all gas goes into the loop.
    """
    if len(proof) < 5:
        codec.fail(codec.WITNESS_TRUNCATED)
    sent: uint256 = convert(convert(slice(proof, 0, 5), bytes5), uint256)
    if sent >> PROOF_HEIGHT != 0 or sent & ((1 << height) - 1) != 0:
        codec.fail(codec.WITNESS_BITMAP)
    top: bytes32 = node
    at: uint256 = 5
    for level: uint256 in range(height, PROOF_HEIGHT, bound=PROOF_HEIGHT):
        sibling: bytes32 = ZERO[level]
        if (sent >> level) & 1 == 1:
            if len(proof) < at + 32:
                codec.fail(codec.WITNESS_TRUNCATED)
            sibling = extract32(proof, at)
            if sibling == ZERO[level]:
                codec.fail(codec.WITNESS_ZERO_SIBLING)
            at += 32
        top = self.node(sibling, top) if (index >> level) & 1 == 1 else self.node(top, sibling)
    if top != root:
        codec.fail(codec.WITNESS_ROOT)
    if at != len(proof):
        codec.fail(codec.WITNESS_TRAILING)
