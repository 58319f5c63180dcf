"""LinearRegressor and LinearClassifier: their coefficients take an affine of the features."""

from __future__ import annotations

from tests.fold.rows import Folds, Refuses, every

FORWARD = {
    "a scaler before a linear regression": Folds(
        "(float[N,3] x) => (float[N,2] y) "
        "{ c = ai.onnx.ml.Scaler<offset=[1.0, 2.0, -3.0], scale=[0.5, -2.0, 4.0]>(x) "
        "y = ai.onnx.ml.LinearRegressor<coefficients=[1.0, 2.0, 3.0, -4.0, 5.0, -6.0], "
        "intercepts=[1.0, -2.0], targets=2>(c) }",
        "LinearRegressor",
        "forward",
        domains='"ai.onnx.ml":3',
        only_in_float32=True,
    ),
    "a scaler before a linear machine": Folds(
        "(float[N,2] x) => (float[N,1] y) "
        "{ s = ai.onnx.ml.Scaler<offset=[1.0,2.0],scale=[0.5,0.25]>(x) "
        "y = "
        "ai.onnx.ml.SVMRegressor<coefficients=[1.0,-1.0],support_vectors=[1.0,2.0,0.5,0.25],rho=[0.5],"
        'n_supports=2,kernel_type="LINEAR",kernel_params=[0.0,0.0,0.0]>(s) }',
        "SVMRegressor",
        "forward",
        domains='"ai.onnx.ml":3',
        only_in_float32=True,
    ),
    "a scaler before a linear classifier": Folds(
        "(float[N,2] x) => (int64[N] y, float[N,2] p) "
        "{ s = ai.onnx.ml.Scaler<offset=[1.0,2.0],scale=[0.5,0.25]>(x) "
        "y, p = "
        "ai.onnx.ml.LinearClassifier<coefficients=[1.0,-1.0,0.5,2.0],intercepts=[0.25,-0.5],"
        "classlabels_ints=[0,1],multi_class=1>(s) }",
        "LinearClassifier",
        "forward",
        domains='"ai.onnx.ml":3',
        only_in_float32=True,
    ),
}
BACKWARD = {
    "linear regressor then affine": Folds(
        "(float[N,4] x) => (float[N,1] y) <float k={2}, float t={3}> "
        "{ s = ai.onnx.ml.LinearRegressor<coefficients=[1.0,2.0,3.0,4.0],intercepts=[0.5]>(x) "
        "d = Mul(s, k) y = Add(d, t) }",
        "LinearRegressor",
        domains='"ai.onnx.ml":3',
    ),
    "a tree and a factor and a shift": Folds(
        "(float[N,2] x) => (float[N,1] y) <float k = {-2}, float t = {0.75}> "
        "{ c = ai.onnx.ml.TreeEnsembleRegressor<base_values=[0.5], n_targets=1, nodes_falsenodeids=[2,0,0], "
        "nodes_featureids=[0,0,0], nodes_hitrates=[1.0,1.0,1.0], nodes_missing_value_tracks_true=[0,0,0], "
        'nodes_modes=["BRANCH_LEQ","LEAF","LEAF"], nodes_nodeids=[0,1,2], nodes_treeids=[0,0,0], '
        "nodes_truenodeids=[1,0,0], nodes_values=[0.1,0.0,0.0], target_ids=[0,0], target_nodeids=[1,2], "
        "target_treeids=[0,0], target_weights=[1.5,-2.5]>(x) "
        "m = Mul(c, k) y = Add(m, t) }",
        "TreeEnsembleRegressor",
        domains='"ai.onnx.ml":3',
        only_in_float32=True,
    ),
}
REFUSES = {
    "a factor by row before a linear regression": Refuses(
        "(float[4,3] x) => (float[4,1] y) <float[4,1] pos>"
        "{ c = Mul(x, pos) y = ai.onnx.ml.LinearRegressor<coefficients=[1.0,2.0,3.0]>(c) }",
        "NF111 y, NF118 c",
        domains='"ai.onnx.ml":3',
    ),
    "a factor by row behind a linear regression": Refuses(
        "(float[4,3] x) => (float[4,1] y) <float[4,1] pos>"
        "{ c = ai.onnx.ml.LinearRegressor<coefficients=[1.0,2.0,3.0]>(x) y = Mul(c, pos) }",
        "NF111 c, NF104 y",
        domains='"ai.onnx.ml":3',
    ),
    "a factor by row behind a tree": Refuses(
        "(float[4,2] x) => (float[4,1] y) <float[4,1] pos> "
        "{ c = ai.onnx.ml.TreeEnsembleRegressor<n_targets=1, nodes_falsenodeids=[2,0,0], nodes_featureids=[0,0,0], "
        "nodes_hitrates=[1.0,1.0,1.0], nodes_missing_value_tracks_true=[0,0,0], "
        'nodes_modes=["BRANCH_LEQ","LEAF","LEAF"], nodes_nodeids=[0,1,2], nodes_treeids=[0,0,0], '
        "nodes_truenodeids=[1,0,0], nodes_values=[0.1,0.0,0.0], target_ids=[0,0], target_nodeids=[1,2], "
        "target_treeids=[0,0], target_weights=[1.5,-2.5]>(x) "
        "y = Mul(c, pos) }",
        "NF111 c, NF104 y",
        domains='"ai.onnx.ml":3',
    ),
    "a factor by row before a linear machine": Refuses(
        "(float[4,2] x) => (float[4,1] y) <float[4,1] pos>"
        "{ c = Mul(x, pos) y = ai.onnx.ml.SVMRegressor<coefficients=[1.0,-1.0], support_vectors=[1.0,2.0,0.5,0.25],"
        'rho=[0.5], n_supports=2, kernel_type="LINEAR", kernel_params=[0.0,0.0,0.0]>(c) }',
        "NF111 y, NF118 c",
        domains='"ai.onnx.ml":3',
    ),
    "a factor before a machine of one class": Refuses(
        "(float[N,2] x) => (float[N,1] y) <float[2] pos>"
        "{ c = Mul(x, pos) y = ai.onnx.ml.SVMRegressor<coefficients=[1.0,-1.0], support_vectors=[1.0,2.0,0.5,0.25],"
        'rho=[0.5], n_supports=2, one_class=1, kernel_type="LINEAR", kernel_params=[0.0,0.0,0.0]>(c) }',
        "NF110 y, NF118 c",
        domains='"ai.onnx.ml":3',
    ),
    "a factor out of the range of coefficients": Refuses(
        "(float[N,3] x) => (float[N,1] y) <float k = {1e38}>"
        "{ c = ai.onnx.ml.LinearRegressor<coefficients=[100.0,2.0,3.0]>(x) y = Mul(c, k) }",
        "NF115 c, NF104 y",
        domains='"ai.onnx.ml":3',
    ),
    "a scaler before a machine with another kernel, forward": Refuses(
        "(float[N,2] x) => (float[N,1] y) "
        "{ s = ai.onnx.ml.Scaler<offset=[1.0,2.0],scale=[0.5,0.25]>(x) "
        "y = "
        "ai.onnx.ml.SVMRegressor<coefficients=[1.0,-1.0],support_vectors=[1.0,2.0,0.5,0.25],rho=[0.5],"
        'n_supports=2,kernel_type="RBF",kernel_params=[0.5,0.0,3.0]>(s) }',
        "NF110 y, NF118 s",
        domains='"ai.onnx.ml":3',
    ),
    "a linear regression with a transform": Refuses(
        "(float[N,3] x) => (float[N,1] y) <float k = {-2}> "
        "{ c = ai.onnx.ml.LinearRegressor<coefficients=[1.0, 2.0, 3.0], intercepts=[1.0], "
        'post_transform="LOGISTIC">(x) '
        "y = Mul(c, k) }",
        "NF110 c, NF104 y",
        domains='"ai.onnx.ml":3',
    ),
    "a tree whose leaves are averaged": Refuses(
        "(float[N,2] x) => (float[N,1] y) <float k = {-2}> "
        '{ c = ai.onnx.ml.TreeEnsembleRegressor<aggregate_function="MIN", base_values=[0.5], n_targets=1, '
        "nodes_falsenodeids=[2,0,0], nodes_featureids=[0,0,0], nodes_hitrates=[1.0,1.0,1.0], "
        'nodes_missing_value_tracks_true=[0,0,0], nodes_modes=["BRANCH_LEQ","LEAF","LEAF"], '
        "nodes_nodeids=[0,1,2], nodes_treeids=[0,0,0], nodes_truenodeids=[1,0,0], "
        "nodes_values=[0.1,0.0,0.0], target_ids=[0,0], target_nodeids=[1,2], target_treeids=[0,0], "
        "target_weights=[1.5,-2.5]>(x) "
        "y = Mul(c, k) }",
        "NF110 c, NF104 y",
        domains='"ai.onnx.ml":3',
    ),
    "a factor before a machine without support vectors": Refuses(
        "(float[N,2] x) => (float[N,1] y) <float k> { c = Mul(x, k) y = "
        'ai.onnx.ml.SVMRegressor<coefficients=[1.0,-1.0],rho=[0.5],n_supports=0,kernel_type="LINEAR",'
        "kernel_params=[0.0,0.0,0.0]>(c) }",
        "NF110 y, NF118 c",
        domains='"ai.onnx.ml":3',
    ),
    "a factor before a linear classifier of an unknown number of features": Refuses(
        "(float[N,2] x) => (int64[N] y, float[N,M] p) <float k> { c = Mul(x, k) y, p = "
        "ai.onnx.ml.LinearClassifier<coefficients=[1.0,-1.0,0.5,2.0],classlabels_ints=[0,1]>(c) }",
        "NF112 y, NF118 c",
        domains='"ai.onnx.ml":3',
    ),
    "a factor behind a tree whose leaves are tensors": Refuses(
        "(float[N,2] x) => (float[N,1] y) <float k = {2.0}> { c = "
        "ai.onnx.ml.TreeEnsembleRegressor<n_targets=1, nodes_falsenodeids=[2,0,0], nodes_featureids=[0,0,0], "
        'nodes_hitrates=[1.0,1.0,1.0], nodes_missing_value_tracks_true=[0,0,0], nodes_modes=["BRANCH_LEQ",'
        '"LEAF","LEAF"], nodes_nodeids=[0,1,2], nodes_treeids=[0,0,0], nodes_truenodeids=[1,0,0], '
        "nodes_values=[0.1,0.0,0.0], target_ids=[0,0], target_nodeids=[1,2], target_treeids=[0,0], "
        "target_weights_as_tensor = float[2] {1.5, -2.5}>(x) y = Mul(c, k) }",
        "NF110 c, NF104 y",
        domains='"ai.onnx.ml":3',
    ),
    "a factor behind a tree whose base is a tensor": Refuses(
        "(float[N,2] x) => (float[N,1] y) <float k = {2.0}> { c = "
        "ai.onnx.ml.TreeEnsembleRegressor<n_targets=1, nodes_falsenodeids=[2,0,0], nodes_featureids=[0,0,0], "
        'nodes_hitrates=[1.0,1.0,1.0], nodes_missing_value_tracks_true=[0,0,0], nodes_modes=["BRANCH_LEQ",'
        '"LEAF","LEAF"], nodes_nodeids=[0,1,2], nodes_treeids=[0,0,0], nodes_truenodeids=[1,0,0], '
        "nodes_values=[0.1,0.0,0.0], target_ids=[0,0], target_nodeids=[1,2], target_treeids=[0,0], "
        "target_weights=[1.5,-2.5], base_values_as_tensor = double[1] {1.5}>(x) y = Mul(c, k) }",
        "NF110 c, NF104 y",
        domains='"ai.onnx.ml":3',
    ),
}


test_folds_forward = every(FORWARD)
test_folds_backward = every(BACKWARD)
test_refuses = every(REFUSES)
