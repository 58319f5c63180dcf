"""Every option, declared once: its type, default, range and help.

From these classes come the keyword arguments of the Python functions (``accepting``), the options of the command line
(``cli/arguments.py``), the checks of their ranges, and what a report and a written model record (``recorded``).
An option is one field: ``name: Annotated[type, Option("help", group)] = default``.
"""

from __future__ import annotations

import functools
import inspect
import math
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Annotated, Any, Concatenate, ParamSpec, TypeVar, get_type_hints

from normfold.errors import UsageError, did_you_mean

P = ParamSpec("P")
Model = TypeVar("Model")
Chosen = TypeVar("Chosen")
Answer = TypeVar("Answer")

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


@dataclass(frozen=True)
class Option:
    """What is known about an option besides its type and default.

    ``help`` says what the option does; ``off_help`` what ``--no-NAME`` does, of one that is on by default. ``low`` and
    ``high`` are inclusive bounds of a number. ``flag`` names it on the command line where that is not its own name, ""
    leaves it out there, and ``short`` is its one-letter form. ``is_recorded``: it changes the result, so reports and
    written models name it. ``is_knob``: a size for tests, or what one part of normfold hands to another; ``help()``
    does not list it.
    """

    help: str
    group: str = OUTPUT
    low: float = -math.inf
    high: float = math.inf
    metavar: str = ""
    flag: str | None = None
    is_recorded: bool = True
    short: str = ""
    off_help: str = ""
    is_knob: bool = False


def _internal(help: str) -> Option:
    return Option(help, flag="", is_recorded=False)


def _knob(help: str) -> Option:
    return Option(help, flag="", is_recorded=False, is_knob=True)


@dataclass(frozen=True, kw_only=True)
class CheckedOptions:
    """A set of options; every value is checked when the set is made. UsageError for one that does not fit."""

    def __post_init__(self) -> None:
        for declared, option in declared_options(type(self)):
            value = getattr(self, declared.name)
            if isinstance(declared.default, tuple):
                object.__setattr__(self, declared.name, _as_tuple(value))
            else:
                _check_number(declared, option, value)

    @classmethod
    def of(cls: type[Chosen], options: CheckedOptions, **changes: Any) -> Chosen:
        """Return the options of this class that ``options`` holds, with ``changes``."""
        names = (entry.name for entry in fields(cls))  # type: ignore[arg-type]  # every subclass is a dataclass
        return cls(**{**{name: getattr(options, name) for name in names}, **changes})

    def recorded(self) -> dict[str, Any]:
        """Return the options that differ from their defaults and change the result, as plain data for JSON."""
        found = {}
        for declared, option in declared_options(type(self)):
            value = getattr(self, declared.name)
            if option.is_recorded and value != declared.default:
                found[declared.name] = _as_data(value)
        return found


def declared_options(options: type) -> list[tuple[Field[Any], Option]]:
    """Return the fields of a set of options with what is declared about each, in order; others are left out."""
    return [(entry, known) for entry in fields(options) if (known := _options_by_name(options).get(entry.name))]


@functools.cache
def _options_by_name(options: type) -> dict[str, Option]:
    hints = get_type_hints(options, include_extras=True)
    found = {
        name: [e for e in getattr(hint, "__metadata__", ()) if isinstance(e, Option)] for name, hint in hints.items()
    }
    return {name: entries[0] for name, entries in found.items() if entries}


def _as_tuple(value: Any) -> tuple[Any, ...]:
    """Return several values as a tuple; a str, a path or a mapping is one value."""
    return (value,) if isinstance(value, (str, os.PathLike, Mapping)) else tuple(value)


def _check_number(declared: Field[Any], option: Option, value: Any) -> None:
    bounds = (option.low, option.high)
    if value is None or bounds == (-math.inf, math.inf):
        return
    is_whole = str(declared.type).startswith("Annotated[int")
    fits = isinstance(value, (int, float)) or hasattr(value, "__index__")
    if fits and math.isfinite(value) and option.low <= value <= option.high and not (is_whole and value != int(value)):
        return
    kind = "a whole number" if is_whole else "a finite number"
    limit = (
        f"of {_spelled(option.low)} or more"
        if math.isinf(option.high)
        else f"from {_spelled(option.low)} to {_spelled(option.high)}"
    )
    raise UsageError(f"{declared.name}: expected {kind} {limit}, got {value!r}")


def _spelled(bound: float) -> str:
    return f"{bound:g}" if bound != int(bound) else str(int(bound))


def _as_data(value: Any) -> Any:
    if isinstance(value, tuple):
        entries = [_as_data(entry) for entry in value]
        return sorted(entries) if all(isinstance(entry, str) for entry in entries) else entries
    if isinstance(value, Mapping):
        return f"arrays named {', '.join(map(str, value))}"
    return value if isinstance(value, (int, float)) else str(value)


