"""The process that one model is timed in: loads it, then runs it as often as each line of stdin says.

Run by path, never imported, so that its memory holds ONNX Runtime, the model and nothing else. It answers in JSON, one
object a line: seconds of each load, then seconds of each batch of runs, and at the end its peak memory in bytes.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any


def main() -> None:
    """``worker.py MODEL FEED.npz THREADS LOADS``."""
    if sys.path and os.path.realpath(sys.path[0] or ".") == os.path.dirname(os.path.realpath(__file__)):
        del sys.path[0]  # normfold's own modules must not answer to top-level names
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever libraries print
    model, feed_file, threads, loads = sys.argv[1:5]
    import numpy as np

    from normfold.native.ort_session import OptimizationLevel, SessionError, SessionOptions, open_session

    with np.load(feed_file, allow_pickle=False) as arrays:
        feed = {name: arrays[name] for name in arrays.files}
    seconds = []
    session: Any = None
    for _ in range(int(loads)):
        session = None  # the one before gives its memory back first
        start = time.perf_counter()
        try:
            session = open_session(model, SessionOptions(OptimizationLevel.DEFAULT, int(threads)))
        except SessionError as error:
            _say(answers, {"failed": str(error)})
            return
        seconds.append(time.perf_counter() - start)
    _say(answers, {"loads": seconds})
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            session.run(None, feed)
        _say(answers, {"seconds": time.perf_counter() - start})
    _say(answers, {"peak": peak_memory()})


def peak_memory() -> int:
    """Return the most memory that this process ever used, in bytes; 0 where the system does not say."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as lines:
            # getrusage on Linux also counts what the parent used when it started this process
            return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _say(stream: Any, content: dict[str, Any]) -> None:
    stream.write(json.dumps(content) + "\n")
    stream.flush()


if __name__ == "__main__":
    main()
