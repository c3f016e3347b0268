"""The action for CI: it is a composite action, its inputs reach the command unharmed, and it installs this checkout."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from opml_fuzz.commands.differential import parser
from opml_fuzz.fuzzing.kinds import KINDS

REPOSITORY = Path(__file__).resolve().parent.parent
ACTION: dict[str, Any] = yaml.safe_load((REPOSITORY / "action.yml").read_text())
INSTALL, RUN = ACTION["runs"]["steps"]
DEFAULTS = {name: str(each["default"]) for name, each in ACTION["inputs"].items()}


def test_it_has_what_a_composite_action_needs() -> None:
    assert ACTION["name"]
    assert ACTION["description"]
    assert ACTION["runs"]["using"] == "composite"
    assert all(step["shell"] == "bash" and step["run"] for step in ACTION["runs"]["steps"])
    assert all(each["description"] for each in ACTION["inputs"].values())


def test_no_input_is_pasted_into_a_script() -> None:
    """What somebody puts into an input is data: it reaches the shell in a variable."""
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step["run"]
        assert all(re.fullmatch(r"\$\{\{ inputs\.(\w+) \}\}", value) for value in step["env"].values())
    used = {value[11:-3] for step in ACTION["runs"]["steps"] for value in step["env"].values()}
    assert used == ACTION["inputs"].keys()


def run_step(step: dict[str, Any], folder: Path, inputs: dict[str, str]) -> list[str]:
    """Runs a step with programs in place of Python and opml-fuzz that write down their arguments; returns those."""
    (folder / "opml" / "bin").mkdir(parents=True)
    for program in ("python", "opml/bin/pip", "opml/bin/opml-fuzz"):
        (folder / program).write_text(f"#!/bin/sh\nfor each; do echo \"$each\" >> {folder}/arguments; done\nexit 3\n")
        (folder / program).chmod(0o755)
    given = {**DEFAULTS, **inputs}
    env = {name: given[value[11:-3]] for name, value in step["env"].items()}
    env |= {"RUNNER_TEMP": str(folder), "GITHUB_ACTION_PATH": str(REPOSITORY), "PATH": os.environ["PATH"]}
    done = subprocess.run(["bash", "-eo", "pipefail", "-c", step["run"]], env=env, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 3, "the exit code is that of the program"
    return (folder / "arguments").read_text().splitlines()


def test_the_command_line_without_inputs(tmp_path: Path) -> None:
    options = parser().parse_args(run_step(RUN, tmp_path, {}))
    assert (options.command, options.seconds, options.target, options.seed, options.only) == ("run", 300.0, None, None, KINDS)
    assert options.report == Path("opml-fuzz.sarif")


def test_the_command_line_with_all_inputs(tmp_path: Path) -> None:
    target = "./mine --name 'a b' $HOME `id` \"; exit 0"
    inputs = {"target": target, "seconds": "5", "seed": "7", "only": "step", "corpus": "a b", "regressions": "r", "report": "x.xml"}
    options = parser().parse_args(run_step(RUN, tmp_path, inputs))
    assert (options.target, options.seconds, options.seed, options.only) == (target, 5.0, 7, {"step"})
    assert (options.corpus, options.regressions, options.report) == (Path("a b"), Path("r"), Path("x.xml"))


def test_it_installs_this_checkout(tmp_path: Path) -> None:
    assert run_step(INSTALL, tmp_path, {"python": str(tmp_path / "python")}) == ["-m", "venv", str(tmp_path / "opml")]
    assert INSTALL["run"].strip().endswith('"$GITHUB_ACTION_PATH"')


@pytest.mark.parametrize("name", ["target", "seconds"])
def test_the_page_shows_inputs_that_exist(name: str) -> None:
    page = (REPOSITORY / "fuzz" / "README.md").read_text()
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.M | re.S)
    (_, used) = yaml.safe_load(example)
    assert name in used["with"]
    assert used["with"].keys() <= ACTION["inputs"].keys()
    assert len(example.splitlines()) <= 5
