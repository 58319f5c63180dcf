"""What a proof says: the verdict, the evidence for each output and each fold, and what to do."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from normfold.findings.escape import printable


class Equivalence(Enum):
    """Equivalent, different, or not decidable here."""

    EQUIVALENT = "equivalent"
    DIFFERENT = "different"
    INCONCLUSIVE = "inconclusive"


class Stage(Enum):
    """How the two models were run for a comparison.

    AT_SITE: operators that differ, fed with what the original computes there, without optimizations.
    UNOPTIMIZED, BASIC, EXTENDED, DEFAULT: the whole candidate at that level of ONNX Runtime.
    REGION: operators that differ, fed with values of their own (see ``normfold.verify.regions``).
    EAGER: the PyTorch module called eagerly against the exported result.
    """

    AT_SITE = "at the site"
    UNOPTIMIZED = "disable_all"
    BASIC = "basic"
    EXTENDED = "extended"
    DEFAULT = "default"
    REGION = "region"
    EAGER = "eager module"


@dataclass(frozen=True)
class Site:
    """A value name that exists in both models, and the finding (fold) that it is evidence for.

    ``graph`` is the path of the subgraph or function in which it is made, "" for the main graph.
    """

    value: str
    fold: str
    graph: str = ""


@dataclass(frozen=True, kw_only=True)
class Distance:
    """What a pair of values shows at its worst place.

    ``relative`` is the largest error over the scale of the value at that place (the largest magnitude of its channel
    or its column, but no less than 1/128 of the whole tensor's); it passes up to ``tolerance``, and ``margin`` is error
    over allowed error: up to 1 is right, infinite where numbers cannot be compared, and then ``note`` says why.
    ``ulps`` is the error in units of the last place of that scale. ``cosine`` is the cosine similarity, ``top1`` the
    share of rows whose largest entry is the same one (class-like outputs only). ``at`` is the worst index, ``expected``
    and ``obtained`` the values there. ``comparable`` counts the places where the expected value is a number.
    ``needed_tolerance`` is the tolerance that would have passed, in the terms of the options.
    """

    dtype: str = ""
    max_abs: float = 0.0
    relative: float = 0.0
    margin: float = 0.0
    ulps: float = 0.0
    cosine: float = 1.0
    top1: float | None = None
    differing: int = 0
    elements: int = 0
    comparable: int = 0
    at: tuple[int, ...] = ()
    expected: str = ""
    obtained: str = ""
    tolerance: float = 0.0
    needed_tolerance: str = ""
    note: str = ""


@dataclass(frozen=True)
class Comparison(Distance):
    """One value of the original against the same value of the candidate, over all feeds.

    ``feed`` describes the worst feed, ``folds`` names the folds behind the value. ``noise_dominated``: the error is no
    larger than what the model itself makes of rounding noise, and that is too large to decide anything.
    """

    value: str
    stage: Stage
    passed: bool
    feed: str = ""
    folds: tuple[str, ...] = ()
    noise_dominated: bool = False


@dataclass(frozen=True)
class Verification:
    """The outcome of a proof. True when equivalent, and prints as the table.

    ``outputs`` compares each graph output at each stage, ``sites`` each fold where its value is made.
    ``failing_folds`` names the folds whose own site is wrong, in the order of the graph: the error is *made* there, not
    inherited.
    """

    verdict: Equivalence
    outputs: tuple[Comparison, ...] = ()
    sites: tuple[Comparison, ...] = ()
    failing_folds: tuple[str, ...] = ()
    unproven_operators: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seed: int = 0
    feeds: tuple[str, ...] = field(default=())

    def __bool__(self) -> bool:
        return self.verdict is Equivalence.EQUIVALENT

    def __str__(self) -> str:
        return as_table(self)

    def __repr__(self) -> str:
        """One line, short enough for an assertion message; ``str`` is the whole table."""
        return f"<{self.verdict.value}: {proof_sentence(self)}>"

    @property
    def failures(self) -> tuple[Comparison, ...]:
        """Every comparison that did not pass, sites first."""
        return tuple(c for c in (*self.sites, *self.outputs) if not c.passed)

    @property
    def worst(self) -> Comparison | None:
        """The comparison with the largest error over its tolerance; one that noise hides counts last."""
        return max((*self.sites, *self.outputs), key=lambda c: (not c.noise_dominated, c.margin), default=None)


def _index(at: tuple[int, ...]) -> str:
    return "[" + ",".join(map(str, at)) + "]"


def _row(c: Comparison, longest: int) -> tuple[str, ...]:
    top1 = "" if c.top1 is None else f"{100 * c.top1:.4g} %"
    worst = (
        f"{_index(c.at)} {printable(c.expected, 40)} -> {printable(c.obtained, 40)}" if c.expected or c.obtained else ""
    )
    what = ("ok" if c.passed else "DIFFERS", printable(c.value, min(100, longest)), c.stage.value)
    if not c.passed and not c.elements:  # nothing was measured: a note says why
        return (*what, *[""] * (len(_HEAD) - len(what)))
    return (
        *what,
        f"{c.max_abs:.3g}",
        f"{c.relative:.3g}",
        f"{c.tolerance:.3g}",
        f"{c.ulps:.3g}",
        f"{c.cosine:.6f}",
        top1,
        f"{c.differing}/{c.elements}",
        worst,
    )


_HEAD = ("", "value", "run", "max abs", "relative", "allowed", "ulps", "cosine", "top-1", "differ", "worst place")


_LEAST_FIRST = ("cosine", "ulps", "top-1", "differ", "worst place", "max abs")  # what goes where columns are few


def _aligned(comparisons: Iterable[Comparison], width: int) -> list[str]:
    """Return the table in lines of at most ``width`` columns, as far as leaving out columns can bring that."""
    rows = [_HEAD, *(_row(c, max(24, width - 46)) for c in comparisons)]
    for leaves in range(len(_LEAST_FIRST) + 1):
        shown = [index for index, name in enumerate(_HEAD) if name not in _LEAST_FIRST[:leaves]]
        widths = {index: max(len(row[index]) for row in rows) for index in shown}
        lines = ["  ".join(row[index].ljust(widths[index]) for index in shown).rstrip() for row in rows]
        if max(map(len, lines)) <= width:
            break
    return lines


def as_table(verification: Verification, sites: int = 10, width: int = 10**6) -> str:
    """Return the verdict, a line for each output and each failing site (else the ``sites`` worst), and notes.

    Columns of the table are left out where it would be wider than ``width`` characters.
    """
    failing = [c for c in verification.sites if not c.passed]
    shown = failing or sorted(verification.sites, key=lambda c: -c.margin)[:sites]
    lines = [f"{verification.verdict.value}: {printable(proof_sentence(verification), 900)}"]
    if verification.outputs or shown:
        lines += [f"{_summary(verification)}"] * bool(verification)
        lines += _aligned((*verification.outputs, *shown), width)
    for c in (*verification.outputs, *shown):
        if not c.passed:
            maker = f", made by {printable(', '.join(c.folds), 300)}" if c.folds else ""
            feed = f" (feed {printable(c.feed, 100)})" if c.feed else ""
            why = printable(c.note, 500) or "differs"
            needed = f"; would have passed with {c.needed_tolerance}" if c.needed_tolerance else ""
            lines.append(f"{printable(c.value, 100)}{maker}: {why}{feed}{needed}")
    notes = verification.notes if verification.worst else ()  # otherwise the first line is made of them
    lines += [f"note: {printable(note, 600)}" for note in notes]
    lines.append(f"seed {verification.seed}; feeds: {printable('; '.join(verification.feeds), 600) or 'none'}")
    return "\n".join(lines)


def as_data(verification: Verification) -> dict[str, Any]:
    """Return the verification as plain data for JSON; a number that JSON lacks (infinity, NaN) becomes null."""
    return {**_plain(asdict(verification)), "equivalent": bool(verification)}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def proof_sentence(verification: Verification) -> str:
    """Return the result of a proof in a sentence: for equal models how many places, and the error nearest its limit."""
    worst = verification.worst
    if worst is None:
        return "; ".join(verification.notes) or "nothing was compared"
    if not verification:
        return _summary(verification)
    compared = (*verification.sites, *verification.outputs)
    within = [c for c in compared if c.margin <= 1]  # a note says what the runtime itself changes beyond that
    worst = max(within, key=lambda c: c.margin, default=worst)
    places = len({comparison.value for comparison in compared})
    error = f"worst error {worst.relative:.2g} of the value's range (limit {worst.tolerance:.2g})"
    return f"proven equal to the original at {places} place{'s' * (places != 1)}, {error}"


def _summary(verification: Verification) -> str:
    sites = verification.sites
    passed = sum(c.passed for c in sites)
    outputs = sum(c.passed for c in verification.outputs)
    text = f"{outputs} of {len(verification.outputs)} output comparisons"
    if sites:
        text += f" and {passed} of {len(sites)} sites"
    text += " pass"
    if verification.unproven_operators and verification:
        count = len(verification.unproven_operators)
        text += f"; proven but for {count} operator{'s' * (count > 1)} that no kernel here has"
    if verification.failing_folds:
        text += f"; made by {printable(', '.join(verification.failing_folds), 300)}"
    return text
