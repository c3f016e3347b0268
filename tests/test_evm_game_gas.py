"""What acts of the game cost, at k = 32 with the default parameters; with `pytest -s` it prints the tables.

*Prague*: measured, whole transactions with calldata floor and refunds. *EIP-7976*: the same execution with a floor of 64 gas for each byte
of calldata. *EIP-8037*: a storage word that was zero costs 64 bytes of new state at 1,530 gas each and 2,900 gas, not 20,000; everything
else as in Prague. The last two are computed from what Prague's measurement shows: gas, calldata, fresh words.
"""

import random
from typing import Any

import pytest
from attrs import define, evolve
from eth.vm.forks.prague.computation import PragueComputation
from evm_dispute import DATA, MODEL, OUTPUT, Dispute, carry_of, proof_of, request_memory, run_hash
from evm_machine import ENTRY, Machine, Memory, i_type, machine, s_type, witness

from evm_arbiter.court import ANYONE, Court
from evm_arbiter.objects import ClaimStatus, Opened
from evm_arbiter.parameters import ETHER, GWEI, Parameters

SSTORE = 0x55
FLOOR = 64  # gas for each byte of calldata. Source: EIP-7976
FRESH_WORD = 64 * 1_530 + 2_900  # gas. Source: EIP-8037 as planned for Glamsterdam
FRESH_WORD_NOW = 20_000  # gas. Source: EIP-2200
STAGES, STEPS = 1_216, 2**22 + 11  # of the embedded model: a run, and more than a long stage
FIXED = Parameters()


@define
class Cost:
    """One transaction."""

    move: str
    prague: int
    calldata: int
    fresh: int  # words that were zero and are not any more

    @property
    def eip_7976(self) -> int:
        return max(self.prague, 21_000 + FLOOR * self.calldata)

    @property
    def eip_8037(self) -> int:
        return self.prague + self.fresh * (FRESH_WORD - FRESH_WORD_NOW)

    def __str__(self) -> str:
        return f"| {self.move} | {self.prague:,} | {self.eip_7976:,} | {self.eip_8037:,} | {self.fresh} |"


