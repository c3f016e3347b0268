"""A module with one expression of its text replaced: the way to plant a defect in Python.

The functions that differ get the code of the changed ones, and the tables their entries, wherever they have been imported.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from inspect import getsource
from types import CodeType, FunctionType
from typing import Any


@contextmanager
def changed(module_name: str, right: str, wrong: str) -> Iterator[None]:
    """The module with one expression replaced, while this is entered."""
    module: Any = import_module(module_name)
    text = getsource(module)
    if text.count(right) != 1:
        raise ValueError(f"{module_name} has {right!r} {text.count(right)} times")
    names = {**vars(module)}
    exec(compile(text.replace(right, wrong), module.__file__, "exec", dont_inherit=True), names)
    kept = list[tuple[FunctionType, CodeType]]()
    tables = [(table, {**table}, names[name]) for name, table in vars(module).items() if name.isupper() and isinstance(table, dict)]
    try:
        for table, _, new_table in tables:
            table.update(new_table)
        for old, new in pairs(vars(module), names, module.__file__):
            kept.append((old, old.__code__))
            old.__code__ = new.__code__
        yield
    finally:
        for function, code in kept:
            function.__code__ = code
        for table, old_table, _ in tables:
            table.update(old_table)


def pairs(old: Any, new: Any, file: str) -> Iterator[tuple[FunctionType, FunctionType]]:
    """Yields the functions, methods and properties that are written in this file, next to their counterparts of the same name."""
    for name, it in [*old.items()]:
        other = new.get(name)
        if isinstance(it, property):
            it, other = it.fget, other.fget
        if isinstance(it, FunctionType) and it.__code__.co_filename == file and it.__code__ != other.__code__:
            yield it, other
        elif isinstance(it, type) and it.__module__ == old.get("__name__"):
            yield from pairs(vars(it), vars(other), file)
