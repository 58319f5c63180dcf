"""How fast models run whose norms were fused, next to the originals, in one process on one thread.

    python -m tests.sweeps.norm_speed MODEL.onnx ... [--rounds 15] [--target onnxruntime]

Both run under ONNX Runtime's default optimization, its own fusions included, in turns; printed are the medians and the
number of operators that ONNX Runtime fused by itself in either. Nothing is asserted: a busy machine is no fault.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path

import onnx
import onnx_ir as ir
import onnxruntime as ort

from normfold.constants.simplify import apply_facts, simplify
from normfold.findings.rules import Selection
from normfold.findings.verdict import Outcome
from normfold.fold.cleanup.tidy import tidy
from normfold.fuse.engine import fuse_norms
from tests.onnx_text import Tensors, feeds_of

_FUSED_BY_RUNTIME = (
    "Gelu", "BiasGelu", "QuickGelu", "FusedMatMul", "FusedConv", "Attention", "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization", "SimplifiedLayerNormalization", "LayerNormalization", "RMSNormalization",
    "FastGelu", "MatMulNBits", "RotaryEmbedding", "MultiHeadAttention",
)  # fmt: skip


def session_of(model: onnx.ModelProto, saved: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.optimized_model_filepath = str(saved)
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def fusions(saved: Path) -> Counter[str]:
    """What ONNX Runtime's optimizer left, of the operators that it makes."""
    nodes = onnx.load(saved, load_external_data=False).graph.node
    return Counter(node.op_type for node in nodes if node.op_type in _FUSED_BY_RUNTIME)


def fused(model: onnx.ModelProto, target: str) -> tuple[onnx.ModelProto, int]:
    intermediate = ir.from_proto(model)
    apply_facts(intermediate, simplify(model))
    verdicts = fuse_norms(intermediate, Selection(target=target))
    tidy(intermediate)
    return ir.to_proto(intermediate), sum(verdict.outcome is Outcome.FUSED for verdict in verdicts)


def times(sessions: list[ort.InferenceSession], feeds: Tensors, rounds: int) -> list[list[float]]:
    """Processor seconds of each run, the sessions in turns: with one thread, what other processes do counts little."""
    taken: list[list[float]] = [[] for _ in sessions]
    for number in range(rounds + 2):
        for session, own in zip(sessions, taken, strict=True):
            start = time.thread_time()
            session.run(None, feeds)
            if number >= 2:
                own.append(time.thread_time() - start)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--target", default="onnxruntime")
    parser.add_argument("--symbolic", type=int, default=2, help="the size of every symbolic dimension")
    chosen = parser.parse_args()
    for path in chosen.models:
        original = onnx.load(path)
        result, count = fused(original, chosen.target)
        with tempfile.TemporaryDirectory() as folder:
            saved = [Path(folder) / "a.onnx", Path(folder) / "b.onnx"]
            sessions = [session_of(model, file) for model, file in zip((original, result), saved, strict=True)]
            before, after = (fusions(file) for file in saved)
            feeds = feeds_of(original, symbolic=chosen.symbolic)
            taken = times(sessions, feeds, chosen.rounds)
        medians = [statistics.median(each) for each in taken]
        ratio = statistics.median(a / b for a, b in zip(*taken, strict=True))
        print(  # noqa: T201  # a sweep's result is what it prints
            f"{path.name}: {count} fused, {medians[0] * 1e3:.2f} ms -> {medians[1] * 1e3:.2f} ms, x{ratio:.2f}; "
            f"{dict(before)} -> {dict(after)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
