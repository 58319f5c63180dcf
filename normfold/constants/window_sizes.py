"""Sizes behind a convolution or a pool, where those before it have names: ``ceil(H/2)`` behind a stride of 2.

``onnx.shape_inference`` makes a new name for each such size. One formula, and so one name for equal sizes: what a
window with stride s leaves of H is ``floor((H + a)/s) + 1``, and of that the next one makes the same of H again.
Source: https://onnx.ai/onnx/operators/onnx__MaxPool.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import onnx

from normfold.constants.shape_values import MADE_UP, Dimension
from normfold.operators.table import is_standard
from normfold.operators.walk import attribute_value

_WINDOWED = frozenset({"AveragePool", "Conv", "ConvInteger", "LpPool", "MaxPool"})
_SIZE = re.compile(r"ceil\(([\w.:]+?)(?:/(\d+))?(?: ([+-]) (\d+)(?:/(\d+))?)?\)").fullmatch
_NAME = re.compile(r"[\w.:]+").fullmatch


@dataclass(frozen=True)
class WindowSize:
    """The size ``ceil((name + more) / stride)``."""

    name: str
    more: int = 0
    stride: int = 1

    @classmethod
    def read(cls, size: str) -> WindowSize | None:
        """Return the size that a name means; None for arithmetic of another kind."""
        if _NAME(size):
            return cls(size)
        found = _SIZE(size)
        if found is None:
            return None
        name, stride, sign, above, below = found.groups(default="1")
        more = Fraction(int(above), int(below)) * int(stride) if found[3] else Fraction(0)
        return cls(name, int(-more if sign == "-" else more), int(stride))

    def behind(self, more: int, stride: int) -> WindowSize:
        """Return what a window leaves of it: ``ceil((size + more) / stride)``."""
        return WindowSize(self.name, self.more + self.stride * more, self.stride * stride)

    def __str__(self) -> str:
        if not self.more and self.stride == 1:
            return self.name
        by = f"/{self.stride}" if self.stride > 1 else ""
        more = f" {'+' if self.more > 0 else '-'} {abs(Fraction(self.more, self.stride))}" if self.more else ""
        return f"ceil({self.name}{by}{more})"


def window_sizes(node: onnx.NodeProto, shapes: Mapping[str, tuple[Dimension, ...]]) -> tuple[Dimension, ...] | None:
    """Return the sizes that a convolution or a pool makes of named ones, None for others; None where it is neither."""
    if node.op_type not in _WINDOWED or not is_standard(node):
        return None
    before, after = shapes.get(node.input[0]), shapes.get(node.output[0])
    kernel = [size for size in _kernel(node, shapes) if isinstance(size, int)]
    if before is None or after is None or not len(before) == len(after) == len(kernel) + 2:
        return None
    if attribute_value(node, "ceil_mode", 0):
        return None
    axes = zip(before[2:], after[2:], _windows(node, kernel), strict=True)
    return (None, None, *(_size(size, own, *window) for size, own, window in axes))


def _kernel(node: onnx.NodeProto, shapes: Mapping[str, tuple[Dimension, ...]]) -> Sequence[Dimension]:
    given = attribute_value(node, "kernel_shape", list[int]())
    return given or (shapes.get(node.input[1], ())[2:] if len(node.input) > 1 else ())


def _size(before: Dimension, after: Dimension, more: int, stride: int) -> Dimension:
    """Return the size behind a window; None where it is known already, or the one before has no name."""
    if not isinstance(before, str) or not (after is None or str(after).startswith(MADE_UP)):
        return None
    known = WindowSize.read(before)
    return None if known is None else str(known.behind(more, stride))


def _windows(node: onnx.NodeProto, kernel: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield, for each axis, what is added to a size before it is divided by the stride, and the stride."""
    ones, zeros = [1] * len(kernel), [0] * (2 * len(kernel))
    strides, dilations = (attribute_value(node, name, ones) for name in ("strides", "dilations"))
    auto = attribute_value(node, "auto_pad", b"NOTSET")
    pads = attribute_value(node, "pads", zeros) if auto == b"NOTSET" else zeros
    for axis, (size, stride, dilation) in enumerate(zip(kernel, strides, dilations, strict=True)):
        taken = pads[axis] + pads[axis + len(kernel)] - dilation * (size - 1)
        yield (0 if auto.startswith(b"SAME") else taken), stride
