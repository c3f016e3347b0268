"""Exit codes that scripts can trust: 1 is a check that does not hold, and nothing else that happens to a command ends with it."""

import errno
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from opml_fuzz.commands import differential, fuzz, proof, prove
from opml_fuzz.errors import InputError as FuzzInputError

from opml_min import cli
from opml_min.cli.errors import InputError
from opml_min.model.errors import ImageError

COMMANDS: dict[str, tuple[Callable[[list[str]], int], object, str]] = {
    "opml": (cli.main, cli, "_parser"),
    "opml-fuzz": (fuzz.main, differential, "parser"),
    "opml-prove": (prove.main, proof, "parser"),
}


@pytest.fixture(params=COMMANDS)
def ended(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The exit code of each of the three commands, if this is what it executes."""
    main, module, parser = COMMANDS[request.param]

    def run(execute: Callable[[], Any], *arguments: str) -> int:
        parsed = SimpleNamespace(parse_args=lambda given: SimpleNamespace(execute=lambda options: execute()))
        monkeypatch.setattr(module, parser, lambda: parsed)
        return main(list(arguments))

    return run


def raising(error: BaseException) -> Callable[[], int]:
    def execute() -> int:
        raise error

    return execute


ERRORS = [
    (RuntimeError("two\nlines"), 70),
    (KeyError("key"), 70),
    (AssertionError(), 70),
    (RecursionError("deep"), 70),
    (SystemError("of C"), 70),
    (EOFError("Ran out of input"), 70),
    (ImportError("no module"), 70),
    (GeneratorExit(), 70),
    (OSError(errno.EIO, "of a disk"), 70),
    (PermissionError(errno.EACCES, "Permission denied", "some/file"), 2),
    (OSError(errno.ENAMETOOLONG, "File name too long", "n" * 300), 2),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), 2),
    (MemoryError("of a table"), 2),
    (KeyboardInterrupt(), 130),
]


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=lambda value: repr(value)[:30])
def test_an_error_is_one_line_and_never_1(
    ended: Callable[..., int], error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(raising(error)) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("opml")


def test_an_error_that_means_bad_input(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (InputError("use\nless"), ImageError("x is not an image")):
        monkeypatch.setattr(cli, "_parser", lambda error=error: SimpleNamespace(parse_args=lambda given: raising(error)()))
        assert cli.main([]) == 2
    monkeypatch.setattr(differential, "parser", lambda: SimpleNamespace(parse_args=lambda given: raising(FuzzInputError("no"))()))
    assert fuzz.main([]) == 2
    assert capsys.readouterr().err == "opml: use less\nopml: x is not an image\nopml-fuzz: no\n"


def test_the_text_of_an_error_is_there_on_request(ended: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(raising(ZeroDivisionError("why")), "--traceback") == 70
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert "in execute" in err
    assert err.splitlines()[-1].endswith("unexpected ZeroDivisionError: why (--traceback shows where)")


# Signals -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_command(ended: Callable[..., int], number: int, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    def execute() -> int:
        os.kill(os.getpid(), number)
        time.sleep(20)
        return 1

    before = signal.getsignal(number)
    assert ended(execute) == code
    assert capsys.readouterr().err.count("\n") == 1
    assert signal.getsignal(number) is before


class Destroyed:
    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.kill(os.getpid(), self.number)
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_a_destructor_is_not_lost(ended: Callable[..., int], number: int, code: int) -> None:
    def execute() -> int:
        Destroyed(number)
        time.sleep(20)
        return 1

    assert ended(execute) == code


@pytest.mark.parametrize("swallowed_by", ["another error", "nobody knows"])
def test_a_signal_that_is_swallowed_still_counts(ended: Callable[..., int], swallowed_by: str) -> None:
    """Initialisers of libraries in C turn Ctrl-C into an ImportError, for example."""

    def execute() -> int:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(20)
        except KeyboardInterrupt:
            if swallowed_by == "another error":
                raise ImportError("numpy failed to import") from None
        return 1

    assert ended(execute) == 130


def test_an_ignored_signal_stays_ignored(ended: Callable[..., int]) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        assert ended(lambda: os.kill(os.getpid(), signal.SIGHUP) or 0) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("module", ["opml_min.cli", "opml_fuzz.commands.fuzz", "opml_fuzz.commands.prove"])
def test_ctrl_c_while_modules_are_imported(module: str) -> None:
    """The signal comes with the import of numpy or attrs, whichever is first."""
    script = f"""
import os, signal, sys
class Presser:
    def find_spec(self, name, path=None, target=None):
        if name in ("numpy", "attrs"):
            os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Presser())
