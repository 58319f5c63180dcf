"""Export a network of Hugging Face with Optimum, and fold it.

    python optimum_export.py NAME_OR_FOLDER OUTPUT_FOLDER [TASK]

Needs ``pip install 'optimum[onnx]' normfold``. Each .onnx file of the export is replaced by its proven result; where a
proof fails the file stays as Optimum wrote it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from optimum.exporters.onnx import main_export

import normfold


def main() -> None:
    """Export, then fold each file in place."""
    network, output, *task = sys.argv[1:]
    main_export(network, output, task=task[0] if task else "auto")
    for path in sorted(Path(output).rglob("*.onnx")):
        try:
            print(repr(normfold.optimize(path, path, in_place=True)))
        except normfold.NotProven as error:
            print(f"{error}; {path} is as Optimum wrote it")


if __name__ == "__main__":
    main()
