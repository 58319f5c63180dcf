"""Hostile models: files that lie, explode, nest or never end. Each must end with one line and a documented code."""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from normfold.files.protos.wire import framed, varint

Build = Callable[[Path], Path]

CASES: dict[str, Build] = {}
"""What writes each hostile model into an empty folder, by name. It returns the file to optimize."""


def case(build: Build) -> Build:
    """Add a builder to CASES."""
    CASES[build.__name__] = build
    return build


def model(
    nodes: Sequence[onnx.NodeProto],
    initializers: Iterable[onnx.TensorProto] = (),
    *,
    shape: Sequence[int | str] = ("N", 4),
    output: str = "y",
    functions: Sequence[onnx.FunctionProto] = (),
) -> onnx.ModelProto:
    """Return a model from ``x`` to one output, both float32."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        list(initializers),
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=functions)


def norm(source: str, target: str = "y", channels: int = 4) -> list[onnx.NodeProto]:
    """Return a MatMul and a BatchNormalization, which is folded into it."""
    return [
        helper.make_node("MatMul", [source, "w"], ["h"], name="matmul"),
        helper.make_node("BatchNormalization", ["h", "s", "b", "m", "v"], [target], name="bn"),
    ]


def parameters(channels: int = 4) -> list[onnx.TensorProto]:
    """Return the weight of ``norm`` and its parameters."""
    generator = np.random.default_rng(0)
    found = [numpy_helper.from_array(generator.standard_normal((channels, channels)).astype(np.float32), "w")]
    vectors = {name: generator.uniform(0.5, 2, channels).astype(np.float32) for name in "sbmv"}
    return [*found, *(numpy_helper.from_array(vector, name) for name, vector in vectors.items())]


def reduced(value: str) -> list[onnx.NodeProto]:
    """Return what adds the largest element of a value to the input, as ``a``."""
    return [
        helper.make_node("ReduceMax", [value], ["one"], keepdims=0),
        helper.make_node("Add", ["x", "one"], ["a"]),
    ]


def save(proto: onnx.ModelProto, folder: Path) -> Path:
    """Write a model and return its path."""
    path = folder / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def chain(operator: str, count: int, *operands: str) -> onnx.ModelProto:
    """Return ``count`` operators in a row."""
    nodes = [
        helper.make_node(operator, [f"v{i}" if i else "x", *operands], [f"v{i + 1}" if i + 1 < count else "y"])
        for i in range(count)
    ]
    return model(nodes, parameters())


# -- external data ------------------------------------------------------------------------------------------------


def external(folder: Path, location: str, offset: str = "0", length: str = "64") -> Path:
    """Return a model whose weight lies where ``location`` says."""
    proto = model(norm("x"), parameters())
    weight = proto.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        weight.external_data.add(key=key, value=value)
    return save(proto, folder)


for _name, _location in {
    "absolute": "/etc/passwd",
    "parent": "../../../../etc/passwd",
    "device": "/dev/zero",
    "null_byte": "a\0b",
    "empty": "",
    "folder": ".",
    "itself": "m.onnx",
}.items():
    CASES[f"external_{_name}"] = lambda folder, location=_location: external(folder, location)  # type: ignore[misc]  # mypy cannot infer a lambda with a default

for _name, _offset, _length in (
    ("negative", "-1", "64"),
    ("beyond", str(2**62), "64"),
    ("huge_length", "0", str(2**62)),
    ("no_number", "abc", "64"),
    ("huge_number", "9" * 5000, "64"),
    ("overflow", str(2**63 - 1), str(2**63 - 1)),
):

    def _lying(folder: Path, offset: str = _offset, length: str = _length) -> Path:
        (folder / "w.bin").write_bytes(bytes(64))
        return external(folder, "w.bin", offset, length)

    CASES[f"offset_{_name}"] = _lying


@case
def external_link_out(folder: Path) -> Path:
    """A symbolic link next to the model leads out of the folder."""
    (folder / "w.bin").symlink_to("/etc/passwd")
    return external(folder, "w.bin")


@case
def external_pipe(folder: Path) -> Path:
    """Reading a named pipe waits for ever."""
    os.mkfifo(folder / "w.bin")
    return external(folder, "w.bin")


@case
def model_is_a_pipe(folder: Path) -> Path:
    """The model itself is a named pipe that nothing writes to."""
    os.mkfifo(folder / "m.onnx")
    return folder / "m.onnx"


@case
def model_is_endless(folder: Path) -> Path:
    """The model is a device that never ends."""
    (folder / "m.onnx").symlink_to("/dev/zero")
    return folder / "m.onnx"


# -- protobuf -----------------------------------------------------------------------------------------------------


def message(field: int, content: bytes) -> bytes:
    """Encode a field that holds bytes."""
    return framed(field, len(content)) + content


@case
def nested_subgraphs(folder: Path) -> Path:
    """Subgraphs nested 10,000 deep: attribute g of node of graph of attribute g ..."""
    inner = b""
    for _ in range(10_000):
        inner = message(1, message(4, b"If") + message(5, message(1, b"then_branch") + message(6, inner)))
    path = folder / "m.onnx"
    path.write_bytes(varint(1 << 3) + varint(8) + message(7, inner))
    return path


@case
def nested_moderately(folder: Path) -> Path:
    """Subgraphs as deep as protobuf reads them."""
    inner = message(12, message(1, b"y"))
    for _ in range(30):
        attribute = message(1, b"then_branch") + message(6, inner) + varint(20 << 3) + varint(5)
        inner = message(1, message(1, b"c") + message(2, b"y") + message(4, b"If") + message(5, attribute))
    path = folder / "m.onnx"
    path.write_bytes(varint(1 << 3) + varint(8) + message(8, varint(2 << 3) + varint(17)) + message(7, inner))
    return path


@case
def many_empty_messages(folder: Path) -> Path:
    """Ten million empty nodes of two bytes each become gigabytes of objects."""
    path = folder / "m.onnx"
    path.write_bytes(varint(1 << 3) + varint(8) + message(7, message(1, b"") * 10_000_000))
    return path


@case
def many_metadata(folder: Path) -> Path:
    """Five million empty metadata entries."""
    path = folder / "m.onnx"
    path.write_bytes(model(norm("x"), parameters()).SerializeToString() + message(14, b"") * 5_000_000)
    return path


@case
def truncated(folder: Path) -> Path:
    """The second half of the file is missing."""
    content = model(norm("x"), parameters()).SerializeToString()
    path = folder / "m.onnx"
    path.write_bytes(content[: len(content) // 2])
    return path


# -- sizes --------------------------------------------------------------------------------------------------------


@case
def identities(folder: Path) -> Path:
    """100,000 Identities in a row."""
    return save(chain("Identity", 100_000), folder)


@case
def relus(folder: Path) -> Path:
    """200,000 Relus in a row: more than a model may have with its weights."""
    return save(chain("Relu", 200_000), folder)


@case
def million_nodes(folder: Path) -> Path:
    """A million operators."""
    return save(chain("Relu", 1_000_000), folder)


@case
def multiplications(folder: Path) -> Path:
    """8,000 multiplications by a constant in a row."""
    return save(chain("Mul", 8_000, "s"), folder)


@case
def cycle(folder: Path) -> Path:
    """Two operators that need each other."""
    nodes = [helper.make_node("Add", ["x", "b2"], ["a"]), helper.make_node("Relu", ["a"], ["b2"]), *norm("a")]
    return save(model(nodes, parameters()), folder)


@case
def own_input(folder: Path) -> Path:
    """An operator that reads its own output."""
    return save(model([helper.make_node("Add", ["x", "a"], ["a"]), *norm("a")], parameters()), folder)


@case
def huge_shape(folder: Path) -> Path:
    """An input of 2^60 elements."""
    return save(model(norm("x"), parameters(), shape=(2**30, 2**28, 4)), folder)


@case
def huge_initializer_without_data(folder: Path) -> Path:
    """An initializer that says it has 2^60 elements and holds none."""
    proto = model(norm("x"), parameters())
    proto.graph.initializer[0].dims[:] = [2**30, 2**30]
    proto.graph.initializer[0].ClearField("raw_data")
    return save(proto, folder)


@case
def negative_dimension(folder: Path) -> Path:
    """A weight of -4 rows."""
    proto = model(norm("x"), parameters())
    proto.graph.initializer[0].dims[:] = [-4, -4]
    return save(proto, folder)


def sized(operator: str, folder: Path, sizes: Sequence[int], *operands: str) -> Path:
    """Return a model that adds a constant of ``sizes``, made by ``operator``, to its input."""
    shape = numpy_helper.from_array(np.array(sizes, np.int64), "shape")
    nodes = [
        helper.make_node(operator, [*operands, "shape"], ["big"]),
        *reduced("big"),
        *norm("a"),
    ]
    return save(model(nodes, [*parameters(), shape]), folder)


@case
def constant_of_shape(folder: Path) -> Path:
    """A constant of terabytes."""
    return sized("ConstantOfShape", folder, [2**20, 2**20])


@case
def constant_of_gigabytes(folder: Path) -> Path:
    """A constant of 16 GB."""
    return sized("ConstantOfShape", folder, [2**16, 2**16])


@case
def expanded_constant(folder: Path) -> Path:
    """A constant that is expanded to terabytes."""
    return sized("Expand", folder, [2**20, 2**18, 4], "s")


@case
def tiled_constant(folder: Path) -> Path:
    """A constant that is repeated to terabytes."""
    return sized("Tile", folder, [2**40], "s")


@case
def doubled_constant(folder: Path) -> Path:
    """A constant added to itself 60 times: 2^60 evaluations where results are not kept."""
    nodes = [helper.make_node("Add", [f"d{i}" if i else "s"] * 2, [f"d{i + 1}"]) for i in range(60)]
    return save(model([*nodes, helper.make_node("Mul", ["x", "d60"], ["a"]), *norm("a")], parameters()), folder)


@case
def outer_products(folder: Path) -> Path:
    """A constant whose rank and size double at each step."""
    nodes = []
    last = "s"
    for i in range(20):
        axes = numpy_helper.from_array(np.array([-1], np.int64), f"axes{i}")
        nodes.append(helper.make_node("Constant", [], [f"a{i}"], value=axes))
        nodes.append(helper.make_node("Unsqueeze", [last, f"a{i}"], [f"u{i}"]))
        nodes.append(helper.make_node("Mul", [f"u{i}", "s"], [f"p{i}"]))
        last = f"p{i}"
    return save(model([*nodes, *reduced(last), *norm("a")], parameters()), folder)


@case
def concatenated_constant(folder: Path) -> Path:
    """A constant that is joined with itself 40 times."""
    nodes = [helper.make_node("Concat", [f"d{i}" if i else "s"] * 2, [f"d{i + 1}"], axis=0) for i in range(40)]
    reduced = [
        helper.make_node("ReduceMax", ["d40"], ["one"], keepdims=0),
        helper.make_node("Add", ["x", "one"], ["a"]),
    ]
    return save(model([*nodes, *reduced, *norm("a")], parameters()), folder)


@case
def endless_loop_of_constants(folder: Path) -> Path:
    """A Loop of 2^31 turns that needs no input."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Mul", ["state", "state"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [4]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [4]),
        ],
    )
    trips = numpy_helper.from_array(np.array(2**31, np.int64), "trips")
    nodes = [
        helper.make_node("Loop", ["trips", "", "s"], ["looped"], body=body),
        helper.make_node("Add", ["x", "looped"], ["a"]),
        *norm("a"),
    ]
    return save(model(nodes, [*parameters(), trips]), folder)


