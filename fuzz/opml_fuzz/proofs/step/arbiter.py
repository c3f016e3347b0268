"""The arbiter's world in one proof: its deployed bytecode, accesses by the lemma, and values that get names.

**The bytecode** is what the constructor leaves on the embedded EVM, immutables filled in. **A cut** is a place where the bytecode stores a
value that the specification computes too: z3 shows that they are equal, and from there on both worlds use one name. The places are found by
running a witness in which these values are easily recognised. A wrong place cannot prove anything false: there the values would differ.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import z3
from attrs import evolve, frozen
from opml_spec.machine.start import start_state
from opml_spec.machine.witness import make_witness

from evm_arbiter.chain import Artefact, Chain, Contract
from opml_fuzz.machine.encodings import assemble
from opml_fuzz.proofs.evm.calldata import Known
from opml_fuzz.proofs.evm.code import Code, Loop
from opml_fuzz.proofs.evm.hashes import Hashes
from opml_fuzz.proofs.evm.instructions import execute
from opml_fuzz.proofs.evm.machine import Hook, Machine
from opml_fuzz.proofs.evm.path import End, Path
from opml_fuzz.proofs.evm.words import formula, reduced, vector
from opml_fuzz.proofs.step import access
from opml_fuzz.proofs.unsupported import Unsupported

WITNESS_BYTES = 3_769  # the arbiter takes no longer argument
STATE_BYTES = 297
ARGUMENT_BYTES = 3_808  # the witness in memory: its length, its bytes, padding
PC = 0x40_0000_0000
RD, RS1, RS2 = 3, 1, 2
RECOGNISED = {RS1: 0x1234_5678_9ABC_DEF1, RS2: 0x0FED_CBA9_8765_4321}


@frozen
class Frame:
    """Where the function `access` of the contract finds its arguments and keeps its variables; Vyper lays them out one after the other."""

    loop: Loop
    start: int  # where the witness goes on; the first argument behind the witness itself
    calls: tuple[tuple[int, int], ...]  # where each call returns to, and where it wants the results

    @property
    def witness(self) -> int:
        return self.start - ARGUMENT_BYTES

    index = property(lambda self: self.start + 0x20)
    root = property(lambda self: self.start + 0x40)
    mask = property(lambda self: self.start + 0x60)
    bits = property(lambda self: self.start + 0x80)
    at = property(lambda self: self.start + 0xA0)
    leaf = property(lambda self: self.start + 0xC0)
    sent = property(lambda self: self.start + 0xE0)
    old = property(lambda self: self.start + 0x100)
    new = property(lambda self: self.start + 0x120)
    bit = property(lambda self: self.start + 0x140)
    end = property(lambda self: self.start + 0x200)


@frozen
class Bytecode:
    """An arbiter: its code, and the places in it that proofs need."""

    contract: Contract
    code: Code

    @cached_property
    def frame(self) -> Frame:
        """The frame of `access`: the first address that the function reads is where its second argument lies."""
        loop, operand = self.code.only_loop(), 0
        at = loop.entry
        while self.code.instructions[at].name != "MLOAD":
            operand, at = self.code.instructions[at].operand, self.code.instructions[at].following
        return Frame(loop, operand, self.code.calls(loop.entry))

    @cached_property
    def cuts(self) -> dict[int, int]:
        """Where the bytecode first stores the instruction word (0), register rs1 (1), and register rs2 (2)."""
        word = assemble("add", RD, RS1, RS2)
        state = start_state({PC: word.to_bytes(4, "little")}, PC, RECOGNISED)
        machine = Machine(self.code, Known(self.contract.calldata("step", make_witness(state))), Hashes())
        wanted = {word: 0, RECOGNISED[RS1]: 1, RECOGNISED[RS2]: 2}
        found: dict[int, int] = {}
        path: Any = Path(0)
        while isinstance(path, Path):
            if self.code.instructions[path.at].name == "MSTORE" and not path.calls and path.stack[-2] in wanted:
                found.setdefault(wanted[path.stack[-2]], path.at)
            path = execute(path, machine)
        if len(found) != len(wanted):
            raise Unsupported("the bytecode does not store the instruction word, rs1 and rs2")
        return found


def deployed(artefact: Artefact | None = None) -> Bytecode:
    """Deploys the arbiter, or other bytecode in its place, and reads what is there."""
    chain = Chain()
    contract = chain.deploy(artefact or Artefact.load("arbiter"), sender=chain.accounts[0])
    return Bytecode(contract, Code(chain.node.code(bytes.fromhex(contract.address[2:]))))


def accessed(frame: Frame, length: Any) -> Hook:
    """In place of the contract's `access`: the lemma's functions."""

    def hook(path: Path, machine: Machine) -> Iterator[Path | End]:
        *rest, back, buffer = path.stack
        memory, prove = path.memory, machine.prove(path)
        region = memory.region_at(frame.witness)
        at, index, root, mask, bits = (memory.load(one, prove) for one in (frame.start, frame.index, frame.root, frame.mask, frame.bits))
        if not isinstance(buffer, int) or buffer < frame.end or (back, buffer) not in frame.calls:
            raise Unsupported("`access` is called in an unknown way")
        if formula(vector(region.length) == length + access.WORD_BYTES) is not True or not prove(z3.ULE(vector(at), length)):
            raise Unsupported("`access` may be called behind the end of the witness")
        error = access.error(at, index, root)
        fails, goes_on = path.assuming(error != 0), path.assuming(error == 0, access.within(at, length))
        if machine.possible(fails):
            yield End("REVERT", fails, access.revert_data(error))
        if not machine.possible(goes_on):
            return
        leaf = access.leaf(at)
        if not isinstance(mask, int) or mask:
            if not prove(vector(mask) != 0):
                raise Unsupported("it is not known whether `access` writes")
            root = access.root(at, index, reduced(leaf & ~vector(mask) | vector(bits)))
        memory = memory.forget(0, frame.end)
        for i, word in enumerate((leaf, root, access.following(at))):
            memory = memory.store(buffer + 32 * i, word)
        yield evolve(goes_on, at=back, stack=tuple(rest), memory=memory, calls=path.calls[:-1])

    return hook


def cut(definition: Any, name: Any, field: Any = None) -> Hook:
    """Where both worlds must have computed the same: from there on, its name. field: a name of few bits; each of its values is tried"""

    def hook(path: Path, machine: Machine) -> Iterator[Path | End]:
        *rest, word, at = path.stack
        for value in [None] if field is None else range(1 << field.size()):
            pairs = [] if value is None else [(field, z3.BitVecVal(value, field.size()))]
            here, there = (z3.simplify(z3.substitute(one, *pairs)) for one in (vector(word), definition))
            differs = path.assuming(here != there, *(one == other for one, other in pairs))
            if not here.eq(there) and machine.possible(differs):
                yield End("DIFFERS", differs)
                return
        following = execute(evolve(path, stack=(*rest, name, at)), machine)
        if not isinstance(following, Path):
            raise Unsupported("a cut that is no MSTORE")
        yield following

    return hook
