"""Prove with ONNX Runtime that two models are equal, fold by fold.

Only light names live here: ONNX Runtime and numpy are imported when a proof starts.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from normfold.native import isolated
from normfold.option_declaration import accepting
from normfold.options import ProgressArguments, ProofOptions
from normfold.verify.result import Comparison, Equivalence, Site, Stage, Verification
from normfold.verify.rollback import ProofCandidate, RollbackResult, prove_with_rollback

if TYPE_CHECKING:
    from normfold.runtime.loaded_model import LoadableModel
else:
    LoadableModel = Any  # loading models is heavy

__all__ = [
    "Comparison",
    "Equivalence",
    "ProofCandidate",
    "ProofOptions",
    "RollbackResult",
    "Site",
    "Stage",
    "Verification",
    "check",
    "prove",
    "prove_with_rollback",
    "verify",
]


def prove(
    original: LoadableModel,
    candidate: LoadableModel,
    sites: Sequence[Site] | None = None,
    options: ProofOptions | None = None,
) -> Verification:
    """Compare ``candidate`` with ``original`` in ONNX Runtime; neither is changed.

    The original runs without optimizations and is the reference. The candidate runs without them, cut at every site, so
    that each site shows the error that is made there; then whole, without optimizations and as a user runs it.

    Args:
        original: the reference. Pass the path when there is external data next to it.
        candidate: the model to prove, with the same inputs and outputs.
        sites: values with one name in both models, each with the fold that it is evidence for. Sites that either model
            lacks are skipped, and a note says so. None takes those that either model tells of in its metadata, as the
            results of ``optimize`` do.
        options: seed, number of feeds, tolerances, the user's inputs.

    Raises:
        SourceError: what is given is no model.
        UsageError: an option that does not fit the model (an unknown input name, a malformed file).
    """
    from normfold.verify.proof import prove as run_proof

    models = map(_sendable, (original, candidate))
    return isolated.call("the proof", run_proof, *models, sites, options or ProofOptions(), seconds=isolated.TASK_LIMIT)


def check(model: LoadableModel, options: ProofOptions) -> Verification:
    """Compare a model with outputs that were stored with the inputs in ``options.inputs`` (test_data_set folders).

    The model runs without optimizations and as a user runs it. UsageError when a folder holds no outputs.
    """
    from normfold.verify.proof import check as run_check

    return isolated.call("the proof", run_check, _sendable(model), options, seconds=isolated.TASK_LIMIT)


def _sendable(model: LoadableModel) -> LoadableModel:
    """Return a model that another process can be given: an onnx_ir.Model as a proto."""
    if "onnx_ir" in sys.modules and isinstance(model, sys.modules["onnx_ir"].Model):
        from normfold.files.protos.convert import to_proto

        return to_proto(model)
    return model


class HasModel(Protocol):
    """A result of ``optimize``, ``inspect`` or ``export``."""

    @property
    def ir_model(self) -> Any:
        """The model, as an onnx_ir.Model."""


ModelOrResult = LoadableModel | HasModel


@dataclass(frozen=True, kw_only=True)
class VerifyArguments(ProgressArguments, ProofOptions):
    """The arguments of ``normfold.verify`` after the first model."""

    b: ModelOrResult = field(kw_only=False)


@accepting(VerifyArguments)
def verify(a: ModelOrResult, options: VerifyArguments) -> Verification:
    """Compare the model ``b`` with ``a``.

    Each is a path, bytes, an ``onnx.ModelProto``, an ``onnx_ir.Model`` or what ``optimize`` returned.
    ``assert normfold.verify(a, b)`` in pytest shows the table on failure: it is logged as a warning, because an
    assertion message has one line; ``normfold.testing.assert_equivalent`` raises with it. Tolerances are calibrated
    unless ``rtol`` or ``atol`` is given; if they are, a result of ``optimize`` is compared at every fold too, where its
    value is made.
    """
    verification = prove_models(a, options)
    if not verification:
        import logging

        logging.getLogger("normfold").warning("%s", verification)
    return verification


def prove_models(a: ModelOrResult, options: VerifyArguments) -> Verification:
    """Do what ``prove`` does, for results of ``optimize`` too."""
    models = model_of(a), model_of(options.b)
    if options.on_stage is not None:
        options.on_stage("verify")
    return prove(*models, None, ProofOptions.of(options))


def model_of(model: ModelOrResult) -> LoadableModel:
    """Return a model, or that of a result."""
    found: LoadableModel = getattr(model, "ir_model", model)  # type: ignore[arg-type, assignment]  # a model has no such name
    return found