class Meter:
    """A court whose transactions are measured."""

    def __init__(self, court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
        self.court, self.costs = court, list[Cost]()
        self._fresh, self._calldata = 0, 0
        store, calldata = PragueComputation.opcodes[SSTORE], court.game.calldata

        def counted(computation: Any) -> None:
            slot, value = computation._stack.values[-1], computation._stack.values[-2]
            address = computation.msg.storage_address
            self._fresh += computation.state.get_storage(address, _number(slot)) == 0 and _number(value) != 0
            store(computation=computation)

        def measured(name: str, *arguments: Any) -> bytes:
            data = calldata(name, *arguments)
            self._fresh, self._calldata = 0, len(data)
            return data

        monkeypatch.setitem(PragueComputation.opcodes, SSTORE, counted)
        monkeypatch.setattr(court.game, "calldata", measured)

    def last(self, name: str = "") -> Cost:
        """What the last transaction cost, under this name."""
        transaction = self.court.transactions[-1]
        cost = Cost(name or transaction.move, transaction.gas_used, self._calldata, self._fresh)
        self.costs.append(cost)
        return cost


def _number(item: Any) -> int:
    value = item[1] if isinstance(item, tuple) else item
    return int.from_bytes(value, "big") if isinstance(value, bytes) else int(value)


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> Meter:
    court = Court()
    court.set_base_fee(10 * GWEI)
    return Meter(court, monkeypatch)


# Witnesses as on a model of some megabytes: every path has siblings at all heights below 2^18 leaves, and the other quarters.

PATH = [*range(18), 33, 34]  # heights with a sibling that is not zero


def crowded(memory: Memory, address: int, chance: random.Random) -> Memory:
    for height in PATH:
        memory = memory.write((address // 32 ^ 1 << height) * 32, chance.randbytes(32))
    return memory


def step_of(kind: str) -> tuple[Machine, bytes, bytes]:
    """A machine with busy registers, what the step leads to, and the witness."""
    chance, data, pc = random.Random(kind), 0xC0_0001_0008, ENTRY + 0x800
    memory = crowded(crowded(Memory(), data, chance).write(data, chance.randbytes(8)), pc, chance)
    x = {i: chance.getrandbits(chance.choice((0, 16, 32, 40))) for i in range(1, 32)} | {1: data, 2: chance.getrandbits(64)}
    word = {"register": i_type(0x13, 0, 5), "load": i_type(0x03, 3, 0), "store": s_type(0x23, 3, 0)}[kind]
    before = machine(word, x, pc=pc, memory=memory)
    if kind == "register":
        return before, before.then(3, data + 5).hash(), witness(before)
    if kind == "load":
        return before, before.then(3, int.from_bytes(memory.read(data, 8), "little")).hash(), witness(before, [data])
    after = before.memory.write(data, x[2].to_bytes(8, "little"))
    return before, before.then(memory=after).hash(), witness(before, [data], after)


def play(meter: Meter, dispute: Dispute, evidence: bytes) -> list[Cost]:
    """From the challenge to the verdict, every transaction of both sides."""
    mark = len(meter.costs)
    dispute.challenged()
    meter.last()
    while True:
        if dispute.court.claim_of(dispute.claim_id).status is ClaimStatus.REJECTED or dispute.state == 3:
            return meter.costs[mark:]
        segment, hashes = dispute.last()
        if hashes:
            dispute.choose()
        elif segment.hi - segment.lo > 1:
            dispute.post()
        elif segment.phase == 1:
            dispute.open()
        else:
            dispute.arbitrate(evidence)
        meter.last()


def test_gas_of_a_whole_dispute(meter: Meter) -> None:
    """Two rounds of stages, five of instructions, a store at the end; with the collection of all bonds besides."""
    before, _, evidence = step_of("store")
    dispute = Dispute(meter.court, STAGES, 1_104, STEPS, 2**21 + 7, before=before, after_hash=bytes(32)).asked().claimed()
    costs = play(meter, dispute, evidence)
    moves = [cost.move for cost in costs]
    assert (moves.count("choose"), moves.count("post"), moves.count("open"), moves[-1]) == (7, 6, 1, "arbitrate")
    total = Cost("**both sides**", *(sum(values) for values in zip(*((c.prague, c.calldata, c.fresh) for c in costs), strict=True)))
    print("\n| move | Prague | EIP-7976 | EIP-8037 | fresh words |\n|---|---|---|---|---|")
    print(*costs, sep="\n")
    print(f"| **both sides** | {total.prague:,} | {sum(cost.eip_7976 for cost in costs):,} | {total.eip_8037:,} | {total.fresh} |")
    assert total.prague <= 2_000_000
    collecting = 0
    for event in meter.court.events():
        if isinstance(event, Opened):
            meter.court.collect(event.node_id, sender=meter.court.accounts[9])
            collecting += meter.last().prague
    print(f"collect × {len(costs) - moves.count('post') - 2}: {collecting:,}")


def test_gas_of_the_longest_dispute_is_within_the_parameters(meter: Meter) -> None:
    """2^24 stages of 2^32 steps: a path of R nodes, with no move dearer than the parameters say, and choices no cheaper."""
    before, after_hash, evidence = step_of("store")
    dispute = Dispute(meter.court, 2**24, 2**24 - 1, 2**32, 2**31 + 7, before=before, after_hash=after_hash).asked().claimed()
    costs = play(meter, dispute, evidence)
    dearest = {move: max(cost.prague for cost in costs if cost.move == move) for move in ("post", "open", "choose", "arbitrate")}
    print("\ndearest of the longest dispute:", dearest, "in all", sum(cost.prague for cost in costs))
    assert sum(cost.move == "choose" for cost in costs) == 12
    assert dearest["post"] <= FIXED.gas_post
    assert dearest["open"] <= FIXED.gas_open
    assert dearest["arbitrate"] <= FIXED.gas_arbitrate
    assert min(cost.prague for cost in costs if cost.move == "choose") >= FIXED.gas_choose + 21_000
    assert {cost.fresh for cost in costs if cost.move == "choose"} == {4}, "the ceiling of gas_choose rests on that"


LIMITS = {"register": 95_000, "load": 125_000, "store": 130_000}  # gas of a whole transaction


@pytest.mark.parametrize("lie", [False, True])
@pytest.mark.parametrize("kind", LIMITS)
def test_gas_of_arbitration(meter: Meter, kind: str, lie: bool) -> None:
    before, after_hash, evidence = step_of(kind)
    dispute = Dispute(meter.court, steps=1000, before=before, after_hash=b"\7" * 32 if lie else after_hash)
    dispute.started().narrow().open().narrow().arbitrate(evidence)
    print(meter.last(f"arbitrate, {kind}, {'falls' if lie else 'answered'}"))
    assert (dispute.court.claim_of(dispute.claim_id).status is ClaimStatus.REJECTED) == lie
    assert meter.last().prague <= LIMITS[kind] + 20_000 * lie  # a fall writes where


def test_gas_of_the_other_acts(meter: Meter) -> None:
    """Before and after disputes, in their usual order."""
    court = meter.court
    requester, server, anybody = court.accounts[0], court.accounts[1], court.accounts[9]
    model_id = court.register(b"\1" * 32, MODEL.memory.levels()[33][3], 1_000, sender=requester)
    rows = [meter.last()]
    for length in (100, 1_000, 16_384):
        data = random.Random(length).randbytes(length)
        asked = court.request(model_id, 3, data, court.now + 10**6, 2 * ETHER, ANYONE, sender=requester, value=ETHER)
        rows.append(meter.last(f"request, {length:,} bytes"))
    text = b"".join(token.to_bytes(4, "little") for token in range(1, 101))
    memory = request_memory(3, DATA).write(OUTPUT, (100).to_bytes(8, "little") + b"\1" + bytes(23) + text)
    dispute = Dispute(court, 3, request_id=asked, bond=2 * ETHER, last_run_hash=run_hash(carry_of(memory))).claimed()
    rows.append(meter.last("claim, the first"))
    second, third = evolve(dispute, server_number=3).claimed(), evolve(dispute, last_run_hash=bytes(32))
    rows.append(meter.last("claim, a later one"))
    third.claimed()
    late, fallen = evolve(dispute, last_run_hash=b"\1" * 32).claimed(), evolve(dispute, last_run_hash=b"\2" * 32).claimed().challenged()
    court.set_time(court.claim_of(fallen.claim_id).closes_at)
    fallen.timeout()
    rows.append(meter.last("timeout"))
    fallen.court.collect(fallen.node_id, sender=anybody)
    rows.append(meter.last("collect, the first of an account"))
    output, proof = proof_of(memory, 14)
    for claim, name in ((dispute, "the first, with the fee"), (second, "a later one")):
        court.finalise(claim.claim_id, carry_of(memory), 0, output, proof, sender=anybody)
        rows.append(meter.last(f"finalise, 100 tokens, {name}"))
    court.set_time(court.now + FIXED.grace + 1)
    for claim in (late, third):
        court.expire(claim.claim_id, sender=anybody)
    rows.append(meter.last("expire"))
    court.withdraw_to(server, sender=server)
    rows.append(meter.last())
    again = court.request(model_id, 3, b"", court.now, 2 * ETHER, ANYONE, sender=requester, value=ETHER)
    court.set_time(court.now + 1)
    court.reclaim(again, sender=anybody)
    rows.append(meter.last())
    passed = Dispute(court, 3, request_id=court.request(model_id, 3, b"a", court.now + 9, ETHER * 2, ANYONE, sender=requester, value=ETHER))
    passed = evolve(passed, bond=2 * ETHER, last_run_hash=bytes(32)).claimed()
    final = evolve(passed, last_run_hash=run_hash(b"\7" * 32, 1)).claimed()
    court.set_time(court.claim_of(final.claim_id).closes_at)
    court.finalise(final.claim_id, b"\7" * 32, 1, b"", b"", sender=anybody)
    rows.append(meter.last("finalise, a failed run, the first"))
    for claim, name in ((passed, "passes over"), (final, "pays")):
        court.award(claim.claim_id, sender=anybody)
        rows.append(meter.last(f"award, {name}"))
    print("\n| act | Prague | EIP-7976 | EIP-8037 | fresh words |\n|---|---|---|---|---|")
    print(*rows, sep="\n")
    print(f"code: {len(court.chain.node.code(bytes.fromhex(court.game.address[2:]))):,} bytes")
    limits = {"claim, the first": 175_000, "timeout": 90_000, "finalise, a failed run, the first": 190_000, "award, pays": 65_000}
    assert all(row.prague <= limits.get(row.move, 900_000) for row in rows)


@pytest.mark.parametrize("k", [2, 4, 8, 16, 32, 64])
def test_gas_by_k(monkeypatch: pytest.MonkeyPatch, k: int) -> None:
    """A dispute over 2^10 stages of 2^30 steps: few hashes for each move, or few moves."""
    roomy = evolve(FIXED, k=k, min_bond=20 * ETHER, challenger_time=30 * 86_400)
    meter = Meter(Court(parameters=roomy), monkeypatch)
    before, _, evidence = step_of("register")
    dispute = Dispute(meter.court, 2**10, 700, 2**30, 2**29 + 7, before=before, after_hash=bytes(32), bond=20 * ETHER).asked().claimed()
    costs = play(meter, dispute, evidence)
    server = sum(cost.prague for cost in costs if cost.move in ("post", "open"))
    total = sum(cost.prague for cost in costs)
    rounds = sum(cost.move == "choose" for cost in costs)
    print(f"\n| {k} | {rounds} | {server:,} | {total - server:,} | {total:,} | {sum(cost.eip_8037 for cost in costs):,} |")
    assert total < 9_000_000
