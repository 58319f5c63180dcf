"""normfold inspect: every norm and constant affine of a model, with its verdict."""

from __future__ import annotations

from typing import Any

import click

from normfold.options import InspectArguments

from .arguments import PATH, command, options_of, reporting
from .exits import Exit
from .progress import stages
from .show import Output

EXAMPLES = """
normfold inspect model.onnx
normfold inspect model.onnx --report model.html
"""


@command("List every norm with its verdict; write nothing.", EXAMPLES)
@click.argument("model", type=PATH)
@options_of(InspectArguments)
@reporting
def inspect(model: str, output: Output, **chosen: Any) -> Exit:
    """List every norm and constant affine of MODEL: what would become of it, and why not where it would stay.

    Nothing is run and nothing is written.
    """
    from normfold.pipeline import inspect

    with stages("inspecting", output.quiet):
        inspection = inspect(model, reports=output.paths, **chosen)
    output.write_result(inspection)
    output.show_result(inspection, details=True)
    return Exit.DONE
