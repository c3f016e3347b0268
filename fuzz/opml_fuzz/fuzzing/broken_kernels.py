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

from numba import njit
from numba.core.dispatcher import Dispatcher

from opml_min.model.native import engine, kernel_cache
from opml_min.training import engine as training_engine

KERNELS, TRAINING_KERNELS = "opml_min.model.native.kernels", "opml_min.training.kernels"
COMPILED, PLANS = f"{TRAINING_KERNELS}.compiled", "opml_min.training.plans"
WALKERS = tuple(f"{KERNELS}.{name}" for name in ("batch", "unshared", "work_sharing", "stages"))
"""The modules that walk the tape. Their functions stay functions of Python."""
DOES_NOT_COMPILE = tuple(f"raised {name}" for name in ("NumbaError", "TypingError", "LoweringError", "UnsupportedError"))


@cache
def _imported() -> Mapping[str, frozenset[str]]:
    """Lists the modules of the kernels, each after those that it imports, with the names of those."""
    import_module(WALKERS[-1])
    return _ordered(f"{KERNELS}.")


def _ordered(prefix: str) -> Mapping[str, frozenset[str]]:
    """Lists the imported modules whose names begin so, each after those that it imports, with the names of those."""
    names = [name for name in sys.modules if name.startswith(prefix)]
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
            module = made[name] = _execute(name, texts.get(name) or getsource(usual[name]))
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
    if module.startswith(TRAINING_KERNELS):
        with training_kernels_with(module, text):
            yield
        return
    kernels = _executed(_depending_on(frozenset({module})), {module: text}, _unbroken())
    stages: Any = kernels[WALKERS[-1]]
    caller: Any = engine
    usual, caller.run_stages = caller.run_stages, stages.run_stages
    try:
        yield
    finally:
        caller.run_stages = usual


# Training: what walks there calls each kernel by its address, so it stays as it is ------------------------------------------------------


@contextmanager
def training_kernels_with(module: str, text: str) -> Iterator[None]:
    """The plans of training with this text in place of a module's, while this is entered. No kernel comes from the cache on disk."""
    package: Any = import_module(TRAINING_KERNELS)
    names = [name for name in _ordered(f"{TRAINING_KERNELS}.") if not name.endswith(".compiled")]
    changed = {module}
    for name in names:
        if changed & _imports_of(sys.modules[name]):
            changed.add(name)
    usual = {name: sys.modules[name] for name in (*names, COMPILED)}
    caller: Any = training_engine
    plan_of = caller.plan_of
    try:
        sys.modules[COMPILED] = uncached = ModuleType(COMPILED)
        vars(uncached)["compiled_for_training"] = njit(nogil=True)
        for name in names:
            if name in changed:
                _execute(name, text if name == module else getsource(usual[name]))
                setattr(package, name.rpartition(".")[2], sys.modules[name])
        usual[PLANS] = sys.modules[PLANS]
        caller.plan_of = vars(_execute(PLANS, getsource(usual[PLANS])))["plan_of"]
        yield
    finally:
        sys.modules.update(usual)
        for name in names:
            setattr(package, name.rpartition(".")[2], usual[name])
        caller.plan_of = plan_of


def _execute(name: str, text: str) -> ModuleType:
    """Executes a module again, with this text, and puts it into the place of the one that is imported."""
    spec: Any = sys.modules[name].__spec__
    module = sys.modules[name] = module_from_spec(spec)
    exec(compile(text, spec.origin, "exec", dont_inherit=True), vars(module))
    return module
