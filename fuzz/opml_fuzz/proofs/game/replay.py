"""A counterexample about the game as a test that can be pasted: a court, a call, and what the two worlds make of it.

z3's model says what is stored, who calls, when and with what. What it calls the hash of something becomes the real Keccak-256 of that. Both
worlds are then run as they are (`known_court.py`), and only a call on which they really differ is printed. z3 knows products, quotients
and hashes only by some facts about them, so a model may mean a call on which both agree. It refutes nothing, and is reported as such.
"""

import operator
from collections.abc import Iterator
from typing import Any

import z3
from attrs import frozen
from opml_spec.dispute.acts import Act
from opml_spec.dispute.narrowing import Segment
from opml_spec.dispute.objects import NodeState
from opml_spec.hashing import keccak256

from evm_arbiter.chain import Artefact
from opml_fuzz.disputes.call import Call
from opml_fuzz.proofs.evm.hashes import HASH_BYTES, Hashes
from opml_fuzz.proofs.evm.pieces import Pieces
from opml_fuzz.proofs.evm.words import BITS, vector
from opml_fuzz.proofs.game.arbiter_call import AFTER, BEFORE, IS_VALID, NUMBER
from opml_fuzz.proofs.game.arithmetic import Arithmetic
from opml_fuzz.proofs.game.equivalence import Proof
from opml_fuzz.proofs.game.facts import is_slot
from opml_fuzz.proofs.game.known_arbiter import Answer
from opml_fuzz.proofs.game.known_court import Fields, NotACourt, Place, StoredCourt, differences, hash_of, nonzero, place_in_tree
from opml_fuzz.proofs.game.layout import WIDTHS, function
from opml_fuzz.proofs.game.machine import IS_TAKEN
from opml_fuzz.proofs.game.open_bytes import OpenBytes, open_end
from opml_fuzz.proofs.game.segments import ENDS
from opml_fuzz.proofs.questions import Failure
from opml_fuzz.proofs.step.machine_symbols import Octets
from opml_fuzz.statements.game_bytecode import TEST_NAME

SHOWN = 3  # differences in the comment of a test
OBJECTS = ("models", "requests", "claims", "nodes")  # whose ids are hashes
ROUNDS = 6  # of telling z3 more
REFINED_UNITS = 100_000_000  # of z3's work, in each of them
FACTOR_BITS, PRODUCT_BITS, DIVIDEND_BITS = 16, 32, 40  # of what is small, where z3 really multiplies and divides
PLAIN = 1 << 64  # smaller numbers are written in decimal
SEGMENTS = "from opml_spec.dispute.narrowing import Segment\n"
ANSWERS = "from opml_fuzz.proofs.game.known_arbiter import Answer\n"
TEST = """
from opml_fuzz.disputes.call import Call
from opml_fuzz.proofs.game.known_court import differences
from opml_spec.dispute.acts import Act
{imports}

def {name}() -> None:
    stored = {{{stored}}}
    call = Call(Act("{move}", {arguments}, {value}), {sender}, now={now}, basefee={basefee})
    assert differences(stored, call{taken}{arbiter}) == {{}}{what}
"""


class NotAHash(Exception):
    """What z3 takes for a hash cannot be one."""


@frozen
class Case:
    """A court and a call of it. is_taken: whether money that is paid is taken; arbiter: what it answers, if it is asked"""

    stored: StoredCourt
    call: Call
    is_taken: bool
    arbiter: Answer | None = None

    def test(self, found: dict[str, tuple[Any, Any]]) -> str:
        """Writes the test. found: the differences"""
        what = "".join(f"\n    # {name}: {ours} in the specification, {theirs} in the contract" for name, (ours, theirs) in found.items())
        call, taken = self.call, "" if self.is_taken else ", is_taken=False"
        arbiter = "" if self.arbiter is None else f", arbiter={self.arbiter}"
        return TEST.format(
            name=TEST_NAME, imports=self.imports(), stored=entries(self.stored), move=call.move, arguments=written(call.act.arguments),
            value=call.act.value, sender=written(call.sender), now=call.now, basefee=call.basefee, taken=taken, arbiter=arbiter, what=what,
        )  # fmt: skip

    def imports(self) -> str:
        """What this test imports, and others do not."""
        has_segment = any(isinstance(one, Segment) for one in self.call.act.arguments)
        return (SEGMENTS if has_segment else "") + (ANSWERS if self.arbiter is not None else "")


