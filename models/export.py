"""Export the reference networks: ``python -m models.export`` rewrites the committed files; see models/README.md."""

from __future__ import annotations

import warnings
from pathlib import Path

import click
import torch
from torch import nn

from models.registry import NETWORKS, Inputs, Network, build

COMMITTED = ("residual", "levit_like", "transformer")
RAW_OPSET = 16  # the last without LayerNormalization, so that every norm shows


def export_raw(module: nn.Module, inputs: Inputs, network: Network, path: Path) -> None:
    """The TorchScript exporter with everything left in: all BatchNormalizations, no constant folded."""
    axes = {name: {0: "batch"} for name in (*network.input_names, network.output_name)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it announces its own deprecation, and PRESERVE in eval mode
        torch.onnx.export(
            module,
            inputs,
            path,
            dynamo=False,
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            opset_version=RAW_OPSET,
            input_names=list(network.input_names),
            output_names=[network.output_name],
            dynamic_axes=axes if network.has_dynamic_batch else None,
        )


def export_dynamo(module: nn.Module, inputs: Inputs, network: Network, path: Path) -> None:
    """The default exporter with its own optimizer, as most users call it; the batch is fixed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        torch.onnx.export(
            module,
            inputs,
            path,
            dynamo=True,
            verbose=False,
            external_data=False,
            input_names=list(network.input_names),
            output_names=[network.output_name],
        )


EXPORTERS = {"raw": export_raw, "dynamo": export_dynamo}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(sorted(NETWORKS)))
@click.option("--all", "is_all", is_flag=True, help="Every network, not only the committed ones.")
@click.option("--exporter", type=click.Choice(sorted(EXPORTERS)), default="raw", show_default=True)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path(__file__).parent)
def main(names: tuple[str, ...], is_all: bool, exporter: str, out: Path) -> None:
    """Export NAMES (default: the committed three) to OUT/NAME.onnx."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    for name in names or (tuple(NETWORKS) if is_all else COMMITTED):
        module, inputs = build(name)
        path = out / f"{name}.onnx"
        EXPORTERS[exporter](module, inputs, NETWORKS[name], path)
        click.echo(f"{path} {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
