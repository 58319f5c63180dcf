"""normfold explain: the long text behind a reason code."""

from __future__ import annotations

import textwrap

import click

from .arguments import command, option
from .exits import Exit

EXAMPLES = """
normfold explain NF103
"""


@command(EXAMPLES)
@click.argument("codes", nargs=-1, metavar="[CODE]...")
@option("--markdown", is_flag=True, help="List all of them as the table that the README has.")
def explain(codes: tuple[str, ...], markdown: bool) -> Exit:
    """Explain reason codes such as NF103; without CODE, list all of them."""
    from normfold.findings.explanations import explain as long_text
    from normfold.findings.explanations import reasons_table
    from normfold.findings.reason import Reason

    if markdown:
        click.echo(reasons_table(), nl=False)
        return Exit.DONE
    if not codes:
        for reason in Reason:
            click.echo(f"{reason.code}  {reason.obstacle}")
        return Exit.DONE
    for code in codes:
        try:
            reason = Reason.of_code(code)
        except KeyError:
            known = ", ".join(reason.code for reason in Reason)
            raise click.UsageError(f"expected a reason code, got {code!r}; the codes are {known}") from None
        paragraphs = long_text(reason).split("\n\n")
        click.echo("\n\n".join(textwrap.fill(paragraph, 100) for paragraph in paragraphs))
    return Exit.DONE
