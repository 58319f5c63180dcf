"""A model loaded for running: a light skeleton, and the weights, which every session over it maps from the same file.

A proof opens many sessions over parts of the same model. The skeleton says where in the model's own file each large
weight lies, as if it were external data, so a part costs neither serialization nor a copy of its weights.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from normfold.errors import SourceError
from normfold.files.protos.convert import to_proto
from normfold.files.protos.mapped import INLINE_BYTES, large_bytes, stub, without_weights
from normfold.files.protos.old_opsets import modernize
from normfold.files.protos.repairs import drop_identities, repaired
from normfold.files.protos.tensors import is_external, load_inner, make_dense
from normfold.files.protos.wire import WireFormatError
from normfold.files.temporary import TemporaryFolder
from normfold.operators.walk import every_node, initializer_names, reads
from normfold.runtime.metadata_keys import SITES_KEY
from normfold.runtime.weight_store import GIVEN, Weights, from_file

LoadableModel = onnx.ModelProto | ir.Model | bytes | str | os.PathLike[str]

# Weights of models in memory go to a file from this size on: the runtime maps a file, and copies an array.
_SPOOL_BYTES = 16 * 2**20


class Spool:
    """A temporary folder that goes with the last model that refers to it."""

    def __init__(self) -> None:
        self._folder = TemporaryFolder()
        self.folder = str(self._folder.path)


@dataclass(frozen=True)
class LoadedModel:
    """Hold a model whose large weights stay where they are.

    ``skeleton`` says of each large weight in which file of ``folder`` it lies, or that it is among ``given``.
    ``spool`` is that folder when it is a temporary one. ``operators`` are the types of operator in the model, or in
    the one that this was made from. ``recorded`` is what its metadata says of the sites of folds.
    """

    skeleton: onnx.ModelProto
    given: Weights
    folder: str | None = None
    spool: Spool | None = None
    operators: frozenset[str] = frozenset()
    recorded: str = ""

    def __post_init__(self) -> None:
        if not self.operators:
            object.__setattr__(self, "operators", frozenset(node.op_type for node in every_node(self.skeleton)))

    @property
    def graph(self) -> onnx.GraphProto:
        """The main graph of the skeleton."""
        return self.skeleton.graph

    @cached_property
    def reads(self) -> tuple[tuple[str, ...], ...]:
        """What each node of the main graph needs: its inputs, and what its subgraphs capture from outside."""
        return tuple(map(reads, self.graph.node))

    @cached_property
    def producers(self) -> dict[str, int]:
        """The index of the node that makes each value."""
        return {name: index for index, node in enumerate(self.graph.node) for name in node.output if name}

    @cached_property
    def readers(self) -> dict[str, list[int]]:
        """The indices of the nodes that need each value."""
        found: dict[str, list[int]] = {}
        for index, names in enumerate(self.reads):
            for name in names:
                found.setdefault(name, []).append(index)
        return found

    @cached_property
    def declared(self) -> dict[str, onnx.ValueInfoProto]:
        """What the model says of the types of its values, by name."""
        values = (*self.graph.value_info, *self.graph.output)
        return {value.name: value for value in values if value.type.WhichOneof("value")}

    @cached_property
    def initializers(self) -> tuple[tuple[str, onnx.TensorProto], ...]:
        """The initializers of the main graph with their names."""
        return tuple((tensor.name, tensor) for tensor in self.graph.initializer)

    def array_of(self, tensor: onnx.TensorProto) -> np.ndarray:
        """Return the content of one of its initializers, wherever it lies. It is not kept."""
        if not is_external(tensor):
            return np.asarray(numpy_helper.to_array(tensor))
        name = tensor.name
        return self.given[name] if name in self.given else from_file(tensor, self.folder or "")()

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of all initializers of the main graph, wherever they lie."""
        return sum(map(tensor_bytes, self.graph.initializer))

    @cached_property
    def initializer_names(self) -> set[str]:
        """Names of all initializers of the main graph."""
        return initializer_names(self.graph)

    @cached_property
    def initializer_places(self) -> dict[str, int]:
        """The place of each initializer among those of the main graph."""
        return {tensor.name: place for place, tensor in enumerate(self.graph.initializer)}

    @cached_property
    def input_places(self) -> dict[str, int]:
        """The place of each input of the main graph, those with an initializer included."""
        return {value.name: place for place, value in enumerate(self.graph.input)}

    @cached_property
    def inputs(self) -> tuple[onnx.ValueInfoProto, ...]:
        """The inputs that a caller must feed: those without an initializer of the same name."""
        return tuple(value for value in self.graph.input if value.name not in self.initializer_names)

    @cached_property
    def input_names(self) -> frozenset[str]:
        """The names of the inputs that a caller must feed."""
        return frozenset(value.name for value in self.inputs)

    @cached_property
    def output_names(self) -> tuple[str, ...]:
        """The names of the graph's outputs, each once."""
        return tuple(dict.fromkeys(value.name for value in self.graph.output))


