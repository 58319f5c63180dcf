"""Look into one model, in whatever process: a report as plain data. The only file of the gate that loads onnx."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from normfold.ci.report_data import to_data
from normfold.errors import SourceError, UsageError
from normfold.options import InspectArguments


def inspect_one(path: str, original: str, options: InspectArguments, pictures: bool = False) -> dict[str, Any]:
    """Inspect the model at ``path`` and, if ``original`` is given, compare it with that.

    With ``pictures`` the report has its drawings.

    ``report`` is the report as data, ``external`` the names of its data files, and ``original external`` those of the
    original; or ``unreadable`` says why there is
    none. UsageError for options that do not fit.
    """
    try:
        return _examined(path, original, options, pictures)
    except SourceError as error:
        return {"unreadable": str(error)}
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001  # a defect of ours in one model must not hide the results of the others
        return {"unreadable": f"internal error, please report: {type(error).__name__}: {error}"}


def _examined(path: str, original: str, options: InspectArguments, pictures: bool) -> dict[str, Any]:
    from normfold.files.source import external_files, read
    from normfold.pipeline import inspect_with
    from normfold.verify import ProofOptions, prove

    inspection = inspect_with(path, options)
    report = replace(inspection.report(pictures=pictures), command="check")
    files = {"external": sorted(external_files(inspection.source.proto))}
    if original:
        files["original external"] = sorted(external_files(read(original).proto))
        report = replace(report, verification=prove(Path(original), Path(path), None, ProofOptions()))
    return {"report": to_data(report), **files}
