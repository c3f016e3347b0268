"""A target is asked about acts at court: what counts as an answer, what is said about a wrong one, and the names of the page."""

import json
import re
import struct
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
from attrs import astuple, evolve
from opml_fuzz.disputes.answers import TellingCourt, asked, differing, right_answer
from opml_fuzz.disputes.call import ARGUMENTS
from opml_fuzz.disputes.edges import acts_at_edges, is_at_an_edge
from opml_fuzz.disputes.event_words import EVENT_WORDS, SEGMENT
from opml_fuzz.disputes.rules import DEEP, RULES
from opml_fuzz.disputes.sequences import RandomDisputes, at_court, draw_acts, drawn_calls, play_sequence, players_at, rules_of
from opml_fuzz.disputes.wire.views import FIELDS
from opml_fuzz.engines.room import Engines
from opml_fuzz.engines.targets.host import given, result
from opml_fuzz.fuzzing.difference import Difference, compare
from opml_fuzz.fuzzing.kinds import KINDS, askable, kind_of
from opml_fuzz.fuzzing.shrinking import shrink
from opml_fuzz.fuzzing.target_batches import target_batch, up_to_the_wrong_act
from opml_fuzz.machine.case import Acts, Deployment
from opml_fuzz.machine.court_answer import court_texts, first_different
from opml_fuzz.machine.model_case import header_of
from opml_fuzz.machine.target_question import NoAnswer, Question, answer_in
from opml_fuzz.models.random_models import corner_operation, spoiled_request
from opml_fuzz.vectors.as_questions import questions_in
from opml_spec.dispute.acts import deploy
from opml_spec.machine.memory import STATE
from opml_spec.model.layout import OUTPUT

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = (REPOSITORY / "spec/opml_spec/dispute/README.md").read_text().split("## 5.11")[1]
MODEL, SOMEBODY = "0d" * 32, "a0" * 20
REGISTERED = {"id": MODEL, "events": ["ee" * 32], "views": [["model_of", MODEL, [1 << 60, True]], ["books", [0, 0]]]}
ALONE = RandomDisputes(alone=True)


def written(*answers: Any) -> list[str]:
    return answer_in(json.dumps({"id": 1, "answer": answers}).encode(), 1, "court")


# Answers ---------------------------------------------------------------------------------------------------------------------------


def test_what_is_the_same_answer() -> None:
    """A view may be listed though nothing in it has changed, a number may be written in either way, and views in any order."""
    same = {**REGISTERED, "views": [["account_of", SOMEBODY, [0, 0]], ["model_of", MODEL, [hex(1 << 60), 1]]]}
    assert written(REGISTERED, {"error": 205}) == written(same, {"error": 205})
    assert written(REGISTERED, {"events": [], "views": []}) == written(REGISTERED, {"events": [], "views": REGISTERED["views"]})
    assert written() == ["deployed"]
    assert answer_in(b'{"id":1,"error":232}', 1, "court") == ["error 232"]


@pytest.mark.parametrize(
    "other",
    [
        {**REGISTERED, "id": "0e" * 32},
        {**REGISTERED, "events": []},
        {**REGISTERED, "paid": [SOMEBODY, 5]},
        {**REGISTERED, "views": [["model_of", MODEL, [1, True]]]},
        {**REGISTERED, "views": []},
        {**REGISTERED, "views": [*REGISTERED["views"], ["model_of", SOMEBODY, [1]]]},  # type: ignore[misc]
        {"error": 205},
    ],
)
def test_what_is_another_answer(other: Any) -> None:
    assert written(REGISTERED) != written(other)


@pytest.mark.parametrize(
    "answer",
    [
        *("ok", 205, {}, [205], [None], ["x"], [{"error": 0}], [{"error": "205"}], [{}]),
        *([{"events": []}], [{"events": [5], "views": []}], [{"events": "", "views": [["books", 5]]}]),
        *([{"events": [], "views": [["books", [1.5]]]}], [{"events": [], "views": [["books", ["FF"]]]}]),
    ],
)
def test_what_is_no_answer(answer: Any) -> None:
    with pytest.raises(NoAnswer):
        answer_in(json.dumps({"id": 1, "answer": answer}).encode(), 1, "court")