from {module} import main
sys.exit(main(["run"] if "prove" not in "{module}" else ["--list"]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1].endswith(": interrupted")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


# The output --------------------------------------------------------------------------------------------------------------------------


def unread() -> io.TextIOWrapper:
    read, write = os.pipe()
    os.close(read)
    return os.fdopen(write, "w", encoding="utf-8")


def full_disk() -> io.TextIOWrapper:
    return os.fdopen(os.open("/dev/full", os.O_WRONLY), "w", encoding="utf-8")


@pytest.mark.parametrize("length", [10, 1_000_000])
@pytest.mark.parametrize("code", [0, 1])
def test_an_output_that_nobody_reads_is_quiet(
    ended: Callable[..., int], length: int, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", unread())
        assert ended(lambda: print("x" * length) or code) == 141
        sys.stdout.close()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("length", [10, 1_000_000])
@pytest.mark.parametrize("code", [0, 1])
def test_an_output_on_a_full_disk(
    ended: Callable[..., int], length: int, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full_disk())
        assert ended(lambda: print("x" * length) or code) == 74
        sys.stdout.close()
    assert capsys.readouterr().err.endswith(": cannot write the output: No space left on device\n")


def test_a_closed_output(ended: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert ended(lambda: 0) == 74


@pytest.mark.parametrize("stream", [None, "full"])
def test_messages_that_cannot_be_written_change_nothing(
    ended: Callable[..., int], stream: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream and full_disk())
        assert ended(raising(MemoryError())) == 2
        assert ended(lambda: print("progress", file=sys.stderr, flush=True) or 0) == 0
        if sys.stderr is not None:
            sys.stderr.close()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_characters_that_the_output_does_not_know(ended: Callable[..., int], encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(data, encoding))
    assert ended(lambda: print("2 ≥ 1") or 0) == 0
    assert data.getvalue() == b"2 ? 1\n"


OUTPUTS = [("> /dev/full", 74), (">&-", 74), ("| true", 141), ("> /dev/null", 0), ("2>&- >/dev/full", 74)]


@pytest.mark.parametrize(("output", "code"), OUTPUTS)
def test_the_end_of_the_interpreter_changes_nothing(output: str, code: int) -> None:
    line = f"{sys.executable} -m opml_min.cli --help {output}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert "Exception" not in done.stderr


# What is imported --------------------------------------------------------------------------------------------------------------------


def test_a_run_imports_neither_the_evm_nor_a_compiler_nor_a_prover() -> None:
    script = """
import sys
from opml_min.cli import main
depth = sys.getrecursionlimit()
code = main(["run", "--device", "vm", "--max-tokens", "1"])
print([name for name in ("eth", "eth_abi", "py_ecc", "vyper", "z3", "evm_arbiter") if name in sys.modules])
sys.exit(code if sys.getrecursionlimit() == depth else 3)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("main", [main for main, _, _ in COMMANDS.values()])
def test_help_names_the_exit_codes(main: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--help"])
    assert exit_.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    for code in ("0 success", "1 what was checked", "2 bad input", "70 an unexpected error", "74 ", "130 ", "141 ", "143 "):
        assert code in out


def test_help_of_opml_imports_no_command() -> None:
    script = "import sys\nfrom opml_min.cli import main\ntry: main(['--help'])\nexcept SystemExit: print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent)
    assert done.stdout.splitlines()[-1] == "False"
