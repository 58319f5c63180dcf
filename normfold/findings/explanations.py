"""The long text behind each reason: why it is so, an example, and what to do. ``normfold explain NF103`` prints it.

A reason without an entry here, or an entry without a reason, fails a test.
"""

from __future__ import annotations

from dataclasses import dataclass

from normfold.findings.reason import Reason


@dataclass(frozen=True)
class Explanation:
    """Three paragraphs, in whole sentences."""

    why: str
    example: str
    remedy: str


def explain(reason: Reason) -> str:
    """Return the long text of ``reason``, as plain paragraphs under a heading."""
    text = EXPLANATIONS[reason]
    heading = f"{reason.code}: {reason.title}"
    parts = (heading, f"What is in the way: {reason.obstacle}.", text.why, f"Example: {text.example}")
    return "\n\n".join((*parts, f"What to do: {text.remedy}")) + "\n"


def reasons_table() -> str:
    """Return every reason in a Markdown table, by code."""
    reasons = sorted(Reason, key=lambda reason: reason.code)
    rows = (f"| {reason.code} | {reason.obstacle} | {reason.remedy} |" for reason in reasons)
    return "\n".join(("| code | what is in the way | remedy |", "|---|---|---|", *rows)) + "\n"


EXPLANATIONS: dict[Reason, Explanation] = {
    Reason.FOLDABLE_LEFT: Explanation(
        "The check found a norm or constant affine that `normfold optimize` would take out of this file, so the model "
        "ships with work that every run repeats for nothing.",
        "a model was exported again, and the step that optimizes it was left out.",
        "Run `normfold optimize` on the model and ship its output. Where the norm is wanted, name it with --allow, or "
        "write it into the lock file with --update-lock.",
    ),
    Reason.MODELS_DIFFER: Explanation(
        "The check ran the model and the original that --verify-against names on the same inputs, and their outputs "
        "differ by more than rounding explains.",
        "the original was trained further, while the optimized file is the one of last week.",
        "Make the model from its original again. `normfold verify ORIGINAL MODEL` shows what differs and where.",
    ),
    Reason.UNDECIDED: Explanation(
        "The comparison with the original that --verify-against names gave no answer, because one of the models did "
        "not run here, or because its results are random or not finite.",
        "the model holds an operator that ONNX Runtime has no kernel for on a CPU.",
        "Run `normfold verify ORIGINAL MODEL` to see the notes, and give inputs of your own with --inputs there.",
    ),
    Reason.UNREADABLE: Explanation(
        "The file does not parse as an ONNX model, or the checker and ONNX Runtime both reject it, or its external "
        "data is missing, so there is nothing to check.",
        "a Git LFS pointer lies where the model should be.",
        "Fetch or export the model again. A file that is no model can be left out by naming the models one by one.",
    ),
    Reason.TRAINING_MODE: Explanation(
        "In training mode a BatchNormalization takes mean and variance from the batch it is given, so its result is "
        "not a fixed scale and shift of its input, and there is nothing constant to fold.",
        "a network exported without model.eval() has training_mode=1, or, before opset 14, mean and variance outputs.",
        "Export after model.eval(). If you know that the stored statistics are the ones you want, pass --assume-eval.",
    ),
    Reason.DYNAMIC_PARAMETERS: Explanation(
        "Scale, bias, mean or variance come from other operators that depend on an input of the model. A fold is "
        "computed once, before the model runs, so it needs constants.",
        "conditional normalization (FiLM, AdaIN), where gamma and beta are the output of a Gemm.",
        "Export the parameters as constants if they are constant for you; otherwise the operator is needed.",
    ),
    Reason.SEVERAL_READERS: Explanation(
        "To fold a norm into the operator before it, the result of that operator changes. Another operator reads the "
        "same result and would see the changed value, and it could not undo the change exactly.",
        "Conv -> y; y -> BatchNormalization, and y -> Relu -> a second path that needs the value before the norm.",
        "Nothing, if the other reader is wanted. If it is left over from training or debugging, remove it.",
    ),
    Reason.GRAPH_OUTPUT: Explanation(
        "A caller of the model reads this value under its name. Folding a norm through it would change what "
        "the caller gets.",
        "a Conv whose result is listed in the outputs of the graph, and is also normalized for the next layer.",
        "Remove the output from the export if it is not used.",
    ),
    Reason.CAPTURED: Explanation(
        "The value is made in one graph and read in the body of an If, Loop or Scan, or of a function. The body may "
        "run many times or not at all, so a constant cannot be moved over its border safely.",
        "a Conv before a Loop whose body normalizes the result of the Conv.",
        "Move the norm into the same graph as the operator next to it, or inline the function before optimizing.",
    ),
    Reason.OVERRIDABLE_INITIALIZER: Explanation(
        "From IR version 4 on, an initializer that is listed among the graph inputs is only a default: the caller may "
        "pass another value at each run. A fold would make the default final.",
        "a model written by an old exporter that lists every weight as an input and was later raised to IR version 4.",
        "Remove the initializers from the graph inputs if they are never overridden.",
    ),
    Reason.ZERO_PADDING: Explanation(
        "A padded convolution sees zeros beyond the border. With a shift t moved behind it, the border would have to "
        "see t instead of zero, so the results near the border would be wrong. A pure scale passes, because a scaled "
        "zero is zero.",
        "BatchNormalization -> Conv with pads=[1,1,1,1]: exact inside the picture, wrong in its outermost pixels.",
        "Train with the norm behind the convolution, or pad explicitly before the norm.",
    ),
    Reason.SHIFT_STOPS: Explanation(
        "The operator lets a scale pass but not a shift: f(x + t) is not f(x) plus a constant.",
        "Conv -> Relu -> BatchNormalization with a non-zero beta: Relu(x) + t is no Relu of a shifted x.",
        "Put the norm directly behind a linear operator: Conv -> BatchNormalization -> Relu.",
    ),
    Reason.SIGN_STOPS: Explanation(
        "The operator lets positive factors pass but not negative ones: max(-x) is not -max(x).",
        "Conv -> MaxPool -> BatchNormalization where one channel has a negative gamma.",
        "Put the norm directly behind a linear operator.",
    ),
    Reason.OPERATOR_STOPS: Explanation(
        "The operator between the norm and the next linear operator is not linear in any sense that an affine could "
        "pass: its result for s*x + t is not an affine of its result for x.",
        "Conv -> Sigmoid -> BatchNormalization: no weight of the Conv can produce the scaled sigmoid.",
        "Put the norm directly before or behind a linear operator.",
    ),
    Reason.AXIS_STOPS: Explanation(
        "The affine has different values along an axis over which the operator sums, takes a maximum or mixes "
        "elements, or along an axis of the weight that cannot be scaled on its own.",
        "MatMul on [batch, tokens, channels] followed by a BatchNormalization over tokens.",
        "Normalize along the channel axis of the linear operator.",
    ),
    Reason.UNKNOWN_SHAPE: Explanation(
        "To place the parameters along the right axis, the rank and the channel count of the value must be known, and "
        "shape inference could not find them.",
        "a custom operator, or a Reshape whose target is computed from data, before the norm.",
        "Export with static channel counts, or store shapes in the model (value_info) before optimizing.",
    ),
    Reason.DYNAMIC_WEIGHT: Explanation(
        "The neighbour is linear, but its weight is computed while the model runs, so there is no constant to change.",
        "MatMul of two activations (attention scores), or a Conv whose weight is the output of another network.",
        "Export the weight as a constant if it is one; otherwise the norm is needed.",
    ),
    Reason.BAD_VARIANCE: Explanation(
        "The square root of variance + epsilon is taken. For a sum that is zero, negative or not a number the "
        "original operator already produces infinities or NaN, and folding would spread them into the weights.",
        "running_var with a negative entry after a broken conversion, or epsilon 0 with a dead channel.",
        "Repair the running statistics, for instance by running a few batches in training mode.",
    ),
    Reason.OUT_OF_RANGE: Explanation(
        "The folded weight, rounded to the type of the weight, would be infinite, or so small that it loses digits "
        "as a subnormal number. The norm computes the same product later, where it fits. It stays, "
        "too, where most rows of the weight would be below 1e-18: products of these with small values are slow.",
        "a float16 Conv whose norm has a variance of 1e-10: the factor is 1e5, and the weights exceed 65504.",
        "Keep this part in float32, or fold before converting to float16.",
    ),
    Reason.CANCELLATION: Explanation(
        "The shift is very large against the spread of the value: in the folded form two large numbers are subtracted "
        "whose difference is small, and the digits of the result are lost.",
        "an input around 1e6 with a standard deviation of 1, normalized directly behind the first layer.",
        "Keep the norm here, or retrain with centred inputs.",
    ),
    Reason.SUM_NEEDS_ALL: Explanation(
        "A scale behind a sum must be given to every addend. At least one addend does not come from an operator "
        "that could take it.",
        "a pre-activation ResNet: the residual sum has the untouched input of the block as one addend.",
        "Normalize the addends before the sum.",
    ),
    Reason.GRAPH_INPUT: Explanation(
        "The norm is applied to an input of the model. No operator before it could absorb it, and the way forward is "
        "closed for the other reason given.",
        "(x - mean) / std in front of a first convolution with zero padding.",
        "Nothing, or apply it where the data is prepared.",
    ),
    Reason.BROADCASTS_UP: Explanation(
        "The constant is larger than the value, so the operator also repeats the value. A weight cannot do that.",
        "a value of shape [N,1,H,W] times a constant of shape [1,3,1,1] makes three channels from one.",
        "Expand the value explicitly before the arithmetic.",
    ),
    Reason.QUANTIZED: Explanation(
        "Between the norm and the linear operator a value is rounded to a few bits with a fixed scale. Folding "
        "through it would need another scale, and the rounding would fall on other numbers.",
        "Conv -> QuantizeLinear -> DequantizeLinear -> BatchNormalization.",
        "Fold before quantizing: optimize the float model, then quantize the result.",
    ),
    Reason.BIAS: Explanation(
        "The Add is what a bias is for a MatMul, which has no bias input. It is already as cheap as it gets: runtimes "
        "execute MatMul and Add as one.",
        "a torch Linear on three-dimensional input exports as MatMul -> Add.",
        "Nothing.",
    ),
    Reason.PART_OF_ACTIVATION: Explanation(
        "The constant belongs to an activation that was exported in pieces, or it is the scale or bias of a product of "
        "quantized values, or of the queries and keys of a self-attention. The runtime, or its tool for transformers, "
        "recognizes the pieces and executes them as one operator; moving the constant away would hide the pattern.",
        "0.5 * x * (1 + erf(x / sqrt(2))), the exact Gelu.",
        "Nothing.",
    ),
    Reason.SKIPPED: Explanation(
        "An option asked to leave this rule or this node alone, so nothing was tried.",
        "normfold optimize model.onnx --skip /head/bn",
        "Remove the --skip or --only option.",
    ),
    Reason.ROLLED_BACK: Explanation(
        "The fold was made, and the verification then measured a difference at the place where its value is made, "
        "larger than the rounding noise of the model explains. So the fold was undone, and the "
        "rest was verified again.",
        "a norm whose folded weights are exact on paper but lose too many digits in the type of the model.",
        "The written model is safe, it only lacks this fold. Please report the model.",
    ),
    Reason.OWN_TOLERANCE: Explanation(
        "The fold was made, and its error was then above the tolerance that --rtol or --atol (rtol, atol) asked for. "
        "Rounding alone may be larger than a small tolerance, so this does not mean that the fold is wrong.",
        "normfold optimize model.onnx --rtol 1e-9, for a model in float32.",
        "Ask for a larger tolerance, or leave the options out: the calibrated one follows the model's rounding noise.",
    ),
    Reason.COSTS_MORE: Explanation(
        "The fold is possible, but the result would have more operators or more multiply-adds than before.",
        "two parallel 1x1 and 7x7 convolutions of few channels, merged into one dense 7x7.",
        "Nothing.",
    ),
    Reason.SEARCH_LIMIT: Explanation(
        "The search for an operator that absorbs the affine follows all branches of the graph and stops at a limit, "
        "so that planning stays linear in the size of the model.",
        "a shift that would have to pass hundreds of Concats before it meets a weight.",
        "Please report the model, so that the limit can be reconsidered.",
    ),
    Reason.NO_CONSUMER: Explanation(
        "No operator inside the graph reads the result, so there is nothing behind the norm to fold into, and the way "
        "backward is closed for the other reason given.",
        "a BatchNormalization whose result is the output of the model.",
        "Nothing.",
    ),
    Reason.NOT_FLOATING: Explanation(
        "The operator computes in integers or booleans. A folded parameter is a fraction in general, which these "
        "types cannot hold.",
        "Add of a constant on int64 token positions.",
        "Nothing, or use a floating point type.",
    ),
    Reason.OWN_STATISTICS: Explanation(
        "LayerNorm, RMSNorm, InstanceNorm and GroupNorm compute mean or variance from the data they are given. Only "
        "their gamma and beta are constant; the division by the standard deviation is not an affine and cannot fold.",
        "LayerNormalization in a transformer block.",
        "Nothing: it is already one operator.",
    ),
    Reason.READERS_DISAGREE: Explanation(
        "Several operators read the value, and each would need the operator before it changed in another way.",
        "Conv -> {BatchNormalization a, BatchNormalization b} with different gammas.",
        "Nothing, or duplicate the operator before them if the extra work is acceptable.",
    ),
    Reason.GROWTH: Explanation(
        "The weight has other readers, or is stored in fewer bytes than the type that the operator reads. The folded "
        "weight would be stored in addition to it, to save one small operator.",
        "an embedding that is also the weight of the last layer, multiplied by sqrt(d) where it is looked up.",
        "Nothing, or allow the growth: --max-growth 1 allows a file of twice the size.",
    ),
    Reason.BRANCHES_DIFFER: Explanation(
        "Parallel branches that are summed become one operator only if one kernel can do the work of all: equal "
        "strides and output sizes, equal channels for an identity, and offsets that lie on whole elements.",
        "a 3x3 Conv with stride 2 next to an identity, or a 2x2 Conv next to a 3x3 Conv with half an element.",
        "Give the branches equal strides, output sizes and whole kernel offsets.",
    ),
    Reason.SLOWER_HERE: Explanation(
        "The model was timed on this machine with the fold and without it, in turns, because --measure asked for it. "
        "With the fold it took longer, by more than the times of one model differ among themselves.",
        "a BatchNormalization that became a Mul and an Add, where the runtime has a faster kernel for the norm.",
        "Nothing. Leave out --measure where another machine will run the model.",
    ),
    Reason.PARAMETERS_MISFIT: Explanation(
        "A BatchNormalization has one scale, shift, mean and variance for each channel, and the channels are axis 1 of "
        "its input. With another number of them the result is not defined, and ONNX Runtime does not load the model.",
        "a norm over the last axis of [N, time, channels] that was exported without its Transpose.",
        "Export the model again, with the channels on axis 1.",
    ),
    Reason.BREAKS_FUSION: Explanation(
        "The fold was tried, and ONNX Runtime's optimizer then made fewer fused norms, attentions, activations or "
        "quantized products of the model than before. Such a group costs less than the operator that the fold saves.",
        "a gamma that was moved out of a norm which the runtime finds only together with it.",
        "Nothing. On another runtime, bench the model with --target set to that runtime.",
    ),
    Reason.IN_FORWARD: Explanation(
        "In place, a norm leaves a module by being taken out of it as a whole, or by parameters that make it do "
        "nothing. This one is a line in the forward() of a module that also does something else, it reads no such "
        "parameters, or no norm is next to it, and normfold does not rewrite Python code.",
        "x * 0.5 in the forward() of a block, or a norm of statistics that forward() computes.",
        "Give the norm a module of its own, or optimize the exported file, where this fold is possible.",
    ),
    Reason.SHARED_PARAMETER: Explanation(
        "A module that is called several times, or a parameter that several modules share, has one value. The folds "
        "of its uses need different values, so at most one of them could be right.",
        "one convolution called twice, each time with another BatchNorm behind it.",
        "Give each use a module of its own, or optimize the exported file, where each use has its own copy.",
    ),
    Reason.COMPUTED_PARAMETER: Explanation(
        "The weight is not a parameter: it is computed at each call from others, so there is nothing to write the "
        "folded weight into. torch's own weight_norm, spectral_norm, pruning and parametrizations are removed by "
        "normfold itself; this is something else.",
        "a Conv2d whose forward() computes its weight as self.weight_orig * self.scale.",
        "Make the weight a plain parameter first, or optimize the exported file, where this fold is possible.",
    ),
    Reason.NO_PLACE: Explanation(
        "The fold needs a bias, a weight or an operator that the module does not have and that normfold cannot add "
        "without rewriting its forward().",
        "a shift behind torch.matmul(x, self.weight) in a module of one's own, which has no bias.",
        "Optimize the exported file, where this fold is possible.",
    ),
    Reason.NOT_CONFIRMED: Explanation(
        "After the fold was written into a copy of the module, the copy was called next to the original, and gave "
        "something else or failed. The fold was left out of what is returned.",
        "a forward() that reads self.bn.weight of a BatchNorm that the fold has removed.",
        "Nothing, or report the module if its forward() does not look into its norms.",
    ),
    # -- NF2xx: a norm that was not written as one operator -----------------------------------------------------------
    Reason.EPSILON_OUTSIDE_ROOT: Explanation(
        "Norm operators compute x / sqrt(variance + epsilon). Here epsilon is added after the root, and "
        "sqrt(variance) + epsilon is another function, most of all where the variance is small.",
        "(x - mean) / (std + 1e-6), as some hand-written layers have it.",
        "Write sqrt(variance + epsilon) in the model and fine-tune if needed; otherwise nothing.",
    ),
    Reason.AXES_DIFFER: Explanation(
        "A norm operator takes mean and variance over the same axes. Here the two are taken over different ones, so "
        "the result is no norm that an operator could compute.",
        "the mean over the channels is subtracted, the variance is taken over height and width.",
        "Nothing if that is meant; otherwise correct the axes in the model.",
    ),
    Reason.DYNAMIC_AXES: Explanation(
        "The axes of a reduction are an input of the operator and come from other operators that depend on data, so "
        "it is unknown before the model runs what is normalized.",
        "ReduceMean whose axes input is computed with Range from a shape.",
        "Export the axes as constants.",
    ),
    Reason.DIMENSION_LOST: Explanation(
        "With keepdims=0 the reduced axes vanish, and broadcasting then lines the statistic up with other axes than "
        "those it was taken from. The model runs because the sizes happen to agree.",
        "the mean over axis 1 of a square matrix, subtracted along axis 0.",
        "Nothing if that is meant; otherwise export with keepdims=1.",
    ),
    Reason.EXPONENT: Explanation(
        "A variance needs the second power and its root the power one half. The exponents here are others, so the "
        "value that is divided by is no standard deviation.",
        "Pow(x - mean, 4), a kurtosis, under the root.",
        "Nothing if that is meant; otherwise correct the exponent in the model.",
    ),
    Reason.INVERTED: Explanation(
        "A norm divides the centred data by its deviation. Here the deviation is divided by the data, and no operator "
        "computes that.",
        "Div(std, x - mean) after the operands were swapped by hand.",
        "Nothing if that is meant; otherwise swap the operands in the model.",
    ),
    Reason.EPSILON_VARIES: Explanation(
        "The operator holds epsilon as one number. The model adds a vector with different entries, one for each "
        "position or channel.",
        "a learned epsilon for each channel.",
        "Use one epsilon if the differences do not matter.",
    ),
    Reason.CLIPPED: Explanation(
        "The deviation is bounded from below with Max or Clip before the division. Norm operators add epsilon under "
        "the root instead, which is another function near zero.",
        "x / max(norm, 1e-12), torch's normalize.",
        "Nothing, or add epsilon under the root in the model.",
    ),
    Reason.NOT_A_VARIANCE: Explanation(
        "The value under the root is neither the variance nor the mean square of the data that is divided, so the "
        "region is no norm, although it looks like one.",
        "the root of a mean over absolute values.",
        "Nothing if that is meant.",
    ),
    Reason.READ_ELSEWHERE: Explanation(
        "Mean, variance or the centred value are read by other operators too. They would have to be computed besides "
        "the new operator, which costs more than the decomposed form.",
        "the standard deviation goes into the norm and into an output of the model.",
        "Remove the other reader if it is not needed.",
    ),
    Reason.NEEDS_OPSET: Explanation(
        "The operator that computes this norm exists only in a newer operator set than the model has, and the options "
        "do not allow raising it.",
        "LayerNormalization needs operator set 17, RMSNormalization 23.",
        "Pass --opset auto, or export with a newer operator set.",
    ),
    Reason.NO_KERNEL: Explanation(
        "The runtime of the target has no kernel for the norm operator in this type, or only one that is slower than "
        "the decomposed form.",
        "GroupNormalization on the CPU provider of ONNX Runtime, which expands it again.",
        "Choose another --target if the model runs elsewhere; otherwise nothing.",
    ),
    Reason.FUSED_BY_RUNTIME: Explanation(
        "The norm is decomposed exactly as the runtime of the target looks for it, and the runtime executes it as one "
        "operator when it loads the model. Nothing would be gained by writing it differently.",
        "Pow, ReduceMean, Add, Sqrt, Div and Mul in the order that torch exports an RMSNorm.",
        "Nothing.",
    ),
    Reason.CONVERTER: Explanation(
        "The operator that computes this norm needs a newer operator set, and the official converter of ONNX could "
        "not raise the model: it lacks an adapter for another operator of the model, or its result is not valid.",
        "an Upsample of operator set 9 somewhere in the model.",
        "Export with a newer operator set.",
    ),
    Reason.NO_FORM: Explanation(
        "The norm was recognized, but no operator takes these axes together with a scale and shift of this shape, "
        "and a detour over other operators would cost more than it saves.",
        "a norm over the first and the last axis with a scale that varies along both.",
        "Nothing.",
    ),
    Reason.ACROSS_CHANNELS: Explanation(
        "Global response normalization takes the length of every channel and divides it by the mean of all lengths, "
        "so that channels compete. Norm operators compare a value with a statistic of its own group only.",
        "a ConvNeXt V2 block: ReduceL2 over height and width, divided by its ReduceMean over the channels.",
        "Nothing. What stands around it folds as usual, and its gamma and beta stay where they are.",
    ),
    Reason.OTHER_NUMERATOR: Explanation(
        "A norm operator divides the value that it measures, or that value minus its mean. Here the mean square of one "
        "value divides another one.",
        "BiasNorm of Zipformer: x divided by the root of the mean square of x - b. EvoNorm: x * sigmoid(v * x) divided "
        "by the deviation of x.",
        "Nothing; the operators stay as they are.",
    ),
    Reason.PART_OF_DATA: Explanation(
        "A partial RMSNorm estimates the mean square from the first few channels and divides all channels by it. A "
        "norm operator measures all that it divides.",
        "pRMSNorm with 6.25 % of the channels: Slice, Pow, ReduceMean, Sqrt, and a Div of the whole value.",
        "Nothing; or train with a plain RMSNorm, which is one operator.",
    ),
    Reason.NO_STATISTICS: Explanation(
        "Dynamic Tanh replaces a norm by tanh(alpha * x) with a learned alpha. It takes no mean and no variance, so "
        "there is no norm to write; its gamma and beta are constants like those of any affine.",
        "a transformer without normalization: Mul by alpha, Tanh, Mul by gamma, Add of beta.",
        "Nothing. Gamma and beta go into the next linear operator where the algebra allows.",
    ),
    Reason.BATCH_STATISTICS: Explanation(
        "Mean and variance are computed over the batch axis while the model runs. The result of a sample depends on "
        "the other samples, and no norm operator for inference does that.",
        "a BatchNorm that was written with ReduceMean over the axes 0, 2 and 3.",
        "Export after model.eval(), so that the stored statistics are used. They are constants and fold.",
    ),
    Reason.COMPUTED_AFFINE: Explanation(
        "The norm is one operator already, and the scale and shift that follow come from another part of the model: "
        "from a class, a time step, a style or a segmentation map. A weight holds constants only.",
        "AdaLN of a diffusion transformer: LayerNormalization, Mul by 1 + scale(t), Add of shift(t).",
        "Nothing. The constant parts, such as 1 + scale, are folded into the layer that computes the scale.",
    ),
    Reason.NOT_CENTERED: Explanation(
        "With --center a LayerNorm becomes an RMSNorm where its input has no mean. That is so if every operator that "
        "writes the residual stream is linear or a table, so that its weights can lose their mean, and if every "
        "operator that reads the stream is a LayerNorm, which does not see the mean.",
        "a post-norm transformer such as BERT, where the LayerNorm itself writes the stream that is added to.",
        "Leave out --center; the LayerNorm is one operator already. It is no default, because whole networks "
        "became up to 6 % faster or slower by it.",
    ),
    Reason.MIXED_STATISTICS: Explanation(
        "A norm operator divides by the root of one variance or mean square. Here several statistics are added before "
        "the root is taken, or the data itself is part of what it is divided by.",
        "SwitchNorm, whose variance is a weighted sum of those of a channel, of all channels and of the training data.",
        "Nothing; the operators stay as they are. Constants around them fold.",
    ),
    Reason.OTHER_STATISTICS: Explanation(
        "A norm operator takes mean and variance over whole axes. Here they are those of the steps so far, of a window "
        "around each place, or the smallest and largest entries.",
        "the cumulative LayerNorm of a causal speech model, whose mean is a CumSum divided by the number of steps.",
        "Nothing; the operators stay as they are. Constants around them fold.",
    ),
}
