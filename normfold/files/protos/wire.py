"""Read and write protobuf's wire format, so that the weights of a model need not be parsed or copied.

Only what the weights need is implemented.

Fields are a tag (number and kind) and a value; a message within a message is its length and its bytes
(https://protobuf.dev/programming-guides/encoding). So large weights are found by walking over lengths.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator

import onnx

GRAPH = onnx.ModelProto.GRAPH_FIELD_NUMBER
INITIALIZER = onnx.GraphProto.INITIALIZER_FIELD_NUMBER
RAW_DATA = onnx.TensorProto.RAW_DATA_FIELD_NUMBER
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_HOLDERS = ("ModelProto", "GraphProto", "FunctionProto")
_UNSEEN = 4 * 2**20  # bytes of entries

Buffer = bytes | mmap.mmap


class WireFormatError(Exception):
    """Report that the bytes are no plain ModelProto; protobuf itself may still read them, or say what is wrong."""


_Field = tuple[int, int, int, int, int]
"""Number and kind of a field, and where it, its value, and what follows begin. A class would cost too much."""


def split(data: Buffer, point_to: Callable[[onnx.TensorProto, int, int], bool], least: int = 0) -> onnx.ModelProto:
    """Return a model without the data of those initializers of its main graph that are to point to it instead.

    ``point_to(tensor, offset, size)`` gets a tensor without its raw data, and where that lies. It says in the tensor
    where to look for it and returns True, or False to leave it in. Only tensors of ``least`` bytes or more are asked
    for. Raises WireFormatError if the bytes have another form.
    """
    model = bytearray()
    graphs = 0
    for number, kind, start, value, end in _fields(data, 0, len(data)):
        if number != GRAPH or kind != _BYTES:
            model += data[start:end]
            continue
        graphs += 1
        graph = bytearray()
        for inner, inner_kind, at, content, stop in _fields(data, value, end):
            is_large = inner == INITIALIZER and inner_kind == _BYTES and stop - at >= least
            stub = _stub(data, content, stop, point_to) if is_large else None
            graph += data[at:stop] if stub is None else framed(INITIALIZER, len(stub)) + stub
        model += framed(GRAPH, len(graph)) + graph
    if graphs != 1:
        raise WireFormatError
    proto: onnx.ModelProto = onnx.ModelProto.FromString(bytes(model))
    return proto


def count_entries(data: Buffer, most: int) -> float:
    """Return how many entries a model's graphs and functions have; counting ends above ``most``.

    An empty entry takes two bytes in a file and a hundred times that in memory, so they are counted before parsing.
    Twenty fields of what is in an entry count as one more, and twenty numbers as one field; the first megabytes of
    entries are not looked into. Raises WireFormatError if the bytes have another form.
    """
    found, unseen = 0.0, _UNSEEN
    waiting = [(onnx.ModelProto.DESCRIPTOR, 0, len(data))]
    while waiting:
        holder, at, end = waiting.pop()
        weight = 1.0 if holder.name in _HOLDERS else 0.05
        messages = {field.number: field.message_type for field in holder.fields if field.message_type}
        for number, kind, _, value, stop in _fields(data, at, end):
            found += weight if kind == _BYTES else 0.05 * weight
            if found > most:
                return found
            if kind != _BYTES or number not in messages or value == stop:
                continue
            if messages[number].name == "GraphProto" or stop - value > unseen:
                waiting.append((messages[number], value, stop))
            else:
                unseen -= stop - value
    return found


def _stub(data: Buffer, at: int, end: int, point_to: Callable[[onnx.TensorProto, int, int], bool]) -> bytes | None:
    header, raw = bytearray(), None
    for number, kind, start, value, stop in _fields(data, at, end):
        if number == RAW_DATA and kind == _BYTES:
            raw = value, stop - value
        else:
            header += data[start:stop]
    if raw is None:
        return None
    tensor = onnx.TensorProto.FromString(bytes(header))
    return tensor.SerializeToString() if point_to(tensor, *raw) else None


def _fields(data: Buffer, at: int, end: int) -> Iterator[_Field]:
    while at < end:
        tag, value = data[at], at + 1
        if tag > 0x7F:
            tag, value = _read_varint(data, at, end)
        if tag < 8:  # no field has the number 0
            raise WireFormatError
        kind = tag & 7
        if kind == _BYTES:
            if value >= end:
                raise WireFormatError
            size, value = data[value], value + 1
            if size > 0x7F:
                size, value = _read_varint(data, value - 1, end)
            stop = value + size
        elif kind == _VARINT:
            stop = _read_varint(data, value, end)[1]
        elif kind in (_FIXED32, _FIXED64):
            stop = value + (4 if kind == _FIXED32 else 8)
        else:
            raise WireFormatError
        if stop > end:
            raise WireFormatError
        yield tag >> 3, kind, at, value, stop
        at = stop


def _read_varint(data: Buffer, at: int, end: int) -> tuple[int, int]:
    result = shift = 0
    while at < end and shift < 64:
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
        shift += 7
    raise WireFormatError


def framed(field: int, size: int) -> bytes:
    """Return the tag and the length prefix of a field that holds ``size`` bytes."""
    return varint(field << 3 | _BYTES) + varint(size)


def varint(number: int) -> bytes:
    """Encode a number in groups of seven bits, the lowest first."""
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*groups, number))
