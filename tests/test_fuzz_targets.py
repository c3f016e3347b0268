"""Targets of the fuzzer that misbehave: each gives one wrong answer in time, nothing of it is left behind, and a prover can be stopped."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from math import inf
from pathlib import Path
from random import Random
from typing import Any, NoReturn

import pytest
import z3
from attrs import evolve
from opml_fuzz.commands.engine_room import engine_room
from opml_fuzz.commands.fuzz import main
from opml_fuzz.disputes.sequences import RandomDisputes
from opml_fuzz.engines.bytecode import EmbeddedEvm
from opml_fuzz.engines.opml_min import interpreted
from opml_fuzz.engines.protocol import OutOfTime
from opml_fuzz.engines.room import EngineRoom
from opml_fuzz.engines.specification import SpecWitness
from opml_fuzz.engines.targets.external import External
from opml_fuzz.engines.targets.process import Process
from opml_fuzz.engines.targets.right_answers import RightAnswers
from opml_fuzz.errors import InputError
from opml_fuzz.fuzzing import batches
from opml_fuzz.fuzzing.asking import run_batch
from opml_fuzz.fuzzing.deadline import GRACE_SECONDS, stopped_at
from opml_fuzz.fuzzing.difference import compare
from opml_fuzz.fuzzing.target_batches import AT_ONCE
from opml_fuzz.machine.case import Disputes
from opml_fuzz.machine.programs import loop
from opml_fuzz.machine.target_question import execute
from opml_fuzz.proofs.stoppable import Stopped, stoppable
from opml_fuzz.sweep.order import sweep

PAGE = Path(__file__).resolve().parent.parent / "fuzz" / "opml_fuzz" / "engines" / "README.md"
(PROGRAM,) = re.findall(r"^```python\n(import.*?)^```$", PAGE.read_text(), re.M | re.S)
QUESTION = execute(bytes(5_000))  # ten of them fill a pipe
HANDS = """read l; echo '{"id":0,"answer":{"protocol":1,"knows":["execute"]}}'\n"""
RIGHT = r"""printf '{"id":%d,"error":101}\n' $((n+=1))"""  # the answer to QUESTION
TARGETS = {  # shell scripts after the handshake, and what the answer says
    "hangs": ("sleep 1000", "within"),
    "spins": ("while :; do :; done", "within"),
    "reads and says nothing": ("while read l; do :; done", "within"),
    "writes half a line": ("while read l; do printf abc; sleep 1000; done", "'?abc'? without an end"),
    "writes a line without end": ("read l; tr '\\0' x < /dev/zero", "but 'x+' without an end"),
    "writes lines without end": ("read l; yes", "but 'y'"),
    "answers before it is asked": ("yes", "but 'y'"),
    "dies at once": ("exit 3", "exit code 3"),
    "dies in the middle of a line": ("read l; printf abc; exit 3", "exit code 3"),
    "is killed": ("read l; kill -SEGV $$", "exit code -11"),
    "closes its output": ("kill $!; read l; exec >&-; sleep 1000", "it closed its output"),
    "says something else": ("while read l; do echo hello; done", "but 'hello'"),
    "says nothing in a line": ("while read l; do echo; done", "but ''"),
    "writes what is no text": (r"read l; printf '\377\376\n'; sleep 1000", "but '"),
    "answers twice": (f"while read l; do {RIGHT}; n=$((n-1)); {RIGHT}; done", 'but \'{"id":1,'),
    "answers another question": (f"n=7; while read l; do {RIGHT}; done", 'but \'{"id":8,'),
    "answers in another form": ("while read l; do echo '{\"id\":1,\"answer\":105}'; done", "but '.*105"),
    "says that it failed": ("while read l; do echo '{\"id\":1,\"failed\":\"no disk\"}'; done", "it failed: no disk"),
    "holds its answers back": (f"while read l; do {RIGHT}; done > answers; cat answers", "it does not flush its output"),
    "dies with noise": ("while read l; do echo first >&2; echo ouch >&2; exit 3; done", "exit code 3.*: ouch"),
    "makes noise without end": ("read l; yes noise >&2", "within"),
}


@pytest.fixture
def target(tmp_path: Path) -> Callable[[str], str]:
    """The command line of a script that first starts another process, and writes down the ids of both."""

    def command(script: str) -> str:
        path = tmp_path / "target.sh"
        path.write_text(f"#!/bin/sh\ncd {tmp_path}\nsleep 1001 &\necho $$ $! >> ids\nn=0\n{HANDS}{script}\n", encoding="utf-8")
        path.chmod(0o755)
        return str(path)

    return command


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def assert_nothing_is_left(folder: Path) -> None:
    processes = [int(number) for number in (folder / "ids").read_text(encoding="utf-8").split()]
    assert len(processes) >= 2
    end = time.monotonic() + 10
    while any(map(is_alive, processes)) and time.monotonic() < end:
        time.sleep(0.01)
    assert not [(process, Path(f"/proc/{process}/cmdline").read_bytes()) for process in processes if is_alive(process)]


@pytest.fixture(scope="module")
def room() -> EngineRoom:
    """Our engines and the right answers, without a target."""
    embedded = EmbeddedEvm()
    return evolve(engine_room(embedded=embedded), answering=RightAnswers(SpecWitness(), interpreted(), RandomDisputes()))


def with_target(room: EngineRoom, target: External) -> EngineRoom:
    return evolve(room, all=evolve(room.all, target=target), most=evolve(room.most, target=target))


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_that_misbehaves_gives_a_wrong_answer(
    name: str, target: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, answer = TARGETS[name]
    engine = External(target(script))
    monkeypatch.setattr("opml_fuzz.engines.targets.external.ANSWER_SECONDS", 0.5)
    engine.limit_waiting(0.5, inf)
    for _ in range(2):  # it is started again
        said = engine.ask([QUESTION, QUESTION])[-1][0]
        assert re.search(f"^no answer.*({answer})", said), said
    engine.close()
    assert_nothing_is_left(tmp_path)


@pytest.mark.parametrize("name", ["hangs", "dies at once", "answers twice", "holds its answers back", "makes noise without end"])
def test_a_batch_ends_in_time_with_one_finding(name: str, target: Callable[[str], str], room: EngineRoom, tmp_path: Path) -> None:
    """Shrinking asks again and again; it ends, too."""
    sick = with_target(room, External(target(TARGETS[name][0])))
    assert list(sweep(0))  # made once, which takes longer than these three seconds on a slow machine
    until = time.monotonic() + 3
    sick.limit_waiting(0.5, until)
    cases, differences = run_batch(1, 0, sick, until)
    assert time.monotonic() < until + 2
    assert cases == AT_ONCE
    assert [difference.title for difference in differences] == ["no answer: target"]
    sick.all.target.close()
    assert_nothing_is_left(tmp_path)


def test_what_does_not_come_again_is_marked(room: EngineRoom, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """This target remembers its first answer. In a replay it is asked the earlier question, too; one that remembers nothing agrees."""
    script = tmp_path / "target.py"
    remembering = PROGRAM.replace("**answer(question)", "**known.setdefault(question['ask'], answer(question))")
    script.write_text(remembering.replace("for line", "known = {}\nfor line"))
    stale = with_target(room, External(f"{sys.executable} {script}"))
    (difference, *others) = run_batch(1, 0, stale)[1]
    assert not others
    first, again = difference.asked
    assert first.kind == again.kind
    assert difference.comments[-2:] == [first.line(1).decode().strip(), again.line(2).decode().strip()]
    assert all(stale.all.target.ask([again])[0] != said for name, said in difference.answers.items() if name.startswith("target"))
    stale.all.target.close()
    assert (difference.title, difference.comes_again) == ("does not come again: target", False)
    assert difference.to_json()["comes_again"] is False
    file = str(difference.write(tmp_path))
    assert main(["replay", file, "--target", f"{sys.executable} {script}", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["asked"] == difference.lines_asked
    assert told["answers"].keys() == difference.answers.keys()
    assert told["answers"]["opml"] == difference.answers["opml"]
    script.write_text(PROGRAM)
    assert main(["replay", file, "--target", f"{sys.executable} {script}"]) == 0
    Path(file).write_text(json.dumps(difference.to_json() | {"asked": difference.lines_asked[:1]}))
    assert main(["replay", file, "--target", f"{sys.executable} {script}"]) == 2
    assert "not about its case" in capsys.readouterr().err


def test_a_target_that_goes_on_answering(target: Callable[[str], str], tmp_path: Path) -> None:
    engine = External(target(f"while read l; do echo noise >&2; {RIGHT}; done"))
    assert [engine.ask([QUESTION])[0] for _ in range(3)] == [["error 101"]] * 3
    assert engine.ask([QUESTION] * 300) == [["error 101"]] * 300
    del engine  # also without `close`
    assert_nothing_is_left(tmp_path)


def test_the_question_that_kills_is_found_among_many(target: Callable[[str], str]) -> None:
    """Although this target answers nothing before it has read eight lines."""
    engine = External(target("for i in 1 2 3 4 5 6 7 8; do read l; case $l in *dead*) exit 3; esac; done; sleep 1000"))
    engine.limit_waiting(0.5, inf)
    assert engine.ask([QUESTION] * 3 + [execute(b"\xde\xad")] + [QUESTION] * 9)[0][0].startswith("no answer within")
    engine = External(target(f"while read l; do case $l in *dead*) exit 3; esac; {RIGHT}; done"))
    answers = engine.ask([QUESTION] * 3 + [execute(b"\xde\xad")] + [QUESTION] * 9)
    assert answers == [["error 101"]] * 3 + [["no answer (exit code 3)"]]


def test_the_end_of_the_time_is_no_finding(target: Callable[[str], str]) -> None:
    """Unless the target was asked for as long as it may take."""
    engine = External(target(f"read l; {RIGHT}; sleep 1000"))
    assert engine.ask([QUESTION]) == [["error 101"]]
    engine.limit_waiting(15.0, time.monotonic() + 0.2)
    with pytest.raises(OutOfTime):
        engine.ask([QUESTION])
    engine.close()


@pytest.mark.parametrize(
    ("number", "arguments"), [(signal.SIGINT, ["run", "--seconds", "60", "--seed", "5"]), (signal.SIGTERM, ["vectors", "run"])]
)
def test_a_signal_ends_everything_at_once(number: int, arguments: list[str], target: Callable[[str], str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "opml_fuzz.commands.fuzz", *arguments, "--target", target("echo >> asked; sleep 1000")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, cwd=tmp_path, start_new_session=True)
    asked, end = tmp_path / "asked", time.monotonic() + 100
    while (not asked.exists() or asked.read_text().count("\n") < (1 if "vectors" in arguments else 2)) and time.monotonic() < end:
        time.sleep(0.05)  # `run` first looks whether it starts
    sent = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert time.monotonic() - sent < 12
    assert process.returncode == 128 + number
    assert said.count(b"\n") == 1
    assert (b"; --seed 5 asks the same again" in said) == ("--seed" in arguments)
    assert_nothing_is_left(tmp_path)


def for_ever() -> None:
    """Swallows whatever an engine may swallow."""
    while True:
        with suppress(Exception):
            time.sleep(0.01)


class Slow:
    """Courts that never end, in one way or another."""

    accepted = 0

    def __init__(self, in_a_destructor: bool) -> None:
        self.in_a_destructor = in_a_destructor

    def play(self, seed: str, acts: int) -> dict[str, list[str]]:
        if self.in_a_destructor:
            Destroyed()
        for_ever()
        return {}


class Destroyed:
    def __del__(self) -> None:
        time.sleep(2)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("in_a_destructor", [False, True])
def test_acts_at_court_end_in_time(in_a_destructor: bool) -> None:
    """Batch 1 goes to court."""
    room = engine_room(None)
    slow = EngineRoom(*(evolve(each, courts=Slow(in_a_destructor)) for each in (room.all, room.most)))
    before, begin = signal.getsignal(signal.SIGALRM), time.monotonic()
    assert run_batch(1, 1, slow, begin + 0.5) == (0, [])
    assert time.monotonic() - begin < 2
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_real_acts_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "ACTS", 1_000_000)
    room, begin = engine_room(None), time.monotonic()
    assert run_batch(1, 1, room, begin + 1) == (0, [])
    assert 1 <= time.monotonic() - begin < 3


def test_a_difference_that_cannot_be_written_down_in_time_is_one_all_the_same() -> None:
    class Different(Slow):
        def play(self, seed: str, acts: int) -> dict[str, list[str]]:
            return {"a": ["1"], "b": ["2"]}

        def written(self, seed: str, acts: int) -> NoReturn:
            for_ever()
            raise AssertionError

    engines = evolve(engine_room(None).most, courts=Different(False))
    difference = compare(Disputes("1", 5), engines, time.monotonic() + 0.3)
    assert difference is not None
    assert difference.case == Disputes("1", 5)


def test_too_little_memory_is_no_disagreement(tmp_path: Path) -> None:
    def restrict() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))

    file = tmp_path / "program.json"
    file.write_text(json.dumps(loop(Random(1)).to_json()))
    command = [sys.executable, "-m", "opml_fuzz.commands.fuzz", "replay", str(file)]
    done = subprocess.run(command, capture_output=True, preexec_fn=restrict, check=False, timeout=100)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(b"opml-fuzz: not enough memory")


def test_the_whole_command(target: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = target("while read l; do printf abc; sleep 1000; done")
    assert main(["run", "--seconds", "6", "--seed", "5", "--target", command, "--replays", str(tmp_path), "--json"]) == 1
    (difference,) = json.loads(capsys.readouterr().out)["differences"]
    assert difference["answers"]["target, execute"][0].startswith("no answer within")
    assert main(["replay", difference["replay"], "--target", target("read l; exit 3"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["answers"]["target, execute"] == ["no answer (exit code 3)"]
    assert_nothing_is_left(tmp_path)


COMMANDS = ("", "  ", "program 'with a quote", "/nonexistent/program", "/", "\0", "python:nothing:No", "lib:/nonexistent.so")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_does_not_start(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError):
        External(command)
    assert main(["run", "--target", command]) == 2
    assert capsys.readouterr().err.count("\n") == 1


HANDSHAKES = {  # what a target says first, and what the message says
    "exit 3": "does not shake hands: no answer .exit code 3",
    "echo hello": "does not shake hands: no answer, but 'hello'",
    """echo '{"id":0,"answer":[]}'""": "does not shake hands",
    """echo '{"id":0,"answer":{"protocol":1}}'""": "does not shake hands",
    """echo '{"id":0,"answer":{"protocol":2,"knows":["execute"]}}'""": "speaks version 2",
    """echo '{"id":0,"answer":{"protocol":1,"knows":["sing"]}}'""": "knows none of the questions",
    """echo '{"id":0,"answer":{"protocol":1,"knows":["root"],"spec":{"machine":"00"}}}'""": "another text .* machine",
}


@pytest.mark.parametrize("script", HANDSHAKES)
def test_a_target_that_does_not_shake_hands(script: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "target.sh"
    path.write_text(f"#!/bin/sh\nread l\n{script}\nsleep 0.2\n")
    path.chmod(0o755)
    assert main(["vectors", "run", "--target", str(path)]) == 2
    said = capsys.readouterr().err
    assert re.search(HANDSHAKES[script], said), said
    assert said.count("\n") == 1


def later(function: Callable[..., Any], happens: Callable[[], object]) -> Callable[..., Any]:
    """Lets something happen after a call, before its result is known."""

    def call(*arguments: Any, **named: Any) -> Any:
        result = function(*arguments, **named)
        happens()
        return result

    return call


def until_both_run(folder: Path) -> None:
    while not (folder / "ids").exists() or len((folder / "ids").read_text().split()) < 2:
        time.sleep(0.01)


def sleep_beyond(end: float) -> None:
    """Sleeps until a timer for this end has gone off."""
    time.sleep(max(end - time.monotonic(), 0) + GRACE_SECONDS + 0.2)


def test_a_signal_while_a_target_starts(target: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is heard at once after the start, when the target is known to whoever ends."""

    def interrupt() -> None:
        until_both_run(tmp_path)
        signal.raise_signal(signal.SIGINT)

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(subprocess, "Popen", later(subprocess.Popen, interrupt))
    try:
        with pytest.raises(KeyboardInterrupt):
            Process([target("sleep 1000")])
    finally:
        signal.signal(signal.SIGINT, handler)
    assert_nothing_is_left(tmp_path)


