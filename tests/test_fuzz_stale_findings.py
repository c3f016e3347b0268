"""Files of findings that this version cannot use, since another one wrote them or nobody did: each is told in a line, the rest is tried."""

import json
import os
import struct
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest
from attrs import astuple, evolve
from opml_fuzz.commands import campaign as command
from opml_fuzz.commands import fuzz
from opml_fuzz.commands.report_file import junit, sarif
from opml_fuzz.disputes.call import read as read_call
from opml_fuzz.disputes.sequences import draw_acts
from opml_fuzz.errors import InputError
from opml_fuzz.fuzzing.batches import SWEEP_ENDS, batch
from opml_fuzz.fuzzing.corpus import Corpus, cases_in
from opml_fuzz.fuzzing.difference import Difference, read
from opml_fuzz.fuzzing.loop import RunReport
from opml_fuzz.machine.case import Acts, Deployment, Step, from_json
from opml_fuzz.machine.model_case import FloatOperation, header_of, memory_to_json, segments_from_json
from opml_fuzz.machine.numbers import ENTRY
from opml_fuzz.machine.replay_limits import Limited, is_within_limits
from opml_fuzz.machine.states import random_state
from opml_fuzz.machine.training_case import PLAIN_SETTINGS, SETTINGS, training_model, with_training_request
from opml_fuzz.models.random_models import random_model, random_operation
from opml_spec.dispute.parameters import Parameters
from opml_spec.machine.memory import IO, STATE
from opml_spec.machine.memory import MEMORY_BYTES as TOP
from opml_spec.machine.memory import MODEL as MODEL_QUARTER
from opml_spec.model.layout import HEADER, OUTPUT_TOKENS, RECORD_BYTES, REQUEST, REQUEST_BYTES, Record, encode_tape, encode_words
from opml_spec.model.operations.fixed import Add, Attention, MatMul, Norm, Rope, Sample
from opml_spec.model.operations.operation import Operation
from opml_spec.training.layout import SETTINGS_BYTES, TENSORS, TrainingHeader
from opml_spec.training.operations.attention import ForwardAttention, Heads
from opml_spec.training.operations.batch_operation import BatchOperation
from opml_spec.training.operations.forward import ForwardAdd, ForwardRelu, ForwardRope
from opml_spec.training.operations.optimisers import Muon
from opml_spec.training.operations.weights import Init, Tokens

Json = dict[str, Any]
USUAL = Deployment(astuple(Parameters()))
ACTS = draw_acts("stale", 6)
FLOAT = FloatOperation("f32_add", (1, 2)).to_json()
START = random_state(Random(1)).to_json()
RELATED = {"case": "related", "relation": "cut", "start": START, "other": START, "by": 0}
MOVED = RELATED | {"relation": "moved", "steps": [1, 1]}
BUFFERS = [STATE + 4096 * i for i in range(6)]
ONE_STAGE = {"first": 0, "count": 1}
OPERATION, MODEL = random_operation(Random(1)).to_json(), random_model(Random(1)).to_json()
FIXED = next(each for seed in count() if not header_of((each := random_operation(Random(seed))).memory).arithmetic).to_json()


def changed(act: Callable[[Json], Any]) -> Json:
    """Acts of which the third is spoiled."""
    text: Json = json.loads(json.dumps(ACTS.to_json()))
    act(text["acts"][2])
    return text


def renamed(act: Json) -> None:
    act["arguments"] = {f"old_{name}": value for name, value in act["arguments"].items()}


def finalising(status: int, output: str) -> Json:
    """One act that ends a claim."""
    arguments = {"claim_id": "00" * 32, "carry": "00" * 32, "status": status, "output": output, "proof": ""}
    return {**ACTS.to_json(), "acts": [{**ACTS.to_json()["acts"][0], "move": "finalise", "value": "0x0", "arguments": arguments}]}


def on_a_tape(case: Json, operation: Operation) -> Json:
    """The case with this operation alone on its tape."""
    memory = segments_from_json(case["memory"])
    return {**case, "memory": memory_to_json({**memory, header_of(memory).tape: encode_tape([operation.record()])})}


