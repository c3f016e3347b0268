"""Mutated files of every kind are accepted or refused in one line: a short form here, a long one with OPML_FILE_FUZZ=20000."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("file_mutations.py")
NAMES = ("gguf", "hugging-face", "llama2c", "image", "saved-run", "replay", "elf", "request")
CASES = int(os.environ.get("OPML_FILE_FUZZ", "60"))


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_file_is_read_or_refused(name):
    """Each kind has a process of its own, so that one that dies says in which case."""
    command, environment = [sys.executable, PROGRAM, name, str(CASES)], os.environ | {"PYTHONPATH": paths()}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120 + CASES, env=environment)
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-1500:]}"
    kind, accepted, refused = done.stdout.split()
    assert (kind, int(accepted) + int(refused)) == (name, CASES)
    assert int(refused) > CASES // 4
    if name != "saved-run":  # almost every change of so small a file damages it
        assert int(accepted) > 0


def paths() -> str:
    return os.pathsep.join(path for path in sys.path if path)
