"""Every option, declared once: what to fold, how to write norms, how to prove, how to time."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from normfold.errors import UsageError
from normfold.option_declaration import CheckedOptions, Option, as_tuple, internal, knob

NameCollection = Collection[str]
"""Names or patterns; a single ``str`` is one name."""

Input = str | os.PathLike[str] | Mapping[str, Any]
"""A file or folder with inputs, or a mapping from the names of inputs to arrays."""

Inputs = Input | Collection[Input]

FOLDING, FORMS, PROOF, TIMING = "What to fold", "How to write norms", "Proof", "Timing"
LIMITS, OUTPUT = "What is accepted", "Output"

NEWEST_OPSET = 26
"""The newest operator set that an ONNX Runtime of today loads."""

MOST_THREADS = 1024
MOST_SEED = 2**32 - 1


@dataclass(frozen=True, kw_only=True)
class RewriteOptions(CheckedOptions):
    """What to fold and fuse, and for which runtime."""

    skip: Annotated[
        NameCollection,
        Option(
            "Leave alone this rule, or the nodes of this name or pattern. Repeatable.", FOLDING, metavar="RULE|NODE"
        ),
    ] = ()
    only: Annotated[
        NameCollection,
        Option("Use only this rule; `normfold explain` lists them. Repeatable.", FOLDING, metavar="RULE"),
    ] = ()
    assume_eval: Annotated[bool, Option("Treat training-mode BatchNormalization as inference.", FOLDING)] = False
    fold_norm_scale: Annotated[
        bool, Option("Fold gamma and beta of LayerNorm and RMSNorm into all MatMuls that follow.", FOLDING)
    ] = False
    extra_channel: Annotated[
        bool,
        Option("Carry a shift through zero padding in one more channel, even where that is slower on a CPU.", FOLDING),
    ] = False
    new_batchnorm: Annotated[
        bool,
        Option(
            "Write an affine that stays as a BatchNormalization where that is faster, even in a model that has none.",
            FOLDING,
            flag="new-batchnorm/--no-new-batchnorm",
        ),
    ] = False
    keep_initializer_inputs: Annotated[
        bool, Option("Leave initializers among the inputs where all of them are listed there.", FOLDING)
    ] = False
    freeze: Annotated[
        NameCollection,
        Option("Make this initializer, which is also an input, a constant. Repeatable.", FOLDING, metavar="NAME"),
    ] = ()
    max_growth: Annotated[
        float,
        Option(
            "The part of their bytes by which the weights may grow, by whatever change.",
            FOLDING,
            0,
            1000,
            metavar="PART",
        ),
    ] = 0.05
    onnxsim: Annotated[
        bool,
        Option("Fold constants with onnxsim first.", FOLDING, off_help="Leave out the constant folding with onnxsim."),
    ] = True
    target: Annotated[
        str,
        Option(
            "The runtime to write norms for: onnxruntime, onnxruntime-cuda, directml, webgpu, tensorrt, openvino, "
            "coreml, qnn, ncnn, tract, or onnx for any.",
            FORMS,
            metavar="NAME",
        ),
    ] = "onnxruntime"
    opset: Annotated[
        str | int | None,
        Option(
            "The operator set to write, never below the model's: auto raises it where a form needs that. "
            "[default: the target's habit]",
            FORMS,
            metavar="auto|keep|N",
        ),
    ] = None
    center: Annotated[
        bool,
        Option("Write LayerNorm as RMSNorm where all weights before it can lose their mean (pre-norm nets).", FORMS),
    ] = False
    contrib: Annotated[
        bool, Option("Allow norm operators of com.microsoft where they are faster; today none is.", FORMS)
    ] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.opset in (None, "", "auto", "keep"):
            return
        if not str(self.opset).isdigit():
            raise UsageError(f"expected auto, keep or a number, got {self.opset!r}", "opset")
        if not 1 <= int(self.opset) <= NEWEST_OPSET:
            raise UsageError(f"expected auto, keep or a number from 1 to {NEWEST_OPSET}, got {self.opset}", "opset")


def _with_arrays(given: Input) -> Input:
    """Return a mapping with an array for each tensor, list or whatever numpy makes one of; files as they are."""
    if not isinstance(given, Mapping):
        return given
    import numpy as np

    arrays = {}
    for name, value in given.items():
        try:
            for step in ("detach", "cpu", "numpy"):  # as torch writes it; other libraries know the last alone
                value = getattr(value, step)() if hasattr(value, step) else value
            arrays[name] = np.asarray(value)
        except Exception as error:  # each library has its own
            raise UsageError(f"expected an array for {name}, got {type(value).__name__}: {error}", "inputs") from error
    return arrays


@dataclass(frozen=True, kw_only=True)
class RunOptions(CheckedOptions):
    """How models are run: on which inputs, with how many threads."""

    seed: Annotated[int, Option("Seed of the inputs that are made up.", PROOF, 0, MOST_SEED)] = 0
    inputs: Annotated[
        Inputs,
        Option("Your own inputs: .npz, .npy, or a test_data_set folder. Repeatable.", PROOF, metavar="FILE|DIR"),
    ] = ()
    input_specs: Annotated[
        NameCollection,
        Option(
            "Shape, type and range of one made-up input.", PROOF, metavar="NAME=SHAPE[:TYPE][:LOW..HIGH]", flag="input"
        ),
    ] = ()
    threads: Annotated[int, Option("Threads of ONNX Runtime (0: one a core).", PROOF, 0, MOST_THREADS)] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "inputs", tuple(map(_with_arrays, self.given_inputs)))

    @property
    def given_inputs(self) -> tuple[Input, ...]:
        """Return the user's own inputs one by one."""
        return as_tuple(self.inputs)


