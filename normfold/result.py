"""What ``optimize`` and ``inspect`` give back: the new model, what became of each finding, the proof; and saving it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from normfold._version import __version__
from normfold.errors import NormfoldError, UsageError
from normfold.files.paths import AnyPath, as_path, check_paths
from normfold.files.protos.convert import to_ir, to_proto
from normfold.files.source import Source
from normfold.files.write import write_bytes, write_model
from normfold.findings.verdict import Outcome, Verdict
from normfold.options import Options, RewriteOptions, WriteArguments
from normfold.report.as_html import as_notebook
from normfold.report.formats import format_of, write_report
from normfold.report.report import Report
from normfold.report.snippets import drawings
from normfold.report.statistics import op_types, statistics
from normfold.report.words import headline
from normfold.runtime.metadata_keys import ORIGINAL_KEY
from normfold.verify import Equivalence, Verification


class _Outcome:
    """Whatever has a verdict for each finding of a model, and the model as it is or would be after."""

    source: Source
    ir_model: ir.Model
    verdicts: tuple[Verdict, ...]
    options: RewriteOptions
    notes: tuple[str, ...]

    def __getstate__(self) -> dict[str, Any]:
        """Give the model as a proto: in onnx_ir each value refers to the next, deeper than pickle can follow."""
        return {**vars(self), "ir_model": to_proto(self.ir_model)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, ir_model=to_ir(state["ir_model"], state["source"].folder))

    @property
    def changes(self) -> tuple[Verdict, ...]:
        """Return what was folded or fused; for an inspection, what would be."""
        return tuple(verdict for verdict in self.verdicts if verdict.is_changed)

    @property
    def folds(self) -> tuple[Verdict, ...]:
        """Return what was folded into other operators (for an inspection: what would be)."""
        return self._of(Outcome.FOLDED)

    @property
    def fused(self) -> tuple[Verdict, ...]:
        """Return the norms that were rewritten in another form (for an inspection: what would be)."""
        return self._of(Outcome.FUSED)

    @property
    def kept(self) -> tuple[Verdict, ...]:
        """Return what stayed (would stay), each with its obstacles."""
        return self._of(Outcome.KEPT)

    def save_report(self, path: str | os.PathLike[str], format: str = "") -> Path:
        """Write the report to ``path``, in ``format`` or the one that the suffix names, and return the path.

        Suffixes: .html, .json, .md, .txt, .sarif, .xml. Raises UsageError for others, WriteError if writing fails.
        """
        chosen = format_of(path, format)
        write_report(self.report(pictures=chosen.has_pictures), path, chosen.name)
        return Path(path)

    def __repr__(self) -> str:
        """Return one line: the class, the model and what became of its norms."""
        return f"<{type(self).__name__} of {self.report().model}: {headline(self.report())}>"

    def _repr_html_(self) -> str:
        """Return the line and the table of what was kept, by reason, for a notebook."""
        return as_notebook(self.report())

    def _of(self, outcome: Outcome) -> tuple[Verdict, ...]:
        return tuple(verdict for verdict in self.verdicts if verdict.outcome is outcome)

    def report(self, pictures: bool = False) -> Report:
        """Return the report for all formats; with ``pictures`` it has the graph snippets that the HTML format draws."""
        original = self.source.original
        return Report(
            command="inspect",
            version=__version__,
            model=self.source.name,
            target=self.options.target,
            verdicts=self.verdicts,
            before=statistics(original),
            after=statistics(self.ir_model),
            notes=self.notes,
            op_types=op_types(self.verdicts, original, self.ir_model),
            options=self.options.recorded(),
            drawings=drawings(original, self.ir_model, self.verdicts) if pictures else (),
        )


@dataclass(frozen=True, repr=False, eq=False)
class Result(_Outcome):
    """What ``optimize`` made: the new model, what became of each finding, and the proof.

    ``ir_model`` is the new model (the original, when nothing was changed). ``verification`` is None when the caller
    asked for none. ``notes`` say what else happened. ``output`` is where it was written. ``is_changed``: something was
    folded, fused or cleaned up, or the proof undid a fold, which the model says in its metadata. ``seconds`` has the
    time of each stage.
    """

    source: Source
    ir_model: ir.Model
    verdicts: tuple[Verdict, ...]
    verification: Verification | None
    options: Options
    notes: tuple[str, ...] = ()
    output: Path | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    is_changed: bool = True

    @cached_property
    def model(self) -> onnx.ModelProto:
        """The new model as a ModelProto. External data still refers to the folder of the original."""
        return to_proto(self.ir_model)

    @property
    def is_copy(self) -> bool:
        """Return whether the model is written byte for byte as it came."""
        source = self.source
        return not self.is_changed and not (source.stamps if source.content is None else source.data_files)

    def written(self, path: str | os.PathLike[str], writing: WriteArguments) -> Result:
        """Save the model and return the result with its ``output``; ``writing.on_ready`` is called right before."""
        result = replace(self, output=Path(path))
        if writing.on_ready is not None:
            writing.on_ready(result)
        self.save(path, in_place=writing.in_place, share_data=writing.share_data)
        return result

    def save(self, path: str | os.PathLike[str], *, in_place: bool = False, share_data: bool = False) -> Path:
        """Write the model to ``path`` atomically, and give its path.

        An unchanged model is written byte for byte as it came. With ``share_data`` unchanged weights stay in the data
        files of the original. Only ``in_place`` writes through a symbolic link.
        UsageError when ``path`` is the input and not ``in_place``; WriteError when writing
        fails, and then whatever stood there is whole.
        """
        target = Path(as_path(path))
        check_output(self.source, target, in_place=in_place)
        source = self.source
        if not self.is_changed and _same_file(source.path, target):
            return target
        name = target.resolve() if in_place else target
        if not self.is_copy:
            write_model(
                self.ir_model,
                name,
                external=source.has_external_data,
                check=source.passes_checker,
                shared=_shared_folder(source, target) if share_data else None,
                source=source,
            )
        else:
            write_bytes(source.content or source.proto.SerializeToString(), name, source)
        return target

    def report(self, pictures: bool = False) -> Report:
        """As of an inspection, with the proof and what was written."""
        return replace(
            super().report(pictures),
            command="optimize",
            verification=self.verification,
            output=str(self.output or ""),
            is_copy=self.is_copy,
            sha256=self.ir_model.metadata_props.get(ORIGINAL_KEY, ""),
            seconds=self.seconds,
        )


@dataclass(frozen=True, repr=False, eq=False)
class Inspection(_Outcome):
    """What ``optimize`` would do to a model, without proof and without writing."""

    source: Source
    ir_model: ir.Model
    verdicts: tuple[Verdict, ...]
    options: RewriteOptions
    notes: tuple[str, ...] = ()


class NotProven(NormfoldError):
    """The result differs from the original, or it could not be decided. Nothing was written; ``result`` has it all."""

    def __init__(self, result: Result) -> None:
        super().__init__(result)
        self.result = result

    def __str__(self) -> str:
        verification = self.result.verification
        verdict = "unknown" if verification is None else verification.verdict.value
        return f"{self.result.source.name}: verification says {verdict}; nothing was written"

    @property
    def is_different(self) -> bool:
        """True: a difference was measured. False: nothing could be decided."""
        return self.result.verification is not None and self.result.verification.verdict is Equivalence.DIFFERENT


def _shared_folder(source: Source, target: Path) -> Path | None:
    """Return the folder of the data files that ``target`` may refer to; None for a model without any."""
    if source.folder is None or not source.has_external_data:
        return None
    if target.resolve().parent != source.folder:
        raise UsageError(f"{target}: expected an output in {source.folder}, where the data to share lies")
    return source.folder


def check_output(
    source: Source,
    output: str | os.PathLike[str] | None,
    *,
    in_place: bool = False,
    reads: Sequence[AnyPath] = (),
    writes: Sequence[AnyPath] = (),
) -> None:
    """Check ``output`` and all other paths that a run reads and writes, before the work.

    Raises UsageError if ``output`` is the input without ``in_place``, if one of the paths cannot be written, or if what
    is written would replace what is read: the model, its data files, or ``reads``.
    """
    if output is not None and not in_place and _same_file(source.path, Path(output)):
        raise UsageError(f"{output} is the input; choose another output, or pass --in-place (in_place=True)")
    data = [source.folder / name for name in source.data_files] if source.folder else []
    model = [] if source.path is None else [source.path]
    outputs = [] if output is None else [output]
    check_paths([*model, *data, *reads], [*outputs, *writes], may_replace=source.path if in_place else None)


def _same_file(one: Path | None, other: Path) -> bool:
    try:
        return one is not None and one.samefile(other)
    except OSError:
        return False
