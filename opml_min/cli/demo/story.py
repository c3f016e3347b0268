"""A game told while it is played, for somebody who has never seen an optimistic protocol."""

from collections.abc import Callable

from opml_min.cli.demo.evidence import Evidence, evidence, op_at
from opml_min.cli.demo.play import Delivered, Game
from opml_min.players.chain import INSTRUCTIONS, Record, Segment
from opml_min.players.cheats.cheat import CHALLENGE_REJECTED, CLAIM_REJECTED

INTRODUCTION = """\
A server runs a language model off chain and posts nothing but a hash of the whole run, with a bond. Whoever recomputes the run and
gets another hash challenges it, with a bond too. The two narrow down where their runs part: first to one stage (one operation of
the model), then to one machine instruction. That one a contract executes, and so decides. Every move below is a transaction.
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
    def __init__(self, write: Callable[[str], None], decode: Callable[[list[int]], str] | None) -> None:
        self._write, self._decode = write, decode

    def begin(self, game: Game) -> None:
        table = game.table
        self._write(INTRODUCTION)
        self._write(f"The model     root {short(table.honest.model_root)}; the run has {table.scene.stage_count:,} stages")
        tokens = table.honest.tokens()
        if self._decode is not None and tokens and table.scene.image is game.model:
            self._write(f"The answer    {self._decode(tokens)!r}, says whoever computes it honestly")
        self._write(f"The cheat     {game.cheat.name} ({game.cheat.who}): {game.cheat.description}")
        self._write("")

    def observe(self, game: Game, delivered: Delivered) -> None:
        if delivered.refusal:
            text, cost = f"tries to {delivered.move.name}: the contract refuses, {delivered.refusal}", ""
        else:
            text, cost = self._told(game, delivered), f"{delivered.gas_used:>9,} gas"
        self._write(f"{clock(delivered.at_seconds)}  {delivered.player:<10}  {text:<78} {cost}".rstrip())
        if delivered.move.name == "arbitrate" and not delivered.refusal:
            found = evidence(game)
            if found:
                self._tell_instruction(game, found)
        if delivered.move.name in ("arbitrate", "timeout", "open") and not delivered.refusal and game.dispute is not None:
            self._write(f"{'':16}=> {VERDICTS[game.verdict]}")

    def _told(self, game: Game, delivered: Delivered) -> str:
        move, parameters = delivered.move, game.court.parameters
        arguments = move.arguments
        match move.name:
            case "register":
                return f"registers the model by its root {short(arguments[0])}"
            case "request":
                return f"asks for a run of {arguments[1]:,} stages and pays {ether(move.value)}"
            case "claim":
                return f"claims that the run ends in {short(arguments[1])}; bond {ether(move.value)}"
            case "challenge":
                return f"says that it does not; bond {ether(move.value)}"
            case "post":
                count = len(arguments[2]) // 32
                return f"posts {count} hash{'es' * (count > 1)} inside {_named(arguments[1])}"
            case "choose":
                after = Record.of(game.court).disputes[arguments[0]].segment
                return f"agrees up to {after.lo:,}, disputes what follows; left: {_named(after)}"
            case "open":
                image = game.table.scene.image
                op = op_at(image, arguments[1].lo, image is not game.model)
                return f"opens stage {arguments[1].lo:,} ({op}): {arguments[4]:,} instructions"
            case "arbitrate":
                return f"has instruction {arguments[1].lo:,} executed by the contract ({len(arguments[2]):,} bytes)"
            case "timeout":
                return f"ends the game: the other side used up its time on {_named(arguments[1])}"
            case "finalise":
                return f"finalises the claim after {parameters.window_seconds // 3600} hours"
            case "collect":
                return "collects its bond and its share of the lost one"
            case "reclaim":
                return "takes its fee back: nobody answered in time"
            case _:
                return "withdraws what it is owed"

    def _tell_instruction(self, game: Game, found: Evidence) -> None:
        _, executed = game.court.arbiter.call("step", game.table.honest.witness(found.stage, found.step))
        self._write(f"{'':16}stage {found.stage:,} is {found.op}; instruction {found.step:,} of it, at {found.pc:#x}, is")
        self._write(f"{'':20}{found.instruction}")
        self._write(f"{'':16}{'':28} {'before':>20} {'after it':>20}  {'the server says' if found.claimed else ''}".rstrip())
        for name in dict.fromkeys([*found.before, *found.after]):
            told = [values.get(name, "") if values else "" for values in (found.before, found.after, found.claimed)]
            if name == "memory root":
                told = [value[:14] + "…" if value else "" for value in told]
            mark = "  <- not so" if found.claimed and told[1] != told[2] else ""
            self._write(f"{'':16}{name:>28} {told[0]:>20} {told[1]:>20}  {told[2]:>20}{mark}".rstrip())
        disputed = game.dispute.segment.disputed if game.dispute else b""
        self._write(f"{'':16}the contract gets state {short(executed)}, the server said {short(disputed)}")

    def end(self, game: Game, seconds: float) -> None:
        after, money = game.balances(), game.money()
        self._write("")
        for name, before in game.balances_before.items():
            self._write(f"{name:<10} {'+' if after[name] >= before else '-'}{ether(abs(after[name] - before))}")
        books = " + ".join(f"{ether(money[part])} {part.replace('_', ' ')}" for part in ("locked", "credited", "burned", "paid_out"))
        self._write(f"{ether(money['deposits'])} deposited = {books}: {'it adds up' if game.money_adds_up() else 'IT DOES NOT ADD UP'}")
        side = "The honest side won." if game.honest_side_won() else "THE HONEST SIDE DID NOT WIN."
        self._write(f"{side} {game.moves()} moves, {sum(game.gas().values()):,} gas, {seconds:.1f} s")


def _named(segment: Segment) -> str:
    what = "instruction" if segment.phase == INSTRUCTIONS else "stage"
    return f"{what} {segment.lo:,}" if segment.length == 1 else f"{what}s {segment.lo:,} to {segment.hi:,}"
