"""Broken kernels: one module of the native code with another text.

To compile all kernels anew takes most of a minute. So here only the ops are compiled, each when it is first called; the code that walks the
tape and divides the work calls them from Python. A module with another text is executed again, and so are those that import it; the others
keep what is compiled of them.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import module_from_spec
from inspect import getsource
from types import ModuleType
from typing import Any

from numba.core.dispatcher import Dispatcher

from opml_min.model.native import engine, kernel_cache

KERNELS = "opml_min.model.native.kernels"
WALKERS = tuple(f"{KERNELS}.{name}" for name in ("batch", "unshared", "work_sharing", "stages"))
"""The modules that walk the tape. Their functions stay functions of Python."""
DOES_NOT_COMPILE = tuple(f"raised {name}" for name in ("NumbaError", "TypingError", "LoweringError", "UnsupportedError"))


@cache
def _imported() -> Mapping[str, frozenset[str]]:
    """Lists the modules of the kernels, each after those that it imports, with the names of those."""
    import_module(WALKERS[-1])
    names = [name for name in sys.modules if name.startswith(f"{KERNELS}.")]
    imports = {name: frozenset(_imports_of(sys.modules[name]) & {*names}) for name in names}
    ordered: dict[str, frozenset[str]] = {}
    while len(ordered) < len(imports):
        ordered |= {name: of for name, of in imports.items() if name not in ordered and of <= ordered.keys()}
    return ordered


def _imports_of(module: ModuleType) -> set[str]:
    return {node.module or "" for node in ast.walk(ast.parse(getsource(module) or "")) if isinstance(node, ast.ImportFrom)}


def _depending_on(changed: frozenset[str]) -> list[str]:
    """Lists these modules and all that import them, in the order in which they can be executed."""
    reached = set(changed)
    for name, imports in _imported().items():
        if imports & reached:
            reached.add(name)
    return [name for name in _imported() if name in reached]


def _executed(names: list[str], texts: Mapping[str, str], others: Mapping[str, ModuleType]) -> dict[str, ModuleType]:
    """Executes modules again, with these texts, where they import each other and the others; returns all of them."""
    usual = {name: sys.modules[name] for name in _imported()}
    made = dict(others)
    try:
        sys.modules.update(made)
        for name in names:
            spec: Any = usual[name].__spec__
            module = sys.modules[name] = made[name] = module_from_spec(spec)
            text = texts.get(name) or getsource(usual[name])
            exec(compile(text, spec.origin, "exec", dont_inherit=True), vars(module))
            for function, value in vars(module).items():
                if name in WALKERS and isinstance(value, Dispatcher) and value.py_func.__module__ == name:
                    setattr(module, function, value.py_func)
    finally:
        sys.modules.update(usual)
    return made


@cache
def _unbroken() -> Mapping[str, ModuleType]:
    """Makes the modules that walk in Python."""
    return _executed(_depending_on(frozenset(WALKERS)), {}, {name: sys.modules[name] for name in _imported()})


@contextmanager
def kernels_with(module: str, text: str) -> Iterator[None]:
    """The native engine with this text in place of a module's, while this is entered."""
    kernel_cache.require_compiler()
    kernels = _executed(_depending_on(frozenset({module})), {module: text}, _unbroken())
    stages: Any = kernels[WALKERS[-1]]
    caller: Any = engine
    usual, caller.run_stages = caller.run_stages, stages.run_stages
    try:
        yield
    finally:
        caller.run_stages = usual
