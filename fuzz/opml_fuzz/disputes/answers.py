"""What the specification's court answers to acts, as the test vectors write it and as a target must, and what is wrong in another answer.

An act is refused with the number of its error. Else the answer tells the id that the contract returns, the events, what is paid out, and
every view that shows something else than before.

*Source*: spec §5.11; `engines/README.md`.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import define, field
from opml_spec.dispute.acts import deploy
from opml_spec.dispute.objects import Court, model_id
from opml_spec.dispute.parameters import Parameters
from opml_spec.errors import SpecError

from opml_fuzz.disputes.call import Call, Json, read, text
from opml_fuzz.disputes.event_words import name_of
from opml_fuzz.disputes.wire.abi import TOPICS
from opml_fuzz.disputes.wire.logs import logs
from opml_fuzz.disputes.wire.views import FIELDS, OF, VIEWS, changed
from opml_fuzz.machine.court_answer import court_texts, error_text, first_different
from opml_fuzz.machine.target_question import Question
from opml_fuzz.machine.target_question import court as question

ANSWER = "answer"
NAMES = {topic.hex(): name for name, topic in TOPICS.items()}
WORD, ADDRESS = 64, 40  # digits
PIECES = 6  # of an answer, that are shown


@define
class TellingCourt:
    """The specification's court, which remembers what it has answered."""

    spec: Court
    answers: list[Json] = field(factory=list)

    def call(self, call: Call) -> str:
        """Makes a call; returns `ok` or the error."""
        before = self.spec
        try:
            self.spec = call.on(before)
        except SpecError as error:
            self.answers.append({"error": error.number})
            return f"{error.number} {error.name}"
        self.answers.append(accepted(before, call, self.spec))
        return "ok"


def accepted(before: Court, call: Call, after: Court) -> Json:
    """Writes the answer to an accepted call."""
    new = new_id(before, call, after)
    events = ["".join(part.hex() for part in (*log.topics, log.data)) for log in logs(before, call, after, new)]
    views = [[name, *map(text, given), list(map(text, VIEWS[name](after, *given)))] for name, given in changed(before, after)]
    return {**({"id": new.hex()} if new else {}), "events": events, "views": views}


def new_id(before: Court, call: Call, after: Court) -> bytes:
    """The id of what an accepted call created; of a model that is registered again, its id all the same."""
    if call.move == "register":
        return model_id(*call.act.arguments)
    return next((identity for kind in OF for identity in getattr(after, kind).keys() - getattr(before, kind).keys()), b"")


def with_payment(answer: Json) -> Json:
    """Adds what an accepted act pays out, which is what the event `Withdrawn` says: to whom, and how many wei."""
    withdrawn = next((each for each in answer.get("events", ()) if NAMES[each[:WORD]] == "Withdrawn"), None)
    return answer if withdrawn is None else {**answer, "paid": [withdrawn[-2 * WORD : -WORD][-ADDRESS:], "0x" + withdrawn[-WORD:]]}


def right_answer(parameters: Parameters, acts: Iterable[Mapping[str, Any]]) -> list[str]:
    """Answers acts that are written down, in the form in which answers are compared."""
    try:
        court = TellingCourt(deploy(parameters))
    except SpecError as error:
        return [error_text(error.number)]
    for act in acts:
        court.call(read(dict(act)))
    return court_texts(list(map(with_payment, court.answers)))


def asked(parameters: Parameters, acts: Sequence[Mapping[str, Any]]) -> Question:
    """Asks about acts that are written down."""
    return question({name: text(value) for name, value in parameters_of(parameters)}, acts)


def parameters_of(parameters: Parameters) -> Iterator[tuple[str, int]]:
    yield from ((name, getattr(parameters, name)) for name in FIELDS["parameters"])


# What is wrong in an answer --------------------------------------------------------------------------------------------------------


def differing(right: Sequence[str], answer: Sequence[str], moves: Sequence[str]) -> tuple[str, str]:
    """Says, in words, what is right and what was answered to the first act of which the answer is wrong. moves: the names of the acts

    What stands before the colon is the same for the same mistake after fewer acts."""
    place = first_different(right, answer)
    both = [pieces(texts[place]) if place < len(texts) else {ANSWER: "none"} for texts in (right, answer)]
    tell_changed_views(*both)
    names = [name for name in {**both[0], **both[1]} if both[0].get(name) != both[1].get(name)][:PIECES]
    names = names[:1] if names[0] == ANSWER else names
    left, other = ([f"{name} {each.get(name, 'is not there')}" for name in names] for each in both)
    move = moves[place - 1] if 0 < place <= len(moves) else "deploy"
    kind = f"{left[0]}, {other[0]}" if names[0] == ANSWER else re.sub(" [0-9a-f]{40,}", "", names[0])
    return f"{move}, {kind}: act {place}, {'; '.join(left)}", f"{move}, {kind}: act {place}, {'; '.join(other)}"


def tell_changed_views(left: dict[str, str], right: dict[str, str]) -> None:
    """Puts one word for all fields of a view that only one of the answers tells."""
    views = [{name.rpartition(", ")[0] for name in each if name.split(",")[0].split(" ")[0] in FIELDS} for each in (left, right)]
    for view in views[0] ^ views[1]:
        for each, its in zip((left, right), views, strict=True):
            for field_of_view in [name for name in each if name.rpartition(", ")[0] == view]:
                del each[field_of_view]
            each[view] = "has changed" if view in its else "has not changed"


def pieces(answer: str) -> dict[str, str]:
    """Takes the answer to an act apart: what is said about what."""
    if not answer.startswith("{"):
        return {ANSWER: answer}
    told, found = json.loads(answer), {ANSWER: "accepted"}
    if told["id"]:
        found["id"] = told["id"]
    if told["paid"]:
        found["paid"] = " ".join(map(str, told["paid"]))
    for number, event in enumerate(told["events"], 1):
        words = [event[at : at + WORD] for at in range(0, len(event), WORD)]
        found[f"event {number}"] = name = NAMES.get(words[0], words[0])
        found |= {f"event {number} {name}, {name_of(name, place)}": each for place, each in enumerate(words[1:])}
    for view, fields in told["views"].items():
        names = FIELDS.get(view.partition(" ")[0], ())
        for place, value in enumerate(fields):
            found[f"{view}, {names[place] if place < len(names) else place}"] = str(value)
    return found
