"""A pass of Microsoft Olive that folds with normfold, for a workflow of your own.

    python olive_pass.py MODEL.onnx FOLDER

writes ``FOLDER/MODEL.onnx``, folded and proven. Needs ``pip install olive-ai requests normfold``. In a workflow, run
the pass before quantization: a folded norm no longer stands between a weight and its quantizer.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from olive.hardware.accelerator import DEFAULT_CPU_ACCELERATOR, AcceleratorSpec
from olive.model import ONNXModelHandler
from olive.model.utils import resolve_onnx_path
from olive.passes import Pass
from olive.passes.olive_pass import create_pass_from_dict
from olive.passes.pass_config import BasePassConfig, PassConfigParam

import normfold


class NormFold(Pass):
    """Fold norms into the linear operators around them; a result that is not proven is an error, and not written."""

    @classmethod
    def _default_config(cls, accelerator_spec: AcceleratorSpec) -> dict[str, PassConfigParam]:
        return {
            "target": PassConfigParam(type_=str, default_value="onnxruntime", description="The runtime to write for."),
            "skip": PassConfigParam(type_=list[str], default_value=[], description="Rules and nodes to leave alone."),
        }

    def _run_for_config(
        self, model: ONNXModelHandler, config: type[BasePassConfig], output_model_path: str
    ) -> ONNXModelHandler:
        chosen: Any = config
        path = resolve_onnx_path(output_model_path, Path(model.model_path).name)
        result = normfold.optimize(model.model_path, path, target=chosen.target, skip=chosen.skip)
        print(repr(result))
        return ONNXModelHandler(path)


def main() -> None:
    """Run the pass by itself on a file."""
    model, folder = sys.argv[1:]
    fold = create_pass_from_dict(NormFold, {}, disable_search=True, accelerator_spec=DEFAULT_CPU_ACCELERATOR)
    fold.run(ONNXModelHandler(model), folder)


if __name__ == "__main__":
    main()