def training(operation: BatchOperation, stages: Json | None) -> Json:
    """A tape of training with this operation alone; or some of its stages."""
    memory = memory_to_json({**training_model([operation.record()], {}), REQUEST: bytes(16)})
    return {"case": "training_tape", "memory": memory} if stages is None else {"case": "training", "memory": memory, **stages}


def many_records(case: Json, operation: Operation) -> Json:
    """A model for a loader with this operation a thousand times on its tape."""
    memory = segments_from_json(case["memory"])
    header, tape = evolve(header_of(memory), ops=1_000), encode_tape([operation.record()] * 1_000)
    return {"case": "image", "memory": memory_to_json({HEADER: encode_words(header.words), header.tape: tape})}


def with_magic(case: Json, magic: int) -> Json:
    memory = segments_from_json(case["memory"])
    return {**case, "memory": memory_to_json({**memory, HEADER: encode_words(evolve(header_of(memory), magic=magic).words)})}


def with_segments(case: Json, segments: dict[int, bytes]) -> Json:
    """The case with these segments, in place of those at the same addresses."""
    return {**case, "memory": {**case["memory"], **{hex(address): data.hex() for address, data in segments.items()}}}


def asked_for(case: Json, stage: int, prompt: int, new: int, segments: dict[int, bytes]) -> Json:
    """A stage of a run with a prompt of zeros, whose model has one op."""
    memory = {address: data for address, data in segments_from_json(case["memory"]).items() if not IO <= address < STATE}
    header, data = evolve(header_of(memory), context=8), struct.pack("<6I", prompt, new, 0, 0, 0, 0) + bytes(4 * prompt)
    request = {REQUEST: struct.pack("<QQ", prompt + new - 1, len(data)), REQUEST_BYTES: data}
    return {**case, "stage": stage, "memory": memory_to_json({**memory, HEADER: encode_words(header.words), **request, **segments})}


def settled(operation: BatchOperation, stages: Json) -> Json:
    """Stages of a run of training with one update."""
    memory = with_training_request(training_model([operation.record()], {}), SETTINGS.pack(*PLAIN_SETTINGS).ljust(SETTINGS_BYTES, b"\0"), 1)
    return {"case": "training", "memory": memory_to_json(memory), **stages}


def inside_a_segment(words: Sequence[int], record: Record) -> Json:
    """The memory of a model whose only record lies in the middle of a segment."""
    return memory_to_json({HEADER: encode_words(words), HEADER + 4096: bytes(32) + encode_tape([record])})


def behind_the_tape(operation: Operation) -> Json:
    """An operation whose table follows its record in the same segment, with entries that are too large."""
    memory = segments_from_json(on_a_tape(FIXED, operation)["memory"])
    tape = header_of(memory).tape
    return {**FIXED, "stage": 0, "memory": memory_to_json({**memory, tape: memory[tape] + struct.pack("<i", -(1 << 31)) * 1_000})}


def in_the_tape(operation: Operation) -> Json:
    """An operation behind a record that is no operation, and whose words are too large as a table."""
    memory = segments_from_json(FIXED["memory"])
    header = evolve(header_of(memory), ops=2)
    tape = [Record(1 << 63, 0, (1 << 63,) * 14), operation.record()]
    return {**FIXED, "stage": 1, "memory": memory_to_json({**memory, HEADER: encode_words(header.words), header.tape: encode_tape(tape)})}


