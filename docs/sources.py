"""Pages that show files and folders of the repository. Only what a text links to has one: the site is for reading."""

import ast
from pathlib import Path

LANGUAGES = {".py": "python", ".vy": "python", ".c": "c", ".h": "c", ".S": "gas", ".toml": "toml", ".json": "json"}
FENCE = "~" * 10
MOST_BYTES = 200_000  # of a file that is shown; a longer one is offered as it is
HIDDEN = "---\nsearch:\n  exclude: true\n---\n\n"  # the search is for texts


def source_uri(root: Path, name: str) -> str:
    """Where the page of a file or folder lies."""
    if (root / name).is_dir():
        return f"source/{name}/README.md"
    return f"source/{name}.md" if is_text(root / name) else f"source/{name}"


def source_pages(root: Path, name: str) -> dict[str, str | Path]:
    """Shows a file, or a folder and the files in it; what cannot be shown is the file itself."""
    path = root / name
    if path.is_dir():
        files = [file for file in sorted(path.iterdir()) if file.is_file() and not file.name.startswith(".")]
        pages: dict[str, str | Path] = {source_uri(root, name): HIDDEN + folder_page(root, name, files)}
        for file in files:
            pages |= source_pages(root, f"{name}/{file.name}")
        return pages
    if not is_text(path):
        return {source_uri(root, name): path}
    style = f'.{LANGUAGES.get(path.suffix, "text")} linenums="1"'
    return {source_uri(root, name): f"{HIDDEN}# {path.name}\n\n`{name}`\n\n{FENCE} {{ {style} }}\n{path.read_text()}\n{FENCE}\n"}


def is_text(path: Path) -> bool:
    """Tells whether a file can be shown on a page."""
    content = path.read_bytes()
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return len(content) <= MOST_BYTES


def folder_page(root: Path, name: str, files: list[Path]) -> str:
    """Lists a folder: each file, with the first line of its docstring if it is Python."""
    rows = [f"| [`{file.name}`]({Path(source_uri(root, f'{name}/{file.name}')).name}) | {first_line(file)} |" for file in files]
    return "\n".join([f"# {Path(name).name}", "", f"`{name}/`", "", "| file | is |", "|---|---|", *rows, ""])


def first_line(path: Path) -> str:
    """What a module says of itself."""
    if path.suffix != ".py":
        return ""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0].replace("|", "\\|")
