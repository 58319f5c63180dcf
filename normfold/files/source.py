"""Read a path, bytes, a ModelProto or an onnx_ir.Model into a ``Source``: the checked original, never changed later.

Weights in external data stay on disk; they are mapped when they are read. A model that the ONNX checker rejects and
ONNX Runtime loads (with contrib operators in the default domain, for example) is accepted with a note.
"""

from __future__ import annotations

import fnmatch
import math
import mmap
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError
from onnx.helper import tensor_dtype_to_field

from normfold.errors import CrashError, NormfoldError, SourceError, UsageError
from normfold.files.limits import check_bytes, check_size
from normfold.files.paths import check_readable
from normfold.files.protos.convert import to_ir, to_proto
from normfold.files.protos.mapped import MappedTensor, Mappings, without_weights
from normfold.files.protos.old_opsets import modernize
from normfold.files.protos.repairs import is_untyped, repaired
from normfold.files.protos.skeleton import BIG_INTEGERS, skeleton
from normfold.files.protos.tensors import Stamp, is_external, load_small, make_dense, stamp_of, tensors
from normfold.files.protos.wire import Buffer, WireFormatError
from normfold.native import isolated, ledger
from normfold.native.ort_session import OptimizationLevel, SessionError, SessionOptions, first_line, open_session
from normfold.operators.walk import inner_graphs, nodes_within

_PACKED = frozenset(dtype for dtype in ir.DataType if dtype.name.endswith(("INT4", "INT2", "4E2M1")))
_OVERRIDABLE_IR = 4  # the IR version since which an initializer that is an input may be overridden
PROTOBUF_LIMIT = 2**31 - 1
_MAPPED_FILE = 64 * 2**20  # bytes of a model file from which on its weights stay there

ModelLike = str | os.PathLike[str] | bytes | onnx.ModelProto | ir.Model


@dataclass(frozen=True)
class Source:
    """Hold the original model.

    ``proto`` holds everything but big weights that lie in files of ``folder``: in data files, or in the model's own
    where that is large. ``stamps`` has the names of these files, ``mappings`` those that are mapped. ``path`` is the
    file it was read from, if any, and ``content`` its bytes, so that an unchanged model can be written byte for byte.
    ``notes`` say what is unusual about it; ``passes_checker`` is False where only ONNX Runtime accepts it.
    ``is_edited`` says that reading put something right, so that it is no longer what the file says. ``mode`` are the
    permissions of the file. ``proto`` is never edited; ``model()`` makes a copy to work on.
    """

    name: str
    proto: onnx.ModelProto
    content: Buffer | None = None
    path: Path | None = None
    folder: Path | None = None
    stamps: Mapping[str, Stamp | None] = field(default_factory=dict)
    mappings: Mappings = field(default_factory=Mappings)
    notes: tuple[str, ...] = ()
    passes_checker: bool = True
    is_edited: bool = False
    mode: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is mapped or computed, which does not go to another process."""
        state = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {**state, "content": self.content and bytes(self.content)}

    def model(self) -> ir.Model:
        """Return a new ir.Model. It shares only the read-only bytes of weights with the original."""
        try:
            return to_ir(self.proto, self.folder, self.mappings)
        except SourceError as error:
            raise SourceError(f"{self.name}: {error}") from error

    @cached_property
    def original(self) -> ir.Model:
        """The model as it is, for all that only look at it."""
        return self.model()

    @property
    def data_files(self) -> set[str]:
        """The names of the files in ``folder`` that hold weights, without the model's own."""
        own = () if self.path is None else (self.path.resolve().name,)
        return self.stamps.keys() - {*own}

    @property
    def has_external_data(self) -> bool:
        """Return whether any tensor lies in a data file."""
        return bool(self.data_files)

    def give_weights(self, model: ir.Model) -> ir.Model:
        """Make weights in the model's own file ones in memory, which a caller may save anywhere. Nothing is read."""
        for value in model.graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, MappedTensor) and tensor.location not in self.data_files:
                value.const_value = ir.Tensor(
                    tensor.numpy(), tensor.dtype, name=tensor.name, doc_string=tensor.doc_string
                )
        return model

    def check_data_files(self) -> None:
        """Raise SourceError if a data file is another one than when the model was read."""
        for name, stamp in self.stamps.items():
            if stamp_of(Path(self.folder or "", name)) != stamp:
                raise SourceError(f"{self.name}: {name} changed after it was read; nothing was written, run it again")


def read(model: ModelLike, *, assume_eval: bool = False) -> Source:
    """Read and check a model. Raises SourceError, with one line, for anything that is not a valid model.

    With ``assume_eval`` what an old file says of training is taken as inference.
    """
    try:
        source = _read(model)
        with blaming(source):
            return _checked(source, assume_eval)
    except UnicodeDecodeError as error:  # protobuf takes any bytes for a text, and fails where they are used
        name = model if isinstance(model, (str, os.PathLike)) else "the model"
        raise SourceError(f"{name}: expected texts in UTF-8, got {error.object[:40]!r}") from error