TABLE = header_of(segments_from_json(FIXED["memory"])).tape + RECORD_BYTES
RELU = ForwardRelu(TENSORS, TENSORS + 4096, 1, 8, 14, 15)
LARGE, LARGE_TABLE = MatMul(STATE, STATE, MODEL_QUARTER, 0, 1 << 11, 1 << 10, 14), ForwardRope(STATE, 1, 1 << 20, 1, 1 << 10, MODEL_QUARTER)
IN_SEGMENT = evolve(header_of(segments_from_json(MODEL["memory"])), ops=1, tape=HEADER + 4096 + 32)
TEXTS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "it is empty"),
    "bytes": (bytes(range(256)), "it is not JSON"),
    "a list": (b"[]", "does not hold an object"),
    "half a file": (json.dumps(USUAL.to_json()).encode()[:40], "it is not JSON"),
    "too deep": (b"[" * 100_000, "nested more than"),
    "a time beyond all": (json.dumps(changed(lambda act: act.update(now="later"))).replace('"later"', "1e400").encode(), "inf is neither"),
}
CASES: dict[str, tuple[Json, str]] = {
    "no kind": ({}, "there is no 'case' in it"),
    "a removed kind": ({"case": "poem"}, "there is no kind of case 'poem'"),
    "a parameter less": ({**USUAL.to_json(), "parameters": USUAL.to_json()["parameters"][1:]}, "parameters, not"),
    "a negative parameter": ({**USUAL.to_json(), "parameters": [-1, *USUAL.to_json()["parameters"][1:]]}, "-1 is not a number from 0"),
    "a removed act": (changed(lambda act: act.update(move="donate")), "act 3: there is no act 'donate'"),
    "no act": (changed(lambda act: act.clear()), "act 3 has no 'move'"),
    "renamed arguments": (changed(renamed), "has no argument 'old_"),
    "an argument less": (changed(lambda act: act["arguments"].popitem()), "act 3 has no"),
    "numbers for bytes": (changed(lambda act: act.update(arguments=dict.fromkeys(act["arguments"], 7))), "is not of type bytes32"),
    "short bytes": (changed(lambda act: act.update(arguments=dict.fromkeys(act["arguments"], "00"))), "is not of type bytes32"),
    "a list for bytes": (changed(lambda act: act.update(arguments={name: [1] for name in act["arguments"]})), "act 3: "),
    "a number for a sender": (changed(lambda act: act.update(sender="7")), "act 3: "),
    "a time before all": (changed(lambda act: act.update(now=-5)), "now of "),
    "removed rules": ({**ACTS.to_json(), "rules": 99}, "there are no rules 99"),
    "a removed operation": ({**FLOAT, "operation": "f32_pow"}, "no operation 'f32_pow'"),
    "an operand less": ({**FLOAT, "operands": ["0x1"]}, "f32_add has operands of 32 and 32 bits"),
    "a wide operand": ({**FLOAT, "operands": ["0x1", "0x100000000"]}, "f32_add has operands of 32 and 32 bits"),
    "a removed rounding": ({**FLOAT, "rounding": "XXX"}, "no direction of rounding 'XXX'"),
    "a model without memory": ({**OPERATION, "memory": {}}, "has no header"),
    "more stages than there are": ({**MODEL, "until": MODEL["stages"] + 1}, "is not a number from 1 to"),
    "what was asked": ({**USUAL.to_json(), "asked": [7]}, "what was asked is no list of questions"),
    "a deep question": ({**USUAL.to_json(), "asked": ["[" * 200_000]}, "nested more than"),
    "a long question": ({**USUAL.to_json(), "asked": ["{" + " " * (1 << 20)]}, "are read"),
    "half a second": (changed(lambda act: act.update(now=0.5)), "0.5 is neither a whole number"),
    "a time of 65 bits": (changed(lambda act: act.update(now=1 << 64)), "is not of type uint64"),
    "more money than there is": (changed(lambda act: act.update(value=hex(1 << 170))), "has more money than anybody"),
    "a stranger": (changed(lambda act: act.update(sender="ff" * 20)), "nobody who has money"),
    "a status of 9 bits": (finalising(256, ""), "status of finalise is not of type uint8"),
    "too much output": (finalising(0, "00" * 32_770), "longer than the interface allows"),
    "too many acts": ({**ACTS.to_json(), "acts": [{}] * 5_000}, "are tried"),
    "a wide parameter": ({**USUAL.to_json(), "parameters": [1 << 64, *USUAL.to_json()["parameters"][1:]]}, "is not a number from 0"),
    "too many stops": ({"case": "program", "start": START, "stops": [*range(1, 1_000)]}, "too many"),
    "a long relation": (RELATED | {"steps": [1 << 17] * 2}, "is not a number from 1 to 4096"),
    "too many leaves": ({"case": "step", "start": {**START, "memory": {hex(32 * i): "01" * 32 for i in range(10_000)}}}, "leaves; at most"),
    "too many segments": ({**OPERATION, "memory": {hex(64 * i): "01" for i in range(10_000)}}, "segments; at most"),
    "heads of nothing": (on_a_tape(OPERATION, Attention(STATE, STATE, STATE, STATE, STATE, STATE, 1 << 32, 1, 0, 8, 1)), "no numbers"),
    "rows of nothing": (on_a_tape(OPERATION, MatMul(STATE, STATE, STATE, 0, 1 << 32, 0, 14)), "no numbers"),
    "a long start": (training(Init(STATE, 1 << 32, 0, 1, 0), ONE_STAGE), "too many numbers"),
    "text for acts": ({**ACTS.to_json(), "acts": ""}, "'' is no list"),
    "no acts": ({**ACTS.to_json(), "acts": []}, "there are 0 acts"),
    "text for operands": ({**FLOAT, "operands": "12"}, "'12' is no list"),
    "another run": (RELATED | {"steps": [2, 1]}, "not related as 'cut' says"),
    "moved out of memory": (MOVED | {"by": -4}, "not related as 'moved' says"),
    "moved in half": (MOVED | {"by": 4}, "not related as 'moved' says"),
    "a register beside": (MOVED | {"relation": "beside", "other": START | {"x": {"1": "0x1"}}}, "not related as 'beside' says"),
    "more heads for keys": (on_a_tape(FIXED, Attention(*BUFFERS, 1, 2, 2, 64, 1)), "no loader takes"),
    "a buffer outside": (on_a_tape(FIXED, Add(1 << 41, STATE, 8)), "may not lie there"),
    "a wide shift": (on_a_tape(FIXED, Norm(STATE, STATE + 4096, STATE + 8192, 8, 1 << 34, 1)), "r is 17179869184"),
    "another magic": (with_magic(MODEL, 1), "IMAGE_HEADER"),
    "the program as weights": (on_a_tape(FIXED, Add(STATE, MODEL_QUARTER, 8)), "has its program"),
    "a wide number": (training(ForwardRelu(TENSORS, TENSORS + 4096, 1, 8, 14, 1 << 35), ONE_STAGE), "width is 34359738368"),
    "a late stage": (training(Init(STATE, 1, 0, 1, 0), {"first": 1 << 32, "count": 1}), "is not a number from 0"),
    "many products": (many_records(MODEL, MatMul(STATE, STATE, MODEL_QUARTER, 0, 1 << 10, 1 << 10, 14)), "too many numbers to look at"),
    "a program of its own": (with_segments(OPERATION, {ENTRY: bytes(32)}), "has its program"),
    "training where the program is": (with_segments(training(RELU, ONE_STAGE), {ENTRY - 64: bytes(96)}), "has its program"),
    "scratch memory": (with_segments(training(RELU, ONE_STAGE), {4096: b"1"}), "has its program"),
    "a segment askew": (with_segments(MODEL, {TOP - 32: b"1"}), "no image has a segment at"),
    "a request in an image": (with_segments(MODEL, {REQUEST: bytes(32)}), "no image has a segment at"),
    "a segment behind all": (with_segments(MODEL, {TOP: b""}), "is not a number from 0"),
    "a record inside a segment": ({"case": "image", "memory": inside_a_segment(IN_SEGMENT.words, LARGE.record())}, "too many numbers"),
    "a record of training inside a segment": (
        {"case": "training_tape", "memory": inside_a_segment(TrainingHeader(ops=1, tape=HEADER + 4128).words, LARGE_TABLE.record())},
        "too many numbers to look",
    ),
    "rows that fill no tile": (many_records(MODEL, MatMul(STATE, STATE, MODEL_QUARTER, 0, 1, 1 << 10, 14)), "too many numbers to look at"),
    "a table behind the tape": (behind_the_tape(Rope(STATE, 1, 2, TABLE)), "cos, sin can reach"),
    "a table in the tape": (in_the_tape(Rope(STATE, 1, 2, TABLE - RECORD_BYTES)), "an operation reads a tape that no loader takes"),
    "a later stage after a refusal": (asked_for(FIXED, 1, 0, 2, {}), "its first stage refuses"),
    "a token that is none": (asked_for(FIXED, 1, 1, 2, {OUTPUT_TOKENS: b"\xff" * 32}), "a token that is no token"),
    "an early draw": (asked_for(on_a_tape(FIXED, Sample(STATE, 1)), 0, 2, 1, {}), "in the middle of the prompt"),
    "an update after a refusal": (training(RELU, {"first": 1, "count": 1}), "its first stage refuses"),
    "an update too many": (settled(RELU, {"first": 1, "count": 1}), "there are not so many stages"),
    "a number beyond all": (with_segments(settled(RELU, ONE_STAGE), {TENSORS: struct.pack("<i", -(1 << 31))}), "too large or too small"),
    "a talk without end": ({**USUAL.to_json(), "asked": ["{}"] * 20_000}, "of 20000 questions at most"),
    "a large table": (training(ForwardRope(STATE, 1, 1 << 20, 1, 1 << 10, MODEL_QUARTER), None), "too many numbers to look at"),
}
TOO_MUCH: dict[str, BatchOperation] = {
    "a large sum": ForwardAdd(TENSORS, TENSORS, TENSORS, 1 << 28),
    "a long text": Tokens(TENSORS, TENSORS + (1 << 30), MODEL_QUARTER, 1, 1 << 28, 1, 1 << 20, 0, 1, 0),
    "many heads": Heads(TENSORS, TENSORS + (1 << 34), 1 << 20, 1 << 10, 1, 2, 14, 15),
    "a long attention": ForwardAttention(*(TENSORS + (i << 20) for i in range(4)), 1, 1 << 14, 1, 1, 2, 15),
    "a large square": Muon(STATE, TENSORS, TENSORS + (1 << 26), 1 << 10, 1 << 10, 24, 1, 0),
}
CASES |= {name: (training(operation, ONE_STAGE), "too many numbers") for name, operation in TOO_MUCH.items()}
STALE = TEXTS | {name: (json.dumps(text).encode(), reason) for name, (text, reason) in CASES.items()}


