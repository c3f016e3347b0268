"""The command line behind `--target`: a program, a Python class or a shared library.

A class and a library are called by a process of their own, which speaks for them. So their crash, or what they print, is that of a program.
"""

import shlex
import sys

from opml_fuzz.errors import InputError

HOSTED = ("python:", "lib:")


def command_of(target: str) -> list[str]:
    """Splits the command line of a program, as a shell would; for a class or a library, returns that of their host."""
    if target.startswith(HOSTED):
        return [sys.executable, "-m", "opml_fuzz.engines.targets.host", target]
    try:
        arguments = shlex.split(target)
    except ValueError as error:
        raise InputError(f"the target does not start: {error}") from error
    if not arguments:
        raise InputError("the target does not start: its command is empty")
    return arguments
