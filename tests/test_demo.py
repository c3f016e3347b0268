"""`opml demo` and `opml bench gas` as people and scripts see them."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from min_training_job import made

from opml_min.cli import main
from opml_min.cli.bench.gas import rows
from opml_min.cli.demo import chosen_kinds
from opml_min.players.cheats import CHEATS, TRAINING_CHEATS
from opml_min.players.cheats.cheat import Cheat

KEYS = {"verdict", "cheat", "stage", "op", "step", "instruction", "moves", "gas", "seconds", "balances"}


def demo(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = main(["demo", "--json", *arguments])
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    return code, json.loads(out)


def test_random_cheat(capsys: pytest.CaptureFixture[str]) -> None:
    code, told = demo(capsys, "--seed", "4")
    assert code == 0
    assert told.keys() >= KEYS
    assert told["cheat"] == chosen_kinds("random", None, 4)[0].name
    assert told["verdict"] == CHEATS[told["cheat"]].verdict


def test_stage_and_instruction(capsys: pytest.CaptureFixture[str]) -> None:
    code, told = demo(capsys, "--cheat", "kv-cache", "--stage", "70", "--seed", "1")
    assert code == 0
    assert (told["verdict"], told["stage"], told["op"], told["layer"], told["position"]) == ("claim_rejected", 70, "CACHE", 0, 1)
    assert told["instruction"].split()[0] in ("sb", "sh", "sw", "sd")
    assert isinstance(told["step"], int)
    assert told["moves"] == sum(each["refusal"] is None for each in told["transactions"] if each["move"] in (
        "challenge", "post", "choose", "open", "arbitrate"))  # fmt: skip
    assert told["gas"]["arbitrate"] <= 130_000
    assert told["balances"].keys() == {"server", "challenger", "requester"}


def test_same_seed_plays_the_same_game(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (demo(capsys, "--who", "server", "--seed", "2")[1] for _ in range(2))
    del first["seconds"], second["seconds"]
    assert first == second


@pytest.mark.parametrize("stage", [0, 5 * 64 + 7, 75 * 64 - 1])
def test_a_stage_of_a_longer_run(stage: int, capsys: pytest.CaptureFixture[str]) -> None:
    """64 new tokens after a prompt of 12, 64 ops a position: the first stage, one of the prompt, and the last one, which draws a token."""
    code, told = demo(capsys, "--max-tokens", "64", "--cheat", "output-value", "--stage", str(stage), "--seed", "1")
    assert (code, told["verdict"], told["stage"], told["position"]) == (0, "claim_rejected", stage, stage // 64)


def test_nobody_cheats(capsys: pytest.CaptureFixture[str]) -> None:
    code, told = demo(capsys, "--cheat", "none")
    assert (code, told["verdict"], told["stage"], told["instruction"]) == (0, "claim_final", None, None)


def test_story(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--cheat", "register", "--seed", "1"]) == 0
    story = capsys.readouterr().out
    for part in ("challenger", "opens stage", "<- false", "the claim is rejected", "it adds up", "The honest side won", "--seed 1"):
        assert part in story


@pytest.mark.parametrize("who", [None, "server", "challenger"])
@pytest.mark.parametrize("cheats", [CHEATS, TRAINING_CHEATS], ids=["answers", "training"])
def test_seeds_are_uniform_and_meet_every_kind(cheats: dict[str, Cheat], who: str | None) -> None:
    kinds = {name for name, cheat in cheats.items() if who in (None, cheat.who)}
    assert len(cheats) <= 50
    counts = Counter(chosen_kinds("random", who, seed, cheats)[0].name for seed in range(1, 20 * len(kinds) + 1))
    assert counts == dict.fromkeys(kinds, 20)
    assert {chosen_kinds("random", who, seed, cheats)[0].name for seed in range(1, 51)} == kinds
    orders = {tuple(cheat.name for cheat in chosen_kinds("random", who, 1 + epoch * len(kinds), cheats)) for epoch in range(5)}
    assert len(orders) == 5


@pytest.mark.parametrize(("train", "cheats"), [([], CHEATS), (["--train"], TRAINING_CHEATS)])
def test_list(train: list[str], cheats: dict[str, Cheat], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", *train, "--cheat", "list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(cheats)


def test_training(capsys: pytest.CaptureFixture[str]) -> None:
    code, told = demo(capsys, "--train", "--cheat", "poisoned-gradient", "--seed", "1")
    assert code == 0
    assert told.keys() >= KEYS | {"update", "weights", "losses", "state_root"}
    assert (told["verdict"], told["cheat"], told["who"], told["position"]) == ("claim_rejected", "poisoned-gradient", "server", None)
    assert told["stage"] // 178 == told["update"]
    assert told["weights"].startswith(f"blk.{told['layer']}.")
    assert told["instruction"].startswith("sw ")
    assert told["losses"][0] > told["losses"][-1] + 0.2
    assert len(told["state_root"]) == 66


def test_a_job_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = made(tmp_path / "job")
    code, told = demo(capsys, "--train", "--model", str(job.path), "--cheat", "skipped-step", "--seed", "1")
    assert (code, told["verdict"], told["op"]) == (0, "claim_rejected", "ADAM")
    assert told["weights"] in ("0.weight", "1.weight")
    assert told["losses"][0] > told["losses"][-1]


def test_an_honest_trainer_who_is_accused_wins(capsys: pytest.CaptureFixture[str]) -> None:
    (code, told), (_, again) = (demo(capsys, "--train", "--who", "challenger", "--seed", "2") for _ in range(2))
    assert (code, told["verdict"], told["honest_side_won"]) == (0, "challenge_rejected", True)
    assert {**again, "seconds": 0} == {**told, "seconds": 0}


def test_story_of_a_training(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--train", "--cheat", "stale-moment", "--seed", "1"]) == 0
    story = capsys.readouterr().out
    parts = ("nats per target", "(ADAM of ", "in update ", "<- false", "the claim is rejected", "have the state root 0x", "--train --cheat")
    for part in parts:
        assert part in story


@pytest.mark.parametrize(
    "arguments",
    [
        ["--cheat", "no-such"],
        ["--cheat", "kv-cache", "--who", "challenger"],
        ["--cheat", "token", "--stage", "1"],
        ["--cheat", "token", "--stage", "99999999"],
        ["--model", "no-such-file"],
        ["--max-tokens", "100000"],
        ["--model", "mnist", "--max-tokens", "8"],
        ["--cheat", "poisoned-gradient"],
        ["--train", "--cheat", "kv-cache"],
        ["--train", "--cheat", "stale-moment", "--stage", "0"],
        ["--train", "--model", "no-such-folder"],
        ["--train", "--max-tokens", "8"],
    ],
)
def test_bad_input_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("opml: ")


@pytest.fixture(scope="module")
def gas_rows() -> dict[str, dict[str, Any]]:
    return {row.name: row.fields() for row in rows()}


@pytest.mark.parametrize("name", ["register", "load", "store"])
def test_arbitration_keeps_its_limit(name: str, gas_rows: dict[str, dict[str, Any]]) -> None:
    row = gas_rows[f"arbitrate {name}"]
    assert row["unit"] == "gas"
    assert 60_000 < row["value"] <= row["limit"]


def test_the_worst_arbitration_is_a_class_of_its_own(gas_rows: dict[str, dict[str, Any]]) -> None:
    assert gas_rows["arbitrate store"]["value"] < gas_rows["arbitrate worst"]["value"]


def test_every_move_has_a_row(gas_rows: dict[str, dict[str, Any]]) -> None:
    moves = {"request", "claim", "challenge", "post", "choose", "open", "timeout", "finalise", "collect", "reclaim", "withdraw_to"}
    moves |= {"register", "arbitrate", "award", "expire"}
    assert moves <= gas_rows.keys()