def _read(model: ModelLike) -> Source:
    if isinstance(model, (str, os.PathLike)):
        return _read_path(Path(model))
    if isinstance(model, bytes):
        return Source("model", _parse(model, "the bytes"), content=model)
    if isinstance(model, onnx.ModelProto):
        proto = onnx.ModelProto()
        proto.CopyFrom(model)
        return Source(proto.graph.name or "model", proto)
    if isinstance(model, ir.Model):
        return Source(model.graph.name or "model", to_proto(model), folder=_external_folder(model))
    raise SourceError(f"expected a path, bytes, onnx.ModelProto or onnx_ir.Model, got {type(model).__name__}")


def _read_path(path: Path) -> Source:
    name = str(path)
    ledger.record(ledger.LedgerKind.SOURCE, name)
    check_readable(path)
    try:
        status = path.stat()
        if path.is_dir():
            raise SourceError(f"{name} is a folder; pass the .onnx file in it")
        if (size := status.st_size) > PROTOBUF_LIMIT:
            raise SourceError(f"{name} has {size} bytes, above the 2 GB of protobuf; save its weights as external data")
        content = _mapped(path) if size >= _MAPPED_FILE else path.read_bytes()
    except OSError as error:
        raise SourceError(f"{name} cannot be read: {error.strerror or error}") from error
    if content[:30].startswith(b"version https://git-lfs"):
        raise SourceError(f"{name} is a Git LFS pointer, not the model; run `git lfs pull`")
    full = path.resolve()
    mappings = Mappings() if isinstance(content, bytes) else Mappings({str(full): content})
    model = _parse(content, name, full.name)
    return Source(name, model, content, path.absolute(), full.parent, mappings=mappings, mode=status.st_mode)


def _mapped(path: Path) -> Buffer:
    """Return the content of a file, mapped where nothing speaks against it.

    Windows does not let a mapped file be replaced, and onnx refuses data in a file of several names.
    """
    if os.name == "nt" or path.stat().st_nlink > 1:
        return path.read_bytes()
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _parse(content: Buffer, name: str, file: str = "") -> onnx.ModelProto:
    """Return the model; big weights of one that is mapped stay in ``file``."""
    if not content:
        raise SourceError(f"{name}: expected an ONNX model, got an empty file")
    check_bytes(content, name)
    try:
        if not isinstance(content, bytes):
            with suppress(WireFormatError):
                return without_weights(content, file, BIG_INTEGERS)
        proto: onnx.ModelProto = onnx.ModelProto.FromString(bytes(content))
    except DecodeError as error:
        raise SourceError(f"{name}: expected an ONNX model, got something that is no protobuf") from error
    return proto


def in_eval_mode(source: Source) -> Source:
    """Set every training-mode BatchNormalization to inference mode, because the user says that this is meant.

    A node whose running mean or variance is read stays as it is, and so does one that normalizes the rows of a value
    reshaped to [1, rows, ...]: its statistics are those of a LayerNorm (Keras), and no training would settle them.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(source.proto)
    nodes = [*proto.graph.node, *nodes_within(proto.graph.node)]
    read = {name for node in nodes for name in node.input}
    read |= {value.name for graph in (proto.graph, *inner_graphs(proto)) for value in graph.output}
    of_rows = set(_rows_of_one_sample(proto.graph))
    switched = 0
    for node in nodes:
        training = next((entry for entry in node.attribute if entry.name == "training_mode"), None)
        is_training = len(node.output) > 1 or (training is not None and training.i)
        if node.op_type != "BatchNormalization" or not is_training or read & set(filter(None, node.output[1:])):
            continue
        if node.input[0] in of_rows:
            continue
        if training is not None:
            node.attribute.remove(training)
        del node.output[1:]
        switched += 1
    if not switched:
        return source
    note = f"{switched} BatchNormalization in training mode taken as inference, as --assume-eval asks"
    notes = (*source.notes, note)
    return replace(source, proto=proto, content=None, is_edited=True, notes=notes)


def _rows_of_one_sample(graph: onnx.GraphProto) -> Iterator[str]:
    """Yield the values that a Reshape gives the shape [1, rows, n, 1], so that no axis is that of a batch."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    stored |= {
        node.output[0]: entry.t
        for node in graph.node
        if node.op_type == "Constant"
        for entry in node.attribute
        if entry.name == "value"
    }
    joined = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Concat" and node.input}
    for node in graph.node:
        target = node.input[1] if node.op_type == "Reshape" and len(node.input) > 1 else ""
        first = stored.get(joined.get(target, target))
        if first is not None and first.data_type == onnx.TensorProto.INT64 and 0 < math.prod(first.dims) <= 8:
            sizes = onnx.numpy_helper.to_array(first).reshape(-1)
            if sizes[0] == 1 and (len(sizes) == 1 or (len(sizes) == 4 and sizes[3] == 1)):
                yield node.output[0]