# -- the options --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class RewriteOptions(CheckedOptions):
    """What to fold and fuse, and for which runtime."""

    skip: Annotated[
        NameCollection,
        Option(
            "Leave alone this rule, or the nodes of this name or pattern. Repeatable.", FOLDING, metavar="RULE|NODE"
        ),
    ] = ()
    only: Annotated[NameCollection, Option("Use only this rule. Repeatable.", FOLDING, metavar="RULE")] = ()
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
    target: Annotated[str, Option("The runtime to write norms for.", FORMS, metavar="NAME")] = "onnxruntime"
    opset: Annotated[
        str | int | None,
        Option(
            "The operator set to write: auto raises it where a form needs that. [default: the target's habit]",
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
            raise UsageError(f"opset: expected auto, keep or a number, got {self.opset!r}")
        if not 1 <= int(self.opset) <= NEWEST_OPSET:
            raise UsageError(f"opset: expected auto, keep or a number from 1 to {NEWEST_OPSET}, got {self.opset}")


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

    @property
    def given_inputs(self) -> tuple[Input, ...]:
        """Return the user's own inputs one by one."""
        return _as_tuple(self.inputs)


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
    seconds: Annotated[float, _internal("The longest time for one run of one model.")] = 300.0
    piece_bytes: Annotated[int, _knob("The bytes of values that are compared at once.")] = 256 * 2**20
    weight_bytes: Annotated[int, _knob("The bytes of weights that are loaded at once.")] = 2**30
    folder: Annotated[str | None, _knob("Where models given as protos or bytes have their external data.")] = None

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

    args: Annotated[Any, _internal("The arguments of forward(), where the model is an nn.Module.")] = None
    trust_pickle: Annotated[
        bool, Option("Open a file of torch even if that can run code in it.", FOLDING, is_recorded=False)
    ] = False


@dataclass(frozen=True, kw_only=True)
class ProgressArguments(CheckedOptions):
    """What is called on the way."""

    on_stage: Annotated[OnStage | None, _internal("Called with the name of each stage as it begins.")] = None


@dataclass(frozen=True, kw_only=True)
class WriteArguments(ProgressArguments):
    """How a result is written, and what is called on the way."""

    in_place: Annotated[bool, _internal("Allow the output to be the model itself.")] = False
    share_data: Annotated[
        bool,
        Option(
            "Leave unchanged weights in the data files of the model, which the output then needs too.",
            OUTPUT,
            is_recorded=False,
        ),
    ] = False
    reports: Annotated[Collection[Path], _knob("Files that the caller will write with the result.")] = ()
    on_ready: Annotated[OnReady | None, _internal("Called with the result right before it is written.")] = None


@dataclass(frozen=True, kw_only=True)
class InspectArguments(ProgressArguments, TorchArguments, RewriteOptions):
    """The arguments of ``normfold.inspect`` after the model."""

    reports: Annotated[Collection[Path], _knob("Files that the caller will write afterwards.")] = ()


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

    output: Annotated[Path | None, _internal("The path to write to; None writes nothing.")] = field(
        default=None, kw_only=False
    )


@dataclass(frozen=True, kw_only=True)
class ExportArguments(WriteArguments, TorchArguments, Options):
    """The arguments of ``normfold.export`` after the module."""

    args: Annotated[Any, _internal("The arguments of one valid call of forward().")] = field(
        default=None, kw_only=False
    )
    path: Annotated[Path | None, _internal("The path to write to; None writes nothing.")] = field(
        default=None, kw_only=False
    )
    kwargs: Annotated[Mapping[str, Any] | None, _internal("The keyword arguments of that call.")] = None
    dynamic_shapes: Annotated[Any, _internal("As torch.export.export takes them.")] = None
    input_specs: Annotated[NameCollection, _internal("NAME=SHAPE[:TYPE][:LOW..HIGH] of made-up inputs.")] = ()
    eval: Annotated[bool, _internal("Switch a module in training mode for the export, and back.")] = False
    input_names: Annotated[NameCollection, _internal("As torch.onnx.export takes them: names for the inputs.")] = ()
    output_names: Annotated[NameCollection, _internal("As torch.onnx.export takes them: names for the outputs.")] = ()
    dynamic_axes: Annotated[Any, _internal("As torch.onnx.export takes them, in place of dynamic_shapes.")] = None
    opset_version: Annotated[int | None, _internal("As torch.onnx.export takes it, in place of opset.")] = None


def accepting(
    declared: Callable[P, Chosen],
) -> Callable[[Callable[[Model, Chosen], Answer]], Callable[Concatenate[Model, P], Answer]]:
    """Turn ``function(model, options)`` into ``function(model, **options)`` with the options of ``declared``.

    The signature and the docstring of the new function name every option, so that ``help()`` and editors show them.
    """

    def decorate(function: Callable[[Model, Chosen], Answer]) -> Callable[Concatenate[Model, P], Answer]:
        @functools.wraps(function)
        def call(model: Model, /, *args: P.args, **kwargs: P.kwargs) -> Answer:
            known = inspect.signature(declared).parameters
            for name in kwargs.keys() - known.keys():
                close = did_you_mean(name, known)
                raise TypeError(f"{function.__name__}() got an unexpected keyword argument {name!r}; {close}see help()")
            return function(model, declared(*args, **kwargs))

        model, *_ = inspect.signature(function).parameters.values()
        hints = get_type_hints(declared)
        taken = [
            entry.replace(annotation=hints[name]) for name, entry in inspect.signature(declared).parameters.items()
        ]
        returns = inspect.signature(function).return_annotation
        signature = inspect.Signature([model, *taken], return_annotation=returns)
        setattr(call, "__signature__", signature)  # noqa: B010  # no declared attribute of functions, read by help()
        call.__doc__ = f"{inspect.getdoc(function)}\n\nOptions:\n{_described(declared)}"
        return call

    return decorate


def _described(declared: Any) -> str:
    listed = [(entry.name, option.help) for entry, option in declared_options(declared) if not option.is_knob]
    return "\n".join(f"    {name}: {help}" for name, help in listed)
