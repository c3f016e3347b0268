"""The pages as the generator takes them: every text at its own path, the reference, and the sources to which texts link.

A link to a text is left alone. One to a folder leads to the folder's README, one to a module of the specification to its reference, one
to anything else to a page that shows it. So no link leaves for a Git host, and one to nothing is left for the generator to refuse.
"""

import json
import os
import shutil
from functools import partial
from pathlib import Path

from docs.contents import navigation, texts
from docs.links import in_repository, links, with_targets
from docs.markdown import as_generator_reads
from docs.pictures import check_pictures, mermaid_script
from docs.reference import module_uri, reference_navigation, reference_pages
from docs.sources import source_pages, source_uri


def assemble(root: Path, folder: Path) -> None:
    """Fills an empty folder with all pages and the generator's settings."""
    where = texts(root)
    pages: dict[str, str | Path] = {"style.css": root / "docs" / "style.css", "mermaid.min.js": mermaid_script(), **reference_pages(root)}
    linked: set[str] = set()
    for name in where.values():
        text = (root / name).read_text()
        check_pictures(name, text)
        pages[name] = as_generator_reads(name, with_targets(text, partial(site_target, root, where, name)))
        linked |= {found for target in links(text) if (found := in_repository(root, name, target))}
    for name in linked:
        if page_uri(root, where, name) not in pages:
            pages |= source_pages(root, name)
    shutil.rmtree(folder, ignore_errors=True)
    for uri, content in pages.items():
        path = folder / "pages" / uri
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.read_bytes() if isinstance(content, Path) else content.encode())
    contents = json.dumps(navigation(root, set(where.values()), reference_navigation(root)))  # JSON is YAML
    (folder / "mkdocs.yml").write_text(f"{(root / 'docs' / 'mkdocs.yml').read_text()}\nnav: {contents}\n")


def page_uri(root: Path, where: dict[str, str], name: str) -> str:
    """The page of a file or folder of the repository."""
    for text in (name, f"{name}/README.md"):
        if text in where:
            return where[text]
    return module_uri(root, name) or source_uri(root, name)


def site_target(root: Path, where: dict[str, str], text: str, target: str) -> str:
    """What a link of a text leads to on the site."""
    name = in_repository(root, text, target)
    return os.path.relpath(page_uri(root, where, name), os.path.dirname(text) or ".") if name else target
