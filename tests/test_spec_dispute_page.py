"""The page of the dispute: its errors are those of the code, and its dispute in numbers happens exactly as printed."""

import re
from collections.abc import Iterator
from pathlib import Path

import opml_spec
from attrs import evolve
from opml_spec import errors
from opml_spec.dispute import ends
from opml_spec.dispute.acts import ACTS
from opml_spec.dispute.honest import answer, next_move
from opml_spec.dispute.objects import child_id
from opml_spec.dispute.parameters import Parameters
from spec_dispute import CHALLENGER, PUPPET, REQUESTER, SERVER, STRANGER, Table, wrong_register

PAGE = (Path(opml_spec.__path__[0]) / "dispute" / "README.md").read_text()
GWEI, ETHER = 10**9, 10**18
NAMES = {REQUESTER: "requester", SERVER: "server", CHALLENGER: "validator", PUPPET: "another", STRANGER: "anybody"}


def section(number: str) -> str:
    return re.split(r"^## ", PAGE, flags=re.M)[int(number.split(".")[1])]


def test_errors_are_those_of_the_code() -> None:
    """The checks of the acts name every error of the dispute; the numbers that section 10 calls unused are free."""
    coded = {each.number: each.name for each in errors.SpecError.__subclasses__() if each.number // 100 == 2}
    named = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)*\b", PAGE))
    assert set(coded.values()) <= named
    unused = {int(number) for number in re.findall(r"\b2\d\d\b", section("5.10"))}
    assert unused == set(range(201, max(coded) + 1)) - set(coded) - {233}  # 233: a refused transfer, which only a chain knows


def test_the_interface_has_the_acts_of_the_code() -> None:
    """Every act has the name that the page declares, and as many arguments after the court and the message."""
    declared = dict(re.findall(r"\b([a-z_]+)\(([^()\n]*)\)(?: payable)?(?= ->|$| {3,})", section("5.11"), re.M))
    for name, act in ACTS.items():
        assert len(declared[name].split(",")) == act.__code__.co_argcount - 2, name
    assert ends.result_of.__name__ in PAGE


def dispute() -> Iterator[tuple[int, str, str, Table]]:
    """The dispute of spec §5.13: seconds, who, what, and the table afterwards."""
    table = Table(parameters=Parameters(), basefee=10 * GWEI)
    start = table.now
    truth, told = table.trace(), table.trace(wrong_register, (1, 6))

    def done(who: bytes, what: str) -> tuple[int, str, str, Table]:
        return table.now - start, NAMES[who], what, table

    table.asked(bond=9 * ETHER, fee=ETHER // 1_000)
    yield done(REQUESTER, "request")
    table.now += 100
    table.claimed(told.run_hash)
    yield done(SERVER, "claim")
    table.now += 1_000
    table.challenged()
    yield done(CHALLENGER, "challenge")
    table.now += 500
    table.answered(told)
    yield done(SERVER, "post")
    table.now += 300
    table.chosen(1)
    yield done(CHALLENGER, "choose")
    table.now += 500
    table.chosen(2, sender=PUPPET)
    yield done(PUPPET, "choose")
    stage = child_id(table.root, 1)
    table.now += 400
    table.answered(told, stage)
    yield done(SERVER, "open")
    move = next_move(table.court, table.claim_id, truth, CHALLENGER, table.now)
    table.now += 200
    table.play(move, CHALLENGER)
    yield done(CHALLENGER, "choose")
    last = child_id(stage, 5)
    assert table.node(last).segment.lo == 5
    arbitrate = answer(table.court, last, truth)
    table.now += 100
    table.play(arbitrate, STRANGER)
    yield done(STRANGER, "arbitrate")
    for node_id in (table.root, stage, last):
        table.act("collect", node_id)
    yield done(STRANGER, "collect ×3")
    table.act("collect", child_id(table.root, 2))
    yield done(STRANGER, "collect")


def test_the_dispute_in_numbers() -> None:
    printed = re.findall(r"^\| ([\d,]+) \| (\w+) \| ([\w ×]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|", section("5.13"), re.M)
    played = []
    for seconds, who, what, table in dispute():
        ledger = table.court.ledger
        amounts = (ledger.locked, table.credit(CHALLENGER), table.credit(PUPPET), ledger.burned)
        played.append((f"{seconds:,}", who, what, *(f"{wei // GWEI:,}" for wei in amounts)))
        assert all(wei % GWEI == 0 for wei in amounts)
    assert printed == played


def test_the_clocks_in_numbers() -> None:
    """The due times and clocks that the text below the table of spec §5.13 names."""
    *_, (_, _, _, table) = dispute()
    start = 1_000_000
    text = section("5.13")
    stage = child_id(table.root, 1)
    dues = [table.node(each).clock.due - start for each in (table.root, stage, child_id(table.root, 2), child_id(stage, 5))]
    assert all(f"{due:,}" in text for due in dues), dues
    lefts = {table.node(each).clock.server_left for each in (table.root, stage)}
    assert all(f"{left:,}" in text for left in lefts), lefts
    assert f"{table.claim.closes_at - start:,}" in text
    assert evolve(table.claim).closes_at - start == 100 + 8 + 172_800
