"""Two courts side by side: every call goes to the specification and to the contract, then everything visible is compared.

After each call the answers, the events in full, and all views of what the call may have changed must be the same, the books must balance,
and the contract must own what they say. At the end of a sequence every view is compared.

*Source*: spec §5.2, §5.11.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from opml_spec.dispute.acts import deploy
from opml_spec.dispute.objects import Court
from opml_spec.dispute.parameters import Parameters
from opml_spec.errors import SpecError

from evm_arbiter.chain import Artefact
from opml_fuzz.disputes.answers import new_id
from opml_fuzz.disputes.call import Call
from opml_fuzz.disputes.contract import EVERYBODY, Contract, Failed, MakeChain, fastest_chain
from opml_fuzz.disputes.wire.abi import Log, words
from opml_fuzz.disputes.wire.logs import logs
from opml_fuzz.disputes.wire.views import OF, VIEWS, View, changed, every
from opml_fuzz.errors import FuzzError


class CourtsDiffer(FuzzError):
    """After a call, the two courts differ in their answer or in what they show. said: what is seen, in either court"""

    def __init__(self, what: str, spec: Any, contract: Any) -> None:
        self.said = f"{what}: {shown(spec)}", f"{what}: {shown(contract)}"
        super().__init__(f"specification {self.said[0]}, contract {self.said[1]}")


def shown(value: Any) -> str:
    """Writes what is seen, bytes in hex."""
    if isinstance(value, bytes):
        return value.hex()
    return f"[{', '.join(map(shown, value))}]" if isinstance(value, list | tuple) else str(value)


def seen(court: Court, name: str, *arguments: bytes) -> bytes | int:
    """What a view of the specification's court returns, as the contract encodes it, or the number of the error that it raises."""
    try:
        return words(VIEWS[name](court, *arguments))
    except SpecError as error:
        return error.number


class BothCourts:
    """The specification's court (a value, `spec`) and the contract on its chain, given the same calls.

    game: other bytecode than the committed game contract. people: whoever makes calls. make_chain: makes the contract's chain"""

    def __init__(
        self,
        parameters: Parameters,
        game: Artefact | None = None,
        people: Sequence[bytes] = EVERYBODY,
        make_chain: MakeChain = fastest_chain,
    ) -> None:
        self.spec: Court = deploy(parameters)
        self.contract, self.people = Contract(parameters, game, make_chain(people)), tuple(people)

    def call(self, call: Call) -> str:
        """Makes a call at both courts and returns their common answer: `ok` or the error. Raises `CourtsDiffer`."""
        before = self.spec
        answers, events = self.ask_specification(call), list[Log]()
        try:
            events, said = self.contract.make(call), "ok"
        except Failed as failed:
            said = str(failed.number)
        if said != answers.partition(" ")[0]:
            raise CourtsDiffer(call.move, answers, said)
        if said == "ok":
            self.same(f"{call.move}: events", logs(before, call, self.spec, new_id(before, call, self.spec)), events)
        self.compare(changed(before, self.spec))
        self.compare(self.concerned(call))
        ledger = self.spec.ledger
        self.same("the books balance", ledger.balanced, True)
        self.same("balance", ledger.deposits - ledger.paid_out, self.contract.balance)
        return answers

    def ask_specification(self, call: Call) -> str:
        try:
            self.spec = call.on(self.spec)
        except SpecError as error:
            return f"{error.number} {error.name}"
        except Exception as error:  # only a broken specification raises anything else
            return f"raised {type(error).__name__}: {error}"
        return "ok"

    def concerned(self, call: Call) -> Iterator[View]:
        """Yields the views of what a call names and of who makes it, which the specification may have left as they were."""
        yield "account_of", (call.sender,)
        identity = call.act.arguments[0]
        yield from ((view, (identity,)) for kind, view in OF.items() if identity in getattr(self.spec, kind))
        if identity in self.spec.requests:
            yield "result_of", (identity,)

    def compare(self, views: Iterable[View]) -> None:
        for name, arguments in views:
            what = " ".join([name, *(each.hex() for each in arguments)])
            self.same(what, seen(self.spec, name, *arguments), self.contract.view(name, *arguments))

    def compare_everything(self) -> None:
        self.compare(every(self.spec, self.people))

    def same(self, what: str, spec: Any, contract: Any) -> None:
        if spec != contract:
            raise CourtsDiffer(what, spec, contract)