def _loop(name: str, source: str, target: str, *more: onnx.NodeProto, gathered: Sequence[str] = ()) -> onnx.NodeProto:
    """Return a Loop of ``trips`` turns over a value; what ``more`` makes in a turn is gathered, or the next state."""
    names = [f"{each}_{name}" for each in ("i", "go", "state", "go_on", "next")]
    number, go, state, go_on, following = names
    turn = helper.make_graph(
        [*more, helper.make_node("Identity", [go], [go_on]), helper.make_node("Sigmoid", [state], [following])],
        "turn",
        [
            helper.make_tensor_value_info(number, TensorProto.INT64, []),
            helper.make_tensor_value_info(go, TensorProto.BOOL, []),
            _rows(state),
        ],
        [
            helper.make_tensor_value_info(go_on, TensorProto.BOOL, []),
            *map(_rows, (following, *gathered)),
        ],
    )
    outputs = [target, *[f"{each}_all" for each in gathered]]
    return helper.make_node("Loop", ["trips", "", source], outputs, name, body=turn)


def _rows(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4])


def _of_a_loop(turns: int, loop: onnx.NodeProto) -> onnx.ModelProto:
    """Return a norm that is folded, and a Loop behind."""
    return model([*norm("x", "n"), loop], [*parameters(), numpy_helper.from_array(np.array(turns, np.int64), "trips")])


