"""normfold verify: whether two models compute the same, or a model its stored outputs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from normfold.options import ProofOptions

from .arguments import PATH, command, options_of, printing
from .exits import Exit
from .progress import stages
from .show import Output

if TYPE_CHECKING:
    from normfold.verify import Verification

EXAMPLES = """
normfold verify model.onnx model.opt.onnx
normfold verify a.onnx b.onnx --input x=1x3x224x224:float32:0..255
normfold verify model.onnx --inputs test_data_set_0
"""


@command("Compare two models in ONNX Runtime.", EXAMPLES)
@click.argument("first", type=PATH, metavar="A")
@click.argument("second", type=PATH, metavar="[B]", required=False)
@options_of(ProofOptions)
@printing
def verify(first: str, second: str | None, output: Output, **chosen: Any) -> Exit:
    """Compare the models A and B, which have the same inputs and outputs, in ONNX Runtime.

    A without optimizations is the reference; B runs without them and as a user runs it. What normfold wrote is compared
    with its original fold by fold. Without B, A is compared with the outputs stored in the --inputs folders. Inputs are
    made up from the graph unless --inputs gives them; --input sets shape, type and range of one.
    """
    options = ProofOptions(**chosen)
    from normfold.files.source import read
    from normfold.verify import Equivalence, check, prove

    for path in filter(None, (first, second)):
        read(path)  # says in one line why a file is no model
    with stages("verifying", output.quiet):
        if second is None:
            verification = check(Path(first), options)
        else:
            verification = prove(Path(first), Path(second), None, options)
    _show(verification, output)
    ends = {
        Equivalence.EQUIVALENT: Exit.DONE,
        Equivalence.DIFFERENT: Exit.DIFFERS,
        Equivalence.INCONCLUSIVE: Exit.INCONCLUSIVE,
    }
    return ends[verification.verdict]


def _show(verification: Verification, output: Output) -> None:
    if output.as_json:
        import json

        from normfold.verify.result import as_data

        click.echo(json.dumps(as_data(verification), indent=2, allow_nan=False))
    elif not output.quiet:
        from normfold.report.as_text import console_for
        from normfold.verify.result import as_table

        click.echo(as_table(verification, width=console_for().width))
