"""The example targets in C and JavaScript pass all vectors of steps and witnesses and a few batches; a library may crash."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from opml_fuzz.commands.engine_room import engine_room
from opml_fuzz.commands.fuzz import main
from opml_fuzz.engines.targets.opening import command_of
from opml_fuzz.fuzzing.asking import run_batch
from opml_fuzz.fuzzing.batches import SWEEP_ENDS

EXAMPLES = Path(__file__).resolve().parent.parent / "fuzz" / "examples"
HEADER = EXAMPLES.parent / "opml_fuzz" / "engines" / "targets"
STRICT = ["-std=c11", "-Wall", "-Wextra", "-Werror"]
CRASHING = """
#include "opml_target.h"
int32_t opml_target_version(void) { return VERSION; }
int32_t opml_execute(const uint8_t *witness, size_t length, uint8_t hash[32]) {
    return length == 5 ? 101 : *(volatile int *)(hash - (uintptr_t)hash) + *witness;
}
"""


def compiled(source: Path, to: Path, *options: str) -> Path:
    """Compiles C by zig."""
    command = [sys.executable, "-m", "ziglang", "cc", *STRICT, *options, "-I", str(HEADER), "-o", str(to), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return to


@pytest.fixture(scope="module", params=["C program", "C library", "JavaScript"])
def example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What `--target` is."""
    folder = tmp_path_factory.mktemp("example")
    if request.param == "C program":
        trapping = ["-fsanitize=undefined", "-fsanitize-trap=undefined"]  # on undefined behaviour
        return str(compiled(EXAMPLES / "target.c", folder / "target", "-O2", *trapping))
    if request.param == "C library":
        return f"lib:{compiled(EXAMPLES / 'target.c', folder / 'target.so', '-O2', '-shared', '-fPIC')}"
    if shutil.which("node") is None:
        pytest.skip("Node is not installed")
    return f"node {EXAMPLES / 'target.mjs'}"


def test_an_example_passes_the_vectors(example: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vectors", "run", "--target", example]) == 0
    said = capsys.readouterr().out
    for line in ("steps.json               191 cases", "corners.json            1267 cases", "forged_witnesses.json    454 cases"):
        assert f"machine/{line}, " in said
    assert "not asked" not in "".join(line for line in said.splitlines() if line.startswith("machine/") and "programs" not in line)


def test_an_example_is_fuzzed(example: str) -> None:
    room = engine_room(example)
    for number in (1, SWEEP_ENDS):
        cases, differences = run_batch(7, number, room)
        assert not differences, differences[0].program
        assert cases > 300
    room.all.target.close()  # type: ignore[union-attr]


def test_a_library_that_crashes(tmp_path: Path) -> None:
    source = tmp_path / "crashing.c"
    source.write_text(CRASHING.replace("VERSION", "OPML_TARGET_VERSION"))
    library = compiled(source, tmp_path / "crashing.so", "-O1", "-shared", "-fPIC", "-fno-sanitize=all")
    room = engine_room(f"lib:{library}")
    (difference,) = run_batch(1, 0, room)[1]
    assert difference.title == "no answer: target"
    assert difference.answers["target, execute"] == ["no answer (exit code -11)"]
    room.all.target.close()  # type: ignore[union-attr]


@pytest.mark.parametrize("version", ["0", "2"])
def test_a_library_for_another_version(version: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "other.c"
    source.write_text(CRASHING.replace("VERSION", version))
    library = compiled(source, tmp_path / "other.so", "-O1", "-shared", "-fPIC")
    assert main(["vectors", "run", "--target", f"lib:{library}"]) == 2
    assert f"is made for version {version} of opml_target.h" in capsys.readouterr().err


def test_commands_are_split_as_by_a_shell() -> None:
    assert command_of("./mine --fast 'a b'") == ["./mine", "--fast", "a b"]
    assert command_of("lib:./mine.so")[1:] == ["-m", "opml_fuzz.engines.targets.host", "lib:./mine.so"]
