"""What the ONNX checker takes, in every dialect: kinds of values, types of weights, bodies, functions, data files.

    python -m tests.sweeps.dialects [NAME...]

Each model holds a norm, or a scale, that must go, next to one thing that is rare. It is optimized and proven; a second
run finds nothing; `verify` calls both equal; and code that shares nothing with the project compares them. Prints a line
for each; exit code 1 where one is wrong.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import normfold
from tests.onnx_text import fill, parse
from tests.sweeps.hostile.judge import differs

DECLARED = "<float[4,4] w, float[4] pos_scale, float[4] bias, float[4] mean, float[4] var>"
_NORM = """
    {out}_h = MatMul ({x}, w)
    {out} = BatchNormalization ({out}_h, pos_scale, bias, mean, var)
"""


def norm(x: str = "x", out: str = "y") -> str:
    """Return a MatMul and a norm behind it, as text."""
    return _NORM.format(x=x, out=out)


TEXTS: dict[str, str] = {
    "strings": f"(float[N,4] x, string[K] s) => (float[N,4] y, string[K] t) {{ {norm()} t = Identity (s) }}",
    "sequence": f"""(float[N,4] x) => (float[N,4] y) {{ {norm(out="a")}
        r = Relu (a)
        s = SequenceConstruct (a, r)
        i = Constant <value = int64 {{1}}> ()
        y = SequenceAt (s, i) }}""",
    "sequence as output": f"(float[N,4] x) => (seq(float[N,4]) s) {{ {norm(out='a')} s = SequenceConstruct (a) }}",
    "sequence as input": f"""(seq(float[N,4]) s) => (float[N,4] y) {{
        i = Constant <value = int64 {{0}}> ()
        x = SequenceAt (s, i) {norm()} }}""",
    "optional": f"(float[N,4] x) => (float[N,4] y) {{ {norm(out='a')} o = Optional (a) y = OptionalGetElement (o) }}",
    "optional as output": f"(float[N,4] x) => (optional(float[N,4]) o) {{ {norm(out='a')} o = Optional (a) }}",
    "no operators": "(float[N,4] x) => (float[N,4] x) { }",
    "a weight as output": f"(float[N,4] x) => (float[N,4] y, float[4,4] w) {{ {norm()} }}",
    "an input as output": f"(float[N,4] x) => (float[N,4] y, float[N,4] x) {{ {norm()} }}",
    "no inputs": f"() => (float[2,4] y) {{ x = RandomNormal <shape = [2, 4], seed = 1.0> () {norm()} }}",
    "nothing but constants": f"""() => (float[1,4] y) {{
        x = Constant <value = float[1,4] {{1, 2, 3, 4}}> () {norm()} }}""",
    "zero rows": f"""(float[N,4] x) => (float[M,4] y) {{ {norm(out="a")}
        z = Constant <value = float[0,4] {{}}> ()
        y = Concat <axis = 0> (a, z) }}""",
    "zero rows as input": f"(float[0,4] x) => (float[0,4] y) {{ {norm()} }}",
    "a scalar": "(float x) => (float y) { k = Constant <value = float {2}> () a = Mul (x, k) y = Mul (a, k) }",
    "scalar factors": """(float[N,4] x) => (float[N,4] y) {
        k = Constant <value_float = 2.0> ()
        a = Mul (x, k)
        b = MatMul (a, w)
        y = Add (b, k) }""",
    "weights in attributes": f"""(float[N,4] x) => (float[N,4] y) {{
        pos_scale = Constant <value_floats = [1.0, 2.0, 3.0, 4.0]> () {norm()} }}""",
    "a weight by its shape": """(float[N,4] x) => (float[N,4] y) {
        shape = Constant <value_ints = [4]> ()
        k = ConstantOfShape <value = float[1] {2}> (shape)
        a = MatMul (x, w)
        y = Mul (a, k) }""",
    "Dropout with its mask": f"(float[N,4] x) => (float[N,4] y, bool[N,4] m) {{ {norm(out='a')} y, m = Dropout (a) }}",
    "nested If": f"""(float[N,4] x, bool c) => (float[N,4] y) {{
        y = If (c) <
            then_branch = outer () => (float[N,4] t) {{
                t = If (c) <
                    then_branch = inner () => (float[N,4] a) {{ {norm(out="a")} }},
                    else_branch = other () => (float[N,4] b) {{ b = Relu (x) }}> }},
            else_branch = last () => (float[N,4] e) {{ e = Identity (x) }}> }}""",
    "Loop in Loop": f"""(float[N,4] x) => (float[N,4] y) {{
        n = Constant <value = int64 {{2}}> ()
        on = Constant <value = bool {{1}}> ()
        y = Loop (n, on, x) <body = outer (int64 i, bool c, float[N,4] u) => (bool d, float[N,4] v) {{
            d = Identity (c)
            v = Loop (n, on, u) <body = inner (int64 j, bool e, float[N,4] p) => (bool f, float[N,4] q) {{
                f = Identity (e) {norm("p", "q")} }}> }}> }}""",
    "Scan": f"""(float[4] s, float[N,4] x) => (float[4] t, float[N,4] y) {{
        t, z = Scan <num_scan_inputs = 1, body = step (float[4] a, float[4] b) => (float[4] c, float[4] d) {{
            d = MatMul (b, w)
            c = Add (a, d) }}> (s, x) {norm("z")} }}""",
    "a name inside as outside": f"""(float[N,4] x, bool c) => (float[N,4] y) {{ {norm(out="z")}
        q = If (c) <
            then_branch = one () => (float[N,4] t) {{ k = Constant <value_float = 3.0> () t = Mul (x, k) }},
            else_branch = two () => (float[N,4] e) {{ k = Constant <value_float = 4.0> () e = Mul (x, k) }}>
        y = Add (q, z) }}""",
}
"""The graph of each dialect that the text form of ONNX can say."""


def of_text(text: str, opset: int = 18, ir_version: int = 10) -> onnx.ModelProto:
    """Return the model of a graph, with random values for the weights that it reads."""
    return parse(text.replace(" {", f" {DECLARED} {{", 1), opset=opset, ir_version=ir_version)


def _plain(opset: int = 18, ir_version: int = 10) -> onnx.ModelProto:
    return of_text(f"(float[N,4] x) => (float[N,4] y) {{ {norm()} }}", opset, ir_version)


def _in_type(kind: str) -> onnx.ModelProto:
    """Everything in one type but the input and the output."""
    declared = DECLARED.replace("float", kind)
    text = f"""(float[N,4] x) => (float[N,4] y) {declared} {{
        a = Cast <to = {TensorProto.DataType.Value(kind.upper())}> (x) {norm("a", "b")}
        y = Cast <to = 1> (b) }}"""
    return parse(text, opset=18)


def _dequantized(kind: str) -> onnx.ModelProto:
    """A weight of few bits, scaled for each channel."""
    model = _plain(opset=25, ir_version=13)
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "w")
    weight.CopyFrom(helper.make_tensor("q", TensorProto.DataType.Value(kind), [4, 4], [1, 0, 1, 1] * 4))
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["q", "pos_scale"], ["w"], axis=1))
    return model


def _without_shapes() -> onnx.ModelProto:
    model = _plain()
    del model.graph.value_info[:]
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.ClearField("shape")
    return model


def _complex() -> onnx.ModelProto:
    model = _plain()
    model.graph.initializer.append(numpy_helper.from_array(np.array([1 + 2j], np.complex64), "c"))
    model.graph.node.append(helper.make_node("Identity", ["c"], ["d"]))
    model.graph.output.append(helper.make_tensor_value_info("d", TensorProto.COMPLEX64, [1]))
    return model


def _training() -> onnx.ModelProto:
    model = _plain()
    training = model.training_info.add()
    training.algorithm.name = "step"
    training.algorithm.node.append(helper.make_node("Identity", ["w"], ["next"]))
    training.algorithm.output.append(helper.make_tensor_value_info("next", TensorProto.FLOAT, [4, 4]))
    training.update_binding.add(key="w", value="next")
    return model


def _functions() -> onnx.ModelProto:
    """A function that calls another, whose attribute is that of the call."""
    text = f"""<ir_version: 10, opset_import: ["" : 18, "f" : 1]>
    g (float[N,4] x) => (float[N,4] y) {DECLARED} {{ {norm(out="a")} y = f.outer <slope = 0.2> (a, pos_scale, bias) }}
    <domain: "f", opset_import: ["" : 18]> inner <slope> (a, k) => (o) {{
        b = LeakyRelu <alpha : float = @slope> (a)
        o = Mul (b, k)
    }}
    <domain: "f", opset_import: ["" : 18, "f" : 1]> outer <slope> (a, k, t) => (o) {{
        b = f.inner <slope : float = @slope> (a, k)
        o = Add (b, t)
    }}"""
    model = onnx.parser.parse_model(text)
    fill(model.graph, np.random.default_rng(0), {})
    return model


def _many() -> onnx.ModelProto:
    """A thousand inputs and a thousand outputs."""
    model = _plain()
    node, known = model.graph.node, model.graph.output[0]
    for number in range(1000):
        model.graph.input.append(helper.make_tensor_value_info(f"i{number}", TensorProto.FLOAT, ["N", 4]))
        output = model.graph.output.add(name=f"o{number}", type=known.type)
        node.append(helper.make_node("Add", ["y", f"i{number}"], [output.name]))
    return model


def _odd_names() -> onnx.ModelProto:
    model = _plain()
    odd = {"x": "in put/\n\u20ac", "y_h": '..\\a:b"<b>', "y": "\u202eout", "w": "w\x01\x7f[red]", "pos_scale": " "}
    for node in model.graph.node:
        node.name = "%s{}$(x)`'" + node.op_type
        for names in (node.input, node.output):
            names[:] = [odd.get(name, name) for name in names]
    for values in (model.graph.input, model.graph.output, model.graph.initializer):
        for value in values:
            value.name = odd.get(value.name, value.name)
    del model.graph.value_info[:]
    return model


def _map_as_output() -> onnx.ModelProto:
    model = _plain()
    model.opset_import.add(domain="ai.onnx.ml", version=1)
    model.graph.node.append(
        helper.make_node("ZipMap", ["y"], ["map"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2, 3])
    )
    made = onnx.ValueInfoProto(name="map")
    made.type.sequence_type.elem_type.map_type.key_type = TensorProto.INT64
    made.type.sequence_type.elem_type.map_type.value_type.tensor_type.elem_type = TensorProto.FLOAT
    model.graph.output[0].CopyFrom(made)
    return model


_NBITS = ("INT2", "UINT2", "INT4", "UINT4", "INT8", "UINT8")
UNCHANGED = ("no operators", "no shapes", *_NBITS)
"""Where nothing goes: of no rank, the channels of the norm need not be the columns of the weight; and of few bits, ONNX
Runtime executes the product without the norm as MatMulNBits, which rounds the input too, so that the fold is undone."""

BUILT: dict[str, Callable[[], onnx.ModelProto]] = {
    **{kind: partial(_in_type, kind) for kind in ("float16", "bfloat16", "double")},
    **{kind: partial(_dequantized, kind) for kind in (*_NBITS, "INT16", "FLOAT8E4M3FN", "FLOAT8E5M2", "FLOAT4E2M1")},
    "no shapes": _without_shapes,
    "complex": _complex,
    "a training graph": _training,
    "functions that call functions": _functions,
    "thousands of inputs and outputs": _many,
    "odd names": _odd_names,
    "a map as output": _map_as_output,
}
"""What makes each dialect that is no text."""

DATA_FILES: dict[str, dict[str, Any]] = {
    "one data file": {"location": "m.data", "size_threshold": 0},
    "a data file for each weight": {"all_tensors_to_one_file": False, "size_threshold": 0},
    "a data file in a folder": {"location": "sub/m.data", "size_threshold": 0},
    "constants in a data file": {"location": "m.data", "size_threshold": 0, "convert_attribute": True},
}
"""How ``onnx.save`` stores the weights of one model outside."""


def write(name: str, folder: Path) -> Path:
    """Write a dialect into an empty folder; returns the file."""
    path = folder / "m.onnx"
    if name in DATA_FILES:
        (folder / "sub").mkdir(exist_ok=True)
        model = of_text(f"""(float[N,4] x) => (float[N,2] y) {{ {norm(out="a")}
            c = Constant <value = float[4,2] {{1, 0, 2, 0, 0, 1, 0, 3}}> ()
            y = MatMul (a, c) }}""")
        onnx.save(model, path, save_as_external_data=True, **DATA_FILES[name])
    else:
        onnx.save(of_text(TEXTS[name]) if name in TEXTS else BUILT[name](), path)
    return path


NAMES = (*TEXTS, *BUILT, *DATA_FILES)


def fault_of(name: str, folder: Path) -> str:
    """Return what is wrong with the runs on a dialect, or ""."""
    path, output = write(name, folder), folder / "out.onnx"
    try:
        result = normfold.optimize(path, output)
        again = normfold.optimize(output)
        if not normfold.verify(path, output):
            return "verify does not call the two equal"
    except normfold.NormfoldError as error:
        return str(error)
    if not result.changes and name not in UNCHANGED:
        return f"nothing was changed: {[str(each.obstacles[0].reason) for each in result.verdicts if each.obstacles]}"
    if again.changes:
        return f"a second run changes {[each.finding.name for each in again.changes]}"
    return differs(path, output)


def main() -> int:
    """Run the dialects of the command line, or all."""
    wrong = 0
    for name in sys.argv[1:] or NAMES:
        with tempfile.TemporaryDirectory() as folder:
            fault = fault_of(name, Path(folder))
        wrong += bool(fault)
        sys.stdout.write(f"{name:34} {fault or 'ok'}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{len(sys.argv[1:] or NAMES)} dialects, {wrong} wrong\n")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
