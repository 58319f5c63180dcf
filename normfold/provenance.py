"""Write into a model what made it, and what was undone on the way; read it again when the model comes back.

Keys of the metadata: ``normfold.version``, ``normfold.options`` (JSON, without defaults), ``normfold.original`` (the
SHA-256 of the original file), ``normfold.sites`` and ``normfold.undone``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from normfold._version import __version__
from normfold.files.source import Source
from normfold.files.untrusted import parse_metadata
from normfold.findings.reason import Reason
from normfold.graph.reader import graphs_of
from normfold.options import RewriteOptions
from normfold.runtime.metadata_keys import ORIGINAL_KEY, RUN_OPTIONS_KEY, SITES_KEY, UNDONE_KEY, VERSION_KEY
from normfold.verify.result import Site
from normfold.verify.sites.metadata import as_text, from_text


@dataclass(frozen=True)
class Undone:
    """What a proof did not let stand: ``findings`` by name with the reason, and whether onnxsim had to be left out."""

    findings: Mapping[str, Reason] = field(default_factory=dict)
    is_without_onnxsim: bool = False

    def __bool__(self) -> bool:
        return bool(self.findings) or self.is_without_onnxsim

    def and_also(self, other: Undone) -> Undone:
        """Return all that either of two runs undid."""
        return Undone({**self.findings, **other.findings}, self.is_without_onnxsim or other.is_without_onnxsim)


def recorded_undone(source: Source) -> Undone:
    """Return what an earlier run undid, as the model says; nothing for text that normfold did not write."""
    text = next((entry.value for entry in source.proto.metadata_props if entry.key == UNDONE_KEY), "")
    try:
        content = parse_metadata(text) if text else {}
        findings = {str(name): Reason.of_code(code) for name, code in content["findings"]} if content else {}
        return Undone(findings, bool(content and content["without onnxsim"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Undone()


def record(model: ir.Model, source: Source, options: RewriteOptions, sites: Iterable[Site], undone: Undone) -> None:
    """Write into ``model`` what made it; what earlier runs wrote stays as far as it still holds."""
    metadata = model.metadata_props
    metadata[SITES_KEY] = as_text((*_sites_that_exist(model, metadata.get(SITES_KEY, "")), *sites))
    metadata[VERSION_KEY] = __version__
    metadata[RUN_OPTIONS_KEY] = options_as_text(options)
    if source.content is not None:
        metadata[ORIGINAL_KEY] = hashlib.sha256(source.content).hexdigest()
    if undone:
        findings = [[name, undone.findings[name].code] for name in sorted(undone.findings)]
        metadata[UNDONE_KEY] = json.dumps({"findings": findings, "without onnxsim": undone.is_without_onnxsim})


def options_as_text(options: RewriteOptions) -> str:
    """Return what the metadata say of the options: those that are no defaults, but for inputs of the proof."""
    chosen = {name: value for name, value in options.recorded().items() if name not in ("inputs", "input_specs")}
    return json.dumps(chosen, sort_keys=True)


def _sites_that_exist(model: ir.Model, text: str) -> list[Site]:
    earlier, _ = from_text(text)
    made = {
        (path, value.name)
        for path, graph in (graphs_of(model) if earlier else ())
        for node in graph
        for value in node.outputs
    }
    return [site for site in earlier if (site.graph, site.value) in made]