def tensor_bytes(tensor: onnx.TensorProto) -> int:
    """Bytes of a tensor's content."""
    return int(math.prod(tensor.dims)) * _item_size(tensor.data_type)


@cache
def _item_size(kind: int) -> int:
    return int(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize)


def load(model: LoadableModel, folder: str | None = None) -> LoadedModel:
    """Split a model, which stays untouched. External data is next to the path, or in ``folder``; it is not read here.

    A large model in memory is copied to a temporary file, unless it has external data, which must lie next to it.
    """
    loaded = _split(model, folder)
    repaired(loaded.skeleton)
    drop_identities(loaded.skeleton.graph)
    load_inner(loaded.skeleton, loaded.folder or "")
    make_dense(loaded.skeleton)
    modernize(loaded.skeleton)
    return loaded


def _split(model: LoadableModel, folder: str | None) -> LoadedModel:
    if isinstance(model, (str, os.PathLike)):
        return _in_its_file(Path(model).resolve(), folder)
    if isinstance(model, ir.Model):
        proto = to_proto(model)
    else:
        proto = _parsed(model, "the bytes") if isinstance(model, bytes) else model
    if not isinstance(proto, onnx.ModelProto):
        kind = type(model).__name__
        raise SourceError(
            f"expected a path, bytes, onnx.ModelProto or onnx_ir.Model, got {kind}; "
            "normfold.optimize compares a PyTorch module with what it writes, or export the module first"
        )
    tensors = proto.graph.initializer
    if any(map(is_external, tensors)) or sum(map(large_bytes, tensors)) < _SPOOL_BYTES:
        return _loaded_in_memory(proto, folder)
    try:
        return _spooled(proto)
    except OSError:  # no room on the disk, perhaps there is in memory
        return _loaded_in_memory(proto, folder)


def _in_its_file(path: Path, folder: str | None) -> LoadedModel:
    try:
        if not path.stat().st_size:
            raise SourceError(f"{path}: expected an ONNX model, got an empty file")
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                proto = without_weights(data, path.name, INLINE_BYTES)
            except (WireFormatError, DecodeError):
                return _split(_parsed(bytes(data), str(path)), str(path.parent))
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from error
    if any(map(large_bytes, proto.graph.initializer)):  # some lie there in another form than the runtime maps
        return _loaded_in_memory(proto, str(path.parent))
    recorded = _recorded_sites(proto)
    proto.ClearField("training_info")
    proto.ClearField("metadata_props")
    proto.graph.name = proto.graph.name or "graph"
    common = os.path.commonpath([path.parent, folder or path.parent])
    for tensor in filter(is_external, proto.graph.initializer if folder else ()):
        _place_in(common, tensor, (str(path.parent), folder or ""))
    return LoadedModel(proto, Weights({}), common, recorded=recorded)


