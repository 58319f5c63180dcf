"""The lock file: what a team has seen of each model and accepts, so that only what gets worse fails.

JSON with one norm a line and sorted names, so that a diff of two commits reads well. Paths are relative to its folder.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from normfold.ci.check_many import Checked
from normfold.ci.limits import Limits, problem_of
from normfold.errors import UsageError, WriteError
from normfold.files.temporary import replace_text
from normfold.files.untrusted import read_json
from normfold.findings.reason import Reason
from normfold.findings.verdict import Finding, Outcome, Verdict
from normfold.options import RewriteOptions
from normfold.report.report import Problem, Report

FORMAT = 1
MARK = "normfold-lock"
LONGEST = 200  # characters of a name; longer ones are distinguished by a digest
UPDATE = "--update-lock writes it"


@dataclass(frozen=True)
class Entry:
    """A model as it was accepted: what its files contained, its operators by count, its norms by name.

    ``norms`` says of each norm what it is and how it stood: "BatchNormalization kept NF107", "Mul foldable".
    """

    sha256: str = ""
    operators: Mapping[str, int] = field(default_factory=dict)
    norms: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Lock:
    """The accepted models by path, and the options they were looked at with, where those are not the defaults."""

    path: Path
    models: Mapping[str, Entry] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def name_of(self, model: Path | str) -> str:
        """Return the name of a model in the lock: its path from the lock's folder."""
        return Path(os.path.relpath(model, self.path.parent)).as_posix()

    def entry_of(self, model: str, sha256: str) -> Entry | None:
        """Return the entry of a model, or that of one with the same contents that is no longer where it was."""
        entry = self.models.get(self.name_of(model))
        if entry is not None:
            return entry
        return next((self.models[name] for name in self.gone if self.models[name].sha256 == sha256), None)

    @property
    def gone(self) -> tuple[str, ...]:
        """Models that it names and that are no more."""
        return tuple(name for name in self.models if not (self.path.parent / name).exists())


def read_lock(path: Path, options: RewriteOptions, must_exist: bool = True) -> Lock:
    """Return the lock at ``path``; an empty one where there is none yet and that is all right.

    UsageError for a file that is no lock, or one made with other options.
    """
    chosen = options.recorded()
    if not path.exists() and not must_exist:
        return Lock(path, {}, chosen)
    try:
        content = read_json(path)
        if content[MARK] != FORMAT:
            raise UsageError(f"{path} has version {content[MARK]}, expected {FORMAT}; remove it, and {UPDATE} again")
        models = {name: Entry(**entry) for name, entry in content["models"].items()}
        lock = Lock(path, models, content["options"])
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist; {UPDATE}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is no lock file of normfold; remove it, and {UPDATE} again") from error
    if lock.options != chosen and must_exist:
        raise UsageError(f"{path} was written with options {dict(lock.options)}, these are {chosen}; {UPDATE} again")
    return replace(lock, options=chosen)


# -- comparing ----------------------------------------------------------------------------------------------------


def compared(lock: Lock, checked: Checked, limits: Limits) -> Report:
    """Return the report with each norm that is worse than in the lock as a problem; other changes are notes."""
    report = checked.report
    if not checked.sha256:  # it could not be read, and says so
        return report
    entry = lock.entry_of(report.model, checked.sha256)
    if entry is None:
        found = _changes(Entry(), report, limits, "the lock has no such model")[0]
        problems = tuple(problem for problem in found if problem.reason is Reason.FOLDABLE_LEFT)
        notes: tuple[str, ...] = (f"not in {lock.path.name}; {UPDATE}",)
    else:
        problems, notes = _changes(entry, report, limits, "the lock has no such norm")
        before, after = entry.operators, dict(report.before.operators)
        notes += (f"operators since the lock: {_difference(before, after)}",) if before != after else ()
    reported = {problem.finding for problem in report.problems}
    new = (problem for problem in problems if problem.finding not in reported)
    return replace(report, problems=(*report.problems, *new), notes=(*report.notes, *notes))