def with_constant_initializers(source: Source, *, keep: bool = False, freeze: Collection[str] = ()) -> Source:
    """Take initializers out of the graph inputs of a model that was just read, so that they are constants.

    Exporters of an earlier day listed every initializer there; a model that lists all of them means nothing by it.
    Where only some are listed they stay, but for those that ``freeze`` names, by name or pattern; ``keep`` leaves all
    that ``freeze`` does not name. UsageError for a name in ``freeze`` that is none of them.
    """
    graph = source.proto.graph
    stored = {tensor.name for tensor in graph.initializer}
    listed = [value.name for value in graph.input if value.name in stored]
    for pattern in freeze:
        if not fnmatch.filter(listed, pattern):
            names = ", ".join(listed[:5]) or "none"
            raise UsageError(f"expected an initializer that is an input, got {pattern!r}; there are {names}", "freeze")
    habit = len(listed) == len(stored) and not keep
    gone = {name for name in listed if habit or any(fnmatch.fnmatchcase(name, pattern) for pattern in freeze)}
    if source.proto.ir_version < _OVERRIDABLE_IR or not gone:
        return source
    inputs = [value for value in graph.input if value.name not in gone]
    del graph.input[:]
    graph.input.extend(inputs)
    note = f"{len(gone)} initializers that were also inputs are constants now"
    note += "; --keep-initializer-inputs leaves them" if habit else ", as --freeze asks"
    return replace(source, content=None, is_edited=True, notes=(*source.notes, note))


def _external_folder(model: ir.Model) -> Path | None:
    """Return the folder of all external tensors. Raises SourceError for several, because a file can name only one."""
    graphs = [*model.graphs(), *(function.graph for function in model.functions.values())]
    values = [value.const_value for graph in graphs for value in graph.initializers.values()]
    folders = {Path(tensor.base_dir or ".").resolve() for tensor in values if isinstance(tensor, ir.ExternalTensor)}
    if len(folders) > 1:
        raise SourceError(f"expected external data in one folder, got {len(folders)}; load the tensors first")
    return folders.pop() if folders else None


# -- validity -----------------------------------------------------------------------------------------------------


def _repaired(source: Source, assume_eval: bool) -> list[str]:
    """Put right in place what the file says oddly or in an old way; return a note for each change."""
    try:
        notes = *repaired(source.proto), make_dense(source.proto), modernize(source.proto, assume_eval=assume_eval)
        return list(filter(None, notes))
    except SourceError as error:
        raise SourceError(f"{source.name}: {error}") from error


def _checked(source: Source, assume_eval: bool) -> Source:
    proto = source.proto
    if not proto.HasField("graph") or not (proto.graph.node or proto.graph.output):
        raise SourceError(f"{source.name}: expected an ONNX model, got one without a graph")
    check_size(proto, source.name)
    untyped = next((value.name for value in (*proto.graph.input, *proto.graph.output) if is_untyped(value)), None)
    if untyped is not None:
        raise SourceError(f"{source.name}: expected inputs and outputs with an element type, {untyped!r} has none")
    for tensor in tensors(proto):
        _check_tensor(tensor, source)
    source = replace(source, stamps=load_small(proto, str(source.folder or "")))
    repairs = _repaired(source, assume_eval)
    if repairs:
        source = replace(source, content=None, is_edited=True, notes=(*source.notes, *repairs))
    complaint = _checker_complaint(proto)
    if not complaint:
        return source
    rejection = rejection_of(source)
    if rejection:
        raise SourceError(f"{source.name}: not a valid model: {complaint}; ONNX Runtime: {rejection}")
    note = f"the ONNX checker rejects the input, ONNX Runtime loads it: {complaint}"
    return replace(source, notes=(*source.notes, note), passes_checker=False)


