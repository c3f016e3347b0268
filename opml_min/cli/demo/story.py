"""Tells a match while it is played, to somebody who has never seen an optimistic protocol."""

from collections.abc import Callable

from opml_min.cli.demo.evidence import Evidence, evidence, op_at
from opml_min.cli.demo.play import Delivered, Match
from opml_min.players.chain import INSTRUCTIONS, EventLog, Segment
from opml_min.players.cheats.cheat import CHALLENGE_REJECTED, CLAIM_REJECTED

INTRODUCTION = """\
A server runs a language model off chain and posts only a hash of the whole run, with a bond. Anybody who recomputes the run and gets
another hash can challenge the claim, also with a bond. The two then narrow down where their runs part: first to one stage (one
operation of the model), then to one machine instruction. A contract executes that instruction and decides. Each line is a transaction.
"""
VERDICTS = {
    CLAIM_REJECTED: "the claim is rejected: the server loses its bond",
    CHALLENGE_REJECTED: "the challenge is rejected: the challenger loses its bond",
}


def ether(wei: int) -> str:
    return f"{wei / 10**18:.12g} ether"


def short(data: bytes) -> str:
    return f"0x{data.hex()[:12]}…"


def clock(seconds: int) -> str:
    return f"day {seconds // 86_400} {seconds // 3_600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


class Story:
    """Writes one line per transaction, the disputed instruction, and in the end the money."""

    def __init__(self, write: Callable[[str], None], answer: Callable[[list[int]], str | None]) -> None:
        """answer: the text that tokens stand for, None if the model writes no text"""
        self._write, self._answer = write, answer

    def begin(self, match: Match) -> None:
        setup = match.setup
        self._write(INTRODUCTION)
        self._write(f"The model     root {short(setup.honest.model_root)}; the run has {setup.scene.stage_count:,} stages")
        tokens = setup.honest.tokens()
        if tokens and setup.scene.image is match.model and (answer := self._answer(tokens)) is not None:
            self._write(f"The answer    {answer!r}, computed honestly")
        self._write(f"The cheat     {match.cheat.name} ({match.cheat.who}): {match.cheat.description}")
        self._write("")

    def observe(self, match: Match, delivered: Delivered) -> None:
        if delivered.refusal:
            text, cost = f"tries to {delivered.move.name}: the contract refuses, {delivered.refusal}", ""
        else:
            text, cost = self._told(match, delivered), f"{delivered.gas_used:>9,} gas"
        self._write(f"{clock(delivered.at_seconds)}  {delivered.player:<10}  {text:<78} {cost}".rstrip())
        if delivered.move.name == "arbitrate" and not delivered.refusal:
            found = evidence(match)
            if found:
                self._tell_instruction(match, found)
        if delivered.move.name in ("arbitrate", "timeout", "open") and not delivered.refusal and match.dispute is not None:
            self._write(f"{'':16}=> {VERDICTS[match.verdict]}")

    def _told(self, match: Match, delivered: Delivered) -> str:
        move, parameters = delivered.move, match.court.parameters
        arguments = move.arguments
        match move.name:
            case "register":
                return f"registers the model with the root {short(arguments[0])}"
            case "request":
                return f"asks for a run of {arguments[1]:,} stages and pays {ether(move.value)}"
            case "claim":
                return f"claims that the run ends in {short(arguments[1])}; bond {ether(move.value)}"
            case "challenge":
                return f"challenges the claim; bond {ether(move.value)}"
            case "post":
                count = len(arguments[2]) // 32
                return f"posts {count} hash{'es' * (count > 1)} inside {_named(arguments[1])}"
            case "choose":
                after = EventLog.of(match.court).disputes[arguments[0]].segment
                return f"agrees up to {after.lo:,}, disputes what follows; left: {_named(after)}"
            case "open":
                image = match.setup.scene.image
                op = op_at(image, arguments[1].lo, image is not match.model)
                return f"opens stage {arguments[1].lo:,} ({op}): {arguments[4]:,} instructions"
            case "arbitrate":
                return f"has instruction {arguments[1].lo:,} executed by the contract ({len(arguments[2]):,} bytes)"
            case "timeout":
                return f"ends the game: the other side used up its time on {_named(arguments[1])}"
            case "finalise":
                return f"finalises the claim: the challenge period of {parameters.window_seconds // 3600} hours is over"
            case "collect":
                return "collects its bond and its share of the lost one"
            case "reclaim":
                return "takes its fee back: no claim became final"
            case _:
                return "withdraws what it is owed"

    def _tell_instruction(self, match: Match, found: Evidence) -> None:
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
        disputed = match.dispute.segment.disputed if match.dispute else b""
        self._write(f"{'':16}the contract computes state {short(executed)}, the server claims {short(disputed)}")

    def end(self, match: Match, seconds: float) -> None:
        after, money = match.balances(), match.money()
        self._write("")
        for name, before in match.balances_before.items():
            self._write(f"{name:<10} {'+' if after[name] >= before else '-'}{ether(abs(after[name] - before))}")
        books = " + ".join(f"{ether(money[part])} {part.replace('_', ' ')}" for part in ("locked", "credited", "burned", "paid_out"))
        self._write(f"{ether(money['deposits'])} deposited = {books}: {'it adds up' if match.money_adds_up() else 'IT DOES NOT ADD UP'}")
        side = "The honest side won." if match.honest_side_won() else "THE HONEST SIDE DID NOT WIN."
        self._write(f"{side} {match.moves()} moves, {sum(match.gas().values()):,} gas, {seconds:.1f} s")


def _named(segment: Segment) -> str:
    what = "instruction" if segment.phase == INSTRUCTIONS else "stage"
    return f"{what} {segment.lo:,}" if segment.length == 1 else f"{what}s {segment.lo:,} to {segment.hi:,}"