def entries(stored: StoredCourt) -> str:
    """Writes what is stored, one object per line."""
    lines = [
        f"\n        ({kind!r}, {key:#x}): {{{', '.join(f'{name!r}: {written(it)}' for name, it in fields.items())}}},".replace("'", '"')
        for (kind, key), fields in stored.items()
    ]
    return "".join(lines) + ("\n    " if lines else "")


def written(it: Any) -> str:
    if isinstance(it, tuple):
        return f"({', '.join(map(written, it))}{',' if len(it) == 1 else ''})"
    if isinstance(it, Segment):
        return f"Segment({', '.join(written(getattr(it, name)) for name in ENDS)})"
    if isinstance(it, bytes):
        return f'bytes.fromhex("{it.hex()}")'
    return str(it) if it < PLAIN else hex(it)


class Reading:
    """What the symbols of a proof mean in a model."""

    def __init__(self, proof: Proof, model: Any) -> None:
        self.proof, self.model = proof, model
        hashes = proof.world.hashes
        named = ((name, hashes.preimages[name.get_id()]) for name in hashes.by_preimage.values())
        self.hashed = {self.number(name): preimage for name, preimage in named if not is_slot(preimage)}
        self.opened = set[int]()

    def number(self, term: Any) -> int:
        if not z3.is_expr(term):
            return int(term)
        it = self.model.eval(term, model_completion=True)
        return int(z3.is_true(it)) if z3.is_bool(it) else int(it.as_long())

    def real(self, number: int) -> int:
        """What 32 bytes really are: if they are the hash of something, its Keccak-256."""
        if number not in self.hashed:
            return number
        if number in self.opened:
            raise NotAHash("it hashes itself")
        self.opened.add(number)
        digest = keccak256(self.octets(self.hashed[number]))
        self.opened.remove(number)
        return int.from_bytes(digest, "big")

    def octets(self, pieces: Pieces) -> bytes:
        rest, found = open_end(pieces), ((self.number(term), size) for term, size in pieces if size)
        return b"".join((self.real(it) if size == HASH_BYTES else it).to_bytes(size, "big") for it, size in found) + self.rest(rest)

    def rest(self, it: OpenBytes | None) -> bytes:
        """Bytes of which the number was not known."""
        size = 0 if it is None else self.number(it.length)
        words = (self.octets(it.read(at, HASH_BYTES)) for at in range(0, size, HASH_BYTES)) if it is not None else ()
        return b"".join(words)[:size]

    def argument(self, it: Any) -> Any:
        if isinstance(it, Segment):
            return Segment(*(self.argument(getattr(it, name)) for name in ENDS))
        return self.octets(it.pieces) if isinstance(it, Octets) else self.number(getattr(it, "term", it))

    def case(self) -> Case:
        block, arguments = self.proof.block, tuple(map(self.argument, self.proof.arguments))
        act = Act(self.proof.name, arguments, self.number(self.proof.value))
        call = Call(act, self.number(block.sender).to_bytes(20, "big"), self.number(block.now), self.number(block.basefee))
        is_taken = self.proof.name != "withdraw_to" or bool(self.number(IS_TAKEN))
        return Case(self.stored(), call, is_taken, None if self.proof.arbiter is None else self.answer())

    def answer(self) -> Answer:
        """What the arbiter answers."""
        if self.number(IS_VALID):
            return Answer(*(self.real(self.number(name)) for name in (BEFORE, AFTER)))
        return Answer(error=self.number(NUMBER))

    def stored(self) -> StoredCourt:
        """Everything that either world looked at or wrote."""
        found: dict[Place, Fields] = {}
        for (kind, _), key in self.proof.world.known_keys.items():
            number = self.number(key)
            found[kind, self.real(number) if kind in OBJECTS else number] = self.fields(kind, key)
        found.update([*self.fallen(found)])
        return {place: nonzero({place: fields}).get(place, {}) for place, fields in found.items()}

    def fields(self, kind: str, key: Any) -> Fields:
        found = {name: self.number(function(kind, name)(key)) for name in WIDTHS[kind]}
        return {name: self.real(it) if WIDTHS[kind][name] == 8 * HASH_BYTES else it for name, it in found.items()}

    def fallen(self, stored: StoredCourt) -> Iterator[tuple[Place, Fields]]:
        """Yields the nodes at which claims fell and at which nobody looked."""
        places = {place_in_tree(it) for (kind, _), it in stored.items() if kind == "nodes"}
        for (kind, key), it in stored.items():
            where = key, it.get("end_depth", 0), it.get("end_path", 0)
            if kind == "claims" and where[1] and where not in places:
                identity = int.from_bytes(keccak256(b"fell at" + hash_of(key)), "big")
                yield ("nodes", identity), {**dict(zip(("claim_id", "depth", "path"), where, strict=True)), "state": NodeState.OPEN}