@dataclass(frozen=True, kw_only=True)
class ProofOptions(RunOptions):
    """How two models are compared.

    With ``rtol`` or ``atol``, ``|expected - obtained| <= atol + rtol * |expected|`` decides, element by element, in
    place of the calibrated tolerance.
    """

    feeds: Annotated[int, Option("How many inputs to make up.", PROOF, 1, 10_000)] = 4
    rtol: Annotated[
        float | None, Option("Relative tolerance in place of the calibrated one.", PROOF, 0, metavar="FLOAT")
    ] = None
    atol: Annotated[
        float | None, Option("Absolute tolerance in place of the calibrated one.", PROOF, 0, metavar="FLOAT")
    ] = None
    custom_ops: Annotated[
        NameCollection, Option("A library of operators that ONNX Runtime loads. Repeatable.", PROOF, metavar="LIB")
    ] = ()
    proof_memory: Annotated[
        float,
        Option(
            "Gigabytes of memory for the proof: models that need more run in parts (0: half of what is free).",
            PROOF,
            0,
            metavar="GB",
            is_recorded=False,
        ),
    ] = 0.0
    strict: Annotated[
        bool,
        Option("Fail where the proof would undo a fold, or where an operator has no kernel to prove it with.", PROOF),
    ] = False
    seconds: Annotated[float, internal("The longest time for one run of one model.")] = 300.0
    piece_bytes: Annotated[int, knob("The bytes of values that are compared at once.")] = 256 * 2**20
    weight_bytes: Annotated[int, knob("The bytes of weights that are loaded at once.")] = 2**30
    folder: Annotated[str | None, knob("Where models given as protos or bytes have their external data.")] = None

    @property
    def is_explicit(self) -> bool:
        """Whether the user gave a tolerance."""
        return self.rtol is not None or self.atol is not None


@dataclass(frozen=True, kw_only=True)
class BenchOptions(RunOptions):
    """How models are timed."""

    rounds: Annotated[int, Option("How often each model is timed.", TIMING, 1, 10**6)] = 30
    warmup: Annotated[int, Option("Runs before that.", TIMING, 0, 10**6)] = 3


@dataclass(frozen=True, kw_only=True)
class Options(ProofOptions, RewriteOptions):
    """The choices for ``optimize``."""

    verify: Annotated[
        bool,
        Option(
            "Prove that the result equals the model before it is written.",
            PROOF,
            off_help="Write without proof. The report says so.",
        ),
    ] = True
    measure: Annotated[
        bool,
        Option("Time the model before and after on this machine, and undo the folds with which it is slower.", TIMING),
    ] = False


# -- the arguments of the functions -------------------------------------------------------------------------------

OnStage = Callable[[str], None]
OnReady = Callable[[Any], None]
Path = str | os.PathLike[str]


@dataclass(frozen=True, kw_only=True)
class TorchArguments(CheckedOptions):
    """What opening a model of torch needs."""

    args: Annotated[Any, internal("The arguments of forward(), where the model is an nn.Module.")] = None
    trust_pickle: Annotated[
        bool, Option("Open a file of torch even if that can run code in it.", FOLDING, is_recorded=False)
    ] = False


