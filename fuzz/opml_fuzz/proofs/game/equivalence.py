"""An entry point of the game's bytecode against the act of the specification, for all courts, senders, times and arguments.

Each pair of a path here and a path there that can both be taken must end the same way: refused without data, an error of the same number,
or the same storage, the same events, the same result and the same payment. Only `unsat` is a proof.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import z3
from attrs import astuple, frozen
from opml_spec.dispute.acts import ACTS, PAYABLE, Act
from opml_spec.dispute.narrowing import Segment
from opml_spec.dispute.objects import Court, Message, model_id
from opml_spec.dispute.parameters import Parameters
from opml_spec.errors import SpecError

from evm_arbiter.chain import Artefact, Chain
from opml_fuzz.disputes.call import Call
from opml_fuzz.disputes.wire.abi import FUNCTIONS, SEGMENT, SELECTORS
from opml_fuzz.disputes.wire.logs import logs
from opml_fuzz.disputes.wire.views import VIEWS
from opml_fuzz.proofs.evm.code import Code
from opml_fuzz.proofs.evm.memory import Memory
from opml_fuzz.proofs.evm.path import End
from opml_fuzz.proofs.evm.pieces import Pieces, length, of_bytes, value
from opml_fuzz.proofs.evm.words import vector
from opml_fuzz.proofs.game import wire
from opml_fuzz.proofs.game.arbiter_call import Arbiter
from opml_fuzz.proofs.game.court import GameWorld, Written, replaced
from opml_fuzz.proofs.game.facts import Facts, conjunction, equal, same_data
from opml_fuzz.proofs.game.inner_function import SCRATCH_BYTES
from opml_fuzz.proofs.game.invariants import OF_REQUESTS
from opml_fuzz.proofs.game.io_root import DATA_BYTES, UnknownRoot, io_root_of
from opml_fuzz.proofs.game.layout import LAYOUT, function
from opml_fuzz.proofs.game.machine import Block, Event, GameMachine, GamePath
from opml_fuzz.proofs.game.machine_state import any_state
from opml_fuzz.proofs.game.numbers import GamePaths, SegmentEnd, is_contrary, term_of
from opml_fuzz.proofs.game.open_bytes import OpenOctets, open_bytes
from opml_fuzz.proofs.game.run_result import OUTPUT_BYTES, PROOF_BYTES, UnknownResult, read_output_of
from opml_fuzz.proofs.game.segments import named
from opml_fuzz.proofs.game.storage import NO_KEY, Storage, WordPlace
from opml_fuzz.proofs.questions import Failure, Questions
from opml_fuzz.proofs.step.ending import of_end
from opml_fuzz.proofs.step.machine_symbols import Octets
from opml_fuzz.proofs.symbols import FEASIBLE_UNITS
from opml_fuzz.proofs.unsupported import Unsupported

TIME_BITS, WEI_BITS, BASEFEE_BITS = 39, 128, 128
REFUSED = "refused"
PAYMENT_FAILED = 233
WITNESS_BYTES = 3769  # a longer witness is refused without data
POSTED_BYTES = 2048  # more hashes are never read: 32 times the largest k
MOST_BYTES = {("arbitrate", 2): WITNESS_BYTES, ("request", 2): DATA_BYTES, ("finalise", 3): OUTPUT_BYTES, ("finalise", 4): PROOF_BYTES}
"""How many bytes each argument of unknown length has at most; all others are hashes that are posted."""

VIEW_WORDS = {"model_of": 4, "request_of": 17, "claim_of": 11, "node_of": 12}  # of an unknown id each is zero
FINAL_STATE = "open", "argument5"  # of 297 bytes
FALLS = ("open", "arbitrate", "timeout")  # by these a claim falls
CREATES = {"request": "requests", "claim": "claims", "challenge": "nodes", "choose": "nodes"}


LITTLE = 3_000_000  # of z3's own units of work


@frozen
class Deployed:
    """A game on the chain."""

    code: Code
    parameters: Parameters
    arbiter: int  # its address


def deployed(artefact: Artefact | None = None, parameters: Parameters | None = None) -> Deployed:
    """Deploys the game, or other bytecode in its place, and reads what is there."""
    chain, rules = Chain(), parameters or Parameters()
    arbiter = chain.deploy(Artefact.load("arbiter"), sender=chain.accounts[0])
    game = chain.deploy(artefact or Artefact.load("game"), arbiter.address, astuple(rules), sender=chain.accounts[0])
    return Deployed(Code(chain.node.code(bytes.fromhex(game.address[2:]))), rules, int(arbiter.address, 16))


@frozen(eq=False)
class Ended:
    """How an act ends by the specification. what: `refused`, the number of an error, or `ok`; the rest is there if it is `ok`

    fits: the conditions under which all numbers fit their fields; pays: to whom and how much"""

    what: Any
    written: Written | None = None
    events: tuple[Event, ...] = ()
    returned: Pieces = ()
    pays: tuple[Any, Any] | None = None
    fits: tuple[Any, ...] = ()


@frozen
class AboutCalls:
    """What a proof assumes beside what all assume. remembers: whether the machine uses what it has just proved, and sums get names"""

    conditions: tuple[Any, ...] = ()
    remembers: bool = False


Setup = Callable[["Proof"], AboutCalls]
Ours = Sequence[tuple[Sequence[Any], Ended]]


def nothing(proof: "Proof") -> AboutCalls:
    return AboutCalls()


class Proof:
    """Both worlds in one proof."""

    def __init__(self, game: Deployed, name: str, questions: Questions, setup: Setup = nothing) -> None:
        self.game, self.name, self.questions = game, name, questions
        sender, now = z3.BitVec("sender", 160), z3.ZeroExt(256 - TIME_BITS, z3.BitVec("now", TIME_BITS))
        self.value = z3.simplify(z3.ZeroExt(256 - WEI_BITS, z3.BitVec("value", WEI_BITS)))
        basefee = z3.ZeroExt(256 - BASEFEE_BITS, z3.BitVec("basefee", BASEFEE_BITS))
        self.block = Block(*(z3.simplify(one) for one in (z3.ZeroExt(96, sender), now, basefee)))
        self.facts, self.paths = Facts(), GamePaths(True, questions.refuted, counts=True)
        self.world = GameWorld(game.parameters, self.paths, self.facts, self.block)
        self.arguments = tuple(self.argument(kind, place) for place, kind in enumerate(FUNCTIONS[name]))
        self.open = [octets.bytes for octets in self.arguments if isinstance(octets, OpenOctets)]
        self.name_segment()
        self.arbiter = Arbiter(game.arbiter, self.open[-1]) if name == "arbitrate" else None
        self.world.knows_beginnings, self.world.only_burns = name == "open", name in FALLS
        self.world.tells_of_requests = OF_REQUESTS.get(name)
        self.world.inner = self.unknown_function()
        self.world.witness = self.arguments[-1] if name == "arbitrate" else None
        assumed = setup(self)
        self.facts.give(*assumed.conditions)
        self.remembers = self.world.arithmetic.names_sums = assumed.remembers
        self.sender = self.world.octets(sender, 20)
        deposits = z3.ZeroExt(1, function("held", "deposits")(NO_KEY))
        fits = z3.ULT(deposits + z3.Extract(WEI_BITS, 0, self.value), 1 << WEI_BITS)  # all the ether that there is
        have_room = (z3.ULE(one.length, one.room) for one in self.open)
        self.assumptions = (sender != 0, z3.UGE(self.block.now, 1), fits, *assumed.conditions, *have_room)
        self.world.touched("held", NO_KEY)
        if name == "claim_of":
            with replaced(self.world):
                self.world.name_fallen(term_of(self.arguments[0]))

    def unknown_function(self) -> UnknownRoot | UnknownResult | None:
        """The inner function that both worlds take as unknown, if this entry point has one."""
        if self.name == "request":
            return UnknownRoot(io_root_of(self.game.code, self.game.parameters), self.arguments[1], self.arguments[2])
        if self.name == "finalise":
            _, carry, _, output, proof = self.arguments
            result = UnknownResult(read_output_of(self.game.code, self.game.parameters), carry, output, proof, self.world.holds)
            self.facts.learn(*result.facts(self.world.hashes))
            self.world.finalised = term_of(self.arguments[0])
            return result
        return None

    def name_segment(self) -> None:
        """Tells the world what the call says that a node is about, if it says so."""
        segment = next((one for one in self.arguments if isinstance(one, Segment)), None)
        if segment is not None:
            with replaced(self.world):
                self.world.named = named(segment, self.arguments[2] if self.name == "choose" else b"")

    def argument(self, kind: str, place: int) -> Any:
        """Any argument of this type."""
        name = f"argument{place}"
        if kind.startswith("uint"):
            size = int(kind[4:])
            return self.world.number(z3.BitVec(name, size))
        if kind in ("bytes32", "address"):
            size = 32 if kind == "bytes32" else 20
            return self.world.octets(z3.BitVec(name, 8 * size), size)
        if kind == SEGMENT:
            phase = self.world.number(z3.BitVec(f"{name}_phase", 8))
            places = (z3.simplify(z3.ZeroExt(192, z3.BitVec(f"{name}_{end}", 64))) for end in ("lo", "hi"))
            ends = (self.world.octets(z3.BitVec(f"{name}_{end}", 256)) for end in ("agreed", "disputed"))
            return Segment(phase, *(SegmentEnd(one, self.paths) for one in places), *ends)  # type: ignore[arg-type]
        if (self.name, name) == FINAL_STATE:
            return Octets(any_state(name), self.paths)
        if kind == "bytes":
            return OpenOctets(((open_bytes(name, MOST_BYTES.get((self.name, place), POSTED_BYTES)), 0),), self.paths)
        raise Unsupported(f"an argument of type {kind} of which nothing is known")

    # The specification -----------------------------------------------------------------------------------------------------------

    def act(self) -> Ended:
        """Does what the act does, on one path."""
        if self.name not in PAYABLE and self.world.holds(self.value != 0):
            return Ended(REFUSED)
        before = self.world.court()
        if self.name in VIEWS:
            return self.view(before)
        number = self.world.number
        message = Message(self.sender, number(self.block.now), number(self.value), number(self.block.basefee))
        try:
            after = ACTS[self.name](before, message, *self.arguments)
        except SpecError as error:
            return Ended(error.number)
        new = self.created(after)
        call = Call(Act(self.name, self.arguments, message.value), message.sender, message.now, message.basefee)
        events = tuple(Event(tuple(map(topic, log.topics)), log.data) for log in logs(before, call, after, new))  # type: ignore[arg-type]
        paid = after.ledger.paid_out - before.ledger.paid_out
        pays = (self.arguments[0], paid) if self.name == "withdraw_to" else None
        written = self.world.written(after)
        return Ended("ok", written, events, wire.word(new) if new else (), pays, tuple(written.fits))

    def view(self, court: Court) -> Ended:
        """Shows what the view shows. It changes nothing."""
        try:
            shown = VIEWS[self.name](court, *self.arguments)
        except SpecError as error:
            return Ended(error.number)
        except KeyError:
            shown = VIEW_WORDS[self.name] * (0,)
        return Ended("ok", self.world.written(court), returned=wire.words(shown))

    def created(self, after: Court) -> Any:
        """The id of what was created, if anything was."""
        if self.name == "register":
            return model_id(*self.arguments)
        return getattr(after, CREATES[self.name]).entries[-1][0] if self.name in CREATES else b""

    # The contract ----------------------------------------------------------------------------------------------------------------

    def machine(self) -> GameMachine:
        data = (*of_bytes(SELECTORS[self.name]), *wire.encode(FUNCTIONS[self.name], self.arguments))
        given = wire.Given(data, self.value)
        return GameMachine(self.game.code, given, self.facts, self.world.hashes, self.world.arithmetic, self.block,
                           self.questions, self.world.cuts, self.arbiter, self.remembers, self.world.inner)  # fmt: skip

    # Both ------------------------------------------------------------------------------------------------------------------------

    def prove(self) -> set[Any]:
        """Shows that both end the same way, or raises Failure; returns how acts end."""
        self.questions.are_possible(self.assumptions)
        with ExitStack() as stack:
            for one in (replaced(self.world), wire.encoding(self.paths)):
                stack.enter_context(one)
            ours = list(self.paths.explore(self.act, self.assumptions))
        for conditions, ended in ours:
            if ended.fits:
                own = list(conditions[len(self.assumptions) :])
                self.facts.long.append(z3.Implies(conjunction(own), conjunction(ended.fits)))
        memory = Memory().store_pieces(0, ((0, SCRATCH_BYTES),))
        theirs = self.machine().run(GamePath(0, memory=memory, conditions=self.assumptions, storage=Storage(self.world.touched)))
        met, self.knowing = set[int](), self.questions.solver(self.facts)
        for end in theirs:
            for place in self.meetings(ours, end):
                conditions, ended = ours[place]
                both = [*conditions, *ended.fits, *end.path.conditions]
                if self.questions.ask(self.facts.relevant(*both))[0] == z3.unsat:
                    continue
                met.add(place)
                self.compare(both, ended, end)
        self.are_impossible(ours, met)
        return {ours[place][1].what for place in met}

    def are_impossible(self, ours: Ours, met: set[int]) -> None:
        """Shows that paths here which met none there cannot be taken, of a branch at once if it can; or raises Failure."""
        waiting = [(list(range(len(ours))), len(self.assumptions))]
        while waiting:
            places, at = waiting.pop()
            if met.issuperset(places):
                continue
            if len(places) == 1:
                self.is_impossible(*ours[places[0]])
                continue
            both, shared = branches(ours, places, at), ours[places[0]][0][:at]
            may_be_taken = len(both) == 1 or not met.isdisjoint(places) or self.questions.can_hold(self.facts.relevant(*shared))
            waiting += [(branch, at + 1) for branch in both if may_be_taken]

    def is_impossible(self, conditions: Sequence[Any], ended: Ended) -> None:
        """Shows that a path cannot be taken, or raises Failure."""
        asked = self.facts.relevant(*conditions)
        answer, model = self.questions.ask(asked)
        if answer == z3.unsat:
            return
        what = f"the numbers of an act that ends with {ended.what} never fit their fields"
        fitting = self.facts.relevant(*conditions, *ended.fits)
        if self.questions.ask(fitting)[0] != z3.unsat:
            asked, what = fitting, f"nothing answers to an act that ends with {ended.what}"
            answer, model = self.questions.ask(fitting)
        raise Failure("error", what, model if answer == z3.sat else None, asked)

    def meetings(self, ours: Ours, end: End) -> Iterator[int]:
        """Finds the paths here that can be taken together with a path there.

        The paths here are the leaves of a tree: the first decision that differs between two of them is taken one way by one and the other
        way by the other. What was not explored cannot be. So a branch is left out only if z3 shows that it does not meet the path there."""
        waiting = [(list(range(len(ours))), len(self.assumptions))]
        while waiting:
            places, at = waiting.pop()
            if len(places) > 1:
                both = branches(ours, places, at)
                is_open = [len(both) == 1 or self.meets(end, ours[branch[0]][0][: at + 1]) != z3.unsat for branch in both]
                waiting += [(branch, at + 1) for branch, may_be_taken in zip(both, is_open, strict=True) if may_be_taken]
                continue
            answer = self.meets(end, ours[places[0]][0])
            if answer == z3.sat:
                yield places[0]
            elif answer != z3.unsat:
                raise Failure("unknown", f"what meets {end.how}")

    def meets(self, end: End, conditions: Sequence[Any]) -> Any:
        """Asks whether a path there can be taken under conditions of paths here: of a solver that remembers what it learned, and afresh.

        Either is soon done with questions on which the other one is slow, so both are tried a little before one of them much."""
        formulas = *end.path.conditions, *conditions[len(self.assumptions) :]
        answer, afresh = z3.unknown, list[Any]()
        for remembering, limit in ((True, LITTLE), (False, LITTLE // 3), (True, FEASIBLE_UNITS), (False, None)):
            if remembering:
                self.knowing.set("rlimit", limit)
                answer, _ = self.questions.ask_in(self.knowing, formulas, self.facts.known)
            else:
                afresh = afresh or self.facts.relevant(*formulas)
                answer, _ = self.questions.ask(afresh, limit)
            if answer != z3.unknown:
                break
        return answer

    def compare(self, both: Sequence[Any], ended: Ended, end: End) -> None:
        """Shows that a path here and a path there end the same way.

        Of a number, z3 is first asked with what speaks of the same fields, which is often the same on many paths. What is shown helps with
        the rest. About this z3 is asked at once, and only if that fails, one by one."""
        claims = [(what, simple) for what, claim in self.sameness(ended, end) if not z3.is_true(simple := z3.simplify(claim, ctrl_c=False))]
        shown = [claim for _, claim in claims if self.is_shown_by_few(both, claim)]
        known, rest = [*both, *shown], [(what, claim) for what, claim in claims if not any(claim is one for one in shown)]
        try:
            self.prove_on(known, z3.And([claim for _, claim in rest]))
        except Failure:
            for what, claim in rest:
                try:
                    self.prove_on(known, claim)
                except Failure as failure:
                    raise Failure(failure.result, f"{what}: {self.shown(failure.model)}", failure.model, failure.formulas) from None

    def is_shown_by_few(self, conditions: Sequence[Any], claim: Any) -> bool:
        """Tells whether a claim that is not about hashes follows from the conditions and facts about the same fields."""
        fields = self.facts.fields_in(claim)
        if z3.is_false(claim) or any(key in self.world.hashes.preimages for key in fields):
            return False
        near = (one for one in conditions if self.facts.fields_in(one) & fields)
        return not self.questions.can_hold(self.facts.near(fields, *near, z3.Not(claim)))

    def prove_on(self, conditions: Sequence[Any], claim: Any) -> None:
        """Shows that a claim holds on a path, with the facts that may matter."""
        *known, _ = self.facts.relevant(*conditions, claim)
        self.questions.prove(known, claim)

    def sameness(self, ended: Ended, end: End) -> Any:
        """Yields what must hold for the two to be the same, one after the other."""
        path: Any = end.path
        if end.how == "RETURN":
            yield f"the contract accepts, the specification says {ended.what}", z3.BoolVal(ended.what == "ok")
            if ended.written is not None:
                yield from self.same_result(ended, end)
            return
        if end.how == "INVALID":
            yield "the contract halts exceptionally", z3.BoolVal(False)
            return
        said = of_end(end)
        number = REFUSED if said.error is None else said.error
        if path.payments and ended.pays is not None:
            yield "a payment that is refused", z3.And(z3.Not(path.payments[0].success), z3.BoolVal(number == PAYMENT_FAILED))
            return
        yield f"the contract says {number}, the specification {ended.what}", same_number(number, ended.what)

    def same_result(self, ended: Ended, end: End) -> Any:
        path: Any = end.path
        assert ended.written is not None  # the specification accepts
        keys = dict[tuple[str, int], Any]()
        for kind, key in (*ended.written.keys(), *((place.kind, place.key) for place, _ in path.storage.written.values())):
            term = z3.simplify(key)
            keys[kind, term.get_id()] = term
        for (kind, _), key in keys.items():
            for offset in range(len(LAYOUT[kind])):
                wanted = ended.written.word(kind, offset, key)
                yield f"storage: {kind}, word {offset}", vector(path.storage.read(WordPlace(kind, offset, key))) == wanted
        yield from ended.written.implied
        yield "the number of events", z3.BoolVal(len(ended.events) == len(path.events))
        if len(ended.events) != len(path.events) or length(ended.returned) != length(end.data):
            yield "the size of the result", z3.BoolVal(length(ended.returned) == length(end.data))
            return
        for place, (one, other) in enumerate(zip(ended.events, path.events, strict=True)):
            yield f"event {place}: topics", z3.And(z3.BoolVal(len(one.topics) == len(other.topics)), *(
                vector(left) == vector(right) for left, right in zip(one.topics, other.topics, strict=False)))  # fmt: skip
            yield f"event {place}: data", same_data(one.data, other.data)
        yield "the result", equal(ended.returned, end.data)
        yield "the number of payments", z3.BoolVal((ended.pays is None) == (not path.payments))
        if ended.pays is not None and path.payments:
            (payment,), (to, wei) = path.payments, ended.pays
            yield "the payment", z3.And(vector(payment.to) == term_of(to), vector(payment.amount) == term_of(wei), payment.success)
            yield "its data", z3.BoolVal(not payment.data)

    def shown(self, model: Any) -> str:
        """A counterexample: the arguments, the sender, the time and the money."""
        if model is None:
            return ""
        named = {**{f"argument {place}": one for place, one in enumerate(self.arguments)}, "now": self.block.now, "value": self.value}
        terms = {name: getattr(one, "term", one) for name, one in named.items()}
        return ", ".join(f"{name} = {model.eval(term, model_completion=True)}" for name, term in terms.items() if z3.is_expr(term))


def branches(ours: Ours, places: list[int], at: int) -> list[list[int]]:
    """Divides paths by what they decide at a place."""
    first = ours[places[0]][0][at]
    like, unlike = ([place for place in places if ours[place][0][at].eq(first) is same] for same in (True, False))
    if not all(is_contrary(first, ours[place][0][at]) for place in unlike):
        raise Failure("error", "the act decides something else when it is run again")
    return [like, unlike] if unlike else [like]


def topic(pieces: Pieces | bytes) -> Any:
    return int.from_bytes(pieces, "big") if isinstance(pieces, bytes) else value(pieces)


def same_number(number: Any, what: Any) -> Any:
    """Whether both are refused, or name the same error."""
    is_refused = not z3.is_expr(number) and number == REFUSED
    if what in (REFUSED, "ok") or is_refused:
        return z3.BoolVal(is_refused and what == REFUSED)
    return vector(number) == vector(what if not hasattr(what, "term") else what.term)
