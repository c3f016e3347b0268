"""Campaigns: which kinds are tried, what is kept and run first, workers that die, clusters, and reports that other tools can read."""

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any
from xml.etree import ElementTree

import pytest
from attrs import evolve
from opml_fuzz.commands import campaign as command
from opml_fuzz.commands import fuzz
from opml_fuzz.commands.engine_room import engine_room
from opml_fuzz.commands.report_file import junit, sarif
from opml_fuzz.engines.room import EngineRoom
from opml_fuzz.fuzzing.batches import SWEEP_ENDS, batch, share_of_sweep, theme
from opml_fuzz.fuzzing.cluster import MISSING, cluster
from opml_fuzz.fuzzing.corpus import Collector, Corpus, bins, cases_in
from opml_fuzz.fuzzing.difference import Difference, compare
from opml_fuzz.fuzzing.kinds import KINDS, kind_of
from opml_fuzz.fuzzing.loop import RunReport, fuzz_on_all
from opml_fuzz.fuzzing.work import Campaign, Work
from opml_fuzz.fuzzing.workers import processes
from opml_fuzz.machine.case import Case, Deployment, Step, Witness
from opml_fuzz.machine.states import random_state
from opml_fuzz.machine.wrong_witnesses import spoiled

from opml_min.machine import interpret

ANYWHERE = range(0, 130)


# Kinds ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_only_one_kind(kind: str) -> None:
    for number in (0, 1, 5, SWEEP_ENDS + 4):
        assert {kind_of(case) for case in islice(batch(1, number, {kind}), 3)} == {kind}


def test_without_a_choice_every_kind_comes_up_and_the_sweep_first() -> None:
    assert {theme(number, KINDS) for number in ANYWHERE} == {"machine", "court", "models", "training"}
    assert all(theme(number, KINDS) in ("machine", "court") for number in range(SWEEP_ENDS))
    models = next(number for number in ANYWHERE if theme(number, KINDS) == "models")
    assert {kind_of(case) for case in batch(1, models)} == {"float", "op", "stage", "model"}


def test_a_part_of_the_sweep_is_not_counted() -> None:
    assert share_of_sweep(0, 100) > 0
    assert share_of_sweep(0, 100, {"step"}) == 0


# What is kept ------------------------------------------------------------------------------------------------------------------------


def test_a_corpus_keeps_what_reaches_something_new(tmp_path: Path) -> None:
    rng = Random(3)
    cases: list[Case] = [Step(random_state(rng)) for _ in range(200)] + [spoiled(rng, random_state(rng)) for _ in range(50)]
    corpus = Corpus(tmp_path / "new")
    first = corpus.add(cases)
    assert 50 < first < 250
    assert corpus.add(cases) == 0
    again = Corpus(tmp_path / "new")
    steps = {each for case in cases[:200] for each in bins(case)}
    assert steps <= again.known
    assert again.add(cases[:200]) == 0


def test_every_kind_reaches_bins_except_those_at_court() -> None:
    collector = Collector()
    for number in (0, SWEEP_ENDS, SWEEP_ENDS + 6):
        for case in batch(2, number):
            collector(case)
    assert {name.split()[0] for name in collector.known} >= {"step", "witness", "program", "float", "stage", "model"}
    assert not list(bins(Deployment((1,))))


def test_a_corpus_grows_and_is_run_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["run", "--seconds", "6", "--seed", "4", "--json", "--only", "witness,float", "--jobs", "1", "--replays", str(tmp_path)]
    assert fuzz.main([*given, "--corpus", str(tmp_path / "corpus")]) == 0
    before = json.loads(capsys.readouterr().out)
    files = list((tmp_path / "corpus").iterdir())
    assert files
    assert {path.suffix for path in files} == {".json"}
    assert fuzz.main([*given, "--corpus", str(tmp_path / "corpus")]) == 0
    after = json.loads(capsys.readouterr().out)
    assert after["kept"] >= before["kept"] + len(files)


def test_the_shipped_regressions_are_answered_alike() -> None:
    room = engine_room()
    kept = cases_in(command.REGRESSIONS)
    assert (len(kept.cases) > 30, kept.unusable) == (True, ())
    assert {kind_of(case) for case in kept.cases.values()} >= {"step", "witness", "program", "training"}
    assert [file for file, case in kept.cases.items() if compare(case, room.all)] == []


