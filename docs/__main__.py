"""`python -m docs [FOLDER]`: builds the site (into build/site) and refuses to if anything about it is wrong."""

import os
import subprocess
import sys
from pathlib import Path

from docs.assemble import assemble
from docs.built import faults
from docs.errors import TextError

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: list[str]) -> int:
    """Assembles the pages, has them built, and reads the result once more, also one about which the generator complains."""
    site = Path(arguments[0] if arguments else ROOT / "build" / "site").resolve()
    pages = ROOT / "build" / "docs"
    try:
        assemble(ROOT, pages)
    except TextError as error:
        print(error, file=sys.stderr)
        return 1
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(pages / "mkdocs.yml"), "--site-dir", str(site)]
    is_accepted = subprocess.run(command, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}).returncode == 0
    found = faults(site)
    for fault in found:
        print(fault, file=sys.stderr)
    if is_accepted and not found:
        print(f"The site is built: {site / 'index.html'}")
    return int(bool(found) or not is_accepted)


sys.exit(main(sys.argv[1:]))
