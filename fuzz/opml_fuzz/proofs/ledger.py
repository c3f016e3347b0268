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

from evm_arbiter.chain import Artefact, Chain, keccak256
from opml_fuzz.proofs.game.equivalence import deployed
from opml_fuzz.proofs.verdict import Verdict
from opml_fuzz.statements import game_bytecode
from opml_fuzz.statements.bytecode import ASSUMED, CALLED, LEMMAS, BytecodeStatement
from opml_fuzz.statements.catalogue import EVERY, GAPS
from opml_fuzz.statements.game_bytecode import GameStatement

SPECIFICATION = ("machine/**/*.py", "dispute/**/*.py", "words.py", "hashing.py", "errors.py")
"""The files of the specification that define a step and the game."""

PAGE = """\
# What is proved

`opml-prove --ledger fuzz/LEDGER.md` wrote this page; a test compares it with what is there. How to read it: [fuzz](README.md#proofs).

| | |
|---|---|
| solver | {solver} |
| keccak-256 of the arbiter's runtime bytecode, {size:,} bytes, immutables filled in | `{bytecode}` |
| SHA-256 of the specification of the machine and of the dispute, {files} files | `{specification}` |

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
        row = f"| `{verdict.name}` | {verdict.result} | {verdict.seconds:.1f} | {says} |"
        (of_game if isinstance(statement, GameStatement) else conditional if rests else plain).append(row)
    code, game = bytecode(), deployed().code.data
    return PAGE.format(
        solver=f"z3 {z3.get_version_string()}", size=len(code), bytecode=keccak256(code).hex(),
        files=len(files()), specification=fingerprint(),
        plain="\n".join(plain), conditional="\n".join(conditional), lemmas="`, `".join(LEMMAS),
        assumed="\n".join(f"- {one}" for one in (CALLED, *ASSUMED)), gaps="\n".join(f"- {gap}" for gap in GAPS),
        game_size=len(game), game=keccak256(game).hex(), of_game="\n".join(of_game),
        game_assumed="\n".join(f"- {one}" for one in game_bytecode.ASSUMED),
    )  # fmt: skip


def bytecode() -> bytes:
    """The arbiter's code on the chain."""
    chain = Chain()
    return chain.node.code(bytes.fromhex(chain.deploy(Artefact.load("arbiter"), sender=chain.accounts[0]).address[2:]))


def files() -> list[Path]:
    root = Path(opml_spec.__file__).parent
    return sorted(path for pattern in SPECIFICATION for path in root.glob(pattern))


def fingerprint() -> str:
    """The hash of these files, by name and content."""
    root, digest = Path(opml_spec.__file__).parent, hashlib.sha256()
    for path in files():
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def without_seconds(text: str) -> str:
    """The page without what differs from run to run."""
    return re.sub(r"\| [0-9.]+ \|", "| |", text)
