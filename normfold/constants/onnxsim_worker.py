"""The process that runs onnxsim: a model on stdin, the same model with its constants folded on stdout.

Run by path, never imported: onnxsim throws or grows memory on some models, and neither may reach the caller.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Read, fold, write. Whatever libraries print goes to stderr, so that stdout holds the model and nothing else."""
    if sys.path and os.path.realpath(sys.path[0] or ".") == os.path.dirname(os.path.realpath(__file__)):
        del sys.path[0]  # normfold's own modules must not answer to top-level names
    result = os.dup(1)
    os.dup2(2, 1)
    _limit(*map(int, sys.argv[1:]))
    sys.modules["torch"] = None  # type: ignore[assignment]  # onnxsim imports it for features not used here: 2 s
    import onnx
    import onnxsim

    model = onnx.ModelProto.FromString(sys.stdin.buffer.read())
    folded, _ = onnxsim.simplify(
        model,
        perform_optimization=False,
        include_subgraph=False,
        tensor_size_threshold="1MB",
    )
    with os.fdopen(result, "wb") as stdout:
        stdout.write(folded.SerializeToString())


def _limit(memory: int, seconds: int) -> None:
    """Bound the bytes that this process allocates and the time of the processor that it takes."""
    try:
        import resource
    except ImportError:  # not on this platform; the limit of the caller remains
        return
    limits = [(resource.RLIMIT_DATA, memory)]
    if hasattr(os, "sched_setaffinity"):  # else idle threads, one for each processor, take time of theirs too
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {allowed[os.getpid() % len(allowed)]})
        limits.append((resource.RLIMIT_CPU, seconds))
    for kind, limit in limits:
        hard = resource.getrlimit(kind)[1]
        if hard == resource.RLIM_INFINITY or hard > limit:
            resource.setrlimit(kind, (limit, hard))


if __name__ == "__main__":
    main()
