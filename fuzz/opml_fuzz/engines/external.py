"""Somebody else's program as an engine, over lines of text.

The program is started once. For each case it reads one line from standard input, a witness in hex. It answers with one line on standard
output, flushed: the hash of the state after the step (64 hex digits), or `error N`. It ends when its input ends.

Whatever else it does is an answer, too, and a wrong one; then its process group is killed, and it is started again. Nothing that it does
can block the fuzzer.
"""

import os
import re
import select
import shlex
import signal
import subprocess
import time
from contextlib import suppress
from math import inf
from multiprocessing.util import Finalize

from opml_fuzz.engines.protocol import NO_ANSWER, OutOfTime
from opml_fuzz.errors import InputError

ANSWER_SECONDS = 20.0
EXIT_SECONDS = 0.5  # in which a program that died has an exit code
LONGEST_LINE = 1_000  # bytes; a right one has 65
SHOWN = 60  # characters of a line that is no answer
ANSWER = re.compile("[0-9a-f]{64}|error [0-9]+")


class External:
    """An engine behind a command line, which is run without a shell."""

    name = "target"

    def __init__(self, command: str) -> None:
        try:
            self._arguments = shlex.split(command)
            if not self._arguments:
                raise ValueError("its command is empty")
        except ValueError as error:
            raise InputError(f"the target does not start: {error}") from error
        self._patience, self._until = ANSWER_SECONDS, inf
        self._process: subprocess.Popen[bytes] | None = None
        self._received, self._has_answered = b"", False
        self._start()

    def limit_waiting(self, seconds: float, until: float) -> None:
        """Lets an answer take so many seconds, and no answer longer than the moment `until` of the monotonic clock."""
        self._patience, self._until = min(seconds, ANSWER_SECONDS), until

    def execute(self, witness: bytes) -> str:
        asked = time.monotonic()
        if self._process is None:
            self._start()
        limit = self._patience if self._has_answered else ANSWER_SECONDS  # the first answer has to wait for the start
        try:
            answer = self._ask(witness.hex().encode() + b"\n", min(asked + limit, self._until))
        except TimeoutError:
            waited = time.monotonic() - asked
            self.close()
            if waited < self._patience:
                raise OutOfTime from None
            begun = f", but {_shown(self._received)} without an end" if self._received else ""
            return f"{NO_ANSWER} within {waited:.0f} s{begun}"
        except (EOFError, BrokenPipeError):
            return f"{NO_ANSWER} (exit code {self._exit_code()})"
        if ANSWER.fullmatch(answer):
            self._has_answered = True
            return answer
        self.close()
        return f"{NO_ANSWER}, but {answer!r}"

    def close(self) -> None:
        """Kills the program, and all that it has started in its process group."""
        if self._process is not None:
            self._at_exit()
            self._process = None

    def _start(self) -> None:
        try:
            process = subprocess.Popen(self._arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, start_new_session=True)
        except (OSError, ValueError) as error:
            raise InputError(f"the target does not start: {error}") from error
        assert process.stdin is not None
        assert process.stdout is not None
        self._input, self._output = process.stdin.fileno(), process.stdout.fileno()
        os.set_blocking(self._input, False)
        os.set_blocking(self._output, False)
        self._process, self._received, self._has_answered = process, b"", False
        self._at_exit = Finalize(self, _kill, (process,), exitpriority=1)  # also when a worker process ends

    def _ask(self, question: bytes, until: float) -> str:
        """Sends a line and returns the next one, or what shows that there will be no answer."""
        self._received = b""
        while True:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            ready, writable, _ = select.select([self._output], [self._input] if question else [], [], min(left, EXIT_SECONDS))
            if not ready and not writable and self._process is not None and self._process.poll() is not None:
                raise EOFError  # the output is open yet in a process that it left behind
            if ready:
                received = os.read(self._output, LONGEST_LINE)
                if not received:
                    raise EOFError
                self._received += received
                line, end, more = self._received.partition(b"\n")
                if end and not more and not question:
                    return line.decode(errors="replace").strip().removeprefix("0x").lower()[:LONGEST_LINE]
                if end or len(line) > LONGEST_LINE:
                    return _shown(self._received)
            if writable:
                question = question[os.write(self._input, question) :]

    def _exit_code(self) -> int:
        """The exit code of a program that closed its output; it is killed if it goes on."""
        process = self._process
        assert process is not None
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=EXIT_SECONDS)
        self.close()
        return process.wait()


def _shown(received: bytes) -> str:
    return received[:SHOWN].decode(errors="replace")


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
