"""The reference of the specification: a page per module, from its docstrings, and the table of errors.

mkdocstrings fills the modules' pages; it reads the sources and runs nothing. The errors are taken from the classes themselves.
"""

import inspect
import re
from pathlib import Path

from opml_spec import errors

from docs.contents import Nav

PACKAGE = "spec/opml_spec"
ERRORS_URI = "reference/errors.md"


def module_uri(root: Path, name: str) -> str | None:
    """Where the page of a module or package lies, by its path in the repository; None if it is not of the specification."""
    if not f"{name}/".startswith(f"{PACKAGE}/"):
        return None
    inside = "reference/" + name.removeprefix("spec/").removesuffix("/__init__.py")
    if (root / name / "__init__.py").exists() or name.endswith("/__init__.py"):
        return f"{inside}/README.md"
    return f"{inside.removesuffix('.py')}.md" if name.endswith(".py") else None


def reference_pages(root: Path) -> dict[str, str]:
    """Writes the page of every module, for mkdocstrings to fill, and the table of errors."""
    pages = {ERRORS_URI: error_table()}
    for path in (root / PACKAGE).rglob("*.py"):
        name = path.relative_to(root).as_posix()
        dotted = name.removeprefix("spec/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        uri = module_uri(root, name)
        assert uri is not None
        pages[uri] = f"---\ntitle: {dotted.rpartition('.')[2]}\n---\n\n::: {dotted}\n"
    return pages


def reference_navigation(root: Path) -> Nav:
    """The table of errors, then the modules, folder by folder."""
    return [{"Errors": ERRORS_URI}, {"opml_spec": folder_navigation(root, PACKAGE)}]


def folder_navigation(root: Path, folder: str) -> Nav:
    """A package's own page, its modules, then its packages."""
    inside = sorted((root / folder).iterdir())
    modules = [path for path in inside if path.suffix == ".py" and path.name != "__init__.py"]
    packages = [path for path in inside if (path / "__init__.py").exists()]
    names = [f"{folder}/__init__.py", *(path.relative_to(root).as_posix() for path in modules)]
    own = [uri for name in names if (uri := module_uri(root, name))]
    below: Nav = [{path.name: folder_navigation(root, path.relative_to(root).as_posix())} for path in packages]
    return [*own, *below]


def error_table() -> str:
    """Tabulates all errors by number, a table per hundred."""
    headings = dict(re.findall(r"^# (\dxx): (.*?) -+$", inspect.getsource(errors), re.M))
    text = f"# Errors\n\n{inspect.getdoc(errors)}\n"
    hundred = ""
    for error in sorted(every_error(errors.SpecError), key=lambda error: error.number):
        if hundred != f"{error.number // 100}xx":
            hundred = f"{error.number // 100}xx"
            text += f"\n## {hundred}: {headings.get(hundred, 'others')}\n\n| number | name | meaning |\n|---|---|---|\n"
        meaning = " ".join((inspect.getdoc(error) or "").split()).replace("|", "\\|")
        text += f"| {error.number} | [`{error.name}`][{error.__module__}.{error.__qualname__}] | {meaning} |\n"
    return text


def every_error(root: type[errors.SpecError]) -> list[type[errors.SpecError]]:
    """The classes below this one that have a number."""
    below = [error for child in root.__subclasses__() for error in every_error(child)]
    return [root, *below] if "number" in vars(root) else below
