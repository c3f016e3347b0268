"""The ledger: a page that says what is proved, of which bytes, on what it rests, and what is not proved. It is generated.

`opml-prove --ledger FILE` writes it after a run over all statements; a test compares it with the statements, the bytecode and the
specification that are there, so nobody can lengthen it by hand.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import opml_spec
import z3
from attrs import frozen

import opml_fuzz
import opml_min
from evm_arbiter.chain import Artefact, Chain, keccak256
from opml_fuzz.proofs.game.equivalence import deployed
from opml_fuzz.proofs.verdict import Verdict
from opml_fuzz.statements import game_bytecode
from opml_fuzz.statements.bytecode import ASSUMED, CALLED, LEMMAS, BytecodeStatement
from opml_fuzz.statements.catalogue import EVERY, GAPS
from opml_fuzz.statements.game_bytecode import GameStatement

SPECIFICATION, MINIMAL, FUZZER = (Path(str(package.__file__)).parent for package in (opml_spec, opml_min, opml_fuzz))


@frozen
class Subject:
    """Code that statements are about: its files, and the chapters of the statements."""

    name: str
    root: Path
    patterns: tuple[str, ...]
    chapters: tuple[str, ...]

    @property
    def files(self) -> list[Path]:
        return sorted({path for pattern in self.patterns for path in self.root.glob(pattern)})

    @property
    def fingerprint(self) -> str:
        """The hash of the files, by name and content."""
        digest = hashlib.sha256()
        for path in self.files:
            digest.update(path.relative_to(self.root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
        return digest.hexdigest()


TRANSLATED = ("translator", "interpreter", "checks", "loops", "iterations")
SUBJECTS = (
    Subject(
        "the specification of the machine", SPECIFICATION, ("machine/**/*.py", "words.py", "hashing.py", "errors.py"),
        ("decode", "division", "bytecode", "access", "fetch", "step", "memory", "rules", *TRANSLATED),
    ),
    Subject("the specification of runs", SPECIFICATION, ("runs/*.py",), ("memory", "money", "rules")),
    Subject(
        "the specification's arithmetic and bounds", SPECIFICATION, ("arithmetic/*.py", "model/**/*.py"),
        ("rounding", "saturation", "bounds", "floats", "training"),
    ),
    Subject("the specification of training", SPECIFICATION, ("training/**/*.py", "errors.py"), ("training",)),
    Subject(
        "the specification of disputes", SPECIFICATION, ("dispute/*.py", "hashing.py", "errors.py"),
        ("narrowing", "clocks", "money", "fees", "rules", "game"),
    ),
    Subject(
        "opml_min's machine, interpreter and translator", MINIMAL, ("memory_map.py", "machine/**/*.py"),
        (*TRANSLATED, "access", "fetch"),
    ),
    Subject("opml_min's fixed-point kernels", MINIMAL, ("model/native/kernels/fixed/*.py",), ("rounding", "saturation")),
    Subject(
        "the statements, what is assumed, and what proves them", FUZZER,
        ("statements/*.py", "proofs/**/*.py", "disputes/wire/*.py", "disputes/call.py", "machine/encodings.py"),
        tuple(dict.fromkeys(name.partition(".")[0] for name in EVERY)),
    ),
)  # fmt: skip
"""Whatever changes in these files makes the page outdated, so that a run must confirm it."""

PAGE = """\
# What is proved

`opml-prove --ledger fuzz/LEDGER.md` wrote this page; a test compares it with what is there. How to read it: [fuzz](README.md#proofs).

| | |
|---|---|
| solver | {solver} |
| keccak-256 of the arbiter's runtime bytecode, {size:,} bytes, immutables filled in | `{bytecode}` |

## What the statements are about

| files | of | SHA-256 | chapters |
|---|---|---|---|
{subjects}

## Without condition

| statement | result | seconds | what it says |
|---|---|---|---|
{plain}

## On condition

These speak of all calls of the arbiter. They rest on the lemma `{lemmas}` above, and assume:

{assumed}

| statement | result | seconds | what it says |
|---|---|---|---|
{conditional}

## On condition: the game

These speak of calls of the game, of which bytecode of {game_size:,} bytes was deployed: keccak-256 `{game}`. They assume:

{game_assumed}

| statement | result | seconds | what it says |
|---|---|---|---|
{of_game}

## Not proved

{gaps}
"""


def page(verdicts: Sequence[Verdict]) -> str:
    """The page for the verdicts of all statements."""
    plain, conditional, of_game = list[str](), list[str](), list[str]()
    for verdict in verdicts:
        statement = EVERY[verdict.name]
        rests = isinstance(statement, BytecodeStatement) and statement.uses
        says = statement.says.replace("|", "\\|")
        row_of_it = f"| `{verdict.name}` | {verdict.result} | {verdict.seconds:.1f} | {says} |"
        (of_game if isinstance(statement, GameStatement) else conditional if rests else plain).append(row_of_it)
    code, game = bytecode(), deployed().code.data
    return PAGE.format(
        solver=f"z3 {z3.get_version_string()}", size=len(code), bytecode=keccak256(code).hex(), subjects="\n".join(map(row, SUBJECTS)),
        plain="\n".join(plain), conditional="\n".join(conditional), lemmas="`, `".join(LEMMAS),
        assumed="\n".join(f"- {one}" for one in (CALLED, *ASSUMED)), gaps="\n".join(f"- {gap}" for gap in GAPS),
        game_size=len(game), game=keccak256(game).hex(), of_game="\n".join(of_game),
        game_assumed="\n".join(f"- {one}" for one in game_bytecode.ASSUMED),
    )  # fmt: skip


def bytecode() -> bytes:
    """The arbiter's code on the chain."""
    chain = Chain()
    return chain.node.code(bytes.fromhex(chain.deploy(Artefact.load("arbiter"), sender=chain.accounts[0]).address[2:]))


def row(subject: Subject) -> str:
    return f"| {len(subject.files)} | {subject.name} | `{subject.fingerprint}` | {', '.join(f'`{one}`' for one in subject.chapters)} |"


def without_seconds(text: str) -> str:
    """The page without what differs from run to run."""
    return re.sub(r"\| [0-9.]+ \|", "| |", text)
