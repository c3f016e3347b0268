"""Puts the shipped program into images that carry an older one, and updates the checksum file beside each image that has one.

    python -m opml_min.model.build.replace_program IMAGE…
"""

import hashlib
import sys
from pathlib import Path

from opml_min.model.build.build import replace_program
from opml_min.model.errors import ModelError
from opml_min.model.image.image import Image
from opml_min.model.image.program import shipped_program


def update_program(path: Path) -> None:
    """Rewrite the image in place."""
    replace_program(Image(path), path, shipped_program())
    checksum = path.with_name(path.name + ".sha256")
    if checksum.exists():
        checksum.write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        for argument in sys.argv[1:]:
            update_program(Path(argument))
    except ModelError as error:
        sys.exit(str(error))
