"""What must hold for the site as it was built: every link and anchor leads somewhere, no page fetches anything from elsewhere.

The generator refuses broken links in texts. This reads the pages once more as a browser does, whoever wrote a link: the reference,
the theme, the table of contents.
"""

import re
from collections.abc import Callable
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FETCHED = {
    "script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src", "embed": "src",
    "object": "data", "use": "href", "image": "href", "input": "src",
}  # fmt: skip
STYLE_URL = re.compile(r"""(?:url\(|@import\s+(?!url))\s*["']?([^"')\s]+)""")
UNREAD = re.compile(r"^\s*(?:[-*] |\d+\. |\||```)", re.M)


class Page(HTMLParser):
    """A page as a browser meets it: its anchors, what it links to, what it fetches, and the prose of its paragraphs."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = {""}
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.paragraphs: list[str] = []
        self.open: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors |= {value for key in ("id", "name") if (value := values.get(key))}
        if tag == "a" and (target := values.get("href")):
            self.links.append(target)
        if tag in FETCHED and (target := values.get(FETCHED[tag])):
            self.fetched.append(target)
        self.fetched += STYLE_URL.findall(values.get("style") or "")
        self.fetched += [part.split()[0] for part in (values.get("srcset") or "").split(",") if part]
        if tag == "p":
            self.paragraphs.append("")
        if tag in ("p", "style", "code"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            del self.open[self.open.index(tag) :]

    def handle_data(self, data: str) -> None:
        if self.open == ["p"]:
            self.paragraphs[-1] += data
        if self.open == ["style"]:
            self.fetched += STYLE_URL.findall(data)


def faults(site: Path) -> list[str]:
    """Everything that is wrong with the site; empty if it may be shown."""
    read = cache(Page)
    found = []
    for path in sorted(site.rglob("*.html")):
        page = read(path)
        name = path.relative_to(site)
        found += [f"{name} fetches {target}" for target in page.fetched if not is_local(target)]
        inside = [target for target in page.links if is_local(target)]
        found += [f"{name} links to {target}, which is not there" for target in inside if not leads(site, path, target, read)]
        found += [f"{name} shows a list, table or block as a paragraph: {text[:80]!r}" for text in page.paragraphs if UNREAD.search(text)]
    for path in sorted(site.rglob("*.css")):
        found += [f"{path.relative_to(site)} fetches {target}" for target in STYLE_URL.findall(path.read_text()) if not is_local(target)]
    return found


def is_local(target: str) -> bool:
    """Tells whether a target lies within the site."""
    parts = urlsplit(target)
    return parts.scheme in ("", "data") and not parts.netloc


def leads(site: Path, path: Path, target: str, read: Callable[[Path], Page]) -> bool:
    """Tells whether a link leads to a file of the site, and its anchor to a place on it."""
    parts = urlsplit(target)
    folder = site if parts.path.startswith("/") else path.parent
    goal = folder / unquote(parts.path).lstrip("/") if parts.path else path
    goal = (goal / "index.html" if goal.is_dir() else goal).resolve()
    return goal.is_file() and (goal.suffix != ".html" or unquote(parts.fragment) in read(goal).anchors)
