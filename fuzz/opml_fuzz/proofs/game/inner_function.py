"""A function inside the contract that a proof takes as unknown: where it begins, where its arguments lie, where it may write.

Vyper gives each function a frame in memory. The arguments lie at its beginning, one after the other, and the frames of whoever calls it lie
behind it. The stack has the place to return to, and the place in memory where the result is wanted.

The function is found by running one call with arguments that are easily recognised: it is the innermost one that gets them, so whatever
the contract makes of its results is a part of the proof. It must answer these arguments as the specification does. In a proof it must get
the arguments of the call, and what it computes is a statement of its own, or an assumption that is named.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import evolve, frozen

from opml_fuzz.proofs.evm.calldata import Argument, Known
from opml_fuzz.proofs.evm.code import Code
from opml_fuzz.proofs.evm.hashes import Hashes
from opml_fuzz.proofs.evm.instructions import execute, push
from opml_fuzz.proofs.evm.machine import Machine
from opml_fuzz.proofs.evm.memory import Memory
from opml_fuzz.proofs.evm.path import End, Path
from opml_fuzz.proofs.evm.pieces import known, of_bytes
from opml_fuzz.proofs.evm.words import Word, vector
from opml_fuzz.proofs.game.open_bytes import OpenBytes, without_padding
from opml_fuzz.proofs.unsupported import Unsupported

WORD_BYTES = 32
SCRATCH_BYTES = 1024  # at the beginning of the memory; the contract reads some before it writes there, and memory is zero at first


@frozen
class InnerFunction:
    """A function of the contract. places: of its arguments; end: behind all that it may write, but for its results

    results: how many words it returns"""

    entry: int
    places: tuple[int, ...]
    end: int
    results: int

    def replaced(self, path: Path, machine: Machine, arguments: Sequence[Any], *results: Word) -> Path:
        """The path after a call that has these results; raises Unsupported unless it has these arguments, of words and open bytes."""
        *rest, back, buffer = path.stack
        if not isinstance(buffer, int) or buffer < self.end or not path.calls or path.calls[-1] != back:
            raise Unsupported("an inner function is called in an unknown way")
        self.check(path, machine, arguments)
        memory = beyond(path.memory, self.end)
        for place, word in enumerate(results):
            memory = memory.store(buffer + WORD_BYTES * place, word)
        return evolve(path, at=back, stack=tuple(rest), memory=memory, calls=path.calls[:-1])

    def check(self, path: Path, machine: Machine, arguments: Sequence[Any]) -> None:
        """Raises Unsupported unless the arguments lie in their places."""
        prove = machine.prove(path)
        for place, given in zip(self.places, arguments, strict=True):
            if not isinstance(given, OpenBytes):
                if not prove(vector(path.memory.load(place, prove)) == vector(given)):
                    raise Unsupported("an inner function gets another word")
                continue
            region = path.memory.region_at(place)
            is_whole = vector(region.length) == given.length + WORD_BYTES
            source = without_padding(region.source)
            if not isinstance(source, Argument) or source.content is not given or not prove(is_whole):
                raise Unsupported("an inner function gets other bytes")

    def answer(self, code: Code, *arguments: int | bytes) -> bytes:
        """What the function alone answers to arguments that are known: the words that it returns, or the data with which it reverts."""
        back = next(at for at in code.instructions if code.is_destination(at))
        memory = Memory().store_pieces(0, ((0, SCRATCH_BYTES),))
        for place, one in zip(self.places, arguments, strict=True):
            memory = memory.store_pieces(place, of_bytes(in_memory(one)))
        path: Any = Path(self.entry, stack=(back, self.end), memory=memory, calls=(back,))
        machine = Machine(code, PaidCall(b"", 0), Hashes())
        while path.at != back or path.stack:
            path = execute(path, machine)
            if not isinstance(path, Path):
                (path,) = path
            if isinstance(path, End):
                return known(path.data) or b""
        return known(path.memory.read(self.end, WORD_BYTES * self.results, machine.prove(path))) or b""


def in_memory(given: int | bytes) -> bytes:
    """A word; or the number of bytes, these, and zeros up to the next word."""
    if isinstance(given, int):
        return given.to_bytes(WORD_BYTES, "big")
    return len(given).to_bytes(WORD_BYTES, "big") + given + bytes(-len(given) % WORD_BYTES)


def rooms_of(*most: int) -> tuple[int, ...]:
    """The room in memory of arguments: 0 for a word, else how many bytes there are at most."""
    return tuple(WORD_BYTES + -(-one // WORD_BYTES) * WORD_BYTES for one in most)


def beyond(memory: Memory, end: int) -> Memory:
    """What lies behind a place; all else is forgotten."""
    cells = {at: cell for at, cell in memory.cells.items() if at >= end}
    return Memory(cells, tuple(one for one in memory.regions if one.at >= end))


# How it is found ---------------------------------------------------------------------------------------------------------------------


class PaidCall(Known):
    """A call whose data is known, with money."""

    def __init__(self, data: bytes, value: int) -> None:
        super().__init__(data)
        self.value = value


@frozen
class KnownCall:
    """A call of which everything is known. stored: words by slot; recognised: the arguments that the function gets, one after the other"""

    given: PaidCall
    stored: Mapping[int, int]
    sender: int
    now: int
    recognised: tuple[int | bytes, ...]

    def steps(self, code: Code) -> Iterator[Path]:
        """Yields the state after each instruction, until the call ends. What the call stores is not kept."""
        machine = Machine(code, self.given, Hashes())
        path: Any = Path(0, memory=Memory().store_pieces(0, ((0, SCRATCH_BYTES),)))
        while isinstance(path, Path):
            yield path
            one, stack = code.instructions[path.at], path.stack
            onward = evolve(path, at=one.following)
            match one.name:
                case "0x33":
                    path = push(onward, self.sender)
                case "0x42":
                    path = push(onward, self.now)
                case "0x54":
                    path = evolve(onward, stack=(*stack[:-1], self.stored.get(stack[-1], 0)))
                case "0x55":
                    path = evolve(onward, stack=stack[:-2])
                case _:
                    path = execute(path, machine)

    def find(self, code: Code, rooms: tuple[int, ...], results: int) -> InnerFunction:
        """Finds the innermost function that is called with the arguments. rooms: how many bytes each of them has in memory"""
        depth, outermost, found = 0, 0, None
        for path in self.steps(code):
            if len(path.calls) < outermost:
                break
            if len(path.calls) > depth:
                places = self.arguments_in(path.memory, rooms)
                if places is not None and (found is None or places[0] != found.places):  # what lies there still is no other's
                    outermost, found = outermost or len(path.calls), InnerFunction(path.at, *places, results)
            depth = len(path.calls)
        if found is None:
            raise Unsupported("no function gets the arguments that were recognised")
        return found

    def arguments_in(self, memory: Memory, rooms: tuple[int, ...]) -> tuple[tuple[int, ...], int] | None:
        """The places of the arguments in the lowest frame, and where the caller's begins: a word before it has the first bytes, too."""
        behind = [sum(rooms[:number]) for number in range(len(rooms))]
        words = [at for at in sorted(memory.cells) if at % WORD_BYTES == 0]
        lowest = next((at for at in words if self.lie_at(memory, [at + one for one in behind])), None)
        if lowest is None:
            return None
        data = next(one for one in self.recognised if isinstance(one, bytes))
        frame = next((at for at in words if at >= lowest + sum(rooms) and lies_at(memory, at, data)), None)
        return None if frame is None else (tuple(lowest + one for one in behind), frame - WORD_BYTES)

    def lie_at(self, memory: Memory, places: Sequence[int]) -> bool:
        return all(lies_at(memory, at, one) for at, one in zip(places, self.recognised, strict=True))


def lies_at(memory: Memory, at: int, given: int | bytes) -> bool:
    """Tells whether a word, or the length of bytes and these, lie at a place."""
    wanted = given.to_bytes(WORD_BYTES, "big") if isinstance(given, int) else len(given).to_bytes(WORD_BYTES, "big") + given
    return all(memory.cells.get(at + place) == byte for place, byte in enumerate(wanted))
