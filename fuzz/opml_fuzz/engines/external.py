"""Somebody else's program as an engine, over lines of text.

The program is started once. For each case it gets one line on standard input, a witness in hex; it answers with one line on standard
output, and flushes it: the hash of the state after the step in hex (64 digits), or `error N`. It ends when its input ends.
"""

import select
import shlex
import subprocess

from opml_fuzz.errors import InputError

ANSWER_SECONDS = 20.0
EXIT_SECONDS = 0.5  # for one that ends by itself to say how


class External:
    """A command line, run without a shell."""

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
        self._start()  # the next case finds a fresh one
        return f"no answer (exit code {code})"

    def close(self) -> None:
        """Ends the program."""
        self._process.kill()
        self._process.wait()
