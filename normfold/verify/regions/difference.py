"""Find the values that both models have and compute in different ways, each with the values it is computed from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache

import numpy as np
import onnx
from onnx import numpy_helper

from normfold.files.protos.tensors import is_external
from normfold.runtime.loaded_model import LoadedModel
from normfold.runtime.submodel import SHAPES, sources

_ROUNDS = 50
"""The boundary of a region is widened so many times at most."""

_LAYOUT = frozenset({"Identity", "Cast", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Dropout"})


@dataclass(frozen=True)
class DifferingRegion:
    """What computes ``targets`` from the values of ``boundary``, in two models that have all of them.

    One operator makes the targets in the first model.
    """

    targets: tuple[str, ...]
    boundary: tuple[str, ...]


def differing_regions(one: LoadedModel, other: LoadedModel, left_out: Set[str] = frozenset()) -> list[DifferingRegion]:
    """Return the regions whose operators or weights differ, in the order of the first model.

    Values of ``left_out`` have one name in both models but not one meaning, so they are inside of regions.
    """
    common = _common_values(one, other) - left_out
    known = {name: f"input {name}".encode() for name in _equal_weights(one, other)}
    known |= {name: f"value {name}".encode() for name in common}
    ours, theirs = (signatures(model, known) for model in (one, other))
    compared = (common | set(one.output_names) & set(other.output_names)) & theirs.keys()
    targets = [name for name in one.producers if name in compared]
    found: dict[tuple[int, tuple[str, ...]], list[str]] = {}
    for name in targets:
        if ours[name] != theirs[name]:
            found.setdefault((one.producers[name], boundary_of(one, other, name, common)), []).append(name)
    return [DifferingRegion(tuple(names), boundary) for (_, boundary), names in found.items()]


def boundary_of(one: LoadedModel, other: LoadedModel, target: str, common: Set[str]) -> tuple[str, ...]:
    """Return the nearest values of ``common`` from which both models compute ``target``.

    A value of which one model reads no more than the shape needs no place among what the other reads.
    """
    inputs, uncut = one.input_names, {target}
    for _ in range(_ROUNDS):
        ours, theirs = (sources(model, target, common, through_shapes=False, uncut=uncut) for model in (one, other))
        different = ours ^ theirs
        if not different:
            break
        # What one model keeps and the other computes again begins no region.
        inside = {name for name in different - inputs if _is_made_of(one, name, different - {name})}
        # Where one model reads what another boundary value is made of, the two are not independent numbers.
        made_of_them = {name for name in (ours & theirs) - inputs if _is_made_of(one, name, different)}
        dropped = inside or made_of_them or different - inputs
        if not dropped:
            break
        uncut |= dropped
    else:
        return tuple(sorted(inputs))
    return tuple(sorted(sources(one, target, common, uncut=uncut) | sources(other, target, common, uncut=uncut)))


def _is_made_of(model: LoadedModel, name: str, values: Set[str]) -> bool:
    return not values.isdisjoint(sources(model, name, values, through_shapes=False))


def have_equal_content(one: LoadedModel, tensor: onnx.TensorProto, other: LoadedModel, its: onnx.TensorProto) -> bool:
    """Return whether two weights of one type and shape hold the same bytes, or lie at one place of a file."""
    lie_in_files = one.folder == other.folder and tensor.name not in one.given and tensor.name not in other.given
    if tensor == its and (lie_in_files or not is_external(tensor)):
        return True
    if tensor.data_type == onnx.TensorProto.STRING:
        return list(tensor.string_data) == list(its.string_data)
    return np.array_equal(_bytes(one.array_of(tensor)), _bytes(other.array_of(its)))


def _bytes(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _common_values(one: LoadedModel, other: LoadedModel) -> set[str]:
    """Values of both models that any numbers may take the place of.

    A size is computed inside of the region that reads it, and so are numbers that sum to 1, and what one of the models
    computes twice: folds rely on each.
    """
    both = one.producers.keys() & other.producers.keys()
    for model in (one, other):
        both = both - _sizes_and_constants(model) - _sum_to_one(model) - _computed_twice(model)
    return set(both)


def _sum_to_one(model: LoadedModel) -> set[str]:
    """Return the results of Softmax, in whatever layout."""
    found: set[str] = set()
    for node in model.graph.node:
        if node.op_type == "Softmax" or (node.op_type in _LAYOUT and node.input[0] in found):
            found.add(node.output[0])
    return found


def _computed_twice(model: LoadedModel) -> set[str]:
    """Return the results of operators that read and do the same as another one."""
    found: dict[tuple[object, ...], list[Sequence[str]]] = {}
    for node in model.graph.node:
        settings = sorted(attribute.SerializeToString(deterministic=True) for attribute in node.attribute)
        found.setdefault((node.domain, node.op_type, *node.input, *settings), []).append(node.output)
    return {name for same in found.values() if len(same) > 1 for names in same for name in names}


def _sizes_and_constants(model: LoadedModel) -> set[str]:
    found = set(model.initializer_names)
    for node, names in zip(model.graph.node, model.reads, strict=True):
        if node.op_type in SHAPES or (found.issuperset(names) and node.op_type != "Loop"):
            found.update(node.output)
    return found - model.initializer_names


def _equal_weights(one: LoadedModel, other: LoadedModel) -> set[str]:
    """Names of the weights that are the same in both models."""
    others = dict(other.initializers)
    return {
        name
        for name, tensor in one.initializers
        if name in others
        and (tensor.data_type, *tensor.dims) == (others[name].data_type, *others[name].dims)
        and have_equal_content(one, tensor, other, others[name])
    }


def signatures(model: LoadedModel, known: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return what each value is computed by, down to what is ``known`` by name: equal where the computation is."""
    found: dict[str, bytes] = {}
    versions = {opset.domain: opset.version for opset in model.skeleton.opset_import}
    functions = {(f.domain, f.name): f.SerializeToString(deterministic=True) for f in model.skeleton.functions}
    tensors = dict(model.initializers)
    weights: dict[str, bytes] = {}

    def reference(name: str) -> bytes:
        if name in known or name in found:
            return known.get(name) or found[name]
        if name not in tensors:
            return f"input {name}".encode()
        if name not in weights:
            weights[name] = digest_of(model.array_of(tensors[name]))
        return weights[name]

    for node, reads in zip(model.graph.node, model.reads, strict=True):
        if node.op_type == "Identity" and node.domain in ("", "ai.onnx"):
            found[node.output[0]] = reference(node.input[0])
            continue
        constant = _constant(node)
        if constant is not None:
            found[node.output[0]] = digest_of(constant)
            continue
        version = _version(node.domain, node.op_type, versions.get(node.domain, 0))
        pieces = [node.domain.encode(), node.op_type.encode(), str(version).encode()]
        pieces += [functions.get((node.domain, node.op_type), b"")]
        pieces += sorted(attribute.SerializeToString(deterministic=True) for attribute in node.attribute)
        given = dict.fromkeys(node.input)
        pieces += [reference(name) for name in node.input]
        pieces += [reference(name) for name in reads if name not in given]
        for index, name in enumerate(node.output):
            found[name] = hashlib.blake2b(b"\0".join([*pieces, str(index).encode()]), digest_size=16).digest()
    return found


def _constant(node: onnx.NodeProto) -> np.ndarray | None:
    if node.op_type != "Constant":
        return None
    return next((numpy_helper.to_array(a.t) for a in node.attribute if a.name == "value"), None)


@cache
def _version(domain: str, operator: str, version: int) -> int:
    """Return since when an operator means what it means in this operator set."""
    try:
        return int(onnx.defs.get_schema(operator, version, domain).since_version)
    except onnx.defs.SchemaError:
        return version


def digest_of(array: np.ndarray) -> bytes:
    """Return a few bytes that stand for the numbers, type and shape of an array."""
    if array.dtype == object:
        return repr(array.tolist()).encode()
    head = f"{array.dtype} {array.shape}".encode()
    return hashlib.blake2b(_bytes(array).data, digest_size=16, person=b"", key=head[:64]).digest()
