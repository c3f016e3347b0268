"""A table: a simulated chain with honest players, and what strangers do there."""

from typing import Any

from min_simulated_chain import ACCOUNTS, BLOCK_SECONDS, ETHER, MODEL_ROOT, STATE_ROOT, HashRun, SimulatedChain

from opml_min.players.chain import ANYONE, Move, Wait, claim_id, model_id, seal
from opml_min.players.index import segment_of
from opml_min.players.policy import Policy
from opml_min.players.server import Server
from opml_min.players.validator import Validator

SERVER, VALIDATOR, REQUESTER, LIAR, ATTACKER = ACCOUNTS[:5]
MICROSECONDS = 10
MODEL = model_id(MODEL_ROOT, STATE_ROOT, MICROSECONDS)
BOND = 8 * ETHER
DAY = 86_400


class Table:
    """A chain, honest players on it, and what strangers do."""

    def __init__(self, server: bool = True, validator: bool = True, policy: Policy | None = None) -> None:
        self.chain = SimulatedChain()
        HashRun.made = 0
        self.send(REQUESTER, "register", MODEL_ROOT, STATE_ROOT, MICROSECONDS)
        kinds = [(Server, "server", SERVER)] * server + [(Validator, "validator", VALIDATOR)] * validator
        self.players = [player(kind, name, address, self.chain, policy) for kind, name, address in kinds]

    def send(self, sender: str, name: str, *arguments: Any, value: int = 0) -> None:
        assert self.chain.send(sender, Move(name, arguments, value)) is None

    def request(self, data: bytes, stages: int = 100, model: bytes = MODEL, fee: int = ETHER, bond: int = BOND, days: int = 1) -> bytes:
        arguments = (model, stages, data, self.chain.now + days * DAY, bond, ANYONE)
        self.send(REQUESTER, "request", *arguments, value=fee)
        return next(reversed(self.chain.court.requests))

    def claim(self, request_id: bytes, run_hash: bytes, server: str = LIAR) -> bytes:
        sealed, asked = seal(run_hash, server), self.chain.court.requests[request_id]
        work = self.chain.court.models[asked.model_id].work(asked.stage_count)
        price = 0 if asked.claims else work * self.chain.parameters.second_price
        self.send(server, "claim", request_id, sealed, self.chain.now + 365 * DAY, value=asked.bond + price)
        return claim_id(request_id, server, sealed)

    def head(self, most: int = 10**6) -> int:
        """One block: each player sends what it wants to, up to so many moves. Returns how many were accepted."""
        sent = 0
        for honest in self.players:
            for _ in range(most):
                waited = []
                for decision in honest.decisions():
                    if isinstance(decision, Wait):
                        waited.append(decision)
                    elif self.chain.send(honest.address, decision) is None:
                        sent += 1
                        break
                else:
                    if not any(wait.until <= self.chain.now for wait in waited):  # else it wants to be asked again
                        self.waits += waited
                        break
        self.chain.now += BLOCK_SECONDS
        return sent

    def run(self, until: int | None = None) -> None:
        """Blocks until nobody wants anything any more; time in which nothing happens passes at once."""
        while until is None or self.chain.now < until:
            self.waits: list[Wait] = []
            if not self.head():
                later = [wait.until for wait in self.waits if wait.until > self.chain.now - BLOCK_SECONDS]
                if not later:
                    return
                self.chain.now = max(self.chain.now, min(later))

    waits: list[Wait] = []  # noqa: RUF012


def player(kind: Any, name: str, address: str, chain: Any, policy: Policy | None = None, run: Any = HashRun) -> Any:
    made = kind(name, address, chain, None, run, policy)
    made._roots = MODEL_ROOT, STATE_ROOT
    return made


def next_after_computing(honest: Any) -> Any:
    """What a player wants once it has computed all that it needs, one run each time."""
    while (decision := honest.next_move()) == Wait(honest.chain.now):
        pass
    return decision


def status(table: Table, claim: bytes) -> int:
    return int(table.chain.court.claims[claim].status)


def segment_in(node: Any) -> Any:
    return segment_of(node.segment)


def lying(table: Table, data: bytes = b"lie", stages: int = 1_000, lies_from: int = 700, bond: int = BOND) -> tuple[bytes, Any]:
    """A request with a false claim, and the liar, who answers consistently while only stages are in dispute."""
    liar = player(Server, "liar", LIAR, table.chain, run=lambda image, asked, count: HashRun(image, asked, count, lies_from))
    liar.honest = False
    request_id = table.request(data, stages, bond=bond)
    return table.claim(request_id, HashRun(None, data, stages, lies_from).run_hash()), liar
