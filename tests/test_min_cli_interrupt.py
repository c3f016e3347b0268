"""Ctrl-C: what was produced is shown, the exit code is 130, and the only message is one line."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from opml_min.cli import INTERRUPTED, main
from opml_min.cli.run import _Text

LONG_RUN = ("run", "--device", "vm", "--prompt", "ROMEO:", "--max-tokens", "240", "--temperature", "1")


@contextmanager
def opml(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-m", "opml_min.cli", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **environment},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def test_the_text_so_far() -> None:
    with opml(*LONG_RUN) as process:
        assert process.stdout is not None
        first = process.stdout.read1()  # comes while the run goes on
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert first
    assert rest.endswith(b"\n")
    assert b"run hash" not in rest
    assert err.startswith(b"opml: interrupted after ")
    assert err.count(b"\n") == 1
    assert 0 < int(err.split()[3]) < 240


@pytest.mark.parametrize("how", [("--device", "vm"), ("--threads", "1"), ("--threads", "2")])
def test_the_text_so_far_as_json(how: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    watched: list[int] = []

    def interrupted_once(task: _Text, tokens: list[int]) -> None:
        watched.append(len(tokens))
        if len(watched) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(_Text, "watch", interrupted_once)
    request = ("--prompt", "ROMEO:", "--max-tokens", "240", "--temperature", "1", "--seed", "1")
    assert main(["run", "--json", *request, *how]) == INTERRUPTED
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert told["interrupted"] is True
    assert "run_hash" not in told
    assert len(told["tokens"]) == watched[-1] <= 240
    assert err == f"opml: interrupted after {watched[-1]} tokens\n"


def test_a_demo() -> None:
    with opml("demo", "--seed", "1") as process:
        assert process.stdout is not None
        assert process.stdout.read1()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert err == b"opml: interrupted\n"


def test_in_a_destructor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Python drops what a destructor raises; the command ends all the same."""

    class Destroyed:
        def __del__(self) -> None:
            raise KeyboardInterrupt

    def execute(options: SimpleNamespace) -> int:
        Destroyed()
        time.sleep(20)
        return 0

    parser = SimpleNamespace(parse_args=lambda arguments: SimpleNamespace(execute=execute))
    monkeypatch.setattr("opml_min.cli._parser", lambda: parser)
    assert main([]) == INTERRUPTED
    assert capsys.readouterr().err == "opml: interrupted\n"


def test_while_native_code_is_compiled(tmp_path: Path) -> None:
    with opml("run", "--threads", "1", XDG_CACHE_HOME=str(tmp_path)) as process:
        time.sleep(6)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (INTERRUPTED, b"", b"opml: interrupted\n")
