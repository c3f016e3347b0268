"""The cache folder, which keeps images built from source files and compiled code between runs. It may be deleted at any time.

It is `$XDG_CACHE_HOME/opml`, or `~/.cache/opml` without that variable. Looking it up needs no folder to be there.
"""

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

VARIABLE = "XDG_CACHE_HOME"
NOWHERE = Path(os.devnull)
"""What a user without a home folder has for one: nothing can be found or kept there."""
DIGEST_BYTES = 32


def cache_folder() -> Path:
    """Looks up where the folder is now, or would be."""
    try:
        return Path(os.environ.get(VARIABLE) or Path.home() / ".cache") / "opml"
    except RuntimeError:  # no variable HOME, and no entry of this user in the password file
        return NOWHERE / "opml"


def kept(path: Path) -> bytes | None:
    """Returns what `keep` kept there. What is damaged counts as absent and is deleted."""
    try:
        data = path.read_bytes()
        content = data[DIGEST_BYTES:]
        if data[:DIGEST_BYTES] == hashlib.sha256(content).digest():
            return content
        path.unlink()
    except OSError:
        pass
    return None


def keep(path: Path, content: bytes) -> None:
    """Keeps the content with its hash, whole or not at all, as other processes may read it. A cache that cannot be written is no error."""
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
            try:
                file.write(hashlib.sha256(content).digest() + content)
                file.close()
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
