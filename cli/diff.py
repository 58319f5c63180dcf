"""normfold diff: what changed from one model to another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from normfold.findings.escape import printable
from normfold.options import InspectArguments

from .arguments import PATH, command, option, options_of, printing
from .exits import Exit
from .show import Output

if TYPE_CHECKING:
    from normfold.ci.diff import Change

SHOWN = 20
EXAMPLES = """
normfold diff old.onnx new.onnx
normfold diff old.onnx new.onnx --exit-code --json
"""


@command("Say what changed from one model to another.", EXAMPLES)
@click.argument("first", type=PATH, metavar="A")
@click.argument("second", type=PATH, metavar="B")
@option("--exit-code", is_flag=True, help="End with 1 where anything differs, as `git diff` does.")
@option("--verbose", "-v", is_flag=True, help=f"Name all, and not the first {SHOWN} of each kind.")
@options_of(InspectArguments)
@printing
def diff(first: str, second: str, exit_code: bool, verbose: bool, output: Output, **chosen: Any) -> Exit:
    """Say what changed from model A to model B: interface, opset, norms, operators and weights. Nothing is run.

    Whether both compute the same is the question of `normfold verify A B`.
    """
    from normfold.ci.diff import difference_between
    from normfold.report.words import difference_headline

    found = difference_between(first, second, InspectArguments(**chosen))
    headline, changes = difference_headline(found.a, found.b), found.changes
    if output.as_json:
        import json

        content = {"schema": 1, "a": first, "b": second, "headline": headline}
        click.echo(json.dumps({**content, "changes": [asdict(each) for each in changes]}))
    elif not output.quiet:
        from normfold.report.as_text import console_for, print_lines

        top = f"{printable(first)} -> {printable(second)}: {headline}"
        print_lines([top, *_lines(changes, verbose)], console_for())
    return Exit.DIFFERS if exit_code and changes else Exit.DONE


def _lines(changes: Sequence[Change], verbose: bool) -> Iterator[str]:
    from normfold.ci.diff import SECTIONS

    if not changes:
        yield "no difference in interface, opset, norms, operators or weights"
    for section in SECTIONS:
        rows = [change for change in changes if change.section == section]
        if not rows:
            continue
        yield f"{section}: {len(rows)} changed"
        for change in rows if verbose else rows[:SHOWN]:
            texts = (printable(text, 200) or "none" for text in (change.before, change.after))
            yield f"  {printable(change.name, 100)}: {' -> '.join(texts)}"
        if len(rows) > SHOWN and not verbose:
            yield f"  and {len(rows) - SHOWN} more; --verbose names all"
