"""Somebody else's program behind three pipes. Nothing that it does can block the fuzzer.

Lines go to its standard input while its answers come back, so many questions may be on their way. What it writes to standard error is
read and forgotten, except for the last line, which tells why it died.
"""

import os
import select
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.util import Finalize
from signal import SIGKILL

from opml_fuzz.engines.protocol import OutOfTime
from opml_fuzz.engines.targets.signals import signals_wait
from opml_fuzz.errors import InputError
from opml_fuzz.machine.target_question import NoAnswer, shown

EXIT_SECONDS = 0.5  # in which a program that died has an exit code
LONGEST_LINE = 1 << 20  # bytes
READ = 1 << 16
KEPT = 2_000  # bytes of standard error
SAID = 200  # characters of its last line


class Process:
    """A program that is running, started without a shell. It is killed when nobody knows it any more, and when this process ends."""

    _end: Finalize | None = None

    def __init__(self, arguments: Sequence[str]) -> None:
        with signals_wait():
            try:
                pipe = subprocess.PIPE
                process = subprocess.Popen(list(arguments), stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, start_new_session=True)
            except (OSError, ValueError) as error:
                raise InputError(f"the target does not start: {error}") from error
            self._end = Finalize(None, _kill, (process,), exitpriority=1)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._input, self._output, self._errors = process.stdin.fileno(), process.stdout.fileno(), process.stderr.fileno()
        for pipe in (self._input, self._output, self._errors):
            os.set_blocking(pipe, False)
        self._process, self._received, self._said = process, b"", b""
        self._listened_to = [self._output, self._errors]

    def close(self) -> None:
        """Kills the program and all that it has started in its process group."""
        if self._end is not None and self._end.still_active():
            with signals_wait():
                self._end()

    __del__ = close

    def talk(self, questions: bytes, count: int, take: Callable[[bytes], None], patience: float, until: float) -> None:
        """Sends lines, and hands each of the `count` lines that come back to `take`.

        Raises NoAnswer if the program ends, takes longer than `patience` for one of them, or writes a line without an end; OutOfTime at the
        moment `until` of the monotonic clock. Every exception kills the program, also one of `take`."""
        try:
            self._talk(questions, count, take, patience, until)
        except BaseException:
            self.close()
            raise

    def _talk(self, questions: bytes, count: int, take: Callable[[bytes], None], patience: float, until: float) -> None:
        unsent, since = memoryview(questions), time.monotonic()
        while True:
            while count and (end := self._received.find(b"\n")) >= 0:
                line, self._received = self._received[:end], self._received[end + 1 :]
                take(line)
                count, since = count - 1, time.monotonic()
            if not count:
                return
            if len(self._received) > LONGEST_LINE:
                raise NoAnswer(f", but {shown(self._received)} without an end")
            left = min(since + patience, until) - time.monotonic()
            if left <= 0:
                if until < since + patience:
                    raise OutOfTime
                raise NoAnswer(f" within {patience:.0f} s{self._begun()}")
            ready, writable, _ = select.select(self._listened_to, [self._input] if unsent else [], [], min(left, EXIT_SECONDS))
            if not ready and not writable and self._process.poll() is not None:
                raise NoAnswer(self._died())  # the output is open yet in a process that it left behind
            if self._errors in ready:
                self._listen()
            if self._output in ready:
                received = os.read(self._output, READ)
                if not received:
                    raise NoAnswer(self._died())
                self._received += received
            if writable:
                try:
                    unsent = unsent[os.write(self._input, unsent[:READ]) :]
                except BrokenPipeError:
                    unsent = memoryview(b"")  # it may have answered something before it died

    def _listen(self) -> bool:
        """Reads from standard error; tells whether there may be more."""
        try:
            said = os.read(self._errors, READ)
        except BlockingIOError:
            return False
        self._said = (self._said + said)[-KEPT:]
        if not said and self._errors in self._listened_to:
            self._listened_to.remove(self._errors)
        return len(said) == READ

    def _begun(self) -> str:
        """Describes what came after the last answer: nothing, part of a line, or lines that were held back until the input ended."""
        if self._received:
            return f", but {shown(self._received)} without an end"
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        if select.select([self._output], [], [], EXIT_SECONDS)[0] and os.read(self._output, READ):
            return ", but when its input had ended: it does not flush its output"
        return ""

    def _died(self) -> str:
        """Describes the end of a program that closed its output."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=EXIT_SECONDS)
        is_over = self._process.poll() is not None
        for _ in range(KEPT):
            if not self._listen():
                break
        text = f" (exit code {self._process.wait()})" if is_over else " (it closed its output)"
        said = self._said.decode(errors="replace").strip().splitlines()
        return text + (f": {said[-1][:SAID]}" if said else "")


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, SIGKILL)
    process.kill()  # also if it has left its group
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
