"""Formulas of published norms, in terms of a small set of operations that every library has.

``f`` is the library: images have their channels on ``f.channel``, tokens on the last axis.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

CHANNELS, GROUPS, TOKENS, SIDE, HEADS = 16, 4, 6, 5, 2


# -- parts ---------------------------------------------------------------------------------------------------------
def channels_of(f: Any, x: Any) -> int:
    return int(f.channel if f.rank(x) == 4 else f.rank(x) - 1)


def per_channel(f: Any, x: Any, near: float = 0.0, spread: float = 0.3, width: int = CHANNELS) -> Any:
    """Return a weight for each channel of ``x``, in the shape that broadcasts."""
    is_first = f.rank(x) == 4 and f.channel == 1
    return f.weight((width, 1, 1) if is_first else (width,), near, spread)


def scaled(f: Any, x: Any, width: int = CHANNELS) -> Any:
    return x * per_channel(f, x, 1.0, 0.3, width) + per_channel(f, x, 0.0, 0.3, width)


def standardized(f: Any, x: Any, axes: tuple[int, ...], eps: float = 1e-5) -> Any:
    return (x - f.mean(x, axes)) * f.rsqrt(f.var(x, axes) + eps)


def rms(f: Any, x: Any, axes: tuple[int, ...] = (-1,), eps: float = 1e-5) -> Any:
    return x * f.rsqrt(f.mean(f.square(x), axes) + eps)


def unit(f: Any, x: Any, axes: tuple[int, ...] = (-1,)) -> Any:
    return x / f.maximum(f.length(x, axes), 1e-6)


def style_of(f: Any, x: Any, near: float) -> Any:
    """Return a scale or shift that a layer makes of the second input, in the shape that broadcasts to ``x``."""
    made = f.dense(f.second, CHANNELS) + near
    if f.rank(x) == 3:
        return f.reshape(made, (-1, 1, CHANNELS))
    return f.reshape(made, (-1, CHANNELS, 1, 1) if f.channel == 1 else (-1, 1, 1, CHANNELS))


def in_groups(f: Any, x: Any, norm: Callable[[Any, tuple[int, ...]], Any]) -> Any:
    """Apply ``norm`` to each group of channels of an image, over its pixels too."""
    part = CHANNELS // GROUPS
    if f.channel == 1:
        split, back, axes = (-1, GROUPS, part, SIDE, SIDE), (-1, CHANNELS, SIDE, SIDE), (2, 3, 4)
    else:
        split, back, axes = (-1, SIDE, SIDE, GROUPS, part), (-1, SIDE, SIDE, CHANNELS), (1, 2, 4)
    return f.reshape(norm(f.reshape(x, split), axes), back)


def frozen(f: Any, x: Any) -> Any:
    """Normalize with stored statistics."""
    mean, variance = per_channel(f, x), per_channel(f, x, 1.0)
    return (x - mean) * f.rsqrt(variance + 1e-5)


def attention(f: Any, x: Any, prepared: Callable[[Any], Any]) -> Any:
    query, key, value = (f.dense(x, CHANNELS) for _ in range(3))
    weights = f.softmax(f.matmul(prepared(query), f.swap(prepared(key))) * f.weight((1,), 2.0, 0.0))
    return f.matmul(weights, value)


# -- of tokens -----------------------------------------------------------------------------------------------------
def layer_norm(f: Any, x: Any) -> Any:
    return scaled(f, standardized(f, x, (-1,)))


def layer_norm_without_affine(f: Any, x: Any) -> Any:
    return standardized(f, x, (-1,))


def layer_norm_of_two_axes(f: Any, x: Any) -> Any:
    normed = standardized(f, x, (-2, -1))
    return normed * f.weight((TOKENS, CHANNELS), 1.0, 0.3) + f.weight((TOKENS, CHANNELS), 0.0, 0.3)


def annotated_layer_norm(f: Any, x: Any) -> Any:
    """The Annotated Transformer: the deviation with n - 1, and epsilon outside the root."""
    return scaled(f, (x - f.mean(x, (-1,))) / (f.deviation(x, (-1,)) + 1e-6))


def rms_norm(f: Any, x: Any) -> Any:
    return rms(f, x) * f.weight((CHANNELS,), 1.0, 0.3)


def gemma_rms_norm(f: Any, x: Any) -> Any:
    return rms(f, x) * (1.0 + f.weight((CHANNELS,), 0.0, 0.3))


def compressed_rms_norm(f: Any, x: Any) -> Any:
    total = f.sum(x, (-1,))
    square = (f.sum(f.square(x), (-1,)) + f.square(total)) / (CHANNELS + 1.0)
    return x * f.rsqrt(square + 1e-5) * f.weight((CHANNELS,), 1.0, 0.3)


def partial_rms_norm(f: Any, x: Any) -> Any:
    part = f.part(x, CHANNELS // 4)
    return x * f.rsqrt(f.mean(f.square(part), (-1,)) + 1e-5) * f.weight((CHANNELS,), 1.0, 0.3)


def group_rms_norm(f: Any, x: Any) -> Any:
    parts = f.reshape(x, (-1, TOKENS, GROUPS, CHANNELS // GROUPS))
    return f.reshape(rms(f, parts), (-1, TOKENS, CHANNELS)) * f.weight((CHANNELS,), 1.0, 0.3)


def gated_rms_norm(f: Any, x: Any) -> Any:
    gate = f.dense(x, CHANNELS)
    return rms_norm(f, x * (gate * f.sigmoid(gate)))


def scale_norm(f: Any, x: Any) -> Any:
    return f.weight((1,), 3.0, 0.0) * unit(f, x)


def dynamic_tanh(f: Any, x: Any) -> Any:
    return scaled(f, f.tanh(f.weight((1,), 0.7, 0.0) * x))


def dynamic_erf(f: Any, x: Any) -> Any:
    return scaled(f, f.erf(f.weight((1,), 0.7, 0.0) * x + f.weight((1,), 0.1, 0.0)))


def bias_norm(f: Any, x: Any) -> Any:
    square = f.mean(f.square(x - f.weight((CHANNELS,), 0.0, 0.3)), (-1,))
    return x * f.rsqrt(square) * f.weight((1,), 1.5, 0.0)


def basic_norm(f: Any, x: Any) -> Any:
    return x * f.rsqrt(f.mean(f.square(x), (-1,)) + f.exp(f.weight((1,), -1.4, 0.0)))


def ada_ln(f: Any, x: Any) -> Any:
    return standardized(f, x, (-1,)) * style_of(f, x, 1.0) + style_of(f, x, 0.0)


def ada_norm(f: Any, x: Any) -> Any:
    normed = standardized(f, x, (-1,))
    return (1.0 - normed * 0.1) * normed * 1.2


def qk_norm(f: Any, x: Any) -> Any:
    return attention(f, x, lambda value: rms_norm(f, value))


def cosine_attention(f: Any, x: Any) -> Any:
    return attention(f, x, lambda value: unit(f, value))


def cosine_layer(f: Any, x: Any) -> Any:
    return f.matmul(unit(f, x), unit(f, f.weight((CHANNELS, CHANNELS), 0.0, 0.3), (0,)))


def deep_norm(f: Any, x: Any) -> Any:
    return layer_norm(f, x * 2.2 + f.dense(x, CHANNELS))


def layer_scale(f: Any, x: Any) -> Any:
    return x + f.dense(layer_norm(f, x), CHANNELS) * f.weight((CHANNELS,), 0.1, 0.05)


def sandwich_norm(f: Any, x: Any) -> Any:
    return x + layer_norm(f, f.dense(layer_norm(f, x), CHANNELS))


def norm_former(f: Any, x: Any) -> Any:
    heads = f.reshape(attention(f, x, lambda value: value), (-1, TOKENS, HEADS, CHANNELS // HEADS))
    joined = f.reshape(heads * f.weight((HEADS, 1), 1.0, 0.3), (-1, TOKENS, CHANNELS))
    return x + layer_norm(f, f.dense(joined, CHANNELS))


def re_zero(f: Any, x: Any) -> Any:
    return x + f.dense(x, CHANNELS) * f.weight((1,), 0.3, 0.0)


def power_norm(f: Any, x: Any) -> Any:
    return scaled(f, x / f.sqrt(f.weight((CHANNELS,), 1.0, 0.3) + 1e-5))


def hypersphere(f: Any, x: Any) -> Any:
    point = unit(f, x)
    return unit(f, point + f.weight((CHANNELS,), 0.3, 0.1) * (unit(f, f.dense(point, CHANNELS)) - point))


def pair_norm(f: Any, x: Any) -> Any:
    centred = x - f.mean(x, (1,))
    return centred / f.sqrt(f.mean(f.sum(f.square(centred), (-1,)), (1,)) + 1e-6)


def graph_norm(f: Any, x: Any) -> Any:
    centred = x - f.mean(x, (1,)) * f.weight((CHANNELS,), 0.8, 0.1)
    return scaled(f, centred / f.sqrt(f.mean(f.square(centred), (1,)) + 1e-5))


def reversible_instance_norm(f: Any, x: Any) -> Any:
    mean, root = f.mean(x, (1,)), f.sqrt(f.var(x, (1,)) + 1e-5)
    made = f.dense(scaled(f, (x - mean) / root), CHANNELS)
    return made * root + mean


def input_standardizer(f: Any, x: Any) -> Any:
    return (x - f.weight((CHANNELS,), 0.0, 1.0)) / f.weight((CHANNELS,), 1.0, 0.3)


def squash(f: Any, x: Any) -> Any:
    square = f.sum(f.square(x), (-1,))
    return square / (square + 1.0) * x / f.sqrt(square + 1e-7)


def cumulative_layer_norm(f: Any, x: Any) -> Any:
    """The statistics of a step are those of all steps so far, as in Conv-TasNet."""
    steps = f.constant([[float(step + 1)] for step in range(TOKENS)])
    mean = f.cumulated(f.mean(x, (-1,)), 1) / steps
    square = f.cumulated(f.mean(f.square(x), (-1,)), 1) / steps
    return scaled(f, (x - mean) / f.sqrt(square - f.square(mean) + 1e-5))


def masked_layer_norm(f: Any, x: Any) -> Any:
    """The statistics are those of what a mask keeps."""
    mask = f.sigmoid(style_of(f, x, 0.0))
    count = f.sum(mask, (-1,))
    mean = f.sum(x * mask, (-1,)) / count
    variance = f.sum(f.square((x - mean) * mask), (-1,)) / count
    return scaled(f, (x - mean) / f.sqrt(variance + 1e-5))


def deviation_norm(f: Any, x: Any) -> Any:
    return x / f.sqrt(f.var(x, (-1,)) + 1e-5) * f.weight((CHANNELS,), 1.0, 0.3)


def magnitude_norm(f: Any, x: Any) -> Any:
    return x / (f.mean(f.magnitude(x), (-1,)) + 1e-6) * f.weight((CHANNELS,), 1.0, 0.3)


def largest_norm(f: Any, x: Any) -> Any:
    return x / (f.largest(f.magnitude(x), (-1,)) + 1e-6) * f.weight((CHANNELS,), 1.0, 0.3)


# -- of images -----------------------------------------------------------------------------------------------------
def batch_norm(f: Any, x: Any) -> Any:
    return scaled(f, frozen(f, x))


def batch_norm_in_front(f: Any, x: Any) -> Any:
    return f.relu(batch_norm(f, x))


def batch_statistics(f: Any, x: Any) -> Any:
    return scaled(f, standardized(f, x, (0, *f.space)))


def mean_only_batch_norm(f: Any, x: Any) -> Any:
    return x - per_channel(f, x) + per_channel(f, x)


def batch_renorm(f: Any, x: Any) -> Any:
    return scaled(f, frozen(f, x) * per_channel(f, x, 1.0, 0.1) + per_channel(f, x, 0.0, 0.1))


def virtual_batch_norm(f: Any, x: Any) -> Any:
    """Statistics of a fixed batch of 63 samples and of this one."""
    mean = f.mean(x, f.space) / 64.0 + per_channel(f, x) * (63 / 64)
    square = f.mean(f.square(x), f.space) / 64.0 + per_channel(f, x, 2.0) * (63 / 64)
    return scaled(f, (x - mean) / f.sqrt(square - f.square(mean) + 1e-5))


def instance_norm(f: Any, x: Any) -> Any:
    return scaled(f, standardized(f, x, f.space))


def group_norm(f: Any, x: Any) -> Any:
    return scaled(f, in_groups(f, x, lambda parts, axes: standardized(f, parts, axes)))


def group_norm_of_one(f: Any, x: Any) -> Any:
    return scaled(f, standardized(f, x, (1, 2, 3)))


def layer_norm_of_images(f: Any, x: Any) -> Any:
    shape = (CHANNELS, SIDE, SIDE) if f.channel == 1 else (SIDE, SIDE, CHANNELS)
    return standardized(f, x, (1, 2, 3)) * f.weight(shape, 1.0, 0.3) + f.weight(shape, 0.0, 0.3)


def layer_norm_of_channels(f: Any, x: Any) -> Any:
    return scaled(f, standardized(f, x, (f.channel,)))


def rms_norm_of_channels(f: Any, x: Any) -> Any:
    return unit(f, x, (f.channel,)) * 4.0 * per_channel(f, x, 1.0, 0.3)


def pixel_norm(f: Any, x: Any) -> Any:
    return rms(f, x, (f.channel,), 1e-8)


def local_response_norm(f: Any, x: Any) -> Any:
    square = f.neighbours(f.square(x), 5)
    return x / f.power(1.0 + square * 0.02, 0.75)


def global_response_norm(f: Any, x: Any) -> Any:
    length = f.length(x, f.space)
    return scaled(f, x * (length / (f.mean(length, (f.channel,)) + 1e-6))) + x


def filter_response_norm(f: Any, x: Any) -> Any:
    return f.maximum(scaled(f, rms(f, x, f.space, 1e-6)), per_channel(f, x))


def evo_norm_b0(f: Any, x: Any) -> Any:
    stored = f.sqrt(per_channel(f, x, 1.0) + 1e-5)
    own = per_channel(f, x, 1.0) * x + f.sqrt(f.var(x, f.space) + 1e-5)
    return scaled(f, x / f.maximum(stored, own))


def evo_norm_s0(f: Any, x: Any) -> Any:
    gated = x * f.sigmoid(per_channel(f, x, 1.0) * x)
    root = in_groups(f, x, lambda parts, axes: f.broadcast(f.sqrt(f.var(parts, axes) + 1e-5), parts))
    return scaled(f, gated / root)


def conditional_batch_norm(f: Any, x: Any) -> Any:
    return frozen(f, x) * style_of(f, x, 1.0) + style_of(f, x, 0.0)


def spade(f: Any, x: Any) -> Any:
    return standardized(f, x, f.space) * (1.0 + f.conv(f.second, CHANNELS)) + f.conv(f.second, CHANNELS)


def ada_in(f: Any, x: Any) -> Any:
    return standardized(f, x, f.space) * style_of(f, x, 1.0) + style_of(f, x, 0.0)


def instance_batch_norm(f: Any, x: Any) -> Any:
    half = CHANNELS // 2
    one, two = f.halves(x)
    instance = scaled(f, standardized(f, one, f.space), half)
    mean, variance = per_channel(f, two, 0.0, 0.3, half), per_channel(f, two, 1.0, 0.3, half)
    return f.joined((instance, scaled(f, (two - mean) * f.rsqrt(variance + 1e-5), half)), f.channel)


def switch_norm(f: Any, x: Any) -> Any:
    mean, variance = f.mean(x, f.space), f.var(x, f.space)
    square = variance + f.square(mean)
    whole = f.mean(mean, (f.channel,))
    whole_variance = f.mean(square, (f.channel,)) - f.square(whole)
    of_mean, of_variance = f.softmax(f.weight((3,), 0.0, 1.0)), f.softmax(f.weight((3,), 0.0, 1.0))
    mean = of_mean[0] * mean + of_mean[1] * whole + of_mean[2] * per_channel(f, x)
    variance = of_variance[0] * variance + of_variance[1] * whole_variance + of_variance[2] * per_channel(f, x, 1.0)
    return scaled(f, (x - mean) / f.sqrt(variance + 1e-5))


def weight_standardization(f: Any, x: Any) -> Any:
    kernel = f.kernel()
    return f.convolved(x, standardized(f, kernel, f.kernel_inputs) * f.weight(f.kernel_scale, 1.0, 0.3))


def weight_norm(f: Any, x: Any) -> Any:
    kernel = f.kernel()
    return f.convolved(x, kernel / f.length(kernel, f.kernel_inputs) * f.weight(f.kernel_scale, 1.0, 0.3))


def spectral_norm(f: Any, x: Any) -> Any:
    weight, left, right = (f.weight(shape, 0.0, 0.5) for shape in ((CHANNELS, CHANNELS), (1, CHANNELS), (CHANNELS, 1)))
    if f.channel == 1:
        x = f.moved(x, (0, 2, 3, 1))
    y = f.matmul(x, weight / f.reshape(f.matmul(f.matmul(left, weight), right), (1,)))
    return f.moved(y, (0, 3, 1, 2)) if f.channel == 1 else y


def mean_variance_normalization(f: Any, x: Any) -> Any:
    return (x - f.mean(x, (0, *f.space))) / (f.sqrt(f.var(x, (0, *f.space))) + 1e-9)


def feature_modulation(f: Any, x: Any) -> Any:
    return x * style_of(f, x, 1.0) + style_of(f, x, 0.0)


def weight_demodulation(f: Any, x: Any) -> Any:
    kernel, style = f.kernel(), style_of(f, x, 1.0)
    power = f.sum(f.square(kernel), f.kernel_space)
    squares = f.matmul(f.square(f.reshape(style, (-1, CHANNELS))), f.input_rows(power))
    shape = (-1, CHANNELS, 1, 1) if f.channel == 1 else (-1, 1, 1, CHANNELS)
    return f.convolved(x * style, kernel) * f.reshape(f.rsqrt(squares + 1e-8), shape)


def divisive_normalization(f: Any, x: Any) -> Any:
    return x / f.sqrt(f.square(f.conv(f.square(x), CHANNELS)) + 1.0)


def energy_attention(f: Any, x: Any) -> Any:
    distance = f.square(x - f.mean(x, f.space))
    variance = f.sum(distance, f.space) / (SIDE * SIDE - 1.0)
    return x * f.sigmoid(distance / ((variance + 1e-4) * 4.0) + 0.5)


def positional_norm(f: Any, x: Any) -> Any:
    """PONO: the moments over the channels of each place, given back behind a layer (moment shortcut)."""
    mean, root = f.mean(x, (f.channel,)), f.sqrt(f.var(x, (f.channel,)) + 1e-5)
    return f.conv((x - mean) / root, CHANNELS) * root + mean


def local_contrast_norm(f: Any, x: Any) -> Any:
    centred = x - f.blurred(x)
    return centred / f.sqrt(f.blurred(f.square(centred)) + 0.1)


def image_standardization(f: Any, x: Any) -> Any:
    """TensorFlow's ``per_image_standardization``: the deviation is bounded from below."""
    root = f.maximum(f.sqrt(f.var(x, (1, 2, 3))), (CHANNELS * SIDE * SIDE) ** -0.5)
    return (x - f.mean(x, (1, 2, 3))) / root


def range_norm(f: Any, x: Any) -> Any:
    low = f.least(x, f.space)
    return (x - low) / (f.largest(x, f.space) - low + 1e-6)