@case
def endless_loop(folder: Path) -> Path:
    """A Loop of 2^40 turns over the input."""
    return save(_of_a_loop(2**40, _loop("a", "n", "y")), folder)


@case
def endless_loop_that_gathers(folder: Path) -> Path:
    """The same, which keeps a value of each turn."""
    kept = helper.make_node("Neg", ["state_a"], ["kept"])
    return save(_of_a_loop(2**40, _loop("a", "n", "y", kept, gathered=["kept"])), folder)


@case
def endless_loop_in_a_loop(folder: Path) -> Path:
    """2^20 turns of 2^20 turns."""
    return save(_of_a_loop(2**20, _loop("a", "n", "y", _loop("b", "state_a", "looped"))), folder)


def _of_large_constants(steps: Callable[[int], list[onnx.NodeProto]], count: int, side: int = 2**12) -> onnx.ModelProto:
    """Return a model that adds the largest element of each of some constants, squares that are made of one number."""
    size = numpy_helper.from_array(np.array([side, side], np.int64), "size")
    number = numpy_helper.from_array(np.array([0.5], np.float32), "s0")
    nodes = []
    for i in range(count):
        nodes += [*steps(i), helper.make_node("ReduceMax", [f"c{i}"], [f"m{i}"], keepdims=0)]
        nodes.append(helper.make_node("Add", [f"a{i - 1}" if i else "x", f"m{i}"], [f"a{i}"]))
    return model([*nodes, *norm(f"a{count - 1}")], [*parameters(), size, number])


