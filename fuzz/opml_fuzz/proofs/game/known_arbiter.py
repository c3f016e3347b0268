"""An arbiter that gives one answer to any witness, in both worlds.

A counterexample about the game says which hashes or which error the arbiter answers with. Nobody has a witness that leads from one such
hash to the other, and the game looks at none. So both worlds are run with this in the arbiter's place.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from attrs import frozen
from opml_spec.dispute import moves
from opml_spec.errors import SpecError

from evm_arbiter.chain import ERROR_SELECTOR

WORD_BYTES = 32
PUSH32, PUSH1, PUSH0, MSTORE, RETURN, REVERT = 0x7F, 0x60, 0x5F, 0x52, 0xF3, 0xFD


@frozen
class Answer:
    """What the arbiter answers: the hashes of the states before and after an instruction, or the number of an error."""

    before: int = 0
    after: int = 0
    error: int | None = None

    @property
    def code(self) -> bytes:
        """The bytecode that answers so."""
        if self.error is None:
            return stored(self.before, 0) + stored(self.after, WORD_BYTES) + bytes((PUSH1, 2 * WORD_BYTES, PUSH0, RETURN))
        size = len(ERROR_SELECTOR)
        selector = int.from_bytes(ERROR_SELECTOR.ljust(WORD_BYTES, b"\0"), "big")
        return stored(selector, 0) + stored(self.error, size) + bytes((PUSH1, size + WORD_BYTES, PUSH0, REVERT))

    def executed(self, witness: bytes) -> tuple[bytes, bytes]:
        """Answers in the place of `execute_witness`."""
        if self.error is not None:
            raise numbered(self.error)
        return self.before.to_bytes(WORD_BYTES, "big"), self.after.to_bytes(WORD_BYTES, "big")

    @contextmanager
    def given(self) -> Iterator[None]:
        """The specification gets this answer while this is entered."""
        with patch.object(moves, "execute_witness", self.executed):
            yield


def stored(word: int, at: int) -> bytes:
    """Code that stores a word in memory."""
    return bytes((PUSH32, *word.to_bytes(WORD_BYTES, "big"), PUSH1, at, MSTORE))


def numbered(number: int) -> SpecError:
    error = SpecError()
    error.number = number  # type: ignore[misc]  # of this error alone
    return error
