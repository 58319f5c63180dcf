"""Make up inputs for a model: of sizes that its operators accept, the same for the same seed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np
import onnx
from onnx import TensorProto

from normfold.errors import UsageError, known_names
from normfold.options import RunOptions
from normfold.runtime.loaded_model import LoadedModel
from normfold.runtime.session import Value
from normfold.verify.inputs.distributions import FEW_INTEGERS, IN_TURN, Distribution, draw_array, dtype_of
from normfold.verify.inputs.roles import InputConstraints, InputRole, input_constraints
from normfold.verify.inputs.user_files import InputSpec, check_shape, parse_spec


@dataclass(frozen=True)
class Feed:
    """One set of inputs: the values by name, and words that describe them."""

    values: Mapping[str, Value]
    text: str
    distribution: Distribution = Distribution.GIVEN


# Sizes tried for a free dimension, by what it seems to be; the n-th feed prefers the n-th size.
_SIZES = {
    "batch": (1, 2, 3, 1),
    "image": (32, 48, 37, 64),
    "channel": (3, 4, 1, 2),
    "past": (4, 1, 0, 7),
    "length": (6, 1, 9, 16),
}
_EVERYWHERE = (
    1, 2, 8, 16, 32, 64, 128, 224, 3, 4, 7, 14, 28, 56, 112, 12, 20, 24, 48, 96, 160, 192, 256, 299, 384, 512,
)  # fmt: skip
_PICTURES = (240, 320, 448, 288, 336, 480, 640, 416, 352, 518, 260, 300, 380, 331, 456, 528, 600)
"""Tried for the sides of images alone: what networks with a table of positions were trained on."""
_LONG = (400, 1000, 1600, 3000, 16000, 80000)
"""Tried for lengths alone: frames and samples of sound."""
_SAMPLED = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.INT16})
"""What sound comes as; so many texts or tokens would only take time."""

# Ranks tried for an input that declares none.
_RANKS = (2, 4, 3, 1, 0)

# No made-up input has more numbers than this.
_LARGEST = 2**27

# No sound has more, as samples or as a spectrogram of 1,000 frames; 16,000 images or rows of text do.
_LARGEST_RECORDING = 2**20

# So many lengths are tried as the sum of two others.
_MANY = 6


@dataclass(frozen=True)
class Feeder:
    """Makes feeds for one model. Each feed has several proposals, because only running tells which sizes are legal.

    ``known`` are sizes of named dimensions that a spec gives, or that an operator behind any input demands.
    """

    inputs: tuple[onnx.ValueInfoProto, ...]
    constraints: Mapping[str, InputConstraints]
    specs: Mapping[str, InputSpec]
    seed: int
    known: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def from_options(cls, model: LoadedModel, options: RunOptions) -> Feeder:
        """Return a feeder for the inputs of ``model`` as the options of a run ask for them."""
        return cls.of(model, [parse_spec(text) for text in options.input_specs], options.seed)

    @classmethod
    def of(cls, model: LoadedModel, specs: Sequence[InputSpec] = (), seed: int = 0) -> Feeder:
        """Return a feeder for the inputs of ``model``; UsageError when a spec names an input that it lacks."""
        by_name = {spec.name: spec for spec in specs}
        known = [value.name for value in model.inputs]
        for name in by_name:
            if name not in known:
                every = known_names(name, known, "inputs")
                raise UsageError(f"expected the name of an input, got {name!r}; {every}", "input_specs")
        found = input_constraints(model)
        return cls(model.inputs, found, by_name, seed, _known(model.inputs, found, by_name))

    def proposals(self, index: int, working: Mapping[str, int] | None = None) -> Iterator[tuple[Feed, dict[str, int]]]:
        """Return feeds for number ``index``, the most wanted first, each with its sizes.

        ``working`` sizes ran before.
        """
        tried: list[dict[str, int]] = []
        for sizes in self._sizes(index, working):
            if sizes in tried or self._is_too_large(sizes):
                continue
            tried.append(sizes)
            distributions = [IN_TURN[index % len(IN_TURN)], Distribution.POSITIVE, *FEW_INTEGERS]
            for distribution in dict.fromkeys(distributions if len(tried) == 1 else distributions[:1]):
                rng = np.random.default_rng([self.seed, index])
                values = {v.name: self._value(v, sizes, distribution, index, rng) for v in self.inputs}
                where = ", ".join(f"{name}={size}" for name, size in sizes.items())
                yield Feed(values, distribution.value + (f" ({where})" if where else ""), distribution), sizes

    def _sizes(self, index: int, working: Mapping[str, int] | None) -> Iterator[dict[str, int]]:
        kinds = self._free()
        unranked = [v.name for v in self.inputs if self._is_unranked(v)]
        if unranked:
            if working is not None:
                yield dict(working)
            for rank in _RANKS:
                for size in (2, 4, 8):
                    yield {f"rank of {name}": rank for name in unranked} | dict.fromkeys((*unranked, *kinds), size)
            return
        preferred = {name: _SIZES[kind][index % 4] for name, kind in kinds.items()}
        yield preferred
        yield from _tied(preferred, kinds)
        if working is not None:
            yield dict(working)
        if not kinds:
            return
        yield preferred | {name: 1 for name, kind in kinds.items() if kind == "batch"}
        for size in _EVERYWHERE:
            yield {name: 1 if kind == "batch" else size for name, kind in kinds.items()}
        for size in (2, 4, 8):
            yield dict.fromkeys(kinds, size)
        if "image" in kinds.values():
            yield from ({name: size if kind == "image" else 1 for name, kind in kinds.items()} for size in _PICTURES)
        else:
            yield from filter(self._is_a_recording, self._long(kinds))

    def _long(self, kinds: Mapping[str, str]) -> Iterator[dict[str, int]]:
        long = _LONG if any(_tensor(value).elem_type in _SAMPLED for value in self.inputs) else ()
        for size in long:
            yield {name: size if kind == "length" else 1 for name, kind in kinds.items()}
        for free in kinds:  # one is a length that the model was made for, and the others are batches without a name
            for size in (*_EVERYWHERE, *long):
                yield dict.fromkeys(kinds, 1) | {free: size}

    def _is_a_recording(self, sizes: Mapping[str, int]) -> bool:
        return all(math.prod(self._shape(value, sizes)) <= _LARGEST_RECORDING for value in self.inputs)

    def _is_too_large(self, sizes: Mapping[str, int]) -> bool:
        return any(math.prod(self._shape(value, sizes)) > _LARGEST for value in self.inputs)

    def _free(self) -> dict[str, str]:
        """Free dimensions by name, and what each seems to be. Expressions over other names are not free."""
        kinds: dict[str, str] = {}
        for value in self.inputs:
            if value.name in self.specs and self.specs[value.name].shape is not None:
                continue
            rank = len(_tensor(value).shape.dim)  # 0 when nothing is declared
            for axis, dim in enumerate(_tensor(value).shape.dim):
                name = _dim_name(value.name, axis, dim)
                if name is None or name in self.known or axis in self.constraints[value.name].dims or _terms(name):
                    continue
                kinds.setdefault(name, _kind(value.name, name, axis, rank, self.constraints[value.name].role))
        return kinds

    def _is_unranked(self, value: onnx.ValueInfoProto) -> bool:
        given = value.name in self.specs and self.specs[value.name].shape is not None
        return not given and not _tensor(value).HasField("shape")

    def _shape(self, value: onnx.ValueInfoProto, sizes: Mapping[str, int]) -> tuple[int, ...]:
        spec = self.specs.get(value.name)
        if spec is not None and spec.shape is not None:
            return spec.shape
        if self._is_unranked(value):
            return (sizes.get(value.name, 2),) * sizes.get(f"rank of {value.name}", 2)
        shape = []
        for axis, dim in enumerate(_tensor(value).shape.dim):
            name = _dim_name(value.name, axis, dim)
            if name is None:
                shape.append(dim.dim_value)
            elif axis in self.constraints[value.name].dims:
                shape.append(self.constraints[value.name].dims[axis])
            else:
                shape.append(_evaluate(name, {**self.known, **sizes}))
        return tuple(shape)

    def _value(
        self,
        value: onnx.ValueInfoProto,
        sizes: Mapping[str, int],
        distribution: Distribution,
        index: int,
        rng: np.random.Generator,
    ) -> Value:
        use = self.constraints[value.name].with_sizes({**self.known, **sizes})
        shape = self._shape(value, sizes)
        if value.type.HasField("sequence_type"):
            count = 1 + index % 3
            return [draw_array(_tensor(value).elem_type, shape, use, distribution, index, rng) for _ in range(count)]
        spec = self.specs.get(value.name)
        if spec is not None and (spec.dtype or spec.bounds):
            return spec.draw(shape, dtype_of(_tensor(value).elem_type), rng)
        if shape in ((), (1,)):
            index = self._turn(value, index)
        return draw_array(_tensor(value).elem_type, shape, use, distribution, index, rng)

    def _turn(self, value: onnx.ValueInfoProto, index: int) -> int:
        """Return a number for one of several switches.

        Any two of three have been thrown in all ways after four feeds.
        """
        place = sum(_tensor(v).elem_type != TensorProto.FLOAT for v in self.inputs[: self.inputs.index(value)])
        return (index, index >> 1, index ^ (index >> 1))[place % 3]


def _tensor(value: onnx.ValueInfoProto) -> onnx.TypeProto.Tensor:
    kind = value.type
    while True:
        if kind.HasField("sequence_type"):
            kind = kind.sequence_type.elem_type
        elif kind.HasField("optional_type"):
            kind = kind.optional_type.elem_type
        else:
            return kind.tensor_type


def _dim_name(input_name: str, axis: int, dim: onnx.TensorShapeProto.Dimension) -> str | None:
    """Return the name of a free dimension (one is made for a nameless one); None for a fixed one, which may be 0."""
    if dim.HasField("dim_value") and dim.dim_value >= 0:
        return None
    return dim.dim_param or f"{input_name}:{axis}"


def _terms(name: str) -> list[str]:
    """Return the parts of a dimension that is a sum or difference of others: ``past + seq``."""
    return re.split(r"\s*([+-])\s*", name) if re.fullmatch(r"[\w.]+(\s*[+-]\s*[\w.]+)+", name) else []


def _evaluate(name: str, sizes: Mapping[str, int]) -> int:
    terms = _terms(name)
    if not terms:
        return sizes.get(name, 1)
    total, sign = 0, 1
    for term in terms:
        if term in "+-":
            sign = 1 if term == "+" else -1
        else:
            total += sign * (int(term) if term.isdigit() else sizes.get(term, 1))
    return max(total, 0)


def _known(
    inputs: Sequence[onnx.ValueInfoProto], found: Mapping[str, InputConstraints], specs: Mapping[str, InputSpec]
) -> dict[str, int]:
    """Sizes of named dimensions: those of the specs, and those that weights demand of any input."""
    known: dict[str, int] = {}
    for value in inputs:
        spec, dims = specs.get(value.name), _tensor(value).shape.dim
        if spec is not None:
            _check_fits(spec, value)
        if spec is not None and spec.shape is not None:
            known |= {dim.dim_param: size for dim, size in zip(dims, spec.shape, strict=False) if dim.dim_param}
    for value in inputs:
        if value.name not in specs or specs[value.name].shape is None:
            for axis, size in found[value.name].dims.items():
                known.setdefault(_tensor(value).shape.dim[axis].dim_param, size)
    known.pop("", None)
    return known


def _check_fits(spec: InputSpec, value: onnx.ValueInfoProto) -> None:
    if spec.shape is not None and _tensor(value).HasField("shape"):
        check_shape(spec.name, spec.shape, value)
    wanted = dtype_of(_tensor(value).elem_type)
    if spec.dtype and np.dtype(spec.dtype) != wanted:
        raise UsageError(f"expected {spec.name} as {wanted}, got {spec.dtype}")


def _tied(preferred: Mapping[str, int], kinds: Mapping[str, str]) -> Iterator[dict[str, int]]:
    """Sizes that may belong together though their names do not tell: all lengths equal, or one the sum of two."""
    lengths = [name for name, kind in kinds.items() if kind not in ("batch", "channel")]
    if len(lengths) < 2 or len(lengths) > _MANY:
        return
    yield {**preferred, **dict.fromkeys(lengths, preferred[lengths[0]])}
    for total, *parts in permutations(lengths, 3):
        if parts == sorted(parts):
            yield {**preferred, total: preferred[parts[0]] + preferred[parts[1]]}


def _kind(input_name: str, name: str, axis: int, rank: int, role: InputRole) -> str:
    low = name.lower()
    if "batch" in low or (axis == 0 and rank > 1 and "seq" not in low and "len" not in low):
        return "batch"
    if "past" in low or (rank == 4 and axis == 2 and ("past" in input_name.lower() or "cache" in input_name.lower())):
        return "past"
    if rank >= 4 and axis >= 2 and role is InputRole.DATA:
        return "image"
    if rank >= 4 and axis == 1:
        return "channel"
    return "length"
