"""The installed wheel where it is likely to run: as a user without a home, in a read-only root, in 2 GiB, on each Python that is supported.

Each row runs `opml run`, `opml verify` and `opml demo` from the wheel, with the sources out of reach. A row that this machine cannot have
is skipped, and says why.

    OPML_PYTHON_3_12=/path/to/python      # one in which the wheel's dependencies are installed; for 3.11, 3.12 and 3.13

*Source*: unshare(1), cgroups(7), Docker's `--user`, `--read-only` and `--memory`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from opml_min.cache_folder import cache_folder

REPOSITORY = Path(__file__).resolve().parent.parent
VERSIONS = ("3.11", "3.12", "3.13")
USER = "12345"  # which no password file has
MEMORY_BYTES = 2 << 30
CGROUP = Path("/sys/fs/cgroup")
DEMO = ("demo", "--cheat", "hidden-trap", "--seed", "3")  # a cheat that needs a temporary file
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that every user can read."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture(scope="module")
def wheel(place: Path) -> Path:
    """The folder that the wheel is installed in, alone."""
    pip, target = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"], place / "installed"
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", place, REPOSITORY], check=True, capture_output=True)
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", target, *place.glob("*.whl")], check=True, capture_output=True)
    return target


def opml(
    wheel: Path, *arguments: object, python: str = sys.executable, within: tuple[str, ...] = (), home: bool = True
) -> "subprocess.CompletedProcess[str]":
    """Runs a command of the wheel. within: the command that makes the row · home: with the kernels that are compiled already"""
    environment = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ} | {"PYTHONPATH": str(wheel)}
    if home:
        environment["XDG_CACHE_HOME"] = str(cache_folder().parent)
    command = [*within, python, "-m", "opml_min.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd="/", check=False, timeout=600)


def works(run: Run, saved: Path, *how: str) -> None:
    """The three commands succeed, and say nothing on stderr that is not progress. saved: a run of the same model"""
    for arguments, shown in (
        (("run", "--max-tokens", 3, *how), "run hash 0x"),
        (("verify", saved, *how), "the run hash holds"),
        (DEMO, "The honest side won"),
    ):
        done = run(*arguments)
        assert done.returncode == 0, f"{arguments}: {done.stderr[-500:]}"
        assert shown in done.stdout
        assert all("compiling native code" in line for line in done.stderr.splitlines()), done.stderr


@pytest.fixture(scope="module")
def saved(wheel: Path, place: Path) -> Path:
    done = opml(wheel, "run", "--max-tokens", 3, "--save", place / "run.json")
    assert done.returncode == 0, done.stderr
    return place / "run.json"


def test_the_wheel_runs_without_the_sources(wheel: Path) -> None:
    names = ("opml_spec", "opml_min", "evm_arbiter", "opml_fuzz")
    script = f"import {', '.join(names)}; print({', '.join(f'{name}.__path__[0]' for name in names)})"
    environment = {"PYTHONPATH": str(wheel)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, cwd="/", check=True)
    assert done.stdout.split() == [str(wheel / name) for name in names]


def python_of(version: str) -> str:
    """An interpreter of this version with the dependencies; skips if none is known."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    name = f"OPML_PYTHON_{version.replace('.', '_')}"
    if name not in os.environ:
        pytest.skip(f"no Python {version} with the wheel's dependencies is known; {name} names one")
    return os.environ[name]


@pytest.mark.parametrize("version", VERSIONS)
def test_python(version: str, wheel: Path, saved: Path) -> None:
    python = python_of(version)
    found = subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout
    assert found.startswith(f"Python {version}.")
    works(lambda *arguments: opml(wheel, *arguments, python=python), saved)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_user_without_a_home(version: str, wheel: Path, saved: Path) -> None:
    """Nothing can be kept, so the machine runs instead of native code, which would be compiled for each command."""
    within = ("unshare", "--user", f"--map-user={USER}", f"--map-group={USER}")
    possible(within)
    python = python_of(version)
    works(lambda *arguments: opml(wheel, *arguments, python=python, within=within, home=False), saved, "--device", "vm")


def test_another_user_without_a_home(wheel: Path, saved: Path) -> None:
    """This user is not only called another one, as in the test before, but is one."""
    within = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
    possible(within)
    try:
        subprocess.run([*within, sys.executable, "-c", f"open({str(saved)!r})"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"another user may not execute {sys.executable}, or may not read {saved.parent}")
    works(lambda *arguments: opml(wheel, *arguments, within=within, home=False), saved, "--device", "vm")


def test_a_read_only_root(wheel: Path, saved: Path) -> None:
    """Only /dev/shm can be written, like after `docker run --read-only`."""
    script = 'mount --make-rprivate / && mount -o remount,bind,ro / && ! touch "$0" 2>/dev/null && exec "$@"'
    within = ("unshare", "--mount", "sh", "-c", script, str(saved.parent / "touched"))
    possible(within)
    works(lambda *arguments: opml(wheel, *arguments, within=within), saved)
    done = opml(wheel, "run", "--max-tokens", 1, "--save", saved.parent / "other.json", within=within)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "not writable" in done.stderr


@pytest.fixture
def memory_limit() -> Iterator[tuple[tuple[str, ...], Path]]:
    """The command that enters a group with a limit, and the file that says how much was used at most."""
    version_1 = (CGROUP / "memory").is_dir()
    group = (CGROUP / "memory" if version_1 else CGROUP) / f"opml-test-{os.getpid()}"
    names = ("memory.limit_in_bytes", "memory.max_usage_in_bytes") if version_1 else ("memory.max", "memory.peak")
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no group with a limit of memory can be made: {error.strerror}")
    try:
        if not all((group / name).exists() for name in names):
            pytest.skip("groups here have no limit of memory")
        (group / names[0]).write_text(str(MEMORY_BYTES))
        yield ("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"), group / names[1]
    finally:
        group.rmdir()


def test_two_gigabytes_of_memory(wheel: Path, saved: Path, memory_limit: tuple[tuple[str, ...], Path]) -> None:
    within, used = memory_limit
    possible(within)
    works(lambda *arguments: opml(wheel, *arguments, within=within), saved)
    assert 0 < int(used.read_text()) < MEMORY_BYTES


def possible(within: tuple[str, ...]) -> None:
    """Skips the test if this machine, or this user, cannot have the row."""
    if shutil.which(within[0]) is None:
        pytest.skip(f"{within[0]} is not installed")
    done = subprocess.run([*within, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{' '.join(within[:2])} is not possible here: {done.stderr.strip()[:100]}")