def _check_tensor(tensor: onnx.TensorProto, source: Source) -> None:
    if tensor.HasField("segment"):
        raise SourceError(f"{source.name}: tensor {tensor.name!r} is a segment of one, which nothing reads")
    if is_external(tensor):
        _check_external(tensor, source)
        return
    try:
        dtype = ir.DataType(tensor.data_type)
    except ValueError as error:
        raise SourceError(f"{source.name}: tensor {tensor.name!r} has unknown type {tensor.data_type}") from error
    elements = math.prod(tensor.dims)
    stored = 0 if dtype == ir.DataType.UNDEFINED else len(getattr(tensor, tensor_dtype_to_field(tensor.data_type)))
    packed = dtype in _PACKED and stored  # or one each
    least = -(-elements * dtype.bitwidth // 8) if packed else elements
    if not tensor.HasField("raw_data") and stored < least:
        raise SourceError(f"{source.name}: tensor {tensor.name!r} of {elements} elements holds {stored or 'no data'}")
    if tensor.HasField("raw_data") and dtype == ir.DataType.STRING:
        raise SourceError(f"{source.name}: tensor {tensor.name!r} of strings holds raw data, which strings cannot")
    if tensor.HasField("raw_data") and dtype != ir.DataType.UNDEFINED:
        expected = -(-math.prod(tensor.dims) * dtype.bitwidth // 8)
        if len(tensor.raw_data) != expected:
            got = len(tensor.raw_data)
            raise SourceError(f"{source.name}: tensor {tensor.name!r} needs {expected} bytes, got {got}")


def _check_external(tensor: onnx.TensorProto, source: Source) -> None:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    where = f"{source.name}: the external data {location!r} of tensor {tensor.name!r}"
    if source.folder is None:
        raise SourceError(f"{where} has no folder here; pass the path of the model")
    if not location or "\0" in location:
        raise SourceError(f"{where} names no file")
    file = source.folder / location
    try:
        full = file.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # before Python 3.13 links in a circle are a RuntimeError
        raise SourceError(f"{where} is missing; it must lie in the folder of the model") from error
    if not full.is_relative_to(source.folder):
        raise SourceError(f"{where} lies outside the folder of the model")
    if not full.is_file():
        raise SourceError(f"{where} is no file")
    if file.stat().st_nlink > 1:  # onnx reads none either
        raise SourceError(f"{where} has a further name (a hard link), maybe in another folder; copy it to a new file")
    try:
        needed = -(-math.prod(tensor.dims) * ir.DataType(tensor.data_type).bitwidth // 8)
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", needed))
    except (ValueError, TypeError) as error:
        raise SourceError(f"{where} has a type, offset or length that is none") from error
    if offset < 0 or length != needed or offset + length > file.stat().st_size:
        size = file.stat().st_size
        raise SourceError(f"{where} should be {needed} bytes at {offset}, but the file has {size} (length {length})")


def _checker_complaint(proto: onnx.ModelProto) -> str:
    """Return the first line of the checker about the model without its big weights, or "" if it has none."""
    try:
        return isolated.call("the ONNX checker", checker_complaint, skeleton(proto))
    except CrashError as error:
        return str(error)


def checker_complaint(proto: onnx.ModelProto) -> str:
    """Return the first line of what the ONNX checker says against a model, or "" if it accepts it."""
    try:
        onnx.checker.check_model(proto)
    except (onnx.checker.ValidationError, RuntimeError, ValueError, TypeError, UnicodeDecodeError) as error:
        # The checker's C++ core raises plain errors for some malformed models.
        return first_line(error)
    return ""


def rejection_of(source: Source) -> str:
    """Return why ONNX Runtime cannot load the model at all, or "" if it can. A crash is a reason."""
    as_read = source.path is not None and source.content is not None
    target = str(source.path) if as_read else source.proto.SerializeToString()
    return rejection_by_runtime(target, None if source.folder is None else str(source.folder))


def rejection_by_runtime(target: str | bytes, folder: str | None = None) -> str:
    """Return the first line of why ONNX Runtime cannot load a path or bytes, or "" if it can.

    Its own optimizations are asked too: they end the process for some models that it runs without them.
    """
    for level, how in ((OptimizationLevel.DISABLE_ALL, ""), (OptimizationLevel.DEFAULT, " at its default level")):
        try:
            found = isolated.call(f"loading it in ONNX Runtime{how}", runtime_rejection, target, folder, level)
        except CrashError as error:
            found = str(error)
        if found:
            return found
    return ""


def runtime_rejection(target: str | bytes, folder: str | None, level: OptimizationLevel) -> str:
    """Return the first line of why ONNX Runtime cannot load a path or bytes at a level, or "" if it can."""
    try:
        open_session(target, SessionOptions(level), folder=folder)
    except SessionError as error:
        return str(error)
    return ""


@contextmanager
def blaming(source: Source) -> Iterator[None]:
    """Raise SourceError for an unexpected error about a model that ONNX Runtime does not load either."""
    try:
        yield
    except (NormfoldError, OSError, MemoryError) as error:
        if isinstance(error, CrashError) and (rejection := rejection_of(source)):
            raise SourceError(f"{source.name}: {error}; ONNX Runtime: {rejection}") from error
        raise
    except Exception as error:
        rejection = rejection_of(source)
        if rejection:
            raise SourceError(f"{source.name}: not a valid model; ONNX Runtime: {rejection}") from error
        raise
