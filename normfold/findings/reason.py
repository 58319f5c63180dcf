"""Why something stayed, was refused or was undone: a closed set of reasons, and the refusal that carries one.

A refusal is data: any helper may raise ``Refusal``, and the caller that asked for the decision catches it and keeps it.
The codes are public. Never renumber one, never reuse one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, unique


@unique
class Reason(Enum):
    """A stable code, what is in the way, and what the user can do about it."""

    code: str
    obstacle: str
    remedy: str

    def __new__(cls, code: str, obstacle: str, remedy: str) -> Reason:
        """Make a member whose value is its code."""
        reason = object.__new__(cls)
        reason._value_ = code
        reason.code, reason.obstacle, reason.remedy = code, obstacle, remedy
        return reason

    # -- NF0xx: what `normfold check` does not accept ---------------------------------------------------------------
    FOLDABLE_LEFT = (
        "NF001",
        "it can still be folded or fused",
        "run `normfold optimize` on the model and ship its output",
    )
    MODELS_DIFFER = (
        "NF002",
        "the model does not compute what its original computes",
        "see the comparison, and make the model from its original again",
    )
    UNDECIDED = (
        "NF003",
        "whether the model computes what its original computes could not be decided",
        "see the notes of the comparison, and give inputs that the models can run with",
    )
    UNREADABLE = (
        "NF004",
        "the file cannot be read, or is not a valid model",
        "do what the message says, or leave the file out of the check",
    )
    # -- NF1xx: a constant affine that could not be folded ------------------------------------------------------
    TRAINING_MODE = (
        "NF101",
        "it normalizes with the statistics of the batch",
        "export after model.eval(), or pass --assume-eval",
    )
    DYNAMIC_PARAMETERS = (
        "NF102",
        "its parameters are computed at run time",
        "export the parameters as constants",
    )
    SEVERAL_READERS = (
        "NF103",
        "the value is also read by an operator that needs it unchanged",
        "nothing to do if the other reader is wanted; otherwise remove it from the model",
    )
    GRAPH_OUTPUT = (
        "NF104",
        "the value is an output of the graph, so it must stay as it is",
        "remove the output from the export if it is not used",
    )
    CAPTURED = (
        "NF105",
        "the value crosses the border of a subgraph or function",
        "move the operator to the same graph as its neighbours",
    )
    OVERRIDABLE_INITIALIZER = (
        "NF106",
        "a parameter is an initializer that the caller may override, because it is also a graph input",
        "remove the initializer from the graph inputs (IR version 4 or later)",
    )
    ZERO_PADDING = (
        "NF107",
        "a shift meets zero padding, where the padded border would need the same shift",
        "move the normalization behind the operator, or use no padding",
    )
    SHIFT_STOPS = (
        "NF108",
        "a shift cannot pass this operator",
        "put the normalization directly behind a linear operator",
    )
    SIGN_STOPS = (
        "NF109",
        "a negative scale cannot pass this operator",
        "put the normalization directly behind a linear operator",
    )
    OPERATOR_STOPS = (
        "NF110",
        "the operator is not linear, so no affine can pass it",
        "put the normalization directly before or behind a linear operator",
    )
    AXIS_STOPS = (
        "NF111",
        "the affine varies along an axis that this operator mixes or cannot scale",
        "normalize along the channel axis of the linear operator",
    )
    UNKNOWN_SHAPE = (
        "NF112",
        "the rank or the channel count is unknown here",
        "export with shapes, or run shape inference first",
    )
    DYNAMIC_WEIGHT = (
        "NF113",
        "the linear operator next to it has no constant weight",
        "export the weight as a constant",
    )
    BAD_VARIANCE = (
        "NF114",
        "variance + epsilon is not positive, so the operator's own result is not finite",
        "repair the running statistics",
    )
    OUT_OF_RANGE = (
        "NF115",
        "the folded weight would leave the range of its type",
        "keep the model in float32, or rescale the weights before export",
    )
    CANCELLATION = (
        "NF116",
        "the shift is so large against the spread of the value that cancellation would cost accuracy",
        "keep the norm here, or retrain with centred inputs",
    )
    SUM_NEEDS_ALL = (
        "NF117",
        "it meets a sum, and not every addend takes the scale",
        "normalize the addends before the sum",
    )
    GRAPH_INPUT = (
        "NF118",
        "the way back ends at an input of the graph, where no operator could take it",
        "nothing to do, or apply it where the data is prepared",
    )
    BROADCASTS_UP = (
        "NF119",
        "the constant makes the value larger by broadcasting",
        "expand the value explicitly",
    )
    QUANTIZED = (
        "NF120",
        "a quantization operator stands between, and its scale would change",
        "fold before quantizing",
    )
    BIAS = (
        "NF121",
        "it is the bias of the MatMul before it, which has no bias input of its own",
        "nothing to do: runtimes execute both as one operator",
    )
    PART_OF_ACTIVATION = (
        "NF122",
        "it is part of an activation, attention or quantized product that the runtime executes as one operator",
        "nothing to do",
    )
    SKIPPED = (
        "NF123",
        "the user asked to leave it",
        "remove the --skip or --only option",
    )
    ROLLED_BACK = (
        "NF124",
        "its fold was undone because the verification measured a difference",
        "report the model; the written model does not contain this fold",
    )
    COSTS_MORE = (
        "NF125",
        "folding it would cost more operators or multiply-adds than it saves",
        "nothing to do",
    )
    SEARCH_LIMIT = (
        "NF126",
        "the search for an absorbing operator reached its limit",
        "report the model, so that the limit can be reconsidered",
    )
    NO_CONSUMER = (
        "NF127",
        "no operator reads its result inside the graph",
        "nothing to do",
    )
    NOT_FLOATING = (
        "NF128",
        "it computes in a type that cannot hold a folded parameter",
        "use a floating point type",
    )
    OWN_STATISTICS = (
        "NF129",
        "it computes mean or variance from its input, so only its own gamma and beta are constant",
        "nothing to do: it is already one operator",
    )
    READERS_DISAGREE = (
        "NF130",
        "the readers of the value would need different affines",
        "nothing to do, or duplicate the operator before it",
    )
    # -- NF3xx: a fold that cannot be written back onto a PyTorch module ---------------------------------------
    IN_FORWARD = (
        "NF301",
        "it is computed in the forward() of a module that does more, so there is no module to take out",
        "give it a module of its own, or optimize the exported file instead",
    )
    SHARED_PARAMETER = (
        "NF302",
        "a module or parameter is used in several places that would need different values",
        "give each use a module of its own, or optimize the exported file instead",
    )
    COMPUTED_PARAMETER = (
        "NF303",
        "the weight next to it is computed from other parameters in forward() or by a hook",
        "make the weight a plain parameter first, or optimize the exported file instead",
    )
    NO_PLACE = (
        "NF304",
        "the module has no parameter that could hold the folded value",
        "optimize the exported file instead",
    )
    NOT_CONFIRMED = (
        "NF305",
        "the module with this fold did not give what the original module gives",
        "report the module; the returned module does not contain this fold",
    )

    OWN_TOLERANCE = (
        "NF133",
        "its fold was undone because its error is above the tolerance that was asked for with rtol or atol",
        "ask for a larger tolerance, or leave --rtol and --atol out for the calibrated one",
    )
    BRANCHES_DIFFER = (
        "NF131",
        "parallel branches of one input cannot be summed into one operator",
        "give the branches equal strides, output sizes and whole kernel offsets",
    )
    GROWTH = (
        "NF134",
        "folding it would make the weights larger than is allowed",
        "nothing to do, or allow more with --max-growth",
    )

    BREAKS_FUSION = (
        "NF132",
        "without it the runtime would execute fewer groups of operators as one",
        "nothing to do; compare with bench where another runtime is used",
    )

    SLOWER_HERE = (
        "NF135",
        "with it the model runs more slowly on this machine",
        "nothing to do; leave out --measure where another machine will run it",
    )

    PARAMETERS_MISFIT = (
        "NF136",
        "its parameters do not fit the channels of its input",
        "export the model again; a runtime refuses such a norm",
    )

    # -- NF2xx: what is or looks like a norm, and was not fused ------------------------------------------------------
    EPSILON_OUTSIDE_ROOT = (
        "NF201",
        "epsilon is added to the standard deviation, and not to the variance, which no norm operator does",
        "write sqrt(variance + epsilon) in the model",
    )
    AXES_DIFFER = (
        "NF202",
        "the mean and the variance are taken over different axes",
        "nothing to do if that is meant",
    )
    DYNAMIC_AXES = (
        "NF203",
        "the axes are computed at run time",
        "export the axes as constants",
    )
    DIMENSION_LOST = (
        "NF204",
        "a statistic lost its reduced axes (keepdims=0) and broadcasts along others than those it was taken from",
        "nothing to do if that is meant; otherwise export with keepdims=1",
    )
    EXPONENT = (
        "NF205",
        "the exponent is none of those that a variance and its root need",
        "nothing to do if that is meant",
    )
    INVERTED = (
        "NF206",
        "the deviation is divided by the data, and not the data by the deviation",
        "nothing to do if that is meant",
    )
    EPSILON_VARIES = (
        "NF207",
        "epsilon takes several values, and norm operators hold one",
        "use one epsilon",
    )
    CLIPPED = (
        "NF208",
        "the norm is bounded from below, which no norm operator does",
        "nothing to do, or add epsilon under the root",
    )
    NOT_A_VARIANCE = (
        "NF209",
        "what stands under the root is no variance and no mean square",
        "nothing to do if that is meant",
    )
    READ_ELSEWHERE = (
        "NF210",
        "intermediate values are read elsewhere, so computing the norm again would cost more than it saves",
        "remove the other reader, if it is not needed",
    )
    NEEDS_OPSET = (
        "NF211",
        "the operator for it needs a newer operator set than the options allow",
        "pass --opset auto",
    )
    NO_KERNEL = (
        "NF212",
        "the target has no faster operator for it in this type",
        "choose another --target",
    )
    FUSED_BY_RUNTIME = (
        "NF213",
        "it is written in the decomposition that the runtime expects, which executes it as one operator",
        "nothing to do",
    )
    CONVERTER = (
        "NF214",
        "the model could not be raised to the operator set that the operator for it needs",
        "export with a newer operator set",
    )
    NO_FORM = (
        "NF215",
        "no operator computes a norm over these axes with this scale and shift",
        "nothing to do",
    )
    ACROSS_CHANNELS = (
        "NF216",
        "the statistic of each channel is compared with that of all channels, which no norm operator does",
        "nothing to do",
    )
    OTHER_NUMERATOR = (
        "NF217",
        "what is divided is not what is measured, so no norm operator computes it",
        "nothing to do",
    )
    PART_OF_DATA = (
        "NF218",
        "only a part of the data is measured, and all of it is divided",
        "nothing to do, or measure all of the data",
    )
    NO_STATISTICS = (
        "NF219",
        "it takes the place of a norm, and measures nothing",
        "nothing to do: its scale and shift fold like any other",
    )
    BATCH_STATISTICS = (
        "NF220",
        "its mean and variance are taken over the batch, so a sample depends on the others",
        "export after model.eval(), with stored statistics",
    )
    COMPUTED_AFFINE = (
        "NF221",
        "the scale and shift behind it are computed from other data, so they belong to no weight",
        "nothing to do: the norm itself is already one operator",
    )
    NOT_CENTERED = (
        "NF222",
        "the mean of the residual stream before it cannot be taken out",
        "leave out --center, or train with RMSNorm",
    )
    MIXED_STATISTICS = (
        "NF223",
        "several statistics, or the data itself, make what it is divided by, which no norm operator does",
        "nothing to do",
    )

    OTHER_STATISTICS = (
        "NF224",
        "its statistics are no mean and variance over whole axes, which are all that norm operators take",
        "nothing to do",
    )

    @property
    def is_settled(self) -> bool:
        """Return whether the finding is as it should be: a bias, a part of an activation, a norm in one operator."""
        return self in (
            Reason.BIAS,
            Reason.PART_OF_ACTIVATION,
            Reason.OWN_STATISTICS,
            Reason.FUSED_BY_RUNTIME,
            Reason.COMPUTED_AFFINE,
        )

    @property
    def can_be_helped(self) -> bool:
        """Return whether the remedy asks the user to do something."""
        return not self.remedy.startswith("nothing to do")

    @property
    def title(self) -> str:
        """Return the name in words, for headings: ``training mode``."""
        return self.name.replace("_", " ").lower()

    @classmethod
    def of_code(cls, code: str) -> Reason:
        """Return the reason of ``code`` (in any case); KeyError when there is none."""
        for reason in cls:
            if reason.code == code.upper():
                return reason
        raise KeyError(code)


@dataclass(frozen=True)
class Obstacle:
    """One way that was tried and what stopped it: the reason, the operator and value in the way, and the figures."""

    reason: Reason
    node: str = ""
    value: str = ""
    detail: str = ""
    direction: str = ""

    def __str__(self) -> str:
        where = f" at {self.node}" if self.node else ""
        way = f"{self.direction}: " if self.direction else ""
        detail = f" ({self.detail})" if self.detail else ""
        return f"{way}{self.reason.code} {self.reason.obstacle}{where}{detail}"


class Refusal(Exception):
    """A no with its reason. Raised by rules at any depth, caught once by the planner, never shown as a traceback."""

    def __init__(self, reason: Reason, node: str = "", value: str = "", detail: str = "") -> None:
        super().__init__(f"{reason.code} {reason.obstacle} {node} {detail}")
        self.obstacle = Obstacle(reason, node, value, detail)