def test_what_is_said_about_a_wrong_answer() -> None:
    """The act, and each field with its name; what stands before the colon does not depend on how many acts there were."""
    case = draw_acts(1, 40)
    moves, right = [act["move"] for act in case.acts], right_answer(RULES[case.rules], case.acts)
    place = next(i for i in reversed(range(41)) if '"claim_of' in right[i])
    told = json.loads(right[place])
    (view, fields), *_ = ((view, fields) for view, fields in told["views"].items() if view.startswith("claim_of"))
    told["views"][view] = [*fields[:5], fields[5] + 1, *fields[6:]]
    wrong = [*right[:place], json.dumps(told, separators=(",", ":")), *right[place + 1 :]]
    assert first_different(right, wrong) == place
    said = f"{moves[place - 1]}, claim_of, settles_at: act {place}, {view}, settles_at"
    assert differing(right, wrong, moves) == (f"{said} {fields[5]}", f"{said} {fields[5] + 1}")
    assert up_to_the_wrong_act(case, right, wrong) == evolve(case, acts=case.acts[:place])
    assert differing(right, right[:place], moves)[1].endswith("answer none")
    del told["views"][view]  # as if nothing had changed there
    without = [*right[:place], json.dumps(told, separators=(",", ":")), *right[place + 1 :]]
    said = f"{moves[place - 1]}, claim_of: act {place}, {view}"
    assert differing(right, without, moves) == (f"{said} has changed", f"{said} has not changed")
    assert differing(without, right, moves) == (f"{said} has not changed", f"{said} has changed")


def test_what_is_said_about_a_wrong_event() -> None:
    """The word is named, too."""
    case = draw_acts(1, 40)
    moves, right = [act["move"] for act in case.acts], right_answer(RULES[case.rules], case.acts)
    place = moves.index("claim") + 1
    told = json.loads(right[place])
    told["events"][0] = told["events"][0][:-1] + "f"
    wrong = [*right[:place], json.dumps(told, separators=(",", ":")), *right[place + 1 :]]
    assert differing(right, wrong, moves)[0].startswith(f"claim, event 1 Claimed, closes_at: act {place}, event 1 Claimed, closes_at 00")


# Questions -------------------------------------------------------------------------------------------------------------------------


def test_arguments_and_fields_have_the_names_of_the_page() -> None:
    functions = {name: re.findall(r"\w+ (\w+)(?:,|$)", given) for name, given in re.findall(r"(\w+)\(([^()]*)\)(?: payable)? ", PAGE + " ")}
    for move, names in ARGUMENTS.items():
        assert functions.get(move, list(names)) == list(names), move
    views = dict(re.findall(r"(\w+_of|books)\([^()]*\)(?: view)? -> \(([^()]*)\)", PAGE))
    for view, names in FIELDS.items():
        if view != "parameters":
            assert re.findall(r"\w+ (\w+)(?:,|$)", views[view]) == list(names), view
    events = dict(re.findall(r"^([A-Z]\w+)\((.*?)\)", PAGE, re.MULTILINE))
    in_words = {name: " ".join(re.findall(r"(\w+)(?:,|$)", given)).replace("segment", SEGMENT) for name, given in events.items()}
    assert in_words == EVENT_WORDS


def test_a_sequence_is_what_both_courts_would_play() -> None:
    case, report = draw_acts("same", 60), play_sequence("same", 60)
    assert RULES[case.rules] == RULES[report.rules]
    assert [act["now"] for act in case.acts] == [call.now for call in report.calls]
    texts = right_answer(RULES[case.rules], case.acts)
    assert sum(not text.startswith("error") for text in texts[1:]) == report.accepted


def test_only_what_a_target_knows_is_drawn() -> None:
    assert askable(KINDS, frozenset({"court"})) == {"court", "deployment"}
    assert askable({"step", "op"}, frozenset({"stage", "run"})) == {"op"}
    for number in (0, 1):
        cases = target_batch(1, number, None, frozenset({"court"}), {"deployment", "step"})  # type: ignore[arg-type]
        assert {kind_of(case) for case in cases} == {"deployment"}


def test_a_deployment_is_a_question_without_acts() -> None:
    refused = evolve(DEEP, effort=0)
    for parameters, answer in ((DEEP, ["deployed"]), (refused, ["error 232"])):
        question, right = ALONE.question(Deployment(astuple(parameters)))
        assert right == answer
        assert json.loads(question.line(3))["acts"] == []


def test_vectors_of_acts_are_one_question_per_file() -> None:
    cases = json.loads((REPOSITORY / "tests/vectors/court/held_fees.json").read_text())
    (found,) = questions_in("court/held_fees.json", cases)
    assert len(found.names) == len(found.right) == len(cases)
    assert found.right == right_answer(type(DEEP)(**cases[0]["pre"]["parameters"]), [case["pre"] for case in cases[1:]])
    assert any('"paid":["' in text for text in found.right)


# A wrong target --------------------------------------------------------------------------------------------------------------------


