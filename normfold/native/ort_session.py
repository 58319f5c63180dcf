"""Open a session of ONNX Runtime: the one place that says with which options.

ONNX Runtime is imported with the first session, so that rooms which seldom need it stay light.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnxruntime as ort


class OptimizationLevel(Enum):
    """How much ONNX Runtime may rewrite a model before it runs it; the values are its own names."""

    DISABLE_ALL = "disable_all"
    BASIC = "basic"
    EXTENDED = "extended"
    DEFAULT = "default"


_LEVELS = {
    OptimizationLevel.DISABLE_ALL: "ORT_DISABLE_ALL",
    OptimizationLevel.BASIC: "ORT_ENABLE_BASIC",
    OptimizationLevel.EXTENDED: "ORT_ENABLE_EXTENDED",
    OptimizationLevel.DEFAULT: "ORT_ENABLE_ALL",
}


class SessionError(Exception):
    """ONNX Runtime does not load a model; the text is the first line of its reason."""


@dataclass(frozen=True)
class SessionOptions:
    """How a session is opened.

    ``level`` says what the runtime may rewrite, and ``optimized`` is a path for the model as it rewrote it. ``threads``
    are those within an operator; operators run one after the other. ``settings`` are entries of its configuration, and
    ``libraries`` files of custom operators. A session that ``keeps_memory`` holds on to it for its next runs, as it
    does for users.
    """

    level: OptimizationLevel = OptimizationLevel.DISABLE_ALL
    threads: int = 1
    settings: Mapping[str, str] = field(default_factory=dict)
    libraries: Sequence[str] = ()
    optimized: str = ""
    keeps_memory: bool = True


def open_session(
    model: str | bytes,
    wanted: SessionOptions | None = None,
    *,
    folder: str | None = None,
    weights: Mapping[str, ort.OrtValue] | None = None,
) -> ort.InferenceSession:
    """Return a session over the path or the bytes of a model, on the CPU.

    The external data of bytes lies in ``folder``. ``weights`` are arrays in place of initializers with external data;
    they must live as long as the session. Raises SessionError if the runtime does not load the model.
    """
    import onnxruntime as ort

    wanted = wanted or SessionOptions()
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, _LEVELS[wanted.level])
    options.intra_op_num_threads, options.inter_op_num_threads = wanted.threads, 1
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = options.enable_mem_pattern = wanted.keeps_memory
    entries = dict(wanted.settings)
    if isinstance(model, bytes) and folder is not None:
        entries["session.model_external_initializers_file_folder_path"] = folder
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    if wanted.optimized:
        options.optimized_model_filepath = wanted.optimized
    if weights:
        options.add_external_initializers(list(weights), list(weights.values()))
    try:
        for library in wanted.libraries:
            options.register_custom_ops_library(library)
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's error classes share no public base
        raise SessionError(first_line(error)) from error


def first_line(error: Exception) -> str:
    """Return what an error says, on one line."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0][:400] if lines else type(error).__name__
