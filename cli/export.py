"""normfold export: a PyTorch network -> an optimized ONNX file that equals it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from normfold.options import ExportArguments

from .arguments import PATH, command, option, options_of, reporting
from .exits import Exit
from .show import Output

EXAMPLES = """
normfold export package.module:factory --input 1x3x224x224
normfold export package.module:factory --input Nx3x224x224 --input N=1..64
normfold export package.module:factory --weights net.safetensors -o net.onnx
normfold export network.pt2
"""


@command("PyTorch network -> optimized ONNX file.", EXAMPLES)
@click.argument("network", metavar="PACKAGE.MODULE:FACTORY|ARCHIVE")
@option("--output", "-o", "target_path", type=PATH, metavar="FILE", help="Where to write. [default: FACTORY.opt.onnx]")
@option("--weights", type=PATH, metavar="FILE", help="A state dict: .safetensors, .pt or .pth.")
@option(
    "--input",
    "specs",
    multiple=True,
    metavar="SHAPE[:TYPE]|N=LOW..HIGH",
    help="Nx3x224x224 (N: any size), N=1..64 or 1x16:int64<100. Repeatable.",
)
@options_of(ExportArguments)
@reporting
def export(
    network: str,
    target_path: str | None,
    weights: str | None,
    specs: tuple[str, ...],
    output: Output,
    **chosen: Any,
) -> Exit:
    """Export a PyTorch network to ONNX, fold its norms, prove that the file equals the network, and write it.

    PACKAGE.MODULE:FACTORY is a function or class that takes no arguments and gives an nn.Module; it is imported from
    the current folder or the environment. ARCHIVE is a file of torch.export.save or torch.jit.save. --input gives shape
    and type of each argument of forward(), in order.
    """
    from normfold.files.torch_bridge import torch_room

    ExportArguments(**chosen)  # a wrong option is refused before torch is imported
    loading = torch_room("trace.loading")
    module = loading.network(network, Path(weights) if weights else None, trust_pickle=chosen["trust_pickle"])
    export_module = partial(
        torch_room("export").export,
        module,
        loading.arguments(specs, chosen["seed"]) or None,
        target_path or loading.default_output(network),
        eval=True,
        dynamic_shapes=loading.dynamic_shapes(specs, module),
        reports=output.paths,
        on_ready=output.write_result,
        **chosen,
    )
    return output.run("exporting", lambda on_stage: export_module(on_stage=on_stage))