def test_a_regression_that_comes_back_is_found_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case = next(case for case in map(Step, map(random_state, [Random(1)] * 3_000)) if executes(case, "sub"))
    (tmp_path / "sub.json").write_text(json.dumps(case.to_json()))
    monkeypatch.setattr(command, "engine_room", room_with_wrong_sub)
    given = ["run", "--seconds", "30", "--only", "step", "--jobs", "1", "--replays", str(tmp_path), "--json"]
    assert fuzz.main([*given, "--regressions", str(tmp_path)]) == 1
    differences = json.loads(capsys.readouterr().out)["differences"]
    assert all(each["title"].startswith("sub") for each in differences)
    (difference,) = (each for each in differences if "sub.json" in each["origin"])
    field = re.compile(r"x\d+ = 0x[0-9a-f]+ in spec, x\d+ = 0x[0-9a-f]+ in opml_min, one step")
    assert any(field.fullmatch(line) for line in difference["details"])


def executes(case: Step, name: str) -> bool:
    return case.start.kind == 0 and any(each.startswith(f"step {name} + - ") for each in bins(case))


def room_with_wrong_sub(target: str | None = None) -> EngineRoom:
    interpret.ARITHMETIC["sub"] = interpret.ARITHMETIC["add"]
    return engine_room(target)


@pytest.mark.parametrize("line", [("--regressions", "/nonexistent"), ("--corpus", "/dev/null/x"), ("--only", "step,poem"), ("--only", "")])
def test_what_cannot_be_run(line: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    code: Any
    try:
        code = fuzz.main(["run", *line])
    except SystemExit as exit:
        code = exit.code
    assert code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_target_is_not_asked_about_whole_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["run", "--only", "model,float", "--target", "true"]) == 2
    assert "a target is only asked about step, witness, program" in capsys.readouterr().err


# Workers -----------------------------------------------------------------------------------------------------------------------------


def deadly_room(folder: Path, number: int, target: str | None = None) -> EngineRoom:
    """An engine room in which asking kills the process, at the first asking or at all of the cases that are steps."""
    room = engine_room(target)

    class Deadly:
        name = "deadly"

        def run(self, start: Any, stops: Any) -> list[str]:
            if number == 0 or len(list(folder.iterdir())) < number:
                (folder / str(os.getpid())).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return room.most.of_states[0].run(start, stops)

    engines = evolve(room.most, of_states=(*room.most.of_states, Deadly()))
    return EngineRoom(engines, engines)


KEPT = [(f"case {i}", Step(random_state(Random(i)))) for i in range(80)]


def test_work_whose_worker_died_once_is_done_by_another(tmp_path: Path) -> None:
    campaign = Campaign(partial(deadly_room, tmp_path, 1), 1, kinds=frozenset({"float"}))
    report = fuzz_on_all(campaign, 30, partial(processes, 2), KEPT)
    assert len(list(tmp_path.iterdir())) >= 1
    assert (report.lost, report.differences) == ((), ())
    assert report.kept == len(KEPT)


def test_work_that_kills_its_worker_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    campaign = Campaign(partial(deadly_room, tmp_path, 0), 1, kinds=frozenset({"float"}))
    report = fuzz_on_all(campaign, 25, partial(processes, 2), KEPT[:40])
    assert report.lost == ("the cases from case 0 to case 39",)
    assert report.cases > 100


def test_a_lost_worker_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    report = RunReport(5, 10, 20, 1.0, Fraction(0), lost=("seed 5, batch 3",))
    monkeypatch.setattr(command, "fuzz_on_all", lambda *given: report)
    assert fuzz.main(["run", "--only", "step", "--report", str(tmp_path / "r.sarif")]) == 70
    assert "seed 5, batch 3: ended its worker process" in capsys.readouterr().out
    assert not json.loads((tmp_path / "r.sarif").read_text())["runs"][0]["invocations"][0]["executionSuccessful"]


def test_without_dask_one_line_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert fuzz.main(["run", "--only", "step", "--scheduler", "tcp://localhost:1"]) == 2
    assert capsys.readouterr().err == f"opml-fuzz: {MISSING}\n"


@contextmanager
def local_cluster(workers: int) -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as it:
        yield it


def test_a_campaign_on_a_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with local_cluster(2) as workers:
        given = ["run", "--scheduler", workers.scheduler_address, "--seconds", "10", "--only", "step,float", "--replays", str(tmp_path)]
        assert fuzz.main([*given, "--json", "--corpus", str(tmp_path / "corpus")]) == 0
        printed = json.loads(capsys.readouterr().out)
        assert printed["cases"] > 200
        assert len(list((tmp_path / "corpus").iterdir())) > 20


