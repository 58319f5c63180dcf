"""Published norms and where they come from; each is exported between two linear layers.

A library spells the operations of ``formulas`` its own way, and has layers of its own for some norms; its exporter
makes the file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.sweeps.norms import formulas
from tests.sweeps.norms.formulas import CHANNELS, SIDE, TOKENS

TOKEN_KIND, IMAGE_KIND = "tokens", "image"
STYLE, MAP = "style", "map"  # a second input: a vector a sample, or an image


class Weights:
    """Trained weights, the same for every library: drawn in the order in which they are asked for."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(5)

    def draw(self, shape: tuple[int, ...], near: float, spread: float) -> Any:
        """Return an array around ``near``; never below a fifth of it, where it is above 0."""
        array = near + spread * self._random.standard_normal(shape)
        return (np.maximum(array, near / 5) if near > 0 else array).astype(np.float32)


@dataclass(frozen=True)
class Published:
    """A norm: what makes it of a value, what it is given, and where it was published."""

    formula: Callable[[Any, Any], Any]
    kind: str
    source: str
    second: str = ""


_PAPER = "https://arxiv.org/abs/"
NORMS: dict[str, Published] = {
    "LayerNorm": Published(formulas.layer_norm, TOKEN_KIND, _PAPER + "1607.06450"),
    "LayerNorm without affine": Published(formulas.layer_norm_without_affine, TOKEN_KIND, _PAPER + "1911.07013"),
    "LayerNorm over 2 axes": Published(formulas.layer_norm_of_two_axes, TOKEN_KIND, _PAPER + "1607.06450"),
    "LayerNorm of the Annotated Transformer": Published(
        formulas.annotated_layer_norm, TOKEN_KIND, "https://nlp.seas.harvard.edu/annotated-transformer/"
    ),
    "LayerNorm over 3 axes": Published(formulas.layer_norm_of_images, IMAGE_KIND, _PAPER + "1607.06450"),
    "LayerNorm over channels": Published(formulas.layer_norm_of_channels, IMAGE_KIND, _PAPER + "2201.03545"),
    "RMSNorm": Published(formulas.rms_norm, TOKEN_KIND, _PAPER + "1910.07467"),
    "RMSNorm with 1 + gamma": Published(formulas.gemma_rms_norm, TOKEN_KIND, _PAPER + "2403.08295"),
    "RMSNorm over channels": Published(formulas.rms_norm_of_channels, IMAGE_KIND, _PAPER + "2503.20314"),
    "CRMSNorm": Published(formulas.compressed_rms_norm, TOKEN_KIND, _PAPER + "2305.14858"),
    "partial RMSNorm": Published(formulas.partial_rms_norm, TOKEN_KIND, _PAPER + "1910.07467"),
    "RMSNorm in groups": Published(formulas.group_rms_norm, TOKEN_KIND, _PAPER + "2405.21060"),
    "gated RMSNorm": Published(formulas.gated_rms_norm, TOKEN_KIND, _PAPER + "2405.21060"),
    "ScaleNorm": Published(formulas.scale_norm, TOKEN_KIND, _PAPER + "1910.05895"),
    "Dynamic Tanh": Published(formulas.dynamic_tanh, TOKEN_KIND, _PAPER + "2503.10622"),
    "Derf": Published(formulas.dynamic_erf, TOKEN_KIND, _PAPER + "2512.10938"),
    "BiasNorm": Published(formulas.bias_norm, TOKEN_KIND, _PAPER + "2310.11230"),
    "BasicNorm": Published(formulas.basic_norm, TOKEN_KIND, "https://github.com/k2-fsa/icefall"),
    "AdaLN": Published(formulas.ada_ln, TOKEN_KIND, _PAPER + "2212.09748", STYLE),
    "AdaNorm": Published(formulas.ada_norm, TOKEN_KIND, _PAPER + "1911.07013"),
    "QK-norm": Published(formulas.qk_norm, TOKEN_KIND, _PAPER + "2302.05442"),
    "cosine attention": Published(formulas.cosine_attention, TOKEN_KIND, _PAPER + "2111.09883"),
    "cosine normalization": Published(formulas.cosine_layer, TOKEN_KIND, _PAPER + "1702.05870"),
    "DeepNorm": Published(formulas.deep_norm, TOKEN_KIND, _PAPER + "2203.00555"),
    "LayerScale": Published(formulas.layer_scale, TOKEN_KIND, _PAPER + "2103.17239"),
    "Sandwich-LN": Published(formulas.sandwich_norm, TOKEN_KIND, _PAPER + "2105.13290"),
    "NormFormer": Published(formulas.norm_former, TOKEN_KIND, _PAPER + "2110.09456"),
    "ReZero": Published(formulas.re_zero, TOKEN_KIND, _PAPER + "2003.04887"),
    "PowerNorm": Published(formulas.power_norm, TOKEN_KIND, _PAPER + "2003.07845"),
    "nGPT on the hypersphere": Published(formulas.hypersphere, TOKEN_KIND, _PAPER + "2410.01131"),
    "PairNorm": Published(formulas.pair_norm, TOKEN_KIND, _PAPER + "1909.12223"),
    "GraphNorm": Published(formulas.graph_norm, TOKEN_KIND, _PAPER + "2009.03294"),
    "RevIN": Published(formulas.reversible_instance_norm, TOKEN_KIND, "https://openreview.net/forum?id=cGDAkQo1C0p"),
    "squash": Published(formulas.squash, TOKEN_KIND, _PAPER + "1710.09829"),
    "cumulative LayerNorm": Published(formulas.cumulative_layer_norm, TOKEN_KIND, _PAPER + "1809.07454"),
    "masked LayerNorm": Published(formulas.masked_layer_norm, TOKEN_KIND, _PAPER + "2208.10442", STYLE),
    "division by the deviation": Published(formulas.deviation_norm, TOKEN_KIND, _PAPER + "1911.07013"),
    "division by the mean magnitude": Published(formulas.magnitude_norm, TOKEN_KIND, _PAPER + "1803.01814"),
    "division by the largest magnitude": Published(formulas.largest_norm, TOKEN_KIND, _PAPER + "1803.01814"),
    "input standardizer": Published(formulas.input_standardizer, TOKEN_KIND, "https://scikit-learn.org"),
    "BatchNorm": Published(formulas.batch_norm, IMAGE_KIND, _PAPER + "1502.03167"),
    "BatchNorm before Relu and Conv": Published(formulas.batch_norm_in_front, IMAGE_KIND, _PAPER + "1603.05027"),
    "BatchNorm of the batch at run time": Published(formulas.batch_statistics, IMAGE_KIND, _PAPER + "1502.03167"),
    "mean-only BatchNorm": Published(formulas.mean_only_batch_norm, IMAGE_KIND, _PAPER + "1602.07868"),
    "batch renormalization": Published(formulas.batch_renorm, IMAGE_KIND, _PAPER + "1702.03275"),
    "virtual BatchNorm": Published(formulas.virtual_batch_norm, IMAGE_KIND, _PAPER + "1606.03498"),
    "conditional BatchNorm": Published(formulas.conditional_batch_norm, IMAGE_KIND, _PAPER + "1707.00683", STYLE),
    "InstanceNorm": Published(formulas.instance_norm, IMAGE_KIND, _PAPER + "1607.08022"),
    "AdaIN": Published(formulas.ada_in, IMAGE_KIND, _PAPER + "1703.06868", STYLE),
    "SPADE": Published(formulas.spade, IMAGE_KIND, _PAPER + "1903.07291", MAP),
    "IBN": Published(formulas.instance_batch_norm, IMAGE_KIND, _PAPER + "1807.09441"),
    "GroupNorm": Published(formulas.group_norm, IMAGE_KIND, _PAPER + "1803.08494"),
    "GroupNorm of one group": Published(formulas.group_norm_of_one, IMAGE_KIND, _PAPER + "2111.11418"),
    "SwitchNorm": Published(formulas.switch_norm, IMAGE_KIND, _PAPER + "1806.10779"),
    "PixelNorm": Published(formulas.pixel_norm, IMAGE_KIND, _PAPER + "1710.10196"),
    "LRN": Published(formulas.local_response_norm, IMAGE_KIND, "https://papers.nips.cc/paper/4824"),
    "GRN": Published(formulas.global_response_norm, IMAGE_KIND, _PAPER + "2301.00808"),
    "FRN with TLU": Published(formulas.filter_response_norm, IMAGE_KIND, _PAPER + "1911.09737"),
    "EvoNorm-B0": Published(formulas.evo_norm_b0, IMAGE_KIND, _PAPER + "2004.02967"),
    "EvoNorm-S0": Published(formulas.evo_norm_s0, IMAGE_KIND, _PAPER + "2004.02967"),
    "weight standardization": Published(formulas.weight_standardization, IMAGE_KIND, _PAPER + "1903.10520"),
    "weight norm": Published(formulas.weight_norm, IMAGE_KIND, _PAPER + "1602.07868"),
    "spectral norm": Published(formulas.spectral_norm, IMAGE_KIND, _PAPER + "1802.05957"),
    "mean variance normalization": Published(
        formulas.mean_variance_normalization,
        IMAGE_KIND,
        "https://onnx.ai/onnx/operators/onnx__MeanVarianceNormalization.html",
    ),
    "FiLM": Published(formulas.feature_modulation, IMAGE_KIND, _PAPER + "1709.07871", STYLE),
    "weight demodulation": Published(formulas.weight_demodulation, IMAGE_KIND, _PAPER + "1912.04958", STYLE),
    "SimAM": Published(formulas.energy_attention, IMAGE_KIND, "https://proceedings.mlr.press/v139/yang21o.html"),
    "PONO": Published(formulas.positional_norm, IMAGE_KIND, _PAPER + "1907.04312"),
    "local contrast normalization": Published(
        formulas.local_contrast_norm, IMAGE_KIND, "https://papers.nips.cc/paper/4824"
    ),
    "per-image standardization": Published(
        formulas.image_standardization,
        IMAGE_KIND,
        "https://www.tensorflow.org/api_docs/python/tf/image/per_image_standardization",
    ),
    "range normalization": Published(formulas.range_norm, IMAGE_KIND, _PAPER + "1803.01814"),
    "GDN": Published(formulas.divisive_normalization, IMAGE_KIND, _PAPER + "1511.06281"),
}


