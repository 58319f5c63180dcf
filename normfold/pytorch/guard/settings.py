"""The plain values that the code of a module may read besides its arguments, and that may choose its way.

They are attributes of the user's own modules, what lies in the objects, dicts and lists that these hold, such as a
configuration, and what their functions read of globals and closures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from functools import partial
from itertools import chain, count, repeat
from operator import is_
from types import CodeType, FunctionType, MethodType
from typing import Any

import torch

PLAIN = (bool, int, float, str, type(None))
_DEEPEST = 4  # objects within objects
_MOST = 4096  # dicts, lists and objects
_MOST_NUMBERS = 1024  # settings that are remembered
_OF_TORCH = frozenset(vars(torch.nn.Module())) - {"training"}
_PIECES = ("_modules", "_parameters", "_forward_hooks", "_forward_pre_hooks")  # what a user may put on a part


class OnModule:
    """An attribute that a guard puts on a module, and that is none of its settings."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.module = module


class Settings:
    """Where these values lie for one module; ``number`` tells which of them it has now, and which ``_PIECES``.

    It is read at each call of the module, so that all is read by functions of C, and compared by identity first.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self._sized: list[Sized] = []
        self._named: list[tuple[Callable[[str], Any], Sequence[str]]] = []
        self._iterables: list[Iterable[Any]] = []
        self._readers: list[Callable[[], Any]] = []
        self._buffers: list[Iterable[Any]] = []
        self._shapes: dict[Any, str] = {}
        self._met: set[int] = set()
        self._kept: list[Any] = []  # so that no id is used twice
        self._own = [vars(part) for part in module.modules()]
        pieces = [vars(part)[name] for part in module.modules() for name in _PIECES]
        self._empty = [each for each in pieces if not each]  # most are, and stay so
        self._pieces = [each.values() for each in pieces if each]
        self._last: tuple[list[Any], list[Any], list[int]] = [], [], []
        self._replaced = 0  # how often a piece was found to be another one than before
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._number = -1
        self._counter = count()
        for part in module.modules():
            if not type(part).__module__.startswith("torch.nn."):
                self._add_attributes(vars(part))
                self._sized.append(part._buffers)
                self._buffers.append(part._buffers.values())
                for cls in type(part).__mro__:
                    if not cls.__module__.startswith(("torch.nn.", "builtins", "typing")) and self._is_new(cls):
                        self._add_attributes(vars(cls))

    def number(self) -> int:
        """Return a number that equal plain values share, and no others, as long as no piece is replaced."""
        pieces = [*map(dict.get, self._own, repeat("forward")), *chain.from_iterable(self._pieces)]
        if any(self._empty):
            pieces += chain.from_iterable(each.values() for each in self._empty)
        given = [
            *map(len, self._sized),
            *chain.from_iterable([map(get, names) for get, names in self._named]),
            *chain.from_iterable(self._iterables),
            *[read() for read in self._readers],
            *chain.from_iterable(self._buffers),
        ]
        values = given.copy()
        last_pieces, last_values, tensors = self._last
        for place in tensors if len(values) == len(last_values) else ():
            values[place] = self._stand_in(values[place])
        same = _are_the_same(pieces, last_pieces)
        if not same or not _are_the_same(values, last_values):
            tensors = [place for place, value in enumerate(given) if isinstance(value, torch.Tensor)]
            values = [*map(self._stand_in, given)]
            self._last = pieces, values, tensors
            self._replaced += not same
            self._number = self._number_of(values)
        return self._number

    def _stand_in(self, value: Any) -> Any:
        """Return the shape, as one text, for a tensor, which may be large and must not be kept alive."""
        if not isinstance(value, torch.Tensor):
            return value
        shape = value.dim() if value.is_nested else value.shape
        if shape not in self._shapes:
            self._shapes[shape] = f"a tensor of {shape}"
        return self._shapes[shape]

    def _number_of(self, values: list[Any]) -> int:
        plain = ((type(value), value) if type(value) in PLAIN else None for value in values)
        if len(self._numbers) >= _MOST_NUMBERS:
            self._numbers.clear()
            self._shapes.clear()
        return self._numbers.setdefault((self._replaced, *plain), next(self._counter))

    def _is_new(self, thing: Any) -> bool:
        if id(thing) in self._met or len(self._met) >= _MOST:
            return False
        self._met.add(id(thing))
        self._kept.append(thing)
        return True

    def _add_attributes(self, mapping: Mapping[str, Any]) -> None:
        own = tuple(
            name
            for name, value in mapping.items()
            if name not in _OF_TORCH and not name.startswith("__") and not isinstance(value, OnModule)
        )
        self._sized.append(mapping)
        self._named.append((mapping.get, own))
        self._add_inner([mapping[name] for name in own], 0)

    def _add_mapping(self, mapping: Mapping[Any, Any], depth: int) -> None:
        if self._is_new(mapping):
            self._sized.append(mapping)
            self._iterables.append(mapping.values())
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
                self._sized.append(value)
                self._iterables.append(value)
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
            self._add_inner([_content_of(cell)], depth)
        names = {name for name in _names_in(function.__code__) if name in function.__globals__}
        for name in sorted(names):
            value = function.__globals__[name]
            if type(value) in PLAIN:
                self._readers.append(partial(function.__globals__.get, name))
            elif isinstance(value, (dict, list)) or type(value).__module__ == function.__module__:
                self._add(value, depth + 1)


def _are_the_same(values: Sequence[Any], others: Sequence[Any]) -> bool:
    return len(values) == len(others) and all(map(is_, values, others))


def _content_of(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is empty
        return None


def _names_in(code: CodeType) -> Iterator[str]:
    """Yield the globals and attributes that a function names, those of its inner functions too."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)
