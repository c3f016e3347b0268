"""A peer of a measurement: a program of others, in a process of its own, that takes turns with us.

It measures once for each line that it is sent, answers with a line of JSON, and then stops itself. So neither is measured while the other
computes, and other load on the computer hits both alike.
"""

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from typing import Any

from opml_min.cli.errors import InputError


class Peer:
    """An interpreter that runs a program with a package of others."""

    def __init__(self, python: str, package: str, program: str, arguments: Sequence[str]) -> None:
        self._package = package
        try:
            self._process = subprocess.Popen([python, "-c", program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        except OSError as error:
            raise InputError(f"cannot start {python}: {error.strerror}") from error

    def measure(self, threads: int) -> Any:
        """Lets the peer measure once, and returns its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.send_signal(signal.SIGCONT)
            self._process.stdin.write(f"{threads}\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
        except (OSError, ValueError) as error:
            raise InputError(f"the peer did not answer; does its interpreter have the package {self._package}?") from error
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED)
        return answer

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
