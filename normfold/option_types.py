"""Say whether a value is of the type that an option declares, and name that type as Python writes it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from types import UnionType
from typing import Any, Union, get_args, get_origin


def fits(value: object, hint: Any) -> bool:
    """Return whether ``value`` is of the type ``hint``; numbers of numpy are numbers, a ``str`` is no collection."""
    origin, inner = get_origin(hint) or hint, get_args(hint)
    if origin is Any:
        return True
    if origin in (Union, UnionType):
        return any(fits(value, each) for each in inner)
    if origin is Callable:
        return callable(value)
    if origin is Collection:
        is_collection = isinstance(value, Collection) and not isinstance(value, (str, bytes))
        return is_collection and all(fits(each, inner[0]) for each in value)  # type: ignore[attr-defined]  # just asked
    if origin is bool:
        return isinstance(value, int) or type(value).__name__ in ("bool", "bool_")  # numpy's own has either name
    if origin in (int, float):
        return hasattr(value, "__index__" if origin is int else "__float__")
    return isinstance(value, origin)


def type_name(hint: Any) -> str:
    """Return a type without the modules that its parts come from."""
    text = inspect.formatannotation(hint)
    for module in ("collections.abc.", "typing.", "os."):
        text = text.replace(module, "")
    return text
