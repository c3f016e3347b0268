"""The site: it builds, every text is on it, nothing is fetched from another host, and each kind of mistake is refused."""

import os
import re
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

from docs.built import faults

REPOSITORY = Path(__file__).resolve().parent.parent


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True).stdout.decode()
    return [name for name in listed.split("\0") if (REPOSITORY / name).is_file()]


def build(root: Path) -> subprocess.CompletedProcess[str]:
    """Builds the site of a copy, with the copy's own specification."""
    environment = os.environ | {"PYTHONPATH": f"{root}:{root / 'spec'}"}
    return subprocess.run([sys.executable, "-m", "docs"], cwd=root, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, with its site built."""
    root = tmp_path_factory.mktemp("copy")
    for name in tracked():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, root / name)
    done = build(root)
    assert done.returncode == 0, done.stdout + done.stderr
    return root


def test_every_text_is_on_the_site(copy: Path) -> None:
    """Each text's heading is the heading of a page; of two equal texts one page is enough."""
    site = copy / "build" / "site"
    found = [heading for page in site.rglob("*.html") for heading in re.findall("<h1.*?>(.*?)</h1>", page.read_text())]
    headings = {unescape(re.sub("<[^>]+>|&para;", "", heading)).strip() for heading in found}
    for name in tracked():
        if name.endswith(".md"):
            heading = (REPOSITORY / name).read_text().partition("\n")[0].removeprefix("# ").replace("`", "")
            assert heading in headings, name


def test_reference_and_errors(copy: Path) -> None:
    """The reference shows docstrings and sources, the table of errors every number."""
    from opml_spec.errors import SpecError

    reference = copy / "build" / "site" / "reference"
    page = (reference / "opml_spec" / "machine" / "witness.html").read_text()
    assert 'id="opml_spec.machine.witness.make_witness"' in page
    assert "The witness of the next step." in page
    table = (reference / "errors.html").read_text()
    assert SpecError.__subclasses__()
    for error in SpecError.__subclasses__():
        assert f"<td>{error.number}</td>" in table
        assert f"<code>{error.name}</code>" in table


def test_nothing_is_fetched_from_elsewhere(copy: Path) -> None:
    """Scripts, styles, fonts and images lie on the site, and every page forbids the browser to fetch others."""
    pages = list((copy / "build" / "site").rglob("*.html"))
    assert len(pages) > 50
    for page in pages:
        text = page.read_text()
        fetched = re.findall(r"""<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=["']?([^"'\s>]+)""", text)
        assert fetched
        assert not [target for target in fetched if re.match(r"(?:[a-z]+:)?//", target)], page
        assert "default-src 'self'" in text
    for style in (copy / "build" / "site").rglob("*.css"):
        assert not re.search(r"""(?:url\(|@import)\s*["']?(?:https?:)?//""", style.read_text()), style


@pytest.mark.parametrize(
    "mistakes",
    [
        {
            "[a file](spec/no_such_file.md)": "no_such_file.md",
            "[a folder](opml_min/no_such_folder/)": "no_such_folder",
            "[an anchor](spec/README.md#no-such-heading)": "no-such-heading",
            "![](https://example.org/picture.png)": "fetches https://example.org/picture.png",
            "<a href='no_such_page.html'>raw</a>": "no_such_page.html",
        },
        {"```mermaid\nflowchart TD\n  a --> --> b[\n```": "Parse error"},
        {"- outer\n  - inner": "'  - inner'"},
    ],
    ids=["targets", "picture", "list"],
)
def test_mistakes_are_refused(copy: Path, mistakes: dict[str, str]) -> None:
    """The build fails and names each mistake."""
    text = (copy / "README.md").read_text()
    (copy / "README.md").write_text("\n\n".join([text, *mistakes]))
    try:
        done = build(copy)
    finally:
        (copy / "README.md").write_text(text)
    assert done.returncode != 0
    for complaint in mistakes.values():
        assert complaint in done.stdout + done.stderr


def test_a_broken_site_is_recognised(tmp_path: Path) -> None:
    """The last reading sees what no text can cause: fetches by the theme, links between pages, Markdown that was not understood."""
    (tmp_path / "style.css").write_text("@import 'https://example.org/a.css'; a { background: url(//example.org/b.png) }")
    (tmp_path / "index.html").write_text(
        "<script src='//example.org/c.js'></script><style>@import url(https://example.org/d.css)</style>"
        "<a href='index.html#e'>f</a><p>- g</p>"
        "<a href='https://example.org'>may be followed, is not fetched</a><p id=h>h</p><a href='#h'>h</a>"
    )
    found = "\n".join(faults(tmp_path))
    assert all(name in found for name in ("a.css", "b.png", "c.js", "d.css", "index.html#e", "- g"))
    assert len(faults(tmp_path)) == 6
