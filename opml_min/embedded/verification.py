"""Whether the embedded model is what its documented run makes: the run is recomputed from the text, and compared with what is said of it.

The documentation says nothing of the model's bytes, which are a file beside it. They are compared with those that the last state makes.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import frozen

from opml_min.embedded.documented_run import MODEL, DocumentedRun


@frozen
class ComparedValue:
    """Something that is documented, beside what came out."""

    what: str
    documented: bytes
    recomputed: bytes

    @property
    def holds(self) -> bool:
        return self.documented == self.recomputed


def recomputed(
    documented: DocumentedRun, text: Path, updates: int, threads: int, watch: Callable[[int], None] = lambda update: None
) -> Iterator[ComparedValue]:
    """Recompute the first updates of the run, and yield what is compared on the way. After all of them that is also the model's file.

    watch: called after each update with its number"""
    learned = documented.read(text)
    with tempfile.TemporaryDirectory() as folder:
        run = documented.begun(learned, Path(folder), threads)
        yield ComparedValue("model root", documented.model_root, run.model_root)
        for update in range(1, updates + 1):
            run.run_to(update * len(run.ops))
            watch(update)
            if update in documented.run_hashes:
                yield ComparedValue(f"run hash after update {update}", documented.run_hashes[update], run.run_hash())
        if updates == documented.settings.updates:
            yield ComparedValue("state root", documented.state_root, run.state_root)
            documented.write_model(Path(folder, MODEL.name), learned, run)
            yield ComparedValue(f"SHA-256 of {MODEL.name}", _sha256(MODEL), _sha256(Path(folder, MODEL.name)))


def _sha256(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()