@dataclass(frozen=True, kw_only=True)
class ProgressArguments(CheckedOptions):
    """What is called on the way."""

    on_stage: Annotated[OnStage | None, internal("Called with the name of each stage as it begins.")] = None


@dataclass(frozen=True, kw_only=True)
class WriteArguments(ProgressArguments):
    """How a result is written, and what is called on the way."""

    in_place: Annotated[bool, internal("Allow the output to be the model itself.")] = False
    share_data: Annotated[
        bool,
        Option(
            "Leave unchanged weights in the data files of the model, which the output then needs too.",
            OUTPUT,
            is_recorded=False,
        ),
    ] = False
    reports: Annotated[Collection[Path], knob("Files that the caller will write with the result.")] = ()
    on_ready: Annotated[OnReady | None, internal("Called with the result right before it is written.")] = None


@dataclass(frozen=True, kw_only=True)
class InspectArguments(ProgressArguments, TorchArguments, RewriteOptions):
    """The arguments of ``normfold.inspect`` after the model."""

    reports: Annotated[Collection[Path], knob("Files that the caller will write afterwards.")] = ()


@dataclass(frozen=True, kw_only=True)
class CheckArguments(InspectArguments):
    """The arguments of ``normfold.check`` after the paths."""

    max_foldable: Annotated[
        int | None, Option("Norms that may be left to fold or fuse. [default: 0]", LIMITS, 0, metavar="N")
    ] = None
    max_kept: Annotated[
        int | None, Option("Norms and affines that may be kept. [default: any number]", LIMITS, 0, metavar="N")
    ] = None
    allow: Annotated[
        NameCollection, Option("Accept this reason, or it for this node. Repeatable.", LIMITS, metavar="NF1xx[:NODE]")
    ] = ()
    jobs: Annotated[
        int, Option("Processes (0: one a core).", LIMITS, 0, MOST_THREADS, is_recorded=False, short="-j")
    ] = 0


@dataclass(frozen=True, kw_only=True)
class OptimizeArguments(WriteArguments, TorchArguments, Options):
    """The arguments of ``normfold.optimize`` after the model."""

    output: Annotated[Path | None, internal("The path to write to; None writes nothing.")] = field(
        default=None, kw_only=False
    )


@dataclass(frozen=True, kw_only=True)
class ExportArguments(WriteArguments, TorchArguments, Options):
    """The arguments of ``normfold.export`` after the module."""

    args: Annotated[Any, internal("The arguments of one valid call of forward().")] = field(default=None, kw_only=False)
    path: Annotated[Path | None, internal("The path to write to; None writes nothing.")] = field(
        default=None, kw_only=False
    )
    kwargs: Annotated[Mapping[str, Any] | None, internal("The keyword arguments of that call.")] = None
    dynamic_shapes: Annotated[Any, internal("As torch.export.export takes them.")] = None
    input_specs: Annotated[NameCollection, internal("NAME=SHAPE[:TYPE][:LOW..HIGH] of made-up inputs.")] = ()
    eval: Annotated[bool, internal("Switch a module in training mode for the export, and back.")] = False
    input_names: Annotated[NameCollection, internal("As torch.onnx.export takes them: names for the inputs.")] = ()
    output_names: Annotated[NameCollection, internal("As torch.onnx.export takes them: names for the outputs.")] = ()
    dynamic_axes: Annotated[Any, internal("As torch.onnx.export takes them, in place of dynamic_shapes.")] = None
    opset_version: Annotated[int | None, internal("As torch.onnx.export takes it, in place of opset.")] = None
    f: Annotated[Path | None, internal("As torch.onnx.export takes it, in place of path.")] = None

    # What else torch.onnx.export takes, with the values that ask for what is done here anyway.
    HABITS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "export_params": ("True",),
        "do_constant_folding": ("True", "False"),
        "keep_initializers_as_inputs": ("False", "None"),
        "training": ("TrainingMode.EVAL",),
        "verbose": ("False", "None"),
        "operator_export_type": ("OperatorExportTypes.ONNX",),
        "custom_opsets": ("None", "{}"),
        "export_modules_as_functions": ("False",),
        "autograd_inlining": ("True",),
        "dynamo": ("True", "False"),
        "optimize": ("True", "False"),
        "external_data": ("True",),
        "report": ("False",),
        "profile": ("False",),
    }