@pytest.mark.parametrize("name", STALE)
def test_each_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    content, reason = STALE[name]
    (tmp_path / "case.json").write_bytes(content)
    with pytest.raises(InputError) as refusal:
        read(tmp_path / "case.json")
    assert str(refusal.value).startswith(f"{tmp_path / 'case.json'}")
    assert reason in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_reading_takes_no_longer_than_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "case.json").write_text(json.dumps(USUAL.to_json()))
    monkeypatch.setattr(command, "read_with_questions", lambda path: time.sleep(60))
    with pytest.raises(InputError, match=r"takes longer than 0\.1 seconds"):
        command.replay(Namespace(file=tmp_path / "case.json", target=None, seconds=0.1, json=False))


def test_a_request_without_settings_is_kept(tmp_path: Path) -> None:
    """Its first stage refuses it."""
    Corpus(tmp_path).keep(from_json(training(RELU, ONE_STAGE)))
    assert len(cases_in(tmp_path).cases) == 1


def test_what_the_fuzzer_asks_may_stand_in_a_replay_file() -> None:
    """What it finds can be replayed, and shrinks."""
    cases = [case for number in (SWEEP_ENDS + 4, SWEEP_ENDS + 6) for case in batch(3, number) if isinstance(case, Limited)]
    assert {type(case).__name__ for case in cases} == {"OneStage", "WholeRun", "ModelImage", "TrainingStages", "TrainingTape"}
    assert not [case for case in cases if not is_within_limits(case)]