def _place_in(common: str, tensor: onnx.TensorProto, folders: tuple[str, str]) -> None:
    """Say where a tensor lies from a folder above the first of ``folders`` that has its file: a runtime knows one."""
    for entry in tensor.external_data:
        if entry.key == "location":
            files = [os.path.join(folder, entry.value) for folder in folders]
            entry.value = os.path.relpath(files[not os.path.isfile(files[0])], common)


def _recorded_sites(proto: onnx.ModelProto) -> str:
    return next((entry.value for entry in proto.metadata_props if entry.key == SITES_KEY), "")


def _parsed(content: bytes, name: str) -> onnx.ModelProto:
    try:
        return onnx.load_from_string(content)
    except DecodeError as error:
        raise SourceError(f"{name}: expected an ONNX model, got something that is no protobuf") from error


def _loaded_in_memory(proto: onnx.ModelProto, folder: str | None) -> LoadedModel:
    skeleton = _without_initializers(proto)
    given: dict[str, Callable[[], np.ndarray]] = {}
    for tensor in proto.graph.initializer:
        if large_bytes(tensor):
            given[tensor.name] = partial(_array, tensor)
            skeleton.graph.initializer.append(stub(tensor, GIVEN))
        else:
            skeleton.graph.initializer.append(tensor)
    return LoadedModel(skeleton, Weights(given), folder, recorded=_recorded_sites(proto))


def _array(tensor: onnx.TensorProto) -> np.ndarray:
    return np.ascontiguousarray(numpy_helper.to_array(tensor)).reshape(tuple(tensor.dims))


def _spooled(proto: onnx.ModelProto) -> LoadedModel:
    spool = Spool()
    skeleton = _without_initializers(proto)
    with open(Path(spool.folder, "weights"), "wb") as file:
        for tensor in proto.graph.initializer:
            if large_bytes(tensor):
                skeleton.graph.initializer.append(stub(tensor, "weights", file.tell()))
                file.write(_array(tensor).reshape(-1).view(np.uint8).data)
                file.write(bytes(-file.tell() % 64))
            else:
                skeleton.graph.initializer.append(tensor)
    return LoadedModel(skeleton, Weights({}), spool.folder, spool, recorded=_recorded_sites(proto))


def changed(
    model: LoadedModel,
    change: Callable[[np.ndarray], np.ndarray],
    kinds: Mapping[int, int],
    kept: Set[str] = frozenset(),
) -> LoadedModel:
    """Return a copy in which each large weight of a type in ``kinds`` is ``change`` of it.

    ``kinds`` maps the type of a weight to the type of the result.
    """
    skeleton = onnx.ModelProto()
    skeleton.CopyFrom(model.skeleton)
    given = {name: model.given.maker(name) for name in model.given}
    for tensor in filter(is_external, skeleton.graph.initializer):
        if tensor.data_type not in kinds or tensor.name in kept:
            continue
        name = tensor.name
        make = given[name] if name in given else from_file(tensor, model.folder or "")
        given[name] = partial(_after, change, make)
        tensor.data_type = kinds[tensor.data_type]
        tensor.CopyFrom(stub(tensor, GIVEN))
    return replace(model, skeleton=skeleton, given=Weights(given))


def _after(change: Callable[[np.ndarray], np.ndarray], make: Callable[[], np.ndarray]) -> np.ndarray:
    return change(make())


def _without_initializers(model: onnx.ModelProto) -> onnx.ModelProto:
    skeleton = onnx.ModelProto(
        ir_version=model.ir_version,
        opset_import=model.opset_import,
        functions=model.functions,
    )
    graph = skeleton.graph
    graph.name = model.graph.name or "graph"
    graph.node.extend(model.graph.node)
    graph.input.extend(model.graph.input)
    graph.output.extend(model.graph.output)
    graph.value_info.extend(model.graph.value_info)
    graph.sparse_initializer.extend(model.graph.sparse_initializer)
    return skeleton
