"""Questions to somebody else's implementation as lines of JSON, and what counts as an answer.

A question is one line and so is its answer. What is given is written as the test vectors write it: bytes in hex, memory by address.

*Source*: `engines/README.md`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from attrs import frozen

from opml_fuzz.machine.court_answer import BYTES, court_texts, error_text

PROTOCOL = 1
EXECUTE, STEP, WITNESS, ROOT, RUN, STAGE, COURT, TRAINING_STAGE = KINDS = (
    *("execute", "step", "witness", "root", "run", "stage", "court", "training_stage"),
)
HELLO = "hello"
HASH = re.compile("[0-9a-f]{64}")
STATE_BYTES, ROOT_AT = 297, 265
SHOWN = 60  # characters of a line that is no answer


class NoAnswer(Exception):
    """A question without an answer; the text goes on after "no answer" and says what there was instead."""


@frozen
class Question:
    """A question; `given` is the text of its fields, in JSON."""

    kind: str
    given: str

    def line(self, number: int) -> bytes:
        """Writes the line; `number` is its id."""
        return f'{{"id":{number},"ask":"{self.kind}",{self.given}}}\n'.encode()


def memory_of(segments: Any) -> str:
    """Writes a memory: bytes in hex by address."""
    return json.dumps(segments, separators=(",", ":"))


def in_pieces(segments: Mapping[int, bytes]) -> str:
    """Writes a memory in pieces that begin and end anywhere: zeros around content are left out, and each is cut at an odd address.

    So two pieces lie in one leaf. segments: do not overlap
    """
    pieces = dict[int, bytes]()
    for address, data in sorted(segments.items()):
        begin, bare = address + len(data) - len(data.lstrip(b"\0")), data.strip(b"\0")
        first = begin + len(bare) // 2 | 1
        pieces |= {begin: bare[: first - begin], first: bare[first - begin :]}
    return memory_of({hex(address): piece.hex() for address, piece in pieces.items() if piece})


def execute(witness: bytes) -> Question:
    """Asks for the hash of the state after the step of a witness."""
    return Question(EXECUTE, f'"witness":"{witness.hex()}"')


def step(state: bytes, memory: str) -> Question:
    """Asks for the hash of the state after one step. state: its 297 bytes; memory: written by `memory_of`"""
    return Question(STEP, f'"state":"{state.hex()}","memory":{memory}')


def make_witness(state: bytes, memory: str) -> Question:
    """Asks for the witness of the next step."""
    return Question(WITNESS, f'"state":"{state.hex()}","memory":{memory}')


def root(memory: str) -> Question:
    """Asks for the root of a memory."""
    return Question(ROOT, f'"memory":{memory}')


def run(state: bytes, memory: str, stops: Sequence[int]) -> Question:
    """Asks for the state hashes after these numbers of steps, counted from the start."""
    return Question(RUN, f'"state":"{state.hex()}","memory":{memory},"stops":{json.dumps(list(stops), separators=(",", ":"))}')


def stage(memory: str, number: int) -> Question:
    """Asks for the exit code of a stage (spec §3.3) and the carry root after it."""
    return Question(STAGE, f'"memory":{memory},"stage":{number}')


def training_stage(memory: str, number: int) -> Question:
    """Asks for the exit code of a stage of a training run (spec §6.2) and the carry root after it."""
    return Question(TRAINING_STAGE, f'"memory":{memory},"stage":{number}')


def court(parameters: Mapping[str, Any], acts: Sequence[Mapping[str, Any]]) -> Question:
    """Asks a court with these parameters about acts, one after the other, as the test vectors write them."""
    given = {"parameters": parameters, "acts": acts}
    return Question(COURT, json.dumps(given, separators=(",", ":"))[1:-1])


def question_in(fields: dict[str, Any]) -> Question:
    """Reads a question as `Question.line` writes it; raises ValueError if it is none."""
    kind, number = fields.pop("ask", None), fields.pop("id", None)
    if kind not in KINDS or type(number) is not int:
        raise ValueError(f"what asks {str(kind)[:SHOWN]!r} is no question")
    return Question(kind, memory_of(fields)[1:-1])


def answer_in(line: bytes, number: int, kind: str) -> list[str]:
    """Reads the answer in a line to the question of that number; raises NoAnswer if it is none."""
    fields = _fields(line, number)
    value = fields.get("answer")
    with suppress(ValueError, TypeError, KeyError, AttributeError):
        if value is None:
            return [error_text(fields.get("error"))]
        if kind == COURT:
            return court_texts(value)
    if kind == RUN and isinstance(value, list) and all(isinstance(each, str) and HASH.fullmatch(each) for each in value):
        return value
    if kind in (STAGE, TRAINING_STAGE) and isinstance(value, dict) and value.keys() == {"exit_code", "carry_root"}:
        code, carry = value["exit_code"], value["carry_root"]
        if type(code) is int and 0 <= code < 1 << 64 and isinstance(carry, str) and HASH.fullmatch(carry):
            return [f"exit code {code}", *([] if code else [carry])]
    if kind not in (RUN, STAGE, TRAINING_STAGE, COURT) and isinstance(value, str) and (BYTES if kind == WITNESS else HASH).fullmatch(value):
        return [value]
    raise NoAnswer(f", but {shown(line)}")


def hello_in(line: bytes) -> dict[str, Any]:
    """Reads the answer to the handshake: which version a target speaks and what it knows."""
    said = _fields(line, 0).get("answer")
    if not isinstance(said, dict):
        raise NoAnswer(f", but {shown(line)}")
    return said


def _fields(line: bytes, number: int) -> dict[str, Any]:
    """Reads the object in a line that answers the question of that number."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or type(fields.get("id")) is not int or fields["id"] != number:
        raise NoAnswer(f", but {shown(line)}")
    if "failed" in fields:
        raise NoAnswer(f", but it failed: {str(fields['failed'])[:SHOWN]}")
    return fields


def shown(received: bytes) -> str:
    """Writes the beginning of what was received."""
    return repr(received[:SHOWN].decode(errors="replace"))