def test_what_is_no_file(tmp_path: Path) -> None:
    """A pipe is not opened, which would never end."""
    (tmp_path / "a.json").mkdir()
    (tmp_path / "b.json").symlink_to("nowhere")
    os.mkfifo(tmp_path / "c.json")
    (tmp_path / "d.json").write_text(json.dumps(USUAL.to_json()))
    (tmp_path / "e.txt").write_text("no finding")
    kept = cases_in(tmp_path)
    assert kept.cases == {tmp_path / "d.json": USUAL}
    reasons = ["this is not a regular file", "No such file or directory", "this is not a regular file"]
    assert [line.split(": ", 1)[1] for line in kept.unusable] == reasons


@pytest.mark.parametrize("option", ["--regressions", "--corpus"])
def test_the_rest_is_tried(option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "cases"
    folder.mkdir()
    given = ["run", "--seconds", "2", "--only", "deployment", "--jobs", "1", "--replays", str(tmp_path), option, str(folder), "--json"]
    (folder / "good.json").write_text(json.dumps(USUAL.to_json()))
    assert fuzz.main(given) == 0
    before = json.loads(capsys.readouterr().out)
    for number, (content, _) in enumerate(STALE.values()):
        (folder / f"{number:02}.json").write_bytes(content)
    assert fuzz.main(given) == 2
    out, err = capsys.readouterr()
    after, lines = json.loads(out), err.splitlines()
    assert (len(after["unusable"]), after["kept"], after["differences"]) == (len(STALE), before["kept"], [])
    assert [line.removeprefix("opml-fuzz: not tried: ") for line in lines] == after["unusable"]
    assert all(reason in line for (_, reason), line in zip(STALE.values(), lines, strict=True))


def test_a_difference_counts_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "old.json").write_bytes(b"")
    found = RunReport(5, 10, 20, 1.0, Fraction(0), (Difference(USUAL, {"a": ["x"], "b": ["y"]}),))
    for report, code in ((found, 1), (RunReport(5, 10, 20, 1.0, Fraction(0), lost=("seed 5, batch 3",)), 70)):
        monkeypatch.setattr(command, "fuzz_on_all", lambda *given, report=report: report)
        assert fuzz.main(["run", "--only", "step", "--replays", str(tmp_path), "--regressions", str(tmp_path)]) == code
        assert ", 1 files that hold no case" in capsys.readouterr().out
        (tmp_path / "old.json").write_bytes(b"")


