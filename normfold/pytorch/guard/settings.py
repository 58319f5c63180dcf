"""The plain values that the code of a module may read besides its arguments, and that may choose its way.

They are attributes of the user's own modules, what lies in the objects, dicts and lists that these hold, such as a
configuration, and what their functions read of globals and closures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any

import torch

PLAIN = (bool, int, float, str, type(None))
_DEEPEST = 4  # objects within objects
_MOST = 4096  # dicts, lists and objects
_OF_TORCH = frozenset(vars(torch.nn.Module())) - {"training"}


class Settings:
    """Where these values lie for one module; ``values`` reads them."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._readers: list[Callable[[], Any]] = []
        self._met: set[int] = set()
        self._kept: list[Any] = []  # so that no id is used twice
        for part in module.modules():
            if not type(part).__module__.startswith("torch.nn."):
                self._add_attributes(vars(part))
                for cls in type(part).__mro__:
                    if not cls.__module__.startswith(("torch.nn.", "builtins", "typing")) and self._is_new(cls):
                        self._add_attributes(vars(cls))

    def values(self) -> tuple[Any, ...]:
        """Return them all, in an order that stays."""
        return tuple(read() for read in self._readers)

    def _is_new(self, thing: Any) -> bool:
        if id(thing) in self._met or len(self._met) >= _MOST:
            return False
        self._met.add(id(thing))
        self._kept.append(thing)
        return True

    def _add_attributes(self, mapping: Mapping[str, Any]) -> None:
        own = tuple(name for name in mapping if name not in _OF_TORCH and not name.startswith("__"))
        self._readers.append(partial(_named_values, mapping, own))
        self._add_inner([mapping[name] for name in own], 0)

    def _add_mapping(self, mapping: Mapping[Any, Any], depth: int) -> None:
        if self._is_new(mapping):
            self._readers.append(partial(_plain_values, mapping))
            self._add_inner(list(mapping.values()), depth)

    def _add_inner(self, values: list[Any], depth: int) -> None:
        for value in values if depth < _DEEPEST else ():
            self._add(value, depth + 1)

    def _add(self, value: Any, depth: int) -> None:
        if type(value) in PLAIN or isinstance(value, (torch.Tensor, torch.nn.Module, type)):
            return  # modules come by themselves
        if isinstance(value, (staticmethod, classmethod, MethodType)):
            self._add(value.__func__, depth)
        elif isinstance(value, property):
            self._add(value.fget, depth)
        elif isinstance(value, FunctionType):
            self._add_function(value, depth)
        elif isinstance(value, dict):
            self._add_mapping(value, depth)
        elif isinstance(value, (list, tuple)):
            if value and self._is_new(value):
                self._readers.append(partial(_plain_items, value))
                self._add_inner(list(value), depth)
        elif isinstance(value, partial):
            self._add(value.func, depth)
            self._add_inner([value.args, value.keywords], depth)
        elif hasattr(value, "__dict__") and not type(value).__module__.startswith("torch"):
            self._add_mapping(vars(value), depth)

    def _add_function(self, function: FunctionType, depth: int) -> None:
        if not self._is_new(function) or function.__module__ is None or function.__module__.startswith("torch"):
            return
        for cell in function.__closure__ or ():
            self._readers.append(partial(_content_of, cell))
            self._add_inner([_content_of(cell, whole=True)], depth)
        names = {name for name in _names_in(function.__code__) if name in function.__globals__}
        for name in sorted(names):
            value = function.__globals__[name]
            if type(value) in PLAIN:
                self._readers.append(partial(_global, function.__globals__, name))
            elif isinstance(value, (dict, list)) or type(value).__module__ == function.__module__:
                self._add(value, depth + 1)


def _plain(value: Any) -> Any:
    return value if type(value) in PLAIN else None


def _named_values(mapping: Mapping[str, Any], names: tuple[str, ...]) -> tuple[Any, ...]:
    return (len(mapping), *map(_plain, map(mapping.get, names)))


def _plain_values(mapping: Mapping[Any, Any]) -> tuple[Any, ...]:
    return (len(mapping), *(value for value in mapping.values() if type(value) in PLAIN))


def _plain_items(items: list[Any] | tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(map(_plain, items))


def _content_of(cell: Any, whole: bool = False) -> Any:
    try:
        return cell.cell_contents if whole else _plain(cell.cell_contents)
    except ValueError:  # it is empty
        return None


def _global(names: Mapping[str, Any], name: str) -> Any:
    return _plain(names.get(name))


def _names_in(code: CodeType) -> Iterator[str]:
    """Yield the globals and attributes that a function names, those of its inner functions too."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)