class ForgetsBurning:
    """A target in front of the specification that books nothing as burned when a claim expires."""

    knows = frozenset({"court"})

    def ask(self, questions: list[Question]) -> list[list[str]]:
        return [self.answer(json.loads(question.line(1))) for question in questions]

    def answer(self, question: dict[str, Any]) -> list[str]:
        parameters = type(DEEP)(**{name: int(str(value), 0) for name, value in question["parameters"].items()})
        texts, moves = right_answer(parameters, question["acts"]), [act["move"] for act in question["acts"]]
        for place, move in enumerate(moves, 1):
            if move == "expire" and texts[place].startswith("{"):
                told = json.loads(texts[place])
                told["views"]["books"][2] -= 1
                texts[place] = json.dumps(told)
        return texts


def test_a_wrong_act_is_shrunk_to_the_acts_that_it_needs() -> None:
    """A model, a request, a claim, and its end: nothing else is needed for a claim to expire, though its id depends on what was before."""
    case = next(case for case in (draw_acts(seed, 120) for seed in range(99)) if expires(case))
    engines = Engines((), (), (), ALONE, ForgetsBurning())  # type: ignore[arg-type]
    difference = compare(case, engines)
    assert isinstance(difference, Difference)
    smallest = shrink(difference, engines)
    assert isinstance(smallest.case, Acts)
    moves = [act["move"] for act in smallest.case.acts]
    assert moves == ["register", "request", "claim", "expire"]
    (said,) = smallest.answers["target, court"]
    assert re.fullmatch(rf"expire, books, burned: act {len(moves)}, books, burned \d+. Right: act {len(moves)}, books, burned \d+", said)
    assert smallest.title == f"{len(moves)} acts at court, the last one expire: spec, court | target, court"


def expires(case: Acts) -> bool:
    texts = right_answer(RULES[case.rules], case.acts)
    return any(act["move"] == "expire" and text.startswith("{") for act, text in zip(case.acts, texts[1:], strict=True))


def test_a_class_is_given_and_gives_bytes() -> None:
    """Its host reads and writes hex, wherever it stands."""
    case = draw_acts(3, 6)
    parameters, acts = given(json.loads(asked(RULES[case.rules], case.acts).line(1)))
    assert parameters["k"] == RULES[case.rules].k
    assert [type(each) for each in acts[0]["arguments"].values()] == [bytes, bytes, int]
    assert (type(acts[0]["sender"]), acts[0]["move"]) == (bytes, "register")
    accepted = {"id": bytes.fromhex(MODEL), "events": [b"\xee" * 32], "views": [["books", [0, 1]]]}
    shown = {"id": MODEL, "events": ["ee" * 32], "views": [["books", [0, 1]]]}
    assert result([205, accepted]) == {"answer": [{"error": 205}, shown]}
    assert court_texts(result([205, accepted])["answer"])[1] == "error 205"


# Edges and corners -----------------------------------------------------------------------------------------------------------------


def test_acts_at_edges_have_another_answer_a_second_earlier_or_later() -> None:
    """Some of them are refused and some accepted, and all kinds of acts that depend on time come up."""
    moves = set[tuple[str, bool]]()
    for seed in range(4):
        rng, rules = rules_of(seed)
        court = TellingCourt(deploy(RULES[rules]))
        players = players_at(court, rules, rng)
        for call in drawn_calls(court, players, 50):
            court.call(call)
        for call in at_court(court, players, islice(acts_at_edges(players), 30)):
            assert is_at_an_edge(court.spec, call), call
            moves.add((call.move, court.call(call) == "ok"))
    assert len({move for move, _ in moves}) >= 4
    assert {accepted for _, accepted in moves} == {True, False}


def test_operations_at_their_corners_saturate_and_stop() -> None:
    """Opcodes and conditions that are none, runs that are done, and numbers at the ends of 32 bits."""
    cases = [corner_operation(Random(seed)) for seed in range(60)]
    headers = [header_of(case.memory) for case in cases]
    assert {header.stop_tokens for header in headers} == {0, 1, 2, 3, 4}
    conditions = {case.memory[header.tape][8:16] for case, header in zip(cases, headers, strict=True)}
    assert conditions == {each.to_bytes(8, "little") for each in (0, 1, 2, 1 << 63)}
    opcodes = {int.from_bytes(case.memory[header.tape][:8], "little") for case, header in zip(cases, headers, strict=True)}
    assert opcodes & {0, 12, 31, 44, 255}
    assert opcodes & set(range(1, 12))
    assert any(OUTPUT in case.memory for case in cases)
    assert any((1 << 31).to_bytes(4, "little") in case.memory[STATE] for case in cases if not header_of(case.memory).arithmetic)


def test_a_spoiled_request_has_a_wrong_token_at_any_place() -> None:
    request = bytes(24) + struct.pack("<5I", *range(5))
    spoiled = [spoiled_request(Random(seed), request) for seed in range(2_000)]
    places = {place for place in range(5) for each in spoiled if each[24 + 4 * place :][:4] == struct.pack("<I", 1 << 20)}
    assert places == set(range(5))