def test_the_time_ends_while_a_target_starts(target: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy computer takes long to start it."""

    end = time.monotonic() + 1

    def wait() -> None:
        until_both_run(tmp_path)
        sleep_beyond(end)

    monkeypatch.setattr(subprocess, "Popen", later(subprocess.Popen, wait))
    with pytest.raises(OutOfTime), stopped_at(end):
        Process([target("read l; sleep 1000")])
    assert_nothing_is_left(tmp_path)


def test_the_time_ends_while_a_target_is_killed(target: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is dead all the same, and whoever asks again asks one that has just been started."""
    engine = External(target(f"while read l; do {RIGHT}; done"))
    end, kill = time.monotonic() + 1, os.killpg

    def kill_late(group: int, number: int) -> None:
        sleep_beyond(end)
        kill(group, number)

    with monkeypatch.context() as patch:
        patch.setattr(os, "killpg", kill_late)
        with pytest.raises(OutOfTime), stopped_at(end):
            engine.close()
    assert_nothing_is_left(tmp_path)
    assert engine.ask([QUESTION]) == [["error 101"]]
    engine.close()
    assert_nothing_is_left(tmp_path)


def test_a_deadline_that_comes_at_once_leaves_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal may come before the block begins; nothing may stop what is done later."""
    handler = signal.getsignal(signal.SIGALRM)
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: 0.0)
        with pytest.raises(OutOfTime), stopped_at(1e-6 - GRACE_SECONDS):
            time.sleep(1)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) == handler


# The prover --------------------------------------------------------------------------------------------------------------------------


def factors(stop: threading.Event) -> str:
    """Asks z3 for something that takes it hours, and again if it gives up."""
    a, b = z3.BitVecs("a b", 256)
    solver = z3.Solver()
    solver.set("ctrl_c", False)
    solver.add(a * b == (2**107 - 1) * (2**89 - 1), z3.ULT(1, a), z3.ULT(a, 2**100), z3.ULT(b, 2**110))
    while True:
        solver.check()
        if stop.is_set():
            raise Stopped


def test_ctrl_c_while_z3_works() -> None:
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    presser = threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT))
    presser.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            stoppable(factors)
    finally:
        signal.signal(signal.SIGINT, handler)
    used = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - used < 0.1  # of all threads


def test_work_of_the_prover_is_returned_or_raised() -> None:
    assert stoppable(lambda stop: 42) == 42
    with pytest.raises(ZeroDivisionError):
        stoppable(lambda stop: 1 // 0)
