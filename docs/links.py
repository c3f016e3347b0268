"""Links between the texts: what they point to in the repository, and how to replace that by what they point to on the site."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

LINK = re.compile(r"(?<=\]\()(?P<target>[^)\s#:]+)(?P<anchor>#[^)\s]*)?(?=\))")
FENCE = re.compile(r"^ *(?P<fence>```+|~~~+).*?^ *(?P=fence) *$", re.M | re.S)


def outside_fences(text: str, change: Callable[[str], str]) -> str:
    """Changes a text everywhere but in its blocks of code."""
    changed, start = "", 0
    for fence in FENCE.finditer(text):
        changed += change(text[start : fence.start()]) + fence[0]
        start = fence.end()
    return changed + change(text[start:])


def links(text: str) -> Iterator[str]:
    """The targets of a text's relative links, without their anchors."""
    for match in LINK.finditer(FENCE.sub("", text)):
        yield match["target"]


def in_repository(root: Path, text: str, target: str) -> str | None:
    """Resolves a relative link of the text of this name; None if it points to nothing, or out of the repository."""
    name = os.path.normpath(os.path.join(os.path.dirname(text), target))
    return name if not name.startswith("..") and (root / name).exists() else None


def with_targets(text: str, replace: Callable[[str], str]) -> str:
    """Replaces the target of each relative link and keeps its anchor."""
    return outside_fences(text, lambda part: LINK.sub(lambda match: replace(match["target"]) + (match["anchor"] or ""), part))
