"""The equation of an Einsum: a letter for each axis, also for those written as ``...``, and the implied result.

Source: https://onnx.ai/onnx/operators/onnx__Einsum.html
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from normfold.algebra.affine import Array
from normfold.findings.reason import Reason
from normfold.fold.rule import require
from normfold.graph.reader import GraphReader, attribute


@dataclass(frozen=True)
class Equation:
    """The letters of each operand and of the result; none is repeated inside one of them."""

    operands: tuple[str, ...]
    result: str


def equation_of(reader: GraphReader, node: ir.Node) -> Equation:
    """Return the equation of an Einsum, or a Refusal of one that takes a diagonal."""
    text = str(attribute(node, "equation")).replace(" ", "")
    terms, arrow, result = text.partition("->")
    operands = terms.split(",")
    require(len(operands) == len(node.inputs), Reason.OPERATOR_STOPS, node, f"equation {text!r}")
    if not arrow:
        counts = Counter(letter for letter in terms if letter.isalpha())
        result = "..." * ("..." in terms) + "".join(sorted(letter for letter, n in counts.items() if n == 1))
    if "..." in text:
        ranks = [len(reader.require_shape(value, node)) for value in node.inputs]
        operands, result = _spelled_out(text, operands, result, ranks)
    plain = all(len(set(part)) == len(part) for part in (*operands, result))
    require(plain, Reason.OPERATOR_STOPS, node, f"equation {text!r} takes a diagonal")
    return Equation(tuple(operands), result)


def _spelled_out(text: str, operands: Sequence[str], result: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """Unused letters for the axes of ``...``, counted from the last one, as they are broadcast."""
    free = [letter for letter in string.ascii_letters if letter not in text]
    counts = [rank - len(part.replace("...", "")) for part, rank in zip(operands, ranks, strict=True)]
    most = max(count for part, count in zip(operands, counts, strict=True) if "..." in part)
    letters = "".join(free[:most])
    spelled = [part.replace("...", letters[most - count :]) for part, count in zip(operands, counts, strict=True)]
    return spelled, result.replace("...", letters)


def on_letters(node: ir.Node, array: Array, letters: str, wanted: str) -> Array:
    """``array`` with axes ``letters``, as it broadcasts over axes ``wanted``; Refusal where it varies along others."""
    for axis, letter in enumerate(letters):
        lost = letter not in wanted and array.shape[axis] != 1
        require(not lost, Reason.AXIS_STOPS, node, f"it varies along {letter}, not an axis of the other")
    kept = [axis for axis, letter in enumerate(letters) if letter in wanted]
    small = array.reshape([array.shape[axis] for axis in kept])
    order = sorted(range(len(kept)), key=lambda at: wanted.index(letters[kept[at]]))
    form = [1] * len(wanted)
    for at in order:
        form[wanted.index(letters[kept[at]])] = small.shape[at]
    return small.transpose(order).reshape(form)
