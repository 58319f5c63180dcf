"""A report as plain data for JSON and back, so that it can wait in a file or come from another process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from enum import Enum, EnumMeta
from functools import cache
from itertools import repeat
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from normfold.report.report import Report


def to_data(report: Report) -> dict[str, Any]:
    """``report`` without its problems, which depend on limits and lock and are found again each time."""
    data: dict[str, Any] = _plain({**asdict(report), "problems": ()})
    return data


def from_data(data: Mapping[str, Any]) -> Report:
    """Return the report that ``to_data`` was given. KeyError, TypeError or ValueError for anything else."""
    report: Report = _typed({**data, "problems": ()}, Report)
    return report


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value


def _typed(value: Any, kind: Any) -> Any:
    """Return plain ``value`` as what the annotation ``kind`` says: a dataclass, tuple or Enum, or None."""
    arguments = get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        return None if value is None else _typed(value, arguments[0])
    if get_origin(kind) is tuple:
        kinds = repeat(arguments[0]) if arguments[-1] is ... else arguments
        return tuple(map(_typed, value, kinds))
    if isinstance(kind, type) and is_dataclass(kind):
        kinds_of = _hints(kind)
        return kind(**{name: _typed(entry, kinds_of[name]) for name, entry in value.items()})
    if isinstance(kind, EnumMeta):
        return kind(value)
    plain = get_origin(kind) or kind
    if isinstance(plain, type) and not isinstance(value, (int, float) if plain is float else plain):
        raise TypeError(f"expected {plain.__name__}, got {type(value).__name__}")
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
