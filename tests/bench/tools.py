"""Run one optimizer on one file, in a process of its own: ``python tools.py TOOL INPUT OUTPUT``.

The process prints one JSON object: wall and processor seconds (imports included) and the peak memory in bytes, of the
tool's child processes too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

LIMIT = 600  # seconds that a tool may take for one model


@dataclass(frozen=True)
class ToolRun:
    """The cost of one run of a tool: wall and processor seconds, peak bytes; ``error`` is empty where it worked."""

    seconds: float = 0.0
    processor: float = 0.0
    peak: int = 0
    error: str = ""


def run_normfold(source: str, output: str) -> None:
    """Optimize and prove with the default options."""
    import normfold

    normfold.optimize(source, output)


def run_normfold_unproven(source: str, output: str) -> None:
    """Optimize without the proof, which no other tool makes."""
    import normfold

    normfold.optimize(source, output, verify=False)


def run_onnxsim(source: str, output: str) -> None:
    """Simplify with the defaults of onnxsim."""
    import onnx
    import onnxsim

    model, _ = onnxsim.simplify(onnx.load(source))
    onnx.save(model, output)


def run_onnxslim(source: str, output: str) -> None:
    """Slim with the defaults of onnxslim."""
    import onnx
    import onnxslim

    onnx.save(onnxslim.slim(source), output)


def run_onnxscript(source: str, output: str) -> None:
    """Optimize with onnxscript and its default rewrite rules, those for BatchNormalization included."""
    import onnx_ir as ir
    from onnxscript import optimizer, rewriter

    model = ir.load(source)
    optimizer.optimize(model)
    model = rewriter.rewrite(model)
    ir.save(model, output)


def run_onnxoptimizer(source: str, output: str) -> None:
    """Run every fuse and elimination pass of onnxoptimizer."""
    import onnx
    import onnxoptimizer

    model = onnxoptimizer.optimize(onnx.load(source), onnxoptimizer.get_fuse_and_elimination_passes())
    onnx.save(model, output)


def run_onnxruntime(source: str, output: str) -> None:
    """Save what ONNX Runtime's optimizer makes of it at level EXTENDED, the highest that is not for one machine."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = output
    ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


# Each tool, the package that it needs, and how it is run.
TOOLS: dict[str, tuple[str, Callable[[str, str], None]]] = {
    "normfold": ("normfold", run_normfold),
    "normfold-unproven": ("normfold", run_normfold_unproven),
    "onnxsim": ("onnxsim", run_onnxsim),
    "onnxslim": ("onnxslim", run_onnxslim),
    "onnxscript": ("onnxscript", run_onnxscript),
    "onnxoptimizer": ("onnxoptimizer", run_onnxoptimizer),
    "onnxruntime": ("onnxruntime", run_onnxruntime),
}


def installed() -> list[str]:
    """Return the tools whose package is installed, in the order of the table."""
    return [name for name, (package, _) in TOOLS.items() if find_spec(package)]


def run_tool(name: str, source: Path, output: Path) -> ToolRun:
    """Run a tool in a process of its own; a crash, a failure or a missing output becomes its ``error``."""
    command = [sys.executable, __file__, name, str(source), str(output)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (os.getcwd(), *sys.path)))}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return ToolRun(error=f"took more than {LIMIT} seconds")
    if done.returncode or not output.exists():
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return ToolRun(error=lines[-1][:200])
    return ToolRun(**json.loads(done.stdout.strip().splitlines()[-1]))


def main() -> None:
    """Run the tool that the command line names and print what it cost."""
    name, source, output = sys.argv[1:4]
    if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
        del sys.path[0]  # the modules of this folder must not answer to top-level names
    TOOLS[name][1](source, output)
    from normfold.timing.worker import peak_memory

    cost = {"processor": time.process_time(), "peak": peak_memory()}
    try:
        import resource
    except ImportError:
        pass
    else:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        unit = 1 if sys.platform == "darwin" else 1024
        cost["processor"] += children.ru_utime + children.ru_stime
        cost["peak"] = max(int(cost["peak"]), children.ru_maxrss * unit)
    cost["seconds"] = time.perf_counter() - _START
    sys.stdout.write(f"\n{json.dumps(cost)}\n")


_START = time.perf_counter()
if __name__ == "__main__":
    main()