def network(f: Any, name: str, x: Any) -> Any:
    """Return a linear layer, the norm and another linear layer of ``x``: what a norm stands between."""
    published = NORMS[name]
    linear = f.conv if published.kind == IMAGE_KIND else f.dense
    layer = f.layers.get(name)
    inner = linear(x, CHANNELS)
    normed = published.formula(f, inner) if layer is None else layer(f, inner)
    return linear(normed, CHANNELS)


def shapes_of(name: str, channel: int) -> list[tuple[int, ...]]:
    """Return the shapes of the inputs, without the batch: data first, then the second input where there is one."""
    published = NORMS[name]

    def image(channels: int) -> tuple[int, ...]:
        return (channels, SIDE, SIDE) if channel == 1 else (SIDE, SIDE, channels)

    data = image(CHANNELS) if published.kind == IMAGE_KIND else (TOKENS, CHANNELS)
    second: dict[str, list[tuple[int, ...]]] = {STYLE: [(CHANNELS,)], MAP: [image(CHANNELS)]}
    return [data, *second.get(published.second, ())]


def save_all(folder: str, names: list[str], export: Callable[[str, str], None]) -> int:
    """Call ``export(name, path)`` for each norm; say which failed, and go on."""
    failed = 0
    for name in names or list(NORMS):
        try:
            export(name, f"{folder}/{name.replace(' ', '_')}.onnx")
        except (Exception, SystemExit) as fault:  # noqa: BLE001  # one norm at fault must not stop the others
            failed += 1
            print(f"{name}: {type(fault).__name__}: {str(fault)[:200]}", flush=True)  # noqa: T201  # a sweep's result
    return failed
