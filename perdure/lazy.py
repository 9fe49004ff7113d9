"""Modules that are loaded when first used, so that starting the server does not wait for them."""

import importlib
from collections.abc import Iterable
from types import ModuleType
from typing import Any


class _LazyModule(ModuleType):
    """Stands in for a module until it is asked for something.

    The standard library's LazyLoader is not used: before Python 3.12 two threads that come first together can see a
    half-loaded module.
    """

    def __getattr__(self, name: str) -> Any:
        value = getattr(importlib.import_module(self.__name__), name)
        setattr(self, name, value)
        return value


def lazy_module(name: str) -> ModuleType:
    """A stand-in for module `name` that imports it at the first attribute access, where it may raise ImportError."""
    return _LazyModule(name)


def warm_up(names: Iterable[str]) -> None:
    """Load modules now; run it in a thread of its own, after start, so that the first request need not wait."""
    for name in names:
        importlib.import_module(name)