def test_reports_tell_them() -> None:
    report = RunReport(5, 10, 20, 1.0, Fraction(0), unusable=("old.json: this is not a replay file: it is empty",))
    assert 'errors="1"' in junit(report, [])
    assert "old.json: this is not a replay file: it is empty" in junit(report, [])
    (run,) = sarif(report, [])["runs"]
    assert run["invocations"][0]["executionSuccessful"] is False
    assert "not tried: old.json" in run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]


def test_acts_from_a_corpus_have_their_arguments_in_place(tmp_path: Path) -> None:
    """Its files have their keys in alphabetical order."""
    Corpus(tmp_path).keep(ACTS)
    (kept,) = cases_in(tmp_path).cases.values()
    assert isinstance(kept, Acts)
    assert [*map(read_call, kept.acts)] == [*map(read_call, ACTS.acts)]


def test_random_acts_can_be_read_again(tmp_path: Path) -> None:
    """No spoiled act is refused as stale."""
    corpus = Corpus(tmp_path)
    for seed in range(6):
        corpus.keep(draw_acts(str(seed), 150, 60 * (seed % 2)))
    corpus.keep(Step(random_state(Random(1))))
    assert (len(cases_in(tmp_path).cases), cases_in(tmp_path).unusable) == (7, ())


def test_a_link_in_a_corpus_is_not_written_through(tmp_path: Path) -> None:
    """The name of a case follows from the case, so whoever made the folder knows it."""
    folder, victim = tmp_path / "corpus", tmp_path / "victim"
    victim.write_text("mine")
    Corpus(folder).keep(USUAL)
    (name,) = (path.name for path in folder.iterdir())
    (folder / name).unlink()
    (folder / name).symlink_to(victim)
    (folder / name).with_suffix(".part").symlink_to(victim)
    Corpus(folder).keep(USUAL)
    assert victim.read_text() == "mine"
    assert read(folder / name) == USUAL


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """A folder has the name that the file was to have."""
    Corpus(tmp_path).keep(USUAL)
    (path,) = tmp_path.iterdir()
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match="cannot write"):
        Corpus(tmp_path).keep(USUAL)
    assert list(tmp_path.iterdir()) == [path]


def test_regressions_that_were_not_tried_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "old.json").write_text(json.dumps(USUAL.to_json()))
    monkeypatch.setattr(command, "fuzz_on_all", lambda *given: RunReport(5, 10, 20, 1.0, Fraction(0)))
    for option, code in (("--regressions", 2), ("--corpus", 0)):
        assert fuzz.main(["run", "--only", "deployment", "--replays", str(tmp_path), option, str(tmp_path)]) == code
        assert ", 0 of " in capsys.readouterr().out
