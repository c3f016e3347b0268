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
from typing import NoReturn

import pytest
import z3
from attrs import evolve
from opml_fuzz.commands.engine_room import engine_room
from opml_fuzz.commands.fuzz import main
from opml_fuzz.engines.external import ANSWER, External
from opml_fuzz.engines.protocol import OutOfTime
from opml_fuzz.engines.room import EngineRoom
from opml_fuzz.errors import InputError
from opml_fuzz.fuzzing import batches
from opml_fuzz.fuzzing.difference import compare
from opml_fuzz.fuzzing.loop import run_batch
from opml_fuzz.machine.case import Disputes
from opml_fuzz.machine.programs import loop
from opml_fuzz.proofs.stoppable import Stopped, stoppable

WITNESS = bytes(5_000)  # ten of them fill a pipe
TARGETS = {  # shell scripts, and what the answer says
    "hangs": ("sleep 1000", "within"),
    "spins": ("while :; do :; done", "within"),
    "reads and says nothing": ("while read l; do :; done", "within"),
    "writes half a line": ("while read l; do printf abc; sleep 1000; done", "'?abc'? without an end"),
    "writes a line without end": ("read l; tr '\\0' x < /dev/zero", "but 'x+'"),
    "writes lines without end": ("read l; yes", "but 'y"),
    "answers before it is asked": ("yes", "but 'y|exit code"),
    "dies at once": ("exit 3", "exit code 3"),
    "dies in the middle of a line": ("read l; printf abc; exit 3", "exit code 3"),
    "closes its output": ("kill $!; read l; exec >&-; sleep 1000", "exit code -9"),
    "says something else": ("while read l; do echo hello; done", "but 'hello'"),
    "says nothing in a line": ("while read l; do echo; done", "but ''"),
    "writes what is no text": (r"read l; printf '\377\376\n'; sleep 1000", "but '"),
}


@pytest.fixture
def target(tmp_path: Path) -> Callable[[str], str]:
    """The command line of a script that first starts another process, and writes down the ids of both."""

    def command(script: str) -> str:
        path = tmp_path / "target.sh"
        path.write_text(f"#!/bin/sh\nsleep 1001 &\necho $$ $! >> {tmp_path}/ids\n{script}\n", encoding="utf-8")
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
    assert not [process for process in processes if is_alive(process)]


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_that_misbehaves_gives_a_wrong_answer(
    name: str, target: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, answer = TARGETS[name]
    monkeypatch.setattr("opml_fuzz.engines.external.ANSWER_SECONDS", 0.5)
    engine = External(target(script))
    engine.limit_waiting(0.5, inf)
    for _ in range(2):  # it is started again
        assert re.search(f"^no answer.*({answer})", said := engine.execute(WITNESS)), said
    engine.close()
    assert_nothing_is_left(tmp_path)


def test_a_target_that_goes_on_answering(target: Callable[[str], str], tmp_path: Path) -> None:
    engine = External(target("while read l; do echo error 101; done"))
    assert [engine.execute(WITNESS) for _ in range(30)] == ["error 101"] * 30
    del engine  # also without `close`
    assert_nothing_is_left(tmp_path)


def test_a_target_that_answers_twice(target: Callable[[str], str]) -> None:
    """Both answers are written at once: a second one that arrives later cannot be told from the answer to the next question."""
    engine = External(target(r"while read l; do printf 'error 101\nerror 101\n'; done"))
    assert any(engine.execute(WITNESS).startswith("no answer, but 'error 101") for _ in range(3))
    engine.close()


def test_what_an_answer_is() -> None:
    assert all(ANSWER.fullmatch(text) for text in ("0f" * 32, "error 101"))
    assert not any(ANSWER.fullmatch(text) for text in ("", "0f" * 31, "error", "error x", "0F" * 32, "error 1\nerror 1"))


def test_the_end_of_the_time_is_no_finding(target: Callable[[str], str]) -> None:
    """Unless the target was asked for as long as it may take."""
    engine = External(target("read l; echo error 101; sleep 1000"))
    assert engine.execute(b"") == "error 101"
    engine.limit_waiting(15.0, time.monotonic() + 0.2)
    with pytest.raises(OutOfTime):
        engine.execute(b"")
    engine.close()


def test_a_batch_ends_in_time_with_one_finding(target: Callable[[str], str], tmp_path: Path) -> None:
    """Shrinking asks again and again; it ends, too."""
    room = engine_room(target("sleep 1000"))
    until = time.monotonic() + 3
    room.limit_waiting(0.5, until)
    cases, differences = run_batch(1, 0, room, until)
    assert cases <= 10
    assert [difference.title.split(":")[0] for difference in differences] == ["no answer"]
    room.most.of_witnesses[-1].close()  # type: ignore[attr-defined]  # of External alone
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
    assert main(["run", "--seconds", "2", "--seed", "5", "--target", command, "--replays", str(tmp_path), "--json"]) == 1
    (difference,) = json.loads(capsys.readouterr().out)["differences"]
    assert difference["answers"]["target"][0].startswith("no answer within")
    assert_nothing_is_left(tmp_path)


@pytest.mark.parametrize("command", ["", "  ", "program 'with a quote", "/nonexistent/program", "/", "\0"])
def test_a_command_that_does_not_start(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError):
        External(command)
    assert main(["run", "--target", command]) == 2
    assert capsys.readouterr().err.count("\n") == 1


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
    assert not [thread for thread in threading.enumerate() if "run" in thread.name and thread.is_alive()]


def test_work_of_the_prover_is_returned_or_raised() -> None:
    assert stoppable(lambda stop: 42) == 42
    with pytest.raises(ZeroDivisionError):
        stoppable(lambda stop: 1 // 0)
