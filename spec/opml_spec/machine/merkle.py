"""The Merkle tree of the memory: 2^35 leaves of 32 bytes, most of them zero.

**A node is either its hash or a pair of nodes.** A hash alone stands for a leaf (which is its own hash), for a subtree that is all zero,
or for one whose content we do not know. So these few functions serve a whole memory and the sliver of one that a witness shows.
Trees are never changed: `replace` gives a new one that shares with the old one all but the path. A pair works out its hash when it is
first asked for, so a machine that runs without being asked for its root does not hash.

A node is named by its height (0 the leaves, 35 the root) and its index from the left among the nodes of that height.

*Source*: spec §2.2. Merkle, "A Digital Signature Based on a Conventional Encryption Function" (1987).
"""

from collections.abc import Iterable
from functools import cached_property
from itertools import accumulate, repeat

from attrs import frozen

from opml_spec.errors import SubtreeUnknown
from opml_spec.hashing import hash_pair
from opml_spec.words import put

LEAF_BYTES = 32
DEPTH = 35  # 2^35 leaves of 32 bytes are 2^40 bytes

ZERO: tuple[bytes, ...] = tuple(accumulate(repeat(None, DEPTH), lambda node, _: hash_pair(node, node), initial=bytes(LEAF_BYTES)))
"""`ZERO[height]` is the hash of the subtree that is all zero."""


@frozen(eq=False)
class Pair:
    """A node whose two children we have."""

    left: "Node"
    right: "Node"

    @cached_property
    def hash(self) -> bytes:
        return hash_pair(hash_of(self.left), hash_of(self.right))


Node = bytes | Pair


def hash_of(node: Node) -> bytes:
    """The hash of a node, whichever of the two it is."""
    return node if isinstance(node, bytes) else node.hash


def children(node: Node, height: int) -> tuple[Node, Node]:
    """The two children of a node of this height."""
    if isinstance(node, Pair):
        return node.left, node.right
    if node == ZERO[height]:
        return ZERO[height - 1], ZERO[height - 1]
    raise SubtreeUnknown(f"only the hash of a node at height {height} is known")


def find(tree: Node, height: int, index: int, above: int = DEPTH) -> Node:
    """The node of that height and index in a tree of height `above`."""
    if above == height:
        return tree
    left, right = children(tree, above)
    return find(right if index >> (above - height - 1) & 1 else left, height, index, above - 1)


def siblings(tree: Node, height: int, index: int, above: int = DEPTH) -> tuple[bytes, ...]:
    """The hashes beside the path from that place up to the root, lowest first: a Merkle proof of what stands there."""
    if above == height:
        return ()
    left, right = children(tree, above)
    inner, beside = (right, left) if index >> (above - height - 1) & 1 else (left, right)
    return (*siblings(inner, height, index, above - 1), hash_of(beside))


def parent(node: Node, sibling: Node, side: int) -> Node:
    """The node above a node and its sibling; side 1 means that the node is the right one of the two."""
    return Pair(sibling, node) if side else Pair(node, sibling)


def graft(node: Node, index: int, beside: Iterable[Node]) -> Node:
    """Join a node at that index with the siblings on its path, lowest first. The hash of the tree is what the proof proves."""
    for sibling in beside:
        node = parent(node, sibling, index & 1)
        index >>= 1
    return node


def replace(tree: Node, height: int, index: int, node: Node, above: int = DEPTH) -> Node:
    """A tree of height `above` that differs from this one only in the given node."""
    if above == height:
        return node
    left, right = children(tree, above)
    if index >> (above - height - 1) & 1:
        return Pair(left, replace(right, height, index, node, above - 1))
    return Pair(replace(left, height, index, node, above - 1), right)


def read(node: Node, height: int, start: int, stop: int) -> bytes:
    """The bytes from `start` up to `stop`, counted from the first byte below the node."""
    if start >= stop:
        return b""
    if node == ZERO[height]:
        return bytes(stop - start)
    if height == 0:
        return hash_of(node)[start:stop]
    left, right = children(node, height)
    middle = LEAF_BYTES << (height - 1)
    return read(left, height - 1, start, min(stop, middle)) + read(right, height - 1, max(start - middle, 0), stop - middle)


def write(node: Node, height: int, start: int, data: bytes) -> Node:
    """The node with these bytes from `start` on, counted as in `read`."""
    if not data:
        return node
    if height == 0:
        return put(hash_of(node), start, data)
    left, right = children(node, height)
    middle = LEAF_BYTES << (height - 1)
    cut = max(middle - start, 0)
    return Pair(write(left, height - 1, start, data[:cut]), write(right, height - 1, max(start - middle, 0), data[cut:]))