def test_a_worker_of_a_cluster_that_dies(tmp_path: Path) -> None:
    """Its work is done by another worker, which the cluster starts in its place."""
    with local_cluster(2) as workers:
        campaign = Campaign(partial(deadly_room, tmp_path, 1), 1, kinds=frozenset({"float"}))
        report = fuzz_on_all(campaign, 20, partial(cluster, workers.scheduler_address), KEPT)
    assert len(list(tmp_path.iterdir())) >= 1
    assert (report.lost, report.differences, report.kept) == ((), (), len(KEPT))


def test_no_scheduler(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("opml_fuzz.fuzzing.cluster.CONNECT_SECONDS", 1)
    assert fuzz.main(["run", "--only", "step", "--scheduler", "tcp://127.0.0.1:1"]) == 2
    assert capsys.readouterr().err.startswith("opml-fuzz: no Dask scheduler answers at tcp://127.0.0.1:1")


# Reports -----------------------------------------------------------------------------------------------------------------------------


def report_of_two() -> tuple[RunReport, list[Path]]:
    rng = Random(2)
    witness = spoiled(rng, random_state(rng))
    answers = {"spec": ["error 104"], "target, execute": ["no answer, but '\x00<&\ud800'"]}
    once = Difference(Deployment((1,)), {"a": ["x"], "b": ["y"]}, comes_again=False)
    different = Difference(witness, answers, origin="seed 5, batch 3")
    return RunReport(5, 100, 20, 1.5, Fraction(1, 3), (different, once)), [Path("a.json"), Path("b.json")]


def test_junit_has_the_attributes_that_its_readers_need() -> None:
    top = ElementTree.fromstring(junit(*report_of_two()))
    (suite,) = top
    assert (top.tag, suite.tag) == ("testsuites", "testsuite")
    for element in (top, suite):
        assert {"name", "tests", "failures", "errors", "time"} <= element.attrib.keys()
        assert (element.get("tests"), element.get("failures"), element.get("errors")) == (str(len(KINDS)), "2", "0")
    cases = suite.findall("testcase")
    assert len(cases) == len(KINDS)
    assert all({"classname", "name", "time"} <= case.attrib.keys() for case in cases)
    failures = [case.find("failure") for case in cases if case.find("failure") is not None]
    assert all(failure is not None and failure.get("message") and failure.get("type") and failure.text for failure in failures)
    assert "asked once more, all agreed" in str(failures[0].text if failures[0] is not None else "")
    assert [each.get("value") for each in suite.iter("property") if each.get("name") == "seed"] == ["5"]


REQUIRED = {  # of the schema of SARIF 2.1.0
    "sarifLog": ("version", "runs"),
    "run": ("tool",),
    "tool": ("driver",),
    "toolComponent": ("name",),
    "reportingDescriptor": ("id",),
    "invocation": ("executionSuccessful",),
    "result": ("message",),
    "message": ("text",),
    "artifactLocation": ("uri",),
}


def test_sarif_has_the_fields_that_its_schema_requires() -> None:
    log = json.loads(json.dumps(sarif(*report_of_two())))
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    found = {
        **{"sarifLog": [log], "run": [run], "tool": [run["tool"]], "toolComponent": [driver], "reportingDescriptor": driver["rules"]},
        **{"invocation": run["invocations"], "result": run["results"], "message": [each["message"] for each in run["results"]]},
        "artifactLocation": [each["locations"][0]["physicalLocation"]["artifactLocation"] for each in run["results"]],
    }
    assert found.keys() == REQUIRED.keys()
    assert all(field in each for name, required in REQUIRED.items() for each in found[name] for field in required)
    assert log["version"] == "2.1.0"
    for result in run["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("none", "note", "warning", "error")
        assert all(isinstance(value, str) for value in result["partialFingerprints"].values())


@pytest.mark.parametrize("name", ["report.txt", "report", "no/such/folder.xml"])
def test_a_report_of_no_known_kind_is_refused_at_once(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        fuzz.main(["run", "--report", str(tmp_path / name)])
    assert exit.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("suffix", ["xml", "sarif"])
def test_the_command_writes_its_report(suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / f"report.{suffix}"
    given = ["run", "--seconds", "2", "--only", "deployment", "--jobs", "1", "--replays", str(tmp_path), "--report", str(file)]
    assert fuzz.main(given) == 0
    text = file.read_text(encoding="utf-8")
    assert ElementTree.fromstring(text).tag == "testsuites" if suffix == "xml" else json.loads(text)["runs"][0]["results"] == []


def test_names_of_work() -> None:
    case = Witness(b"")
    assert Work(3).name(5) == "seed 5, batch 3"
    assert Work(0, (("a.json", case),)).name(5) == "a.json"
    assert Work(0, (("a.json", case), ("b.json", case))).name(5) == "the cases from a.json to b.json"


