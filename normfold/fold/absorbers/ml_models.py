"""LinearRegressor and LinearClassifier: their coefficients take an affine of the features.

Source: https://onnx.ai/onnx/operators/onnx_aionnxml_LinearRegressor.html
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Affine, Array
from normfold.findings.reason import Reason
from normfold.fold.absorbers.common import single_label
from normfold.fold.rule import Labels, require, require_varies_on
from normfold.graph.editor import Rewrite, require_fits
from normfold.graph.reader import GraphReader, attribute


def linear_model_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """W(s*x + t) + b = (W*s)x + (W t + b). Coefficients are [outputs * features], intercepts [outputs]."""
    affine = single_label(node, labels)
    features = affine.rank - 1
    require_varies_on(affine, [features], node, "the features are")
    weights = np.asarray(attribute(node, "coefficients"), np.float64)
    outputs = _outputs(node, weights.size, affine)
    weights = weights.reshape(outputs, -1)
    scale, shift = affine.vectors(features, weights.shape[1])
    intercepts = np.asarray(attribute(node, "intercepts", [0.0] * outputs), np.float64)
    return _changed(node, coefficients=weights * scale, intercepts=intercepts + weights @ shift)


def linear_regressor_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """s*(W x + b) + t = (s*W)x + (s*b + t) by target, where nothing follows the sum."""
    affine = single_label(node, labels)
    require_varies_on(affine, [-1], node, "the targets are")
    transform = attribute(node, "post_transform", "NONE")
    require(transform == "NONE", Reason.OPERATOR_STOPS, node, f"post_transform is {transform}")
    outputs = int(attribute(node, "targets", 1))
    weights = np.asarray(attribute(node, "coefficients"), np.float64).reshape(outputs, -1)
    intercepts = np.asarray(attribute(node, "intercepts", [0.0] * outputs), np.float64)
    scale, shift = affine.vectors(affine.rank - 1, outputs)
    return _changed(node, coefficients=weights * scale[:, None], intercepts=scale * intercepts + shift)


def tree_regressor_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """Put s * (sum of leaves + base) + t by target into the weights of the leaves and the base values."""
    affine = single_label(node, labels)
    require_varies_on(affine, [-1], node, "the targets are")
    for name, plain in (("post_transform", "NONE"), ("aggregate_function", "SUM")):
        setting = attribute(node, name, plain)
        require(setting == plain, Reason.OPERATOR_STOPS, node, f"{name} is {setting}")
    require("target_weights" in node.attributes, Reason.OPERATOR_STOPS, node, "its leaves are tensors")
    require("base_values_as_tensor" not in node.attributes, Reason.OPERATOR_STOPS, node, "its base is a tensor")
    outputs = int(attribute(node, "n_targets", 1))
    scale, shift = affine.vectors(affine.rank - 1, outputs)
    weights = np.asarray(attribute(node, "target_weights"), np.float64)
    weights = weights * scale[np.asarray(attribute(node, "target_ids"), np.int64)]
    base = scale * np.asarray(attribute(node, "base_values", [0.0] * outputs), np.float64) + shift
    return _changed(node, target_weights=weights, base_values=base)


def linear_machine_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """SVMRegressor of a linear kernel, the sum of c_i * <v_i, s*x + t> and rho: s into the vectors, t into rho."""
    affine = single_label(node, labels)
    kernel = attribute(node, "kernel_type", "LINEAR")
    require(kernel == "LINEAR", Reason.OPERATOR_STOPS, node, f"kernel {kernel}")
    require(not attribute(node, "one_class", 0), Reason.OPERATOR_STOPS, node, "it tells one class by a sign")
    require_varies_on(affine, [-1], node, "the features are")
    factors = np.asarray(attribute(node, "coefficients"), np.float64)
    count = int(attribute(node, "n_supports", 0))
    vectors = np.asarray(attribute(node, "support_vectors", []), np.float64)
    require(count > 0 and vectors.size % count == 0, Reason.OPERATOR_STOPS, node, "it has no support vectors")
    vectors = vectors.reshape(count, -1)
    scale, shift = affine.vectors(affine.rank - 1, vectors.shape[1])
    rho = np.asarray(attribute(node, "rho", [0.0]), np.float64) + factors @ (vectors @ shift)
    return _changed(node, support_vectors=vectors * scale, rho=rho)


def _changed(node: ir.Node, **changed: Array) -> Rewrite:
    """Return the operator with other numbers in these attributes, which are float32."""
    for array in changed.values():
        require_fits(array, ir.DataType.FLOAT, node)
    return Rewrite(node, attributes={name: [float(n) for n in array.flat] for name, array in changed.items()})


def _outputs(node: ir.Node, coefficients: int, affine: Affine) -> int:
    """Targets of a regressor; for a classifier, as many rows as it has intercepts (or as the features leave)."""
    if node.op_type == "LinearRegressor":
        return int(attribute(node, "targets", 1))
    intercepts = attribute(node, "intercepts")
    if intercepts is not None:
        return len(list(intercepts))
    size = max(affine.scale.shape[-1], affine.shift.shape[-1])
    require(size > 1, Reason.UNKNOWN_SHAPE, node, "the number of features is not known")
    return coefficients // int(size)
