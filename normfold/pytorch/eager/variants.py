"""Other calls that the signature of forward() allows, so that a fold is proven on each way through it.

Each flag both ways, each optional argument left out, a batch of one and one larger, and other sizes of the other axes
(even and odd). Which of them the module takes is found out by calling it.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import torch
from torch.utils import _pytree as pytree

from normfold.pytorch.eager.call import Call

MOST = 24


def variants(module: torch.nn.Module, call: Call) -> Iterator[tuple[str, Call]]:
    """Yield named calls that differ from ``call`` in one point each; the module may refuse them."""
    for count, each in enumerate((*_other_arguments(module, call), *_other_sizes(call))):
        if count == MOST:
            return
        yield each


def _other_arguments(module: torch.nn.Module, call: Call) -> Iterator[tuple[str, Call]]:
    try:
        bound = inspect.signature(module.forward).bind(*call.args, **call.kwargs)
    except (TypeError, ValueError):
        return
    given = dict(bound.arguments)
    bound.apply_defaults()
    for name, parameter in bound.signature.parameters.items():
        value = bound.arguments.get(name)
        for other in _others(value, parameter):
            said = "left out" if other is None else f"= {other!r}"
            arguments = {**given, name: other}
            yield f"{name} {said}", _bind(bound.signature, arguments)


def _bind(signature: inspect.Signature, arguments: dict[str, Any]) -> Call:
    bound = inspect.BoundArguments(
        signature, OrderedDict((name, arguments[name]) for name in signature.parameters if name in arguments)
    )
    return Call(tuple(bound.args), dict(bound.kwargs))


def _others(value: Any, parameter: inspect.Parameter) -> Iterator[Any]:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        return
    if isinstance(value, bool):
        yield not value
    elif value is None and "bool" in str(parameter.annotation):
        yield True
        yield False
    elif value is not None and parameter.default is None:
        yield None
    if get_origin(parameter.annotation) is Literal:
        yield from (other for other in get_args(parameter.annotation) if other != value)


def of_other_ranks(call: Call) -> Iterator[tuple[str, Call]]:
    """Yield calls whose tensors have another rank; a fold need not hold on them."""
    shapes: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "one more axis": lambda leaf: leaf.unsqueeze(0),
        "one axis less": lambda leaf: leaf[0] if leaf.dim() > 1 else leaf,
    }
    for name, shape in shapes.items():
        leaves, structure = pytree.tree_flatten((call.args, dict(call.kwargs)))
        yield (
            name,
            Call(
                *pytree.tree_unflatten(
                    [shape(each) if isinstance(each, torch.Tensor) else each for each in leaves], structure
                )
            ),
        )


@dataclass(frozen=True)
class _Resize:
    """A change of sizes: ``axes`` of tensors of ``rank`` or more to ``size`` of what they were."""

    name: str
    axes: Callable[[int], range]
    size: Callable[[int], int]


_RESIZES = (
    _Resize("a batch of one", lambda rank: range(0, 1), lambda size: 1),
    _Resize("a batch that is one larger", lambda rank: range(0, 1), lambda size: size + 1),
    _Resize("sizes that are one larger", lambda rank: range(2, rank), lambda size: size + 1),
    _Resize("other sizes", lambda rank: range(2, rank), lambda size: size + 3 if size < 16 else size // 2 | 1),
    _Resize("a last size twice as large", lambda rank: range(max(rank - 1, 2), rank), lambda size: 2 * size),
    _Resize("a second size that is one larger", lambda rank: range(1, 2), lambda size: size + 1),
    _Resize("another second size", lambda rank: range(1, 2), lambda size: size + 3 if size < 16 else size // 2),
)
SIZES = frozenset(resize.name for resize in _RESIZES)


def _other_sizes(call: Call) -> Iterator[tuple[str, Call]]:
    shapes = [
        leaf.shape for leaf in pytree.tree_leaves((call.args, dict(call.kwargs))) if isinstance(leaf, torch.Tensor)
    ]
    for resize in _RESIZES:
        args, kwargs = pytree.tree_map(lambda leaf, how=resize: _resized(leaf, how), (call.args, dict(call.kwargs)))
        new = [leaf.shape for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if new != shapes:
            yield resize.name, Call(args, kwargs)


def _resized(leaf: Any, how: _Resize) -> Any:
    if not isinstance(leaf, torch.Tensor):
        return leaf
    result = leaf.detach()
    for axis in how.axes(leaf.dim()):
        if axis < leaf.dim() and leaf.shape[axis]:
            index = torch.arange(how.size(leaf.shape[axis]), device=leaf.device) % leaf.shape[axis]
            result = result.index_select(axis, index)
    return result
