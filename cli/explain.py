"""normfold explain: the long text behind a reason code."""

from __future__ import annotations

import textwrap

import click

from .arguments import command, option
from .exits import Exit

EXAMPLES = """
normfold explain NF103
normfold explain batchnorm
"""


@command("Explain a reason code or a rule.", EXAMPLES)
@click.argument("names", nargs=-1, metavar="[CODE|RULE]...")
@option("--markdown", is_flag=True, help="Print the reasons as a Markdown table.")
def explain(names: tuple[str, ...], markdown: bool) -> Exit:
    """Explain reason codes such as NF103 and rules such as batchnorm; without a name, list all of them."""
    from normfold.findings.explanations import reasons_table
    from normfold.findings.reason import Reason
    from normfold.findings.rules import RULES
    from normfold.report.as_text import console_for, print_lines

    console = console_for()
    if markdown:
        click.echo(reasons_table(), nl=False)
    elif not names:
        reasons = [f"{reason.code}  {reason.obstacle}" for reason in sorted(Reason, key=lambda each: each.code)]
        width = max(len(rule) for rule, _ in RULES)
        rules = [f"{rule:<{width}}  {text}" for rule, text in RULES]
        print_lines([*reasons, "", "The rules, for --skip and --only:", *rules], console)
    texts = [_explanation(name) for name in names]
    for paragraph in "\n\n".join(texts).split("\n\n") if texts else ():
        click.echo(textwrap.fill(paragraph, console.width, break_on_hyphens=False) + "\n")
    return Exit.DONE


def _explanation(name: str) -> str:
    from normfold.errors import did_you_mean
    from normfold.findings.explanations import explain as long_text
    from normfold.findings.reason import Reason
    from normfold.findings.rules import RULES

    rules = dict(RULES)
    if name.lower() in rules:
        rule = name.lower()
        return f"{rule}: {rules[rule]}.\n\nLeave it out with --skip {rule}, or use it alone with --only {rule}."
    try:
        return long_text(Reason.of_code(name)).rstrip()
    except KeyError:
        known = [*(reason.code for reason in Reason), *rules]
        close = did_you_mean(name, known) or did_you_mean(name.upper(), known)
        raise click.UsageError(
            f"expected a reason code or a rule, got {name!r}; {close}`normfold explain` lists them"
        ) from None
