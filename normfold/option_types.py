"""Say whether a value is of the type that an option declares; name that type, and the value, for an error."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Collection
from numbers import Integral, Real
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
        return isinstance(value, Integral if origin is int else Real)
    return isinstance(value, origin)


def shown(value: object) -> str:
    """Return a value as an error shows it, in one short line: of what is no plain value, its type."""
    if isinstance(value, (str, bytes, int, float, os.PathLike, type(None))):
        return f"{value!r:.200}"
    if isinstance(value, (list, tuple, set)) and value:
        return f"{type(value).__name__} with {shown(next(iter(value)))}"
    return type(value).__name__


def type_name(hint: Any) -> str:
    """Return a type without the modules that its parts come from."""
    text = inspect.formatannotation(hint)
    for module in ("collections.abc.", "typing.", "os."):
        text = text.replace(module, "")
    return text
