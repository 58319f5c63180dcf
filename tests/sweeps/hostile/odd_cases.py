"""Odd files: tricks of protobuf, tensors that say two things, names that are none, attributes that lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from normfold.files.protos.wire import framed, varint
from tests.sweeps.hostile.cases import CASES, external, message, model, norm, parameters, save

MANY = 10_000_000
Change = Callable[[onnx.ModelProto], None]


def _add(name: str, change: Change) -> None:
    """Add a case: the usual model, changed."""

    def build(folder: Path) -> Path:
        proto = model(norm("x"), parameters())
        change(proto)
        return save(proto, folder)

    CASES[name] = build


def _add_bytes(name: str, front: Callable[[], bytes], back: Callable[[], bytes] = bytes) -> None:
    """Add a case: the usual model with bytes before and behind it, which protobuf joins with it."""

    def build(folder: Path) -> Path:
        path = save(model(norm("x"), parameters()), folder)
        path.write_bytes(front() + path.read_bytes() + back())
        return path

    CASES[name] = build


def _within(content: bytes, *fields: int) -> bytes:
    for field in reversed(fields):
        content = message(field, content)
    return content


def number(field: int, value: int) -> bytes:
    """Encode a field that holds a whole number."""
    return varint(field << 3) + varint(value)


def _repeated(*fields: int) -> Callable[[], bytes]:
    """Return what writes the last of ``fields`` ten million times, empty, into a message below the others."""
    return lambda: _within(framed(fields[-1], 0) * MANY, *fields[:-1])


# -- protobuf -----------------------------------------------------------------------------------------------------

for _name, _fields in {
    "branch": (7, 1, 5, 6, 1),
    "function": (25, 7),
    "attributes": (7, 1, 5),
    "inputs": (7, 1, 1),
    "strings": (7, 5, 6),
    "sizes": (7, 13, 2, 1, 2, 1),
    "external_data": (7, 5, 13),
    "unknown": (7, 99),
}.items():
    _add_bytes(f"bomb_{_name}", bytes, _repeated(*_fields))
_GROUP = varint(99 << 3 | 3) + varint(99 << 3 | 4)
_add_bytes("bomb_behind_a_group", lambda: _GROUP, _repeated(7, 1))
_add_bytes("numbers", bytes, lambda: _within(number(8, 1) * MANY, 7, 1, 5))
_add_bytes("zeros", lambda: bytes(100_000_000))
_add_bytes("unknown_fields", bytes, lambda: message(1000, b"abc") + number(1001, 2**64 - 1))
_add_bytes("wrong_wire_type", bytes, lambda: message(1, b"12345678") + number(7, 12))
_add_bytes("long_number", bytes, lambda: b"\x08" + b"\xff" * 11 + b"\x01")
_add_bytes("graph_twice", bytes, lambda: message(7, model(norm("x"), parameters()).graph.SerializeToString()))
_add_bytes("text_metadata", bytes, lambda: message(14, message(1, b"\xff\xfe") + message(2, b"\xff")))
_add_bytes("text_producer", bytes, lambda: message(2, b"\xc0\x80"))
_add_bytes("text_domain", bytes, lambda: message(8, message(1, b"\xff") + number(2, 1)))
_add_bytes("text_document", bytes, lambda: _within(message(1, b"q") + message(3, b"\xff"), 7, 13))


# -- tensors ------------------------------------------------------------------------------------------------------


def _dims(*sizes: int, content: bytes = b"") -> Change:
    """Return what gives the weight other sizes, and other data."""

    def change(proto: onnx.ModelProto) -> None:
        proto.graph.initializer[0].dims[:] = sizes
        proto.graph.initializer[0].raw_data = content

    return change


def _segment(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].segment.end = 4


_add("segment", _segment)
_add("raw_and_floats", lambda proto: proto.graph.initializer[0].float_data.extend([9.0] * 16))
_add("dims_overflow", _dims(2**32, 2**32))
_add("dims_overflow_to_zero", _dims(2**62, 4, 0))
_add("rank_of_100", _dims(*[1] * 98, 4, 4, content=bytes(64)))
_add("weight_twice", lambda proto: proto.graph.initializer.append(numpy_helper.from_array(np.ones((4, 4), "f4"), "w")))

for _name, _location in {
    "dots_through_nothing": "none/../w.bin",
    "long": "w" * 5000,
    "newline": "w\n.bin",
    "bidi": "w\u202e.bin",
    "backslash": "..\\w.bin",
    "slash": "w.bin/",
    "circle": "circle",
}.items():

    def _located(folder: Path, location: str = _location) -> Path:
        (folder / "w.bin").write_bytes(bytes(64))
        (folder / "circle").symlink_to("circle")
        return external(folder, location)

    CASES[f"external_{_name}"] = _located


# -- names, attributes, operators ---------------------------------------------------------------------------------


def _before(*nodes: onnx.NodeProto, **numbers: int) -> Change:
    """Return what puts operators that make ``z`` of ``x`` before the usual ones, and numbers that they read."""

    def change(proto: onnx.ModelProto) -> None:
        stored = (numpy_helper.from_array(np.array(each, np.int64), name) for name, each in numbers.items())
        proto.graph.initializer.extend(stored)
        old = list(proto.graph.node)
        del proto.graph.node[:]
        proto.graph.node.extend([*nodes, *old])
        proto.graph.node[len(nodes)].input[0] = "z"

    return change


def _node(operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, outputs, **attributes)


_BODY = helper.make_graph([], "body", [], [])
_add("scan_of_2_to_62", _before(_node("Scan", ["x"], ["z"], body=_BODY, num_scan_inputs=2**62)))
_add(
    "range_of_2_to_62",
    _before(
        _node("Range", ["zero", "most", "one"], ["r"]),
        _node("Size", ["r"], ["n"]),
        _node("Cast", ["n"], ["f"], to=TensorProto.FLOAT),
        _node("Add", ["x", "f"], ["z"]),
        zero=0,
        one=1,
        most=2**62,
    ),
)
_add("split_in_100000", _before(_node("Split", ["x"], ["z", *(f"s{i}" for i in range(100_000))], axis=1)))
_add("transpose_of_2_to_62", _before(_node("Transpose", ["x"], ["z"], perm=[2**62, -(2**63)])))
_add("concat_of_150000", _before(_node("Concat", ["x"] * 150_000, ["z"], axis=0)))
_add("no_operator", lambda proto: proto.graph.node.append(onnx.NodeProto()))
_add("value_twice", lambda proto: proto.graph.node.append(proto.graph.node[1]))
_add("initializer_shadows", lambda proto: proto.graph.initializer.append(numpy_helper.from_array(np.ones(4), "h")))
_add("output_twice", lambda proto: proto.graph.output.append(proto.graph.output[0]))
_add("name_of_nothing", lambda proto: proto.graph.input.append(helper.make_tensor_value_info("", 1, [1])))
_add("epsilon_infinite", lambda proto: proto.graph.node[1].attribute.append(helper.make_attribute("epsilon", np.inf)))
_add("version_huge", lambda proto: setattr(proto, "ir_version", 2**62))
_add("opset_negative", lambda proto: setattr(proto.opset_import[0], "version", -(2**63)))


def _many_outputs(proto: onnx.ModelProto) -> None:
    for i in range(20_000):
        proto.graph.node.append(_node("Relu", ["h"], [f"o{i}"]))
        proto.graph.output.append(helper.make_tensor_value_info(f"o{i}", TensorProto.FLOAT, ["N", 4]))


_add("outputs_20000", _many_outputs)


def _undone(proto: onnx.ModelProto) -> None:
    findings = ",".join(f'["n{i}", "NF101"]' for i in range(2_000_000))
    proto.metadata_props.add(key="normfold.undone", value=f'{{"findings": [{findings}], "without onnxsim": false}}')


_add("metadata_undone", _undone)
