"""Postpone imports that another library makes at once and that normfold hardly ever needs."""

from __future__ import annotations

import sys
import threading
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_lock = threading.RLock()
_LOADING = ("__path__", "__version__")  # of the names with underscores, those that need the module itself


class _PostponedModule(ModuleType):
    """A module that is executed when an attribute that it does not have yet is first read.

    ``importlib.util.LazyLoader`` executes it when it is imported a second time, which is too early here.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in _LOADING:
            raise AttributeError(name)  # tools that look through all modules ask for these, and use nothing of it
        with _lock:
            if type(self) is _PostponedModule:
                spec = _spec(self.__name__)
                if spec is None or spec.loader is None:
                    raise AttributeError(name)
                object.__setattr__(self, "__class__", ModuleType)
                self.__spec__, self.__loader__, self.__file__ = spec, spec.loader, spec.origin
                self.__package__ = spec.parent
                if spec.submodule_search_locations is not None:
                    self.__path__ = list(spec.submodule_search_locations)
                spec.loader.exec_module(self)
        return getattr(self, name)


def load_on_use(package: str, user: str) -> None:
    """Let ``import PACKAGE`` succeed at once, and load it, and the module ``user``, when something of them is used.

    onnx_ir imports sympy for arithmetic with symbolic dimensions, which takes 0.3 to 0.6 s and is not used here, and
    one small module of its own reads it while it is imported: that is ``user``. A package that is already loaded, or
    not installed, is left as it is.
    """
    if package in sys.modules or user.partition(".")[0] in sys.modules or find_spec(package) is None:
        return
    for name in (package, user):
        sys.modules[name] = _PostponedModule(name)


def _spec(name: str) -> ModuleSpec | None:
    parent = name.rpartition(".")[0]
    return PathFinder.find_spec(name, import_module(parent).__path__ if parent else None)
