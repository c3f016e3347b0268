"""How a step ends, in either world: with the hashes of two states, with an error that has a number, or refused without one."""

from typing import Any

import z3
from attrs import frozen

from evm_arbiter.chain import ERROR_SELECTOR
from opml_fuzz.proofs.evm.hashes import Hashes
from opml_fuzz.proofs.evm.path import End
from opml_fuzz.proofs.evm.pieces import cut, known, length, value
from opml_fuzz.proofs.evm.words import reduced, vector
from opml_fuzz.proofs.unsupported import Unsupported

HASH_BYTES = 32


@frozen(eq=False)
class Ending:
    """Either `hashes`, of the state before and after, or an `error`: its number, None for a revert without data."""

    hashes: tuple[Any, ...] = ()
    error: Any = None


def of_end(end: End) -> Ending:
    """Reads how the bytecode ended."""
    size = length(end.data)
    if end.how == "RETURN" and size % HASH_BYTES == 0:
        return Ending(tuple(value(cut(end.data, at, at + HASH_BYTES)) for at in range(0, size, HASH_BYTES)))
    if end.how == "REVERT" and size == 0:
        return Ending()
    if end.how == "REVERT" and size == len(ERROR_SELECTOR) + HASH_BYTES and known(cut(end.data, 0, 4)) == ERROR_SELECTOR:
        return Ending(error=value(cut(end.data, 4, size)))
    raise Unsupported(f"an end by {end.how} with {size} bytes")


def equal(one: Ending, other: Ending, hashes: Hashes) -> Any:
    """A condition that implies that two endings are the same."""
    if len(one.hashes) != len(other.hashes) or (one.error is None) != (other.error is None):
        return z3.BoolVal(False)
    if one.error is not None:
        return vector(one.error) == vector(other.error)
    return z3.And([hashes.equal(left, right) for left, right in zip(one.hashes, other.hashes, strict=True)])


def substituted(ending: Ending, substitute: Any, hashes: Hashes) -> Ending:
    """The ending with values in place of names."""

    def replace(term: Any) -> Any:
        return reduced(z3.substitute(term, *substitute))

    error = ending.error if ending.error is None or isinstance(ending.error, int) else replace(ending.error)
    return Ending(tuple(hashes.substituted(one, replace) for one in ending.hashes), error)