def reproducer(proof: Proof, failure: Failure, game: Artefact | None) -> str:
    """Writes the test; empty if no call is found on which the two differ. game: the bytecode, if it is not the committed one"""
    for model in models(proof, failure):
        try:
            case = Reading(proof, model).case()
            found = differences(case.stored, case.call, case.is_taken, game, case.arbiter)
        except (NotACourt, NotAHash):
            continue
        if found:
            return case.test(dict([*found.items()][:SHOWN]))
    return ""


def models(proof: Proof, failure: Failure) -> Iterator[Any]:
    """Yields what z3 found, then what it finds when it is told more of what hashes, products and quotients really are."""
    if failure.model is not None:
        yield failure.model
    known = [*failure.formulas, *proof.facts.known, *acyclic(proof.world.hashes)]
    for _ in range(ROUNDS if failure.formulas else 0):
        answer, model = proof.questions.ask(known, REFINED_UNITS)
        if answer != z3.sat:
            break
        yield model
        more = [*real_numbers(proof.world.arithmetic, model)]
        if not more:
            return
        known += more
    answer, model = proof.questions.ask([*known, *small_numbers(proof.world.arithmetic)], REFINED_UNITS)
    if answer == z3.sat:
        yield model


def acyclic(hashes: Hashes) -> Iterator[Any]:
    """Yields that each hash comes after what it was made of, so that none is made of itself."""
    rank = z3.Function("rank", z3.BitVecSort(8 * HASH_BYTES), z3.BitVecSort(8))
    for name in hashes.by_preimage.values():
        preimage = hashes.preimages[name.get_id()]
        if not is_slot(preimage):
            yield from (z3.ULT(rank(vector(term)), rank(name)) for term, size in preimage if size == HASH_BYTES)


def real_numbers(arithmetic: Arithmetic, model: Any) -> Iterator[Any]:
    """Yields what the products and quotients are that have another value in the model, for one of their numbers as it is there."""
    for numbers, real in ((arithmetic.products, operator.mul), (arithmetic.quotients, z3.UDiv)):
        for _, a, b, bare in numbers:
            value = model.eval(b, model_completion=True)
            if not z3.is_true(model.eval(bare == real(a, value), model_completion=True)):
                yield z3.Implies(b == value, bare == real(a, value))


def small_numbers(arithmetic: Arithmetic) -> Iterator[Any]:
    """Yields that all numbers that are multiplied or divided are small, and what the products and quotients then are."""
    for _, a, b, bare in arithmetic.products:
        unknown = [one for one in (a, b) if not z3.is_bv_value(one)]
        yield z3.And([z3.ULT(one, 1 << FACTOR_BITS) for one in unknown])
        yield bare == (a * b if len(unknown) < 2 else z3.ZeroExt(BITS - PRODUCT_BITS, lower(a, PRODUCT_BITS) * lower(b, PRODUCT_BITS)))
    for _, x, d, bare in arithmetic.quotients:
        yield z3.And(z3.ULT(x, 1 << DIVIDEND_BITS), z3.ULT(d, 1 << DIVIDEND_BITS))
        yield bare == z3.ZeroExt(BITS - DIVIDEND_BITS, z3.UDiv(lower(x, DIVIDEND_BITS), lower(d, DIVIDEND_BITS)))


def lower(term: Any, bits: int) -> Any:
    return z3.Extract(bits - 1, 0, term)