def _row_of(*operators: str, reads: Sequence[str] = ()) -> Callable[[int], list[onnx.NodeProto]]:
    """Return what makes a large constant, on which 40 operators work in a row; they also read ``reads``."""

    def made(i: int) -> list[onnx.NodeProto]:
        names = [f"l{i}", *[f"l{i}_{step}" for step in range(39)], f"c{i}"]
        steps = zip(operators * 40, names, names[1:], strict=False)
        row = [helper.make_node(operator, [source, *reads], [target]) for operator, source, target in steps]
        return [helper.make_node("Expand", ["s0", "size"], [names[0]]), *row]

    return made


@case
def large_constants(folder: Path) -> Path:
    """A row of operators on a constant of 2^24 elements."""
    return save(_of_large_constants(_row_of("Mul", reads=["s0"]), 1), folder)


@case
def large_products(folder: Path) -> Path:
    """A row of products of matrices of 4096 by 4096 that are made of one number."""
    return save(_of_large_constants(_row_of("MatMul", reads=["l0"]), 1), folder)


@case
def large_constants_of_the_runtime(folder: Path) -> Path:
    """The same by operators that only a runtime computes."""
    return save(_of_large_constants(_row_of("Sinh", "Atan"), 1), folder)


def _of_one_number(i: int) -> list[onnx.NodeProto]:
    expand = helper.make_node("Expand", ["s0", "size"], [f"e{i}"])
    return [expand, helper.make_node("Mul", [f"e{i}", "s0"], [f"c{i}"])]


@case
def many_large_constants(folder: Path) -> Path:
    """200 constants of 2^24 elements, each made of one number."""
    return save(_of_large_constants(_of_one_number, 200), folder)


@case
def many_constants(folder: Path) -> Path:
    """20,000 constants of 2^18 elements."""
    return save(_of_large_constants(_of_one_number, 20_000, side=2**9), folder)


@case
def batches_that_never_fit(folder: Path) -> Path:
    """A square of the batch in 20 operators, which no batch brings into the shape that is asked for.

    Without a kernel of the runtime onnx's reference evaluator computes them, and keeps all.
    """
    nodes = [helper.make_node("Transpose", ["x"], ["t"]), helper.make_node("MatMul", ["x", "t"], ["c0"])]
    nodes += [helper.make_node("Neg", [f"c{i}"], [f"c{i + 1}"]) for i in range(20)]
    nodes += [helper.make_node("Det", ["square"], ["d"]), helper.make_node("Add", ["c20", "d"], ["e"])]
    nodes += [helper.make_node("Reshape", ["e", "seven"], ["a"]), *norm("a")]
    sizes = numpy_helper.from_array(np.array([7, 4], np.int64), "seven")
    return save(model(nodes, [*parameters(), sizes, numpy_helper.from_array(np.eye(2), "square")]), folder)


