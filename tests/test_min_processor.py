"""One run hash whatever the processor: the whole program once more, in native code for the most basic one of this kind that LLVM knows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from opml_min.machine import native, processor
from opml_min.model.image.request import TextRequest
from opml_min.model.resolve import resolve
from opml_min.model.run import Run

PROMPT = "ROMEO:\nBut soft, what light through yonder window breaks?"
NEW_TOKENS = 8
PROGRAM = """
import json, sys
from opml_min.machine import native
from opml_min.model.native.kernels.stages import run_stages
from opml_min.model.native.kernels.vector.tile import HARDWARE_READS_HALFS
from opml_min.model.resolve import resolve
from opml_min.model.run import Run

image, request = resolve("embedded").image, bytes.fromhex(sys.argv[1])
hashes = []
for how in ({"threads": 1}, {"threads": 2}, {"device": "vm"}):
    run = Run(image, request, **how)
    run.run_all()
    hashes.append(run.run_hash().hex())
wide = sorted({name for code in run_stages.inspect_asm().values() for name in ("ymm", "zmm") if name in code})
print(json.dumps({"hashes": hashes, "lanes": native.vector_lanes(), "halfs": HARDWARE_READS_HALFS, "wide": wide}))
"""


def test_the_least_processor_computes_the_same_run(tmp_path: Path) -> None:
    model = resolve("embedded")
    assert model.tokenizer is not None
    request = TextRequest(tuple(model.tokenizer.prompt(PROMPT)), NEW_TOKENS).pack()
    here = Run(model.image, request)
    here.run_all()
    environment = {**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", PROGRAM, request.hex()], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told == {"hashes": [here.run_hash().hex()] * 3, "lanes": 4, "halfs": False, "wide": []}


@pytest.mark.parametrize(
    ("name", "features", "has"),
    [(None, None, None), ("generic", None, False), ("x86-64", "", False), (None, "-avx2", False), (None, "+avx2,+fma", None)],
)
def test_a_feature_needs_the_list_and_the_computer(name: str | None, features: str | None, has: bool | None) -> None:
    """has: None if it is as the computer has it."""
    settings = {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features}
    environment = {key: value for key, value in os.environ.items() if key not in settings}
    environment |= {key: value for key, value in settings.items() if value is not None}
    question = "from opml_min.machine import processor; print(processor.has('avx2'))"
    done = subprocess.run([sys.executable, "-c", question], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(processor.has("avx2") if has is None else has)


def test_compiled_code_is_kept_apart_by_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    before = native.host.__wrapped__()
    monkeypatch.setattr(processor, "features", lambda: "-avx2")
    assert native.host.__wrapped__() != before


def test_nothing_asks_the_computer_itself() -> None:
    folder = Path(processor.__file__).parent.parent
    asking = [path.name for path in folder.rglob("*.py") if "get_host_cpu" in path.read_text()]
    assert asking == ["processor.py"]
