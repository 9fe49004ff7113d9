"""Modules that are loaded when first used, so that starting the server does not wait for them."""

import importlib.util
import sys
from types import ModuleType


def lazy_module(name: str) -> ModuleType:
    """A stand-in for module `name` that imports it at the first attribute access.

    Raises ModuleNotFoundError at once where the module is not installed.
    Source: the recipe for lazy imports in the standard library's `importlib` documentation.
    """
    loaded = sys.modules.get(name)
    if loaded is not None:
        return loaded
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
