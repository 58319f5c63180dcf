"""Everything a caller can choose, in one frozen value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """The choices for ``optimize`` and ``inspect``.

    ``skip`` holds names of rules or nodes, ``only`` names of rules; empty means all. ``inputs`` are files or folders
    with feeds for the verification, ``input_specs`` shape those that are made up. ``rtol`` and ``atol`` replace the
    calibrated tolerance; ``threads`` are those of its runs. ``assume_eval`` treats training-mode BatchNormalization as
    inference. ``fold_norm_scale`` moves gamma and beta of LayerNorm and RMSNorm into all MatMuls that follow;
    ``extra_channel`` carries a shift through zero padding by one more channel even where that is slower on a CPU.
    ``strict`` fails where a guilty fold would be rolled back. ``target`` names the runtime to write norms for;
    ``opset`` is "auto", "keep" or a number, "" for the target's habit; ``contrib`` allows operators of com.microsoft.
    """

    skip: frozenset[str] = frozenset()
    only: frozenset[str] = frozenset()
    verify: bool = True
    onnxsim: bool = True
    assume_eval: bool = False
    fold_norm_scale: bool = False
    extra_channel: bool = False
    strict: bool = False
    target: str = "onnxruntime"
    opset: str | int = ""
    contrib: bool = False
    seed: int = 0
    inputs: tuple[str, ...] = ()
    input_specs: tuple[str, ...] = ()
    rtol: float | None = None
    atol: float | None = None
    threads: int = 1
