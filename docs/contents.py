"""The table of contents: which texts the site has, and in which order a reader meets them.

A text is a page at its own path, so a link from one text to another means the same here as on a Git host. The chapters of the
specification stand in the order in which its front page links to them.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from docs.links import links

PARTS = ("spec", "opml_min", "evm_arbiter", "fuzz", "tests", "docs")
SPECIFICATION = "spec/README.md"

Nav = list[str | dict[str, "str | Nav"]]


def texts(root: Path) -> dict[str, str]:
    """Finds every text and the page on which it is; of two equal texts (a frozen copy) the first is the page of both."""
    found = sorted(path.relative_to(root).as_posix() for path in root.glob("*.md"))
    for part in PARTS:
        found += sorted(path.relative_to(root).as_posix() for path in (root / part).rglob("*.md"))
    pages: dict[bytes, str] = {}
    return {name: pages.setdefault((root / name).read_bytes(), name) for name in found}


def chapters(root: Path, names: Iterable[str]) -> list[str]:
    """Orders the chapters of the specification as its front page does; those that it does not mention come last."""
    linked = [os.path.normpath(f"spec/{target}") for target in links((root / SPECIFICATION).read_text())]
    inside = [name for name in names if name.startswith("spec/") and name != SPECIFICATION]
    return sorted(inside, key=lambda name: linked.index(name) if name in linked else len(linked))


def navigation(root: Path, pages: Iterable[str], reference: Nav) -> Nav:
    """Arranges the pages: the start, the book, its reference, the test vectors, the other parts, and the project about itself."""
    names = sorted(pages)
    book = [SPECIFICATION, *chapters(root, names)]
    vectors = [name for name in names if name.endswith("vectors/README.md")]
    parts: Nav = [
        {title(root, f"{part}/README.md"): [*(name for name in names if name.startswith(f"{part}/") and name not in vectors)]}
        for part in PARTS
        if part not in ("spec", "docs")
    ]
    project = [name for name in names if ("/" not in name and name != "README.md") or name.startswith("docs/")]
    return [
        {"Start": "README.md"},
        {"Specification": [*book]},
        {"Reference": reference},
        {"Test vectors": [*vectors]},
        {"Parts": parts},
        {"Project": [*project]},
    ]


def title(root: Path, name: str) -> str:
    """The text's heading."""
    return (root / name).read_text().partition("\n")[0].removeprefix("# ")
