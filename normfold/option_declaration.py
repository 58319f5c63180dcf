"""How an option is declared: one field with its type, default, range and help, from which all else is derived.

From a class of such fields come the keyword arguments of a Python function (``accepting``), the options of the command
line (``cli/arguments.py``), the checks of the ranges, and what a report and a written model record (``recorded``).
An option is one field: ``name: Annotated[type, Option("help", group)] = default``.
"""

from __future__ import annotations

import functools
import inspect
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, fields
from typing import Any, Concatenate, ParamSpec, TypeVar, get_type_hints

from normfold.errors import UsageError, did_you_mean
from normfold.option_types import fits, shown, type_name

P = ParamSpec("P")
Model = TypeVar("Model")
Chosen = TypeVar("Chosen")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Option:
    """What is known about an option besides its type and default.

    ``help`` says what the option does; ``off_help`` what ``--no-NAME`` does, of one that is on by default. ``low`` and
    ``high`` are inclusive bounds of a number. ``flag`` names it on the command line where that is not its own name, ""
    leaves it out there, and ``short`` is its one-letter form. ``is_recorded``: it changes the result, so reports and
    written models name it. ``is_knob``: a size for tests, or what one part of normfold hands to another; ``help()``
    does not list it.
    """

    help: str
    group: str = "Output"
    low: float = -math.inf
    high: float = math.inf
    metavar: str = ""
    flag: str | None = None
    is_recorded: bool = True
    short: str = ""
    off_help: str = ""
    is_knob: bool = False


def internal(help: str) -> Option:
    """Declare an argument of the Python functions alone."""
    return Option(help, flag="", is_recorded=False)


def knob(help: str) -> Option:
    """Declare a size for tests, or what one part of normfold hands to another."""
    return Option(help, flag="", is_recorded=False, is_knob=True)


@dataclass(frozen=True, kw_only=True)
class CheckedOptions:
    """A set of options; every value is checked when the set is made. UsageError for one that does not fit."""

    def __post_init__(self) -> None:
        declared: type = type(self)
        for entry in fields(self):
            given, hint = getattr(self, entry.name), _types_by_name(declared)[entry.name]
            value = as_tuple(given) if isinstance(entry.default, tuple) else given
            if not fits(value, hint):
                raise UsageError(f"expected {type_name(hint)}, got {shown(given)}", entry.name)
            object.__setattr__(self, entry.name, value)
        for entry, option in declared_options(declared):
            _check_range(entry, option, getattr(self, entry.name))

    @classmethod
    def of(cls: type[Chosen], options: CheckedOptions, **changes: Any) -> Chosen:
        """Return the options of this class that ``options`` holds, with ``changes``."""
        declared: type = cls
        names = [entry.name for entry in fields(declared) if entry.name not in changes]
        return cls(**{name: getattr(options, name) for name in names}, **changes)

    def recorded(self) -> dict[str, Any]:
        """Return the options that differ from their defaults and change the result, as plain data for JSON."""
        found = {}
        for declared, option in declared_options(type(self)):
            value = getattr(self, declared.name)
            if option.is_recorded and value != declared.default:
                found[declared.name] = _as_data(value)
        return found


def declared_options(options: type) -> list[tuple[Field[Any], Option]]:
    """Return the fields of a set of options with what is declared about each, in order; others are left out."""
    return [(entry, known) for entry in fields(options) if (known := _options_by_name(options).get(entry.name))]


@functools.cache
def _types_by_name(options: type) -> dict[str, Any]:
    return get_type_hints(options)


@functools.cache
def _options_by_name(options: type) -> dict[str, Option]:
    hints = get_type_hints(options, include_extras=True)
    found = {
        name: [e for e in getattr(hint, "__metadata__", ()) if isinstance(e, Option)] for name, hint in hints.items()
    }
    return {name: entries[0] for name, entries in found.items() if entries}


def as_tuple(value: Any) -> tuple[Any, ...]:
    """Return several values as a tuple; a str, a path, a mapping or what is no collection is one value."""
    if isinstance(value, (str, os.PathLike, Mapping)):
        return (value,)
    try:
        return tuple(value)
    except TypeError:
        return (value,)


def _check_range(declared: Field[Any], option: Option, value: Any) -> None:
    if value is None or (option.low, option.high) == (-math.inf, math.inf):
        return
    if math.isfinite(value) and option.low <= value <= option.high:
        return
    kind = "a whole number" if hasattr(value, "__index__") else "a finite number"
    limit = (
        f"of {_spelled(option.low)} or more"
        if math.isinf(option.high)
        else f"from {_spelled(option.low)} to {_spelled(option.high)}"
    )
    raise UsageError(f"expected {kind} {limit}, got {value!r}", declared.name)


def _spelled(bound: float) -> str:
    return f"{bound:g}" if bound != int(bound) else str(int(bound))


def _as_data(value: Any) -> Any:
    if isinstance(value, tuple):
        entries = [_as_data(entry) for entry in value]
        return sorted(entries) if all(isinstance(entry, str) for entry in entries) else entries
    if isinstance(value, Mapping):
        return f"arrays named {', '.join(map(str, value))}"
    return value if isinstance(value, (int, float)) else str(value)


def _without_habits(declared: object, given: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what asks for what is done anyway; UsageError where it asks for something else."""
    habits: Mapping[str, tuple[str, ...]] = getattr(declared, "HABITS", {})
    for name in given.keys() & habits.keys():
        if str(given[name]) not in habits[name]:
            raise UsageError(
                f"expected {name} left out or {habits[name][0]}, got {given[name]!r}, which is not done here"
            )
    return {name: value for name, value in given.items() if name not in habits}


def accepting(
    declared: Callable[P, Chosen],
) -> Callable[[Callable[[Model, Chosen], Answer]], Callable[Concatenate[Model, P], Answer]]:
    """Turn ``function(model, options)`` into ``function(model, **options)`` with the options of ``declared``.

    The signature and the docstring of the new function name every option, so that ``help()`` and editors show them.
    """

    def decorate(function: Callable[[Model, Chosen], Answer]) -> Callable[Concatenate[Model, P], Answer]:
        @functools.wraps(function)
        def call(model: Model, /, *args: P.args, **kwargs: P.kwargs) -> Answer:
            known = inspect.signature(declared).parameters
            given = _without_habits(declared, kwargs)
            for name in given.keys() - known.keys():
                close = did_you_mean(name, known)
                raise TypeError(f"{function.__name__}() got an unexpected keyword argument {name!r}; {close}see help()")
            try:
                signature.bind(model, *args, **given)
            except TypeError as error:
                raise TypeError(f"{function.__name__}() {error}") from None
            return function(model, declared(*args, **given))

        first, *_ = inspect.signature(function).parameters.values()
        hints = get_type_hints(declared)
        taken = [
            entry.replace(annotation=hints[name]) for name, entry in inspect.signature(declared).parameters.items()
        ]
        returns = inspect.signature(function).return_annotation
        signature = inspect.Signature([first, *taken], return_annotation=returns)
        setattr(call, "__signature__", signature)  # noqa: B010  # no declared attribute of functions, read by help()
        call.__doc__ = f"{inspect.getdoc(function)}\n\nOptions:\n{_described(declared)}"
        return call

    return decorate


def _described(declared: Any) -> str:
    listed = [(entry.name, option.help) for entry, option in declared_options(declared) if not option.is_knob]
    return "\n".join(f"    {name}: {help.replace('Repeatable.', 'One, or several.')}" for name, help in listed)
