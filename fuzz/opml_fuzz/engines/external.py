"""Somebody else's program as an engine, over lines of text.

The program is started once. For each case it reads one line from standard input, a witness in hex. It answers with one line on standard
output, flushed: the hash of the state after the step (64 hex digits), or `error N`. It ends when its input ends.
"""

import select
import shlex
import subprocess

from opml_fuzz.errors import InputError

ANSWER_SECONDS = 20.0
EXIT_SECONDS = 0.5  # in which a program that died has an exit code


class External:
    """An engine behind a command line, which is run without a shell."""

    name = "target"

    def __init__(self, command: str) -> None:
        self._arguments = shlex.split(command)
        self._start()

    def _start(self) -> None:
        try:
            self._process = subprocess.Popen(self._arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except (OSError, IndexError, ValueError) as error:
            raise InputError(f"the target does not start: {error}") from error

    def execute(self, witness: bytes) -> str:
        process, line = self._process, ""
        try:
            if process.stdin is not None and process.stdout is not None:  # both are pipes
                process.stdin.write(witness.hex().encode() + b"\n")
                process.stdin.flush()
                ready, _, _ = select.select([process.stdout], [], [], ANSWER_SECONDS)
                line = process.stdout.readline().decode(errors="replace").strip() if ready else ""
        except BrokenPipeError:
            line = ""
        if line:
            return line.removeprefix("0x").lower()
        try:
            code = process.wait(timeout=EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        self._start()  # for the next case
        return f"no answer (exit code {code})"

    def close(self) -> None:
        """Ends the program."""
        self._process.kill()
        self._process.wait()
