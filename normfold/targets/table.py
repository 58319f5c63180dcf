"""List the targets: what each runtime executes best, with its source.

The figures for ONNX Runtime on CPU were measured; the other rows are from documentation and sources. A form is only
written where the target has a kernel for the operator and for the type.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

from normfold.errors import UsageError, known_names
from normfold.options import RewriteOptions
from normfold.targets.target import KEEP, Target

FLOAT, DOUBLE, HALF, BRAIN = "FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16"
_COMMON = frozenset({FLOAT, HALF})


def _operators(*names: str, types: frozenset[str] = _COMMON) -> dict[str, frozenset[str]]:
    return dict.fromkeys(names, types)


_LAYER, _RMS, _GROUP, _INSTANCE, _LP, _MVN = (
    "LayerNormalization",
    "RMSNormalization",
    "GroupNormalization",
    "InstanceNormalization",
    "LpNormalization",
    "MeanVarianceNormalization",
)
_SIMPLIFIED = "SimplifiedLayerNormalization"  # in files that ONNX Runtime or its tools wrote
_CPU_TYPES = frozenset({FLOAT, DOUBLE, HALF})
_NO_GROUPNORM = "it has no kernel for GroupNormalization"

ONNXRUNTIME = Target(
    "onnxruntime",
    "ONNX Runtime, CPU",
    "measured on 1.31; https://onnxruntime.ai/docs/reference/compatibility.html",
    {
        **_operators(_LAYER, _RMS, _SIMPLIFIED, types=_CPU_TYPES),
        **_operators(_LP, types=frozenset({FLOAT, DOUBLE})),
        **_operators(_INSTANCE),
        **_operators("Gelu", "HardSigmoid", types=frozenset({FLOAT})),
    },
    {
        _LAYER: "2.0 to 3.3 times as fast as the operators it replaces",
        _RMS: "1.3 to 2.6 times as fast as the operators it replaces",
        _INSTANCE: "3.3 to 4.0 times as fast as the operators it replaces",
        _GROUP: "GroupNormalization has no CPU kernel: it is expanded to 29 operators, 2.1 to 3.0 times as slow",
        _MVN: "its kernel leaves out the epsilon, so that constant data becomes NaN",
    },
    {
        _LAYER: "SkipLayerNormalization takes 4.2 to 7.7 times as long as Add and LayerNormalization on 1.31 and"
        " 1.32, and up to 1.29, where it was faster, ONNX Runtime makes it of them by itself",
        _RMS: "SkipSimplifiedLayerNormalization runs at 0.65 to 1.04 times the speed of Add and RMSNormalization on"
        " 1.31, and SimplifiedLayerNormalization is the same kernel",
        _GROUP: "GroupNorm and SkipGroupNorm have no CPU kernel",
    },
    rmsnorm_below_23=True,
    batchnorm_affine=True,
    slow_lengths=True,
    any_activation=False,
    new_batchnorm=True,
    fuses_itself=True,
    slow_skip=True,
    as_installed=True,
    newest_opset=26,
    newest_ir=13,
)

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        ONNXRUNTIME,
        Target(
            "onnxruntime-cuda",
            "ONNX Runtime, CUDA",
            "https://github.com/microsoft/onnxruntime/blob/main/docs/OperatorKernels.md",
            {
                **_operators(_LAYER, _RMS, _SIMPLIFIED, types=_CPU_TYPES | {BRAIN}),
                **_operators(_LP, types=frozenset({FLOAT, DOUBLE})),
                **_operators(_INSTANCE, types=_CPU_TYPES),
            },
            {
                _GROUP: _NO_GROUPNORM,
                _RMS: "onnxruntime.transformers.optimizer makes SkipSimplifiedLayerNormalization of the operators, and"
                " nothing of RMSNormalization",
            },
            {
                _LAYER: "ONNX Runtime makes SkipLayerNormalization by itself",
                _RMS: "SkipSimplifiedLayerNormalization was not measured on CUDA",
                _GROUP: "GroupNorm and SkipGroupNorm have no CPU kernel, and it is on CPU that results are proven",
            },
            rmsnorm_below_23=True,
            spells_rmsnorm=True,
            batchnorm_affine=True,
            new_batchnorm=True,
            fuses_itself=True,
            newest_opset=26,
            newest_ir=13,
        ),
        Target(
            "directml",
            "ONNX Runtime, DirectML",
            "https://github.com/microsoft/onnxruntime/blob/main/docs/OperatorKernels.md",
            _operators(_LAYER, _GROUP, _INSTANCE, _LP, _MVN),
            {_RMS: "it has no kernel for RMSNormalization"},
            rmsnorm_below_23=True,
            batchnorm_affine=True,
            newest_opset=21,
            newest_ir=10,
        ),
        Target(
            "webgpu",
            "ONNX Runtime, WebGPU",
            "https://github.com/microsoft/onnxruntime/blob/main/js/web/docs/webgpu-operators.md",
            _operators(_LAYER, _RMS, _INSTANCE),
            {_GROUP: _NO_GROUPNORM},
            rmsnorm_below_23=True,
            batchnorm_affine=True,
            newest_opset=26,
            newest_ir=13,
        ),
        Target(
            "tensorrt",
            "TensorRT 10.15 or later",
            "https://github.com/onnx/onnx-tensorrt/blob/main/docs/operators.md",
            _operators(_LAYER, _RMS, _GROUP, _INSTANCE, _LP, types=_COMMON | {BRAIN}),
            batchnorm_affine=True,
        ),
        Target(
            "openvino",
            "OpenVINO",
            "https://docs.openvino.ai/2025/about-openvino/compatibility-and-supported-models/supported-operations.html",
            _operators(_LAYER, _RMS, _INSTANCE, _LP, _MVN),
            {_GROUP: "only its newest release reads GroupNormalization 21"},
            rmsnorm_below_23=True,
            batchnorm_affine=True,
        ),
        Target(
            "coreml",
            "Core ML",
            "https://github.com/microsoft/onnxruntime/tree/main/onnxruntime/core/providers/coreml",
            _operators(_LAYER, _GROUP, _INSTANCE, _LP),
            {_RMS: "it has no kernel for RMSNormalization; it fuses the spelling with Div"},
            rmsnorm_below_23=True,
            batchnorm_affine=True,
            static_groupnorm=True,
            newest_opset=21,
            newest_ir=10,
        ),
        Target(
            "qnn",
            "Qualcomm QNN",
            "https://docs.qualcomm.com/bundle/publicresource/topics/80-63442-50/SupportedOps.html",
            _operators(_LAYER, _RMS, _GROUP, _INSTANCE, _LP),
            batchnorm_affine=True,
            static_groupnorm=True,
        ),
        Target(
            "ncnn",
            "ncnn, through pnnx",
            "https://github.com/Tencent/ncnn/tree/master/tools/pnnx/src/pass_level2",
            _operators(_LAYER, _RMS, _INSTANCE, _LP),
            {_GROUP: "pnnx reads GroupNorm in its Reshape and InstanceNormalization form"},
            batchnorm_affine=True,
        ),
        Target(
            "tract",
            "tract 0.23 or later",
            "https://github.com/sonos/tract/tree/main/onnx/src/ops",
            _operators(_LAYER, _RMS, _INSTANCE, _LP),
            {_GROUP: _NO_GROUPNORM},
            batchnorm_affine=True,
        ),
        Target(
            "onnx",
            "any runtime that reads ONNX",
            "https://onnx.ai/onnx/operators/",
            {
                **_operators(_LAYER, _RMS, types=_CPU_TYPES | {BRAIN}),
                **_operators(_INSTANCE, _LP, types=_CPU_TYPES),
            },
            {_GROUP: "few runtimes have a kernel for GroupNormalization; all have InstanceNormalization"},
            rmsnorm_below_23=True,
            opset=KEEP,
            newest_opset=26,
            newest_ir=13,
        ),
    )
}

_SLOW_LAYERNORM = ((1, 27), (1, 29))  # versions whose LayerNormalization kernel runs at a third of the speed
# Measured on 1.21, 1.22, 1.23, 1.24 and 1.31: before a release, kernels that are not there, newest operator set and IR.
_BEFORE: tuple[tuple[tuple[int, int], frozenset[str], int, int], ...] = (
    ((1, 31), frozenset({_LP}), 23, 11),
    ((1, 23), frozenset({_LP, _RMS}), 22, 10),
)


def target_named(name: str) -> Target:
    """Return the target of that name, as the installed runtime has it; UsageError lists the known names."""
    if name not in TARGETS:
        raise UsageError(f"expected a target, got {name!r}; {known_names(name, TARGETS, 'targets')}", "target")
    target = TARGETS[name]
    return at_version(target, _installed_onnxruntime()) if target.as_installed else target


def target_of(options: RewriteOptions) -> Target:
    """Return the target that options name, less what they do not want; UsageError for an unknown one."""
    target, wanted = target_named(options.target), options.new_batchnorm
    return replace(
        target,
        batchnorm_affine=target.batchnorm_affine and wanted,
        new_batchnorm=target.new_batchnorm and wanted,
    )


def at_version(target: Target, release: tuple[int, int] | None) -> Target:
    """Return ``target`` with what a release of ONNX Runtime does differently on CPU."""
    for before, missing, opset, ir_version in _BEFORE:
        if release is not None and release < before:
            kernels = {name: types for name, types in target.operators.items() if name not in missing}
            target = replace(target, operators=kernels, newest_opset=opset, newest_ir=ir_version)
    if release is not None and release <= _SLOW_LAYERNORM[1]:
        target = replace(target, slow_skip=False)
    if release is None or not _SLOW_LAYERNORM[0] <= release <= _SLOW_LAYERNORM[1]:
        return target
    operators = {name: types for name, types in target.operators.items() if name != _LAYER}
    slow = f"ONNX Runtime {release[0]}.{release[1]} runs LayerNormalization at a third of the speed of its operators"
    return replace(target, operators=operators, why={**target.why, _LAYER: slow})


def _installed_onnxruntime() -> tuple[int, int] | None:
    for package in ("onnxruntime", "onnxruntime-gpu"):
        try:
            parts = version(package).split(".")
        except PackageNotFoundError:
            continue
        if len(parts) >= 2 and parts[0].isdigit() and parts[1].isdigit():
            return int(parts[0]), int(parts[1])
    return None
