"""What each opcode does to a path.

*Source*: Ethereum Yellow Paper, appendix H.2; EIP-5656 (MCOPY).
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from attrs import evolve

from opml_fuzz.proofs.evm.code import Instruction
from opml_fuzz.proofs.evm.memory import Region
from opml_fuzz.proofs.evm.path import End, Path
from opml_fuzz.proofs.evm.pieces import of_bytes, part
from opml_fuzz.proofs.evm.words import BINARY, Word, binary, complement, is_zero, reduced, vector
from opml_fuzz.proofs.unsupported import Unsupported

if TYPE_CHECKING:
    from opml_fuzz.proofs.evm.machine import Machine

STACK_LIMIT = 1024
Following = Path | Iterator[Path | End]


def execute(path: Path, machine: "Machine") -> Following:
    """Executes the instruction that the path is at."""
    one = machine.code.instructions.get(path.at) or Instruction("STOP", 0, path.at + 1)  # behind the code there are zeros
    name, stack = one.name, path.stack
    if len(stack) < needed(name):
        raise Unsupported(f"the stack is empty at {path.at:#x}")
    onward = evolve(path, at=one.following)
    if name.startswith("PUSH"):
        return push(onward, one.operand)
    if name.startswith("DUP"):
        return push(onward, stack[-int(name[3:])])
    if name.startswith("SWAP"):
        depth = int(name[4:])
        return evolve(onward, stack=(*stack[: -depth - 1], stack[-1], *stack[-depth:-1], stack[-depth - 1]))
    if name in BINARY:
        return evolve(onward, stack=(*stack[:-2], binary(name, stack[-1], stack[-2], machine.knows_products)))
    if name in RULES:
        return RULES[name](onward, machine)
    raise Unsupported(f"no rule for {name} at {path.at:#x}")


def needed(name: str) -> int:
    """How many words must be on the stack."""
    if name.startswith("DUP"):
        return int(name[3:])
    return int(name[4:]) + 1 if name.startswith("SWAP") else NEEDED.get(name, 2 if name in BINARY else 0)


def push(path: Path, word: Word) -> Path:
    if len(path.stack) >= STACK_LIMIT:
        raise Unsupported("the stack is full")
    return evolve(path, stack=(*path.stack, word))


def unary(rule: Callable[[Word], Word]) -> Callable[[Path, "Machine"], Following]:
    return lambda path, machine: evolve(path, stack=(*path.stack[:-1], rule(path.stack[-1])))


def nothing(path: Path, machine: "Machine") -> Following:
    return path


def pop(path: Path, machine: "Machine") -> Following:
    return evolve(path, stack=path.stack[:-1])


def load(path: Path, machine: "Machine") -> Following:
    return evolve(path, stack=(*path.stack[:-1], path.memory.load(path.stack[-1], machine.prove(path))))


def known(word: Word) -> int:
    """The word, which must be known."""
    if not isinstance(word, int):
        raise Unsupported(f"a place that must be known: {word}")
    return word


def store(path: Path, machine: "Machine") -> Following:
    *rest, word, at = path.stack
    return evolve(path, stack=tuple(rest), memory=path.memory.store(known(at), word))


def store_byte(path: Path, machine: "Machine") -> Following:
    *rest, word, at = path.stack
    return evolve(path, stack=tuple(rest), memory=path.memory.store_pieces(known(at), (part((vector(word), 32), 31, 32),)))


def jump(path: Path, machine: "Machine") -> Following:
    *rest, target = path.stack
    if not machine.code.is_destination(known(target)):
        return iter((End("INVALID", path),))
    return arrive(evolve(path, stack=tuple(rest)), known(target), machine)


def arrive(path: Path, target: int, machine: "Machine") -> Path:
    """The path at the target of a jump that it has made; `path.at` is where it would have gone on."""
    calls = path.calls
    if calls and calls[-1] == target:
        calls = calls[:-1]
    elif any(isinstance(one, int) and one == path.at for one in path.stack) and machine.code.is_destination(path.at):
        calls = (*calls, path.at)
    return evolve(path, at=target, calls=calls)


def jump_if(path: Path, machine: "Machine") -> Following:
    *rest, word, target = path.stack
    base = evolve(path, stack=tuple(rest))
    can_jump = machine.code.is_destination(known(target))
    taken: list[Path | End] = []
    for one, jumps in machine.branches(base, word):
        taken.append((evolve(one, at=known(target)) if can_jump else End("INVALID", one)) if jumps else one)
    first = taken[0]
    return first if len(taken) == 1 and isinstance(first, Path) else iter(taken)


def hash_memory(path: Path, machine: "Machine") -> Following:
    *rest, size, at = path.stack
    if not isinstance(size, int):
        return split(path, size, machine)
    digest = machine.hashes.digest(path.memory.read(known(at), size, machine.prove(path)))
    return evolve(path, stack=(*rest, digest))


def split(path: Path, word: Any, machine: "Machine") -> Following:
    """Executes the instruction again, on each path on which the word is known."""
    (place,) = [at for at, one in machine.code.instructions.items() if one.following == path.at]
    return machine.split(evolve(path, at=place), word)


def copy_memory(path: Path, machine: "Machine") -> Following:
    *rest, size, source, to = path.stack
    after = evolve(path, stack=tuple(rest))
    if isinstance(size, int):
        if size == 0:
            return after
        if not isinstance(source, int) or not isinstance(to, int):
            return split(path, source if not isinstance(source, int) else to, machine)
        return evolve(after, memory=path.memory.store_pieces(to, path.memory.read(source, size, machine.prove(path))))
    try:
        region = path.memory.region_at(known(source))
    except Unsupported:
        return split(path, size, machine)
    if reduced(vector(size) - vector(region.length)) != 0:
        raise Unsupported("a copy of a part of unknown length")
    return evolve(after, memory=path.memory.store_region(Region(known(to), region.length, region.room, region.source)))


def copy_code(path: Path, machine: "Machine") -> Following:
    *rest, size, source, to = path.stack
    machine.code.copied.update(range(known(source), known(source) + known(size)))
    data = machine.code.data[known(source) : known(source) + known(size)].ljust(known(size), b"\0")
    return evolve(path, stack=tuple(rest), memory=path.memory.store_pieces(known(to), of_bytes(data)))


def copy_input(path: Path, machine: "Machine") -> Following:
    *rest, size, source, to = path.stack
    memory = machine.input.copy(path.memory, known(to), source, size, path, machine)
    return evolve(path, stack=tuple(rest), memory=memory)


def end(how: str) -> Callable[[Path, "Machine"], Following]:
    def rule(path: Path, machine: "Machine") -> Following:
        if how in ("INVALID", "STOP"):
            return iter((End("RETURN" if how == "STOP" else how, path),))
        size, at = path.stack[-2:]
        data = path.memory.read(known(at), known(size), machine.prove(path)) if size else ()
        return iter((End(how, path, data),))

    return rule


NEEDED = {
    **dict.fromkeys(("ISZERO", "NOT", "POP", "MLOAD", "JUMP", "CALLDATALOAD"), 1),
    **dict.fromkeys(("MSTORE", "MSTORE8", "JUMPI", "KECCAK256", "RETURN", "REVERT"), 2),
    **dict.fromkeys(("MCOPY", "CODECOPY", "CALLDATACOPY"), 3),
}
RULES: dict[str, Callable[[Path, "Machine"], Following]] = {
    "ISZERO": unary(is_zero),
    "NOT": unary(complement),
    "POP": pop,
    "JUMPDEST": nothing,
    "MLOAD": load,
    "MSTORE": store,
    "MSTORE8": store_byte,
    "JUMP": jump,
    "JUMPI": jump_if,
    "KECCAK256": hash_memory,
    "MCOPY": copy_memory,
    "CODECOPY": copy_code,
    "CALLDATACOPY": copy_input,
    "CALLDATALOAD": lambda path, machine: evolve(path, stack=(*path.stack[:-1], machine.input.load(path.stack[-1]))),
    "CALLDATASIZE": lambda path, machine: push(path, machine.input.size),
    "CALLVALUE": lambda path, machine: push(path, machine.input.value),
    "RETURN": end("RETURN"),
    "REVERT": end("REVERT"),
    "INVALID": end("INVALID"),
    "STOP": end("STOP"),
}
