"""Statements about the memory: what was stored is loaded, nothing else changes, and stages hand over the right nodes.

The functions of the tree call themselves one level lower. Here one level is run, with the induction hypothesis in place of that call, for
every height and every index; nodes are mere names. What holds for names holds for every hash.

*Source*: spec §2.2, §2.4, §4.1 to §4.3.
"""

from types import FunctionType
from typing import Any

from attrs import frozen
from opml_spec.machine import merkle
from opml_spec.machine.memory import CARRY_HEIGHT, QUARTER_HEIGHT, Memory
from opml_spec.machine.merkle import DEPTH, LEAF_BYTES, ZERO, Pair
from opml_spec.machine.state import Kind, MachineState, Status
from opml_spec.runs.run import CARRY, RunState, RunStatus, hand_over, stage_memory

from opml_fuzz.statements.statement import Integer, Statement, Word

NEW = b"the new node"
LEFT, RIGHT = b"the left child", b"the right child"
INDEX = Integer(0, (1 << DEPTH) - 1)


@frozen(eq=False)
class Replaced:
    """A child in which the node was replaced: what the hypothesis speaks of."""

    child: Any

    @property
    def hash(self) -> bytes:
        return b"the root that the child's proof gives"


@frozen
class Below:
    """The node at that index below a child."""

    child: Any
    index: Any


def one_level(name: str, hypothesis: Any) -> Any:
    """The specification's function, calling the hypothesis where it calls itself."""
    function = getattr(merkle, name)
    return FunctionType(function.__code__, {**vars(merkle), name: hypothesis}, name, function.__defaults__)


def replaced(tree: Any, height: int, index: Any, above: int) -> Any:
    return one_level("replace", lambda child, *_: Replaced(child))(tree, height, index, NEW, above)


def tree_of(above: int, is_zero: bool) -> Any:
    return ZERO[above] if is_zero else Pair(LEFT, RIGHT)


def same(one: Any, other: Any) -> Any:
    """Whether two results of `find` are the same node."""
    if isinstance(one, Below) and isinstance(other, Below):
        return one.index == other.index if one.child is other.child else False
    return one is other


def finds_what_was_set(above: int, height: int, is_zero: bool, i: Any, j: Any) -> Any:
    """At i there is the new node, and at every other index what was there."""
    tree, below = tree_of(above, is_zero), 1 << max(above - height - 1, 0)

    def found(child: Any, height: int, index: Any, above: int) -> Any:
        if isinstance(child, Replaced):
            return NEW if index % below == i % below else Below(child.child, index % below)
        return Below(child, index % below)

    find, width = one_level("find", found), 1 << (above - height)
    after, before = (find(it, height, j, above) for it in (replaced(tree, height, i, above), tree))
    return after is NEW if i % width == j % width else same(after, before)


def leaves_the_rest(above: int, higher: int, is_zero: bool, i: Any, j: Any) -> Any:
    """A higher node that does not hold leaf i stays as it is when that leaf is replaced."""
    tree, below = tree_of(above, is_zero), 1 << (above - higher - 1)

    def found(child: Any, height: int, index: Any, above: int) -> Any:
        if isinstance(child, Replaced):
            return Replaced(child) if index % below == (i >> higher) % below else Below(child.child, index % below)
        return Below(child, index % below)

    find = one_level("find", found)
    after, before = (find(it, higher, j, above) for it in (replaced(tree, 0, i, above), tree))
    return same(after, before)


def is_elsewhere(above: int, higher: int, is_zero: bool, i: Any, j: Any) -> Any:
    return (i >> higher) % (1 << (above - higher)) != j % (1 << (above - higher))


def proof_gives_root(above: int, height: int, is_zero: bool, i: Any) -> Any:
    """The siblings are the same before and after, and grafting the new node onto them gives the hash of the new tree."""
    tree, inner = tree_of(above, is_zero), (b"the child's siblings",)
    siblings = one_level("siblings", lambda *_: inner)
    after = replaced(tree, height, i, above)
    beside = siblings(after, height, i, above)
    if beside != siblings(tree, height, i, above):
        return False
    if above == height:
        return beside == () and after is NEW
    grafted = merkle.graft(Replaced(None).hash, i >> (above - height - 1), beside[1:])
    return beside[:1] == inner and names(grafted) == names(after)


def names(node: Any) -> Any:
    """The tree, with hashes at its ends."""
    return (names(node.left), names(node.right)) if isinstance(node, Pair) else node if isinstance(node, bytes) else node.hash


