"""A module with another text: the way to plant a defect in Python.

The text is compiled anew. Every function of the old text that lives anywhere, as a method, behind a decorator or in a table, gets the code
that now stands at its line. Tables of text get their new entries, and what caches remember is forgotten. Afterwards all is as before.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import _lru_cache_wrapper
from importlib import import_module
from inspect import getsource
from types import CodeType, FunctionType
from typing import Any

from opml_fuzz.errors import FuzzError

Key = tuple[str, int]
PURE = ("opml_spec.", "opml_min.machine.decode", "opml_min.machine.translator.")
"""Modules whose caches hold values, not code that is in use."""


class NotPlantable(FuzzError):
    """A text that a living function cannot take on."""


@contextmanager
def changed(module_name: str, right: str, wrong: str) -> Iterator[None]:
    """The module with one expression replaced, while this is entered."""
    text = getsource(import_module(module_name))
    if text.count(right) != 1:
        raise ValueError(f"{module_name} has {right!r} {text.count(right)} times")
    with rewritten(module_name, text.replace(right, wrong)):
        yield


@contextmanager
def rewritten(module_name: str, text: str) -> Iterator[int]:
    """The module with this text, while this is entered; gives the number of functions and tables that differ.

    The text must have its functions on the lines where they were."""
    module: Any = import_module(module_name)
    file: str = module.__file__
    new, old = (compile(each, file, "exec", dont_inherit=True) for each in (text, getsource(module)))
    new_codes, old_codes = dict(codes(new)), dict(codes(old))
    kept = list[tuple[FunctionType, CodeType]]()
    names = {**vars(module)}
    differ, tables = 0, [(name, table, {**table}) for name, table in vars(module).items() if name.isupper() and isinstance(table, dict)]
    if any(isinstance(each, str) for _, table, _ in tables for each in table.values()):
        exec(new, names)
    try:
        for name, table, _ in tables:
            if names[name] != table:
                replace_entries(table, names[name])
                differ += 1
        for function in functions_of(file):
            key = function.__code__.co_qualname, function.__code__.co_firstlineno
            code = new_codes.get(key)
            if code is not None and code != old_codes.get(key):
                if code.co_freevars != function.__code__.co_freevars:
                    raise NotPlantable(f"{key[0]} has other free variables")
                kept.append((function, function.__code__))
                function.__code__ = code
        forget()
        yield differ + len(kept)
    finally:
        for function, code in kept:
            function.__code__ = code
        for _, table, right in tables:
            replace_entries(table, right)
        forget()


def replace_entries(table: dict[Any, Any], entries: dict[Any, Any]) -> None:
    """Gives a table these entries and no others."""
    table.clear()
    table.update(entries)


def codes(code: CodeType) -> Iterator[tuple[Key, CodeType]]:
    """Yields all code inside a module's code, by qualified name and first line."""
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield (each.co_qualname, each.co_firstlineno), each
            yield from codes(each)


def functions_of(file: str) -> list[FunctionType]:
    """Every living function that is written in this file."""
    return [each for each in gc.get_objects() if type(each) is FunctionType and each.__code__.co_filename == file]


def forget() -> None:
    """Empties the caches of what may have been computed by the other text; compiled code stays."""
    for each in gc.get_objects():
        if type(each) is _lru_cache_wrapper and each.__module__.startswith(PURE):
            each.cache_clear()
