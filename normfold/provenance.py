"""Write into a model what made it, and what was undone on the way; read it again when the model comes back.

Keys of the metadata: ``normfold.version``, ``normfold.options`` (JSON, without defaults), ``normfold.original`` (the
SHA-256 of the original file), ``normfold.sites`` and ``normfold.undone``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from normfold._version import __version__
from normfold.files.source import Source
from normfold.files.untrusted import parse_json
from normfold.findings.reason import Obstacle, Reason
from normfold.findings.verdict import Verdict
from normfold.graph.reader import graphs_of
from normfold.options import RewriteOptions
from normfold.runtime.metadata_keys import ORIGINAL_KEY, RUN_OPTIONS_KEY, SITES_KEY, UNDONE_KEY, VERSION_KEY
from normfold.verify.result import Site
from normfold.verify.sites.metadata import as_text, from_text


@dataclass(frozen=True)
class Undone:
    """What a proof did not let stand: ``findings`` by name with the reason, and whether onnxsim had to be left out."""

    findings: Mapping[str, Obstacle] = field(default_factory=dict)
    is_without_onnxsim: bool = False

    def __bool__(self) -> bool:
        return bool(self.findings) or self.is_without_onnxsim

    def explain(self, verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
        """Return the verdicts with the recorded reason for each finding that was undone."""
        return tuple(
            replace(verdict, obstacles=(self.findings[verdict.finding.name],))
            if not verdict.is_changed and verdict.finding.name in self.findings
            else verdict
            for verdict in verdicts
        )

    def and_also(self, other: Undone) -> Undone:
        """Return all that either of two runs undid."""
        return Undone({**self.findings, **other.findings}, self.is_without_onnxsim or other.is_without_onnxsim)


def undone_by(names: Iterable[str], reason: Reason, is_without_onnxsim: bool = False) -> Undone:
    """Return the folds ``names`` as undone for ``reason``."""
    return Undone({name: Obstacle(reason) for name in names}, is_without_onnxsim)


def recorded_undone(source: Source) -> Undone:
    """Return what an earlier run undid, as the model says; nothing for text that normfold did not write."""
    text = next((entry.value for entry in source.proto.metadata_props if entry.key == UNDONE_KEY), "")
    try:
        content = parse_json(text) if text else {}
        findings = {str(name): Obstacle(Reason.of_code(code)) for name, code in content["findings"]} if content else {}
        return Undone(findings, bool(content and content["without onnxsim"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Undone()


def record(model: ir.Model, source: Source, options: RewriteOptions, sites: Iterable[Site], undone: Undone) -> None:
    """Write into ``model`` what made it; what earlier runs wrote stays as far as it still holds."""
    metadata = model.metadata_props
    metadata[SITES_KEY] = as_text((*_sites_that_exist(model, metadata.get(SITES_KEY, "")), *sites))
    metadata[VERSION_KEY] = __version__
    chosen = {name: value for name, value in options.recorded().items() if name not in ("inputs", "input_specs")}
    metadata[RUN_OPTIONS_KEY] = json.dumps(chosen, sort_keys=True)
    if source.content is not None:
        metadata[ORIGINAL_KEY] = hashlib.sha256(source.content).hexdigest()
    if undone:
        findings = [[name, obstacle.reason.code] for name, obstacle in sorted(undone.findings.items())]
        metadata[UNDONE_KEY] = json.dumps({"findings": findings, "without onnxsim": undone.is_without_onnxsim})


def _sites_that_exist(model: ir.Model, text: str) -> list[Site]:
    earlier, _ = from_text(text)
    made = {
        (path, value.name)
        for path, graph in (graphs_of(model) if earlier else ())
        for node in graph
        for value in node.outputs
    }
    return [site for site in earlier if (site.graph, site.value) in made]
