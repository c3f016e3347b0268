"""Pictures written as text (Mermaid): checked when the site is built, drawn by the reader's browser.

The script is Mermaid's own, as published, from a package on PyPI that carries it; the site holds a copy, so nothing is fetched. The same
package runs the script without a browser, so that a picture with a mistake fails the build and not the reader.
"""

import hashlib
import re
from pathlib import Path

import mermaidx

from docs.errors import TextError

MERMAID_SHA256 = "74d7c46dabca328c2294733910a8aa1ed0c37451776e8d5295da38a2b758fb9b"  # dist/mermaid.min.js of mermaid 11.16.0 on npm
PICTURE = re.compile(r"^```mermaid\n(.*?)^```$", re.M | re.S)


def mermaid_script() -> Path:
    """Finds Mermaid, and makes sure that it is the published file."""
    script = Path(mermaidx.__file__).parent / "assets" / "mermaid.js"
    if hashlib.sha256(script.read_bytes()).hexdigest() != MERMAID_SHA256:
        raise ImportError("the installed mermaidx carries another mermaid.js than expected")
    return script


def check_pictures(name: str, text: str) -> None:
    """Draws every picture of a text once."""
    for source in PICTURE.findall(text):
        try:
            mermaidx.render(source).svg()
        except RuntimeError as error:
            raise TextError(f"{name}: {error}\n{source}") from error