def grafts_in_parts(length: int, first: int, i: Any) -> Any:
    """A proof can be grafted in two parts, the second with the index that is left."""
    beside = [b"sibling %d" % height for height in range(length)]
    lower = merkle.graft(NEW, i, beside[:first])
    return names(merkle.graft(NEW, i, beside)) == names(merkle.graft(lower, i >> first, beside[first:]))


class OnlyLeaves:
    """A memory that is only leaves; the functions of the specification's memory work on it."""

    load, store, overwrite = Memory.load, Memory.store, Memory.overwrite

    def __init__(self, leaves: dict[int, bytes]) -> None:
        self.leaves = leaves

    def leaf(self, index: int) -> bytes:
        return self.leaves[index]

    def set_leaf(self, index: int, leaf: bytes) -> "OnlyLeaves":
        return OnlyLeaves({**self.leaves, index: leaf})


def loads_what_was_stored(size: int, offset: int) -> bool:
    """Every load sees the stored bytes, and beside them the old ones. All bytes differ, and no code looks at them: any others would do."""
    old = bytes(range(2 * LEAF_BYTES))
    new = bytes(range(0xF0, 0xF0 + size))
    memory: Any = OnlyLeaves({0: old[:LEAF_BYTES], 1: old[LEAF_BYTES:]})
    after = memory.store(offset, size, int.from_bytes(b"\xee" * 8, "little") << 8 * size | int.from_bytes(new, "little"))
    expected = old[:offset] + new + old[offset + size :]
    return all(
        len(after.leaves[index]) == LEAF_BYTES
        and after.load(at, width).to_bytes(width, "little") == expected[at : at + width]
        for index in (0, 1)
        for width in (1, 2, 4, 8)
        for at in range(2 * LEAF_BYTES - width + 1)
    )  # fmt: skip


def begins_with(quarter: int) -> bool:
    """A stage begins with no scratch, the model, and the carry; the carry is the node over the io and the state quarter."""
    model, carry = b"the model", Pair(b"the io quarter", b"the state quarter")
    memory = stage_memory(model, carry)
    expected = (ZERO[QUARTER_HEIGHT], model, carry.left, carry.right)[quarter]
    return memory.subtree(QUARTER_HEIGHT, quarter) == expected and memory.subtree(CARRY_HEIGHT, CARRY) is carry


def hands_over(kind: Kind, status: RunStatus, value: Any) -> bool:
    """The next stage gets the carry if the machine exited with 0; otherwise the run has failed and keeps what it had."""
    carry, before = Pair(b"io after", b"state after"), RunState(b"carry before", status)
    end = MachineState(0, (0,) * 32, Status(kind, value), stage_memory(b"the model", carry))
    after = hand_over(before, end)
    if kind == Kind.HALTED and value == 0:
        return after.carry is carry and after.status == RunStatus.OK
    return after.carry is before.carry and after.status == RunStatus.FAILED


HEIGHTS = tuple((above, height) for height in (0, QUARTER_HEIGHT, CARRY_HEIGHT) for above in range(height, DEPTH + 1))
LEVELS = tuple((above, height, is_zero) for above, height in HEIGHTS for is_zero in (False, True) if above > height or not is_zero)
STATEMENTS = (
    Statement(
        "memory.find",
        "after a node is replaced it is found, and at every other index what was there",
        {"i": INDEX, "j": INDEX},
        finds_what_was_set,
        cases=LEVELS,
    ),
    Statement(
        "memory.elsewhere",
        "a quarter, or the carry, in which no leaf is replaced stays as it is",
        {"i": INDEX, "j": INDEX},
        leaves_the_rest,
        is_elsewhere,
        tuple(level for level in LEVELS if level[1] and level[0] > level[1]),
    ),
    Statement(
        "memory.proof",
        "the proof of the old node, grafted with the new one, gives the new root",
        {"i": INDEX},
        proof_gives_root,
        cases=LEVELS,
    ),
    Statement(
        "memory.graft",
        "a proof can be grafted in two parts (up to five siblings)",
        {"i": INDEX},
        grafts_in_parts,
        cases=tuple((length, first) for length in range(6) for first in range(length + 1)),
    ),
    Statement(
        "memory.load",
        "a load sees what was stored, at every size and offset",
        {},
        loads_what_was_stored,
        cases=tuple((size, offset) for size in (1, 2, 4, 8) for offset in range(LEAF_BYTES)),
    ),
    Statement(
        "memory.stage",
        "a stage begins with empty scratch, the model and the carry",
        {},
        begins_with,
        cases=tuple((quarter,) for quarter in range(4)),
    ),
    Statement(
        "memory.hand_over",
        "the carry is handed over iff the machine exited with 0",
        {"value": Word(64)},
        hands_over,
        cases=tuple((kind, status) for kind in Kind for status in RunStatus),
    ),
)