@case
def exponential_functions(folder: Path) -> Path:
    """Functions that each call the one before twice: 2^40 operators when they are inlined."""
    functions = []
    for i in range(40):
        called = ("Relu", "") if i == 0 else (f"f{i - 1}", "f")
        nodes = [
            helper.make_node(called[0], ["a"], ["b"], domain=called[1]),
            helper.make_node(called[0], ["b"], ["c"], domain=called[1]),
        ]
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
        functions.append(helper.make_function("f", f"f{i}", ["a"], ["c"], nodes, opsets))
    nodes = [helper.make_node("f39", ["x"], ["z"], domain="f"), *norm("z")]
    return save(model(nodes, parameters(), functions=functions), folder)


@case
def recursive_function(folder: Path) -> Path:
    """A function that calls itself."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    body = [helper.make_node("r", ["a"], ["b"], domain="f")]
    functions = [helper.make_function("f", "r", ["a"], ["b"], body, opsets)]
    return save(
        model([helper.make_node("r", ["x"], ["z"], domain="f"), *norm("z")], parameters(), functions=functions), folder
    )


# -- texts --------------------------------------------------------------------------------------------------------

ESCAPES = "\x1b[2J\x1b]0;owned\x07\r\n<script>alert(1)</script>[bold red]\u202e\0"


@case
def escapes_in_names(folder: Path) -> Path:
    """Control characters, markup and ANSI codes in every name."""
    proto = model(norm("x"), parameters())
    for node in proto.graph.node:
        node.name += ESCAPES
        for names in (node.input, node.output):
            names[:] = [name + ESCAPES if name not in ("x", "y") else name for name in names]
    for tensor in proto.graph.initializer:
        tensor.name += ESCAPES
    proto.graph.name = proto.producer_name = proto.doc_string = ESCAPES
    return save(proto, folder)


@case
def huge_name(folder: Path) -> Path:
    """A name of 100 MB."""
    proto = model(norm("x"), parameters())
    proto.graph.node[1].name = "n" * 100_000_000
    return save(proto, folder)


@case
def huge_value_name(folder: Path) -> Path:
    """A value whose name has 100 MB."""
    name = "n" * 100_000_000
    return save(model([helper.make_node("Relu", ["x"], [name]), *norm(name)], parameters()), folder)


def with_metadata(folder: Path, value: str) -> Path:
    """Return a model that says ``value`` of the sites of its folds."""
    proto = model(norm("x"), parameters())
    proto.metadata_props.add(key="normfold.sites", value=value)
    return save(proto, folder)


for _name, _value in {
    "nested": "[" * 100_000 + "]" * 100_000,
    "no_json": "{",
    "wrong_type": '{"a": 1, "version": 99999999999999999999}',
    "huge": '["' + "a" * 50_000_000 + '"]',
    "numbers": "[" + "1," * 3_000_000 + "1]",
}.items():
    CASES[f"metadata_{_name}"] = lambda folder, value=_value: with_metadata(folder, value)  # type: ignore[misc]  # mypy cannot infer a lambda with a default


# -- archives -----------------------------------------------------------------------------------------------------


@case
def zip_bomb_pt2(folder: Path) -> Path:
    """An archive of 4 MB that unpacks to 4 GB."""
    path = folder / "m.pt2"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("archive_format", "m/archive_format", "m/models/model.json", "m/data/weights/weight_0"):
            with archive.open(name, "w", force_zip64=True) as file:
                for _ in range(1024):
                    file.write(bytes(2**20))
    return path


@case
def pickle_file(folder: Path) -> Path:
    """A pickle that would write a file."""
    path = folder / "m.pt"
    target = folder / "owned"
    path.write_bytes(b"cos\nsystem\n(S'touch " + str(target).encode() + b"'\ntR.")
    return path


def zip_bomb_npz(path: Path) -> None:
    """Write inputs of 4 MB that unpack to 4 GB."""
    header = b"\x93NUMPY\x01\x00"
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (268435456, 4), }"
    text += b" " * (118 - len(text)) + b"\n"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w", force_zip64=True) as file,
    ):
        file.write(header + struct.pack("<H", len(text)) + text)
        for _ in range(4096):
            file.write(bytes(2**20))


def every_case(names: Iterable[str] = ()) -> Iterator[tuple[str, Build]]:
    """Yield the named cases, or all of them."""
    wanted = list(names) or list(CASES)
    yield from ((name, CASES[name]) for name in wanted)
