"""Tells a match while it is played, to somebody who has never seen an optimistic protocol."""

from collections.abc import Callable

from opml_min.cli.demo.evidence import Evidence, evidence
from opml_min.cli.demo.op_names import op_at
from opml_min.cli.demo.play import Delivered, Match
from opml_min.players.chain import ANSWERED, FINAL, INSTRUCTIONS, REJECTED, Move, Segment, child_id
from opml_min.players.cheats.cheat import CHALLENGE_REJECTED, CLAIM_REJECTED
from opml_min.players.index import NodeEntry

INTRODUCTION = """\
A server runs a language model off chain and posts only a sealed hash of the whole run, with a bond. Anybody who recomputes the run and
gets another hash can open a dispute tree about the claim, also with a bond. At each node the server must show hashes in between, and
anybody can go on at a part that looks wrong: first down to one stage (one operation of the model), then to one machine instruction. A
contract executes that instruction. The claim falls at the first node that the server fails. Each line is a transaction.
"""
VERDICTS = {
    CLAIM_REJECTED: "the claim is rejected: the server loses its bond, and half of it goes to those who opened the nodes on the way",
    CHALLENGE_REJECTED: "the claim has survived its dispute: those who opened its nodes lose their bonds",
}


def ether(wei: int) -> str:
    return f"{wei / 10**18:.12f}".rstrip("0").rstrip(".") + " ether"


def short(data: bytes) -> str:
    return f"0x{data.hex()[:12]}…"


def clock(seconds: int) -> str:
    return f"day {seconds // 86_400} {seconds // 3_600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