def _changes(entry: Entry, report: Report, limits: Limits, new: str) -> tuple[tuple[Problem, ...], tuple[str, ...]]:
    now = states(report)
    left = Counter(state for name, state in entry.norms.items() if name not in now)
    problems, notes = [], []
    for name, verdict in zip(now, report.verdicts, strict=True):
        state, before = now[name], entry.norms.get(name)
        if before == state or limits.allows(verdict) or (before is None and verdict.is_settled):
            continue
        if before is None and left[state] > 0:  # the same norm under another name, as a new export gives
            left[state] -= 1
        elif before is None:
            problems.append(problem_of(verdict, new, report.op_types))
        elif " kept " not in before and verdict.outcome is Outcome.KEPT:
            problems.append(problem_of(verdict, f"in the lock: {before}", report.op_types))
        else:
            notes.append(f"{name}: {state}; in the lock: {before}")
    went = sum(left.values())
    if went:
        notes.append(f"{went} norms and affines of the lock are gone; {UPDATE}")
    return tuple(problems), tuple(notes)


def states(report: Report) -> dict[str, str]:
    """Each norm of a model by name, in the order of the verdicts: what it is and how it stands."""
    found: dict[str, str] = {}
    for verdict in report.verdicts:
        name = _name(verdict.finding)
        found[name if name not in found else f"{name} #{len(found)}"] = _state(verdict)
    return found


def _state(verdict: Verdict) -> str:
    if verdict.outcome is Outcome.KEPT:
        return f"{verdict.finding.operator} kept {verdict.main_obstacle.reason.code}"
    return f"{verdict.finding.operator} {'foldable' if verdict.outcome is Outcome.FOLDED else 'fusable'}"


def _name(finding: Finding) -> str:
    name = f"{finding.graph}/{finding.name}" if finding.graph else finding.name
    if len(name) <= LONGEST:
        return name
    return f"{name[:LONGEST]}… {hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def _difference(before: Mapping[str, int], after: Mapping[str, int]) -> str:
    names = sorted({*before, *after})
    pairs = [(name, before.get(name, 0), after.get(name, 0)) for name in names]
    return ", ".join(f"{name} {old} -> {new}" for name, old, new in pairs if old != new)


# -- writing ------------------------------------------------------------------------------------------------------


def updated(lock: Lock, every: Iterable[Checked]) -> Lock:
    """Return the lock with ``every`` model as it is now, and without those that are no more."""
    entries = {lock.name_of(checked.report.model): _entry(checked) for checked in every if checked.sha256}
    gone = set(lock.gone)
    kept = {name: entry for name, entry in lock.models.items() if name not in gone}
    return replace(lock, models={**kept, **entries})


def _entry(checked: Checked) -> Entry:
    return Entry(checked.sha256, dict(checked.report.before.operators), states(checked.report))


def write_lock(lock: Lock) -> None:
    """Write the lock in one step. WriteError when it cannot be, and then the old one is whole."""
    models = {name: _sorted(asdict(lock.models[name])) for name in sorted(lock.models)}
    content = {MARK: FORMAT, "options": dict(sorted(lock.options.items())), "models": models}
    text = json.dumps(content, indent=1, ensure_ascii=True) + "\n"
    try:
        replace_text(lock.path, text)
    except OSError as error:
        raise WriteError(f"{lock.path} cannot be written: {error.strerror or error}") from error


def _sorted(entry: dict[str, Any]) -> dict[str, Any]:
    """Operators and norms by name: an order that neither a run nor a renamed node elsewhere changes."""
    return {key: dict(sorted(value.items())) if isinstance(value, dict) else value for key, value in entry.items()}


def summary(before: Lock, after: Lock) -> str:
    """Return what writing ``after`` changes, in a line."""
    names: Sequence[set[str]] = [set(before.models), set(after.models)]
    changed = sum(before.models[name] != after.models[name] for name in names[0] & names[1])
    counts = f"{len(names[1] - names[0])} added, {changed} changed, {len(names[0] - names[1])} removed"
    return f"{after.path}: {len(names[1])} models; {counts}"
