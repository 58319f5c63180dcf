"""Fold norms and constant affines into the linear operators around them, and prove it before anything is written."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# ONNX Runtime writes files into TMPDIR and the user's cache when it is imported, unless this is set before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Imported at once, although the rest waits: importing the room of the same name would hide the function otherwise.
from normfold._version import __version__ as __version__
from normfold.verify import Verification, verify

if TYPE_CHECKING:
    from normfold.ci.diff import Change
    from normfold.ci.functions import bench, check, diff
    from normfold.errors import CrashError, NormfoldError, SourceError, UsageError, WriteError
    from normfold.findings.reason import Obstacle, Reason
    from normfold.findings.verdict import Finding, Outcome, Verdict
    from normfold.many import optimize_many
    from normfold.pipeline import inspect, optimize
    from normfold.pytorch.export import export
    from normfold.pytorch.fold_module import Folded, fold_module
    from normfold.report.report import Report
    from normfold.result import Inspection, NotProven, Result
    from normfold.timing.benchmark import BenchError, Benchmark

# Where each public name lives. It is imported at first use, so that `normfold --help` stays quick.
_HOMES = {
    "BenchError": "normfold.timing.benchmark",
    "Benchmark": "normfold.timing.benchmark",
    "Change": "normfold.ci.diff",
    "CrashError": "normfold.errors",
    "Report": "normfold.report.report",
    "bench": "normfold.ci.functions",
    "check": "normfold.ci.functions",
    "diff": "normfold.ci.functions",
    "NormfoldError": "normfold.errors",
    "SourceError": "normfold.errors",
    "UsageError": "normfold.errors",
    "WriteError": "normfold.errors",
    "Inspection": "normfold.pipeline",
    "NotProven": "normfold.pipeline",
    "Result": "normfold.pipeline",
    "inspect": "normfold.pipeline",
    "optimize": "normfold.pipeline",
    "optimize_many": "normfold.many",
    "Folded": "normfold.pytorch.fold_module",
    "export": "normfold.pytorch.export",
    "fold_module": "normfold.pytorch.fold_module",
    "Obstacle": "normfold.findings.reason",
    "Reason": "normfold.findings.reason",
    "Finding": "normfold.findings.verdict",
    "Outcome": "normfold.findings.verdict",
    "Verdict": "normfold.findings.verdict",
}

_CALLS_WORKERS = ("check", "inspect", "optimize", "verify")
"""Functions that run native code in a worker, which starts while they load."""

__all__ = [
    "BenchError",
    "Benchmark",
    "Change",
    "CrashError",
    "Finding",
    "Folded",
    "Inspection",
    "NormfoldError",
    "NotProven",
    "Obstacle",
    "Outcome",
    "Reason",
    "Report",
    "Result",
    "SourceError",
    "UsageError",
    "Verdict",
    "Verification",
    "WriteError",
    "bench",
    "check",
    "diff",
    "export",
    "fold_module",
    "inspect",
    "optimize",
    "optimize_many",
    "verify",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "testing":
        return import_module("normfold.testing")
    if name not in _HOMES:
        raise AttributeError(f"module 'normfold' has no attribute {name!r}")
    if name in _CALLS_WORKERS:
        import_module("normfold.native.isolated").start()
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Name what can be used here, so that help() works without torch too."""
    from importlib.util import find_spec

    has_torch = find_spec("torch") is not None
    here = [name for name in __all__ if has_torch or not _HOMES.get(name, "").startswith("normfold.pytorch")]
    return [*here, "__version__", "testing"]