class Story:
    """Writes one line per transaction, the disputed instruction, and in the end the money."""

    introduction = INTRODUCTION

    def __init__(self, write: Callable[[str], None], answer: Callable[[list[int]], str | None]) -> None:
        """answer: the text that tokens stand for, None if the model writes no text"""
        self._write, self._answer = write, answer

    def begin(self, match: Match) -> None:
        setup = match.setup
        self._write(self.introduction)
        self._write(f"The model     root {short(setup.honest.model_root)}; the run has {setup.scene.stage_count:,} stages")
        self._tell_run(match)
        self._write(f"The cheat     {match.cheat.name} ({match.cheat.who}): {match.cheat.description}")
        self._write("")

    def _tell_run(self, match: Match) -> None:
        """Tells what the run is about, and what it gives if it is computed honestly."""
        setup = match.setup
        tokens = setup.honest.tokens()
        if tokens and setup.scene.image is match.model and (answer := self._answer(tokens)) is not None:
            self._write(f"The answer    {answer!r}, computed honestly")

    def observe(self, match: Match, delivered: Delivered) -> None:
        if delivered.refusal:
            text, cost = f"tries to {delivered.move.name}: the contract refuses, {delivered.refusal}", ""
        else:
            text, cost = self._told(match, delivered), f"{delivered.gas_used:>9,} gas"
        self._write(f"{clock(delivered.at_seconds)}  {delivered.player:<10}  {text:<92} {cost}".rstrip())
        if delivered.refusal:
            return
        if delivered.move.name == "arbitrate":
            node = match.index.nodes[delivered.move.arguments[0]]
            found = evidence(match, node)
            if found:
                self._tell_instruction(match, node, found)
        self._tell_end(match, delivered.move)

    def _tell_end(self, match: Match, move: Move) -> None:
        """Tells what a move has decided."""
        name, subject = move.name, move.arguments[0]
        if name in ("arbitrate", "timeout", "open"):
            node = match.index.nodes[subject]
            if match.index.claims[node.claim_id].status == REJECTED:
                self._write(f"{'':16}=> {VERDICTS[CLAIM_REJECTED]}")
            elif node.state == ANSWERED:
                self._write(f"{'':16}=> the server was right here; nothing can follow below this node")
        elif name == "finalise" and match.index.claims[subject].nodes:
            self._write(f"{'':16}=> {VERDICTS[CHALLENGE_REJECTED]}")

    def _told(self, match: Match, delivered: Delivered) -> str:
        move, arguments, parameters = delivered.move, delivered.move.arguments, match.court.parameters
        match move.name:
            case "register":
                return f"registers the model with the root {short(arguments[0])}"
            case "request":
                return f"asks for a run of {arguments[1]:,} stages and pays {ether(move.value)}"
            case "claim":
                bond = match.index.requests[arguments[0]].bond
                line = f", line {ether(move.value - bond)}" if move.value > bond else ""
                return f"claims that it knows how the run ends, sealed {short(arguments[1])}; bond {ether(bond)}{line}"
            case "challenge":
                return f"challenges the claim, which opens the root of its tree; bond {ether(move.value)}"
            case "post":
                count = len(arguments[2]) // 32
                return f"{place(match, arguments[0])}: posts {count} hash{'es' * (count > 1)} inside {_named(arguments[1])}"
            case "choose":
                child = match.index.nodes[child_id(arguments[0], arguments[3])].segment
                text = f"agrees up to {child.lo:,}, disputes {_named(child)}; bond {ether(move.value)}"
                return f"{place(match, arguments[0])}: {text}"
            case "open":
                text = f"opens stage {arguments[1].lo:,} ({op_at(match, arguments[1].lo)}): {arguments[4]:,} instructions"
                return f"{place(match, arguments[0])}: {text}, {len(arguments[8]) // 32} hashes"
            case "arbitrate":
                text = f"has instruction {arguments[1].lo:,} executed by the contract ({len(arguments[2]):,} bytes)"
                return f"{place(match, arguments[0])}: {text}"
            case "timeout":
                node = match.index.nodes[arguments[0]]
                return f"{place(match, node.node_id)}: the server has used up its time on {_named(node.segment)}"
            case "finalise":
                return f"finalises the claim: the challenge period of {parameters.window // 3600} hours is over, and nothing can follow"
            case "expire":
                return "ends the claim: nobody showed what it claims"
            case "collect":
                return f"{place(match, arguments[0])}: collects its bond and what it earned"
            case "award":
                is_final = match.index.claims[arguments[0]].status == FINAL
                return "has the fee paid for this claim" if is_final else "moves the fee past a claim that does not get it"
            case "reclaim":
                return "takes its fee back: no claim became final"
            case _:
                return "withdraws what it is owed"

    def _tell_instruction(self, match: Match, node: NodeEntry, found: Evidence) -> None:
        _, executed = match.court.arbiter.call("step", match.setup.honest.witness(found.stage, found.step))
        self._write(f"{'':16}stage {found.stage:,} is {found.op}; instruction {found.step:,} of it, at {found.pc:#x}, is")
        self._write(f"{'':20}{found.instruction}")
        self._write(f"{'':16}{'':28} {'before':>20} {'after it':>20}  {'the server claims' if found.claimed else ''}".rstrip())
        for name in dict.fromkeys([*found.before, *found.after]):
            told = [values.get(name, "") if values else "" for values in (found.before, found.after, found.claimed)]
            if name == "memory root":
                told = [value[:14] + "…" if value else "" for value in told]
            mark = "  <- false" if found.claimed and told[1] != told[2] else ""
            self._write(f"{'':16}{name:>28} {told[0]:>20} {told[1]:>20}  {told[2]:>20}{mark}".rstrip())
        self._write(f"{'':16}the contract computes state {short(executed)}, the server claims {short(node.segment.disputed)}")

    def end(self, match: Match, seconds: float) -> None:
        after, money = match.balances(), match.money()
        self._write("")
        for name, before in match.balances_before.items():
            self._write(f"{name:<10} {'+' if after[name] >= before else '-'}{ether(abs(after[name] - before))}")
        books = " + ".join(f"{ether(money[part])} {part.replace('_', ' ')}" for part in ("locked", "credited", "burned", "paid_out"))
        self._write(f"{ether(money['deposits'])} deposited = {books}: {'it adds up' if match.money_adds_up() else 'IT DOES NOT ADD UP'}")
        side = "The honest side won." if match.honest_side_won() else "THE HONEST SIDE DID NOT WIN."
        self._write(f"{side} {match.moves()} moves in trees, {sum(match.gas().values()):,} gas, {seconds:.1f} s")


def place(match: Match, node_id: bytes) -> str:
    """A node by its path of parts: `root`, `root/3`, `root/3/17`."""
    parts = []
    node = match.index.nodes[node_id]
    while not node.is_root:
        parts.append(f"/{node.part}")
        node = match.index.nodes[node.parent_id]
    return "root" + "".join(reversed(parts))


def _named(segment: Segment) -> str:
    what = "instruction" if segment.phase == INSTRUCTIONS else "stage"
    return f"{what} {segment.lo:,}" if segment.length == 1 else f"{what}s {segment.lo:,} to {segment.hi:,}"
